"""Workspaces to build in: a copy of this checkout's files as a git repository of its own, with tiny parameters."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Two test processes share a machine, and a first call may wait for its imports: the time of one example says nothing.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

TINY = """\
sources:
  use:
    phantom:
      {adapter: phantom, count: 72, seed: 7, resolution: 64,
       fst_shares: [0.5, 0, 0, 0, 0.5, 0], lesion_shares: {nevus: 0.6, melanoma: 0.4}}
ingest: {resolution: 64, shard_rows: 40, workers: 2}
validate: {min_rows: 10}
dedupe: {policy: keep_one}
stratify:
  support: {supported: 4, borrowed: 2}
  quotas: {per_stratum: 16}
train:
  use: [diffusion, gan]
  seed: 11
  resample_power: 0.5
  max_repeats: 5.0
  diffusion: {images: 16, batch: 8, start: scratch, warmup_images: 0, mixed_precision: "no", watch: {least_diversity: 0}}
  gan: {images: 16, batch: 8, start: scratch, watch: {least_diversity: 0}}
produce:
  generator: diffusion
  block: 8
  max_attempts_per_image: 1
  sampler: {steps: 2, guidance_tone: 1, guidance_lesion: 1}
  gates: {lesion_min_probability: 0, tone_tolerance_deg: 90, tone_probe_min_probability: 0, outlier_quantile: null}
evaluate: {bootstrap: 10}
release: {name: balanced, version: 0.1.0}
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's Prefect server, DVC caches and git identity out of the tests."""
    home = tmp_path_factory.mktemp("home")
    kept = dict(os.environ)
    for name in [n for n in os.environ if n.startswith(("PREFECT_", "EQUIDERM_", "DVC_"))]:
        del os.environ[name]
    for name in ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        os.environ[name] = str(home / name.lower())
    os.environ["OMP_NUM_THREADS"] = "1"  # two threads collapse when the other core is busy
    os.environ["GIT_CONFIG_GLOBAL"] = str(home / "gitconfig")
    (home / "gitconfig").write_text("[user]\n\tname = test\n\temail = test@example.org\n", encoding="utf-8")
    yield
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder this test suite is in."""
    return ROOT


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Prefect home whose database exists already: creating it is the slow part of a first server start."""
    from flows.server import local_server
    from schemas.paths import Workspace

    workspace = Workspace(tmp_path_factory.mktemp("prefect"))
    with local_server(workspace) as server:
        server.wait()
    return workspace.state / "prefect"


@pytest.fixture(scope="session")
def new_workspace(prefect_home: Path) -> Callable[[Path], Path]:
    """Return a function that turns a folder into a workspace: tracked and new files, tiny params, one commit."""

    def make(folder: Path) -> Path:
        listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, text=True)
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / "params.yaml").write_text(TINY, encoding="utf-8")
        (folder / "dvc.lock").unlink(missing_ok=True)
        shutil.copytree(prefect_home, folder / ".equiderm/prefect")
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
            subprocess.run(["git", *command], cwd=folder, check=True)
        return folder

    return make


@pytest.fixture
def workspace(new_workspace: Callable[[Path], Path], tmp_path: Path) -> Path:
    """A fresh workspace with tiny parameters; nothing has run in it."""
    return new_workspace(tmp_path)


@pytest.fixture(scope="session")
def equiderm() -> Run:
    """Return a function that runs the command line in a workspace, with that workspace's own code."""

    def run(folder: Path, *arguments: str, timeout: float = 500) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def any_precision() -> Iterator[None]:
    """A base is made in bf16, other trainings of this process are not; accelerate allows one a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
