"""When a finished training is kept and when not, what a kill at its end leaves, and how it was drawn from."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from test_train_latent import filled, params_of

from pipelines.generators.checkpoint import load_checkpoint, save_checkpoint
from pipelines.train import content, launch, outputs
from pipelines.train.content import CODE_FOLDERS, content_key
from pipelines.train.data import load_training_set, load_validation_set
from pipelines.train.launch import train_launched
from pipelines.train.observer import Observer
from pipelines.train.run import TrainResult, train_generator
from pipelines.train.sheets import draw_sheet
from schemas.catalog import CatalogRow
from schemas.code import RUN, code_sha256
from schemas.errors import CheckpointError, DiskFullError, EquidermError, WorkspaceError
from schemas.params import Params
from schemas.paths import Workspace
from schemas.table import read_rows, write_rows
from schemas.words import Modality

ROOT = Path(__file__).resolve().parents[2]
SHORT = {
    "images": 16, "batch": 4, "width": 8, "start": "scratch", "sheet_every_images": 8, "watch": {"least_diversity": 0},
}  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    torch.set_num_threads(1)
    return filled(tmp_path)


def trained(workspace: Workspace) -> TrainResult:
    return train_generator("dcgan", workspace, params_of(dcgan=SHORT))


def test_a_training_is_kept_unless_its_code_labels_or_config_are_others(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(workspace)
    (first.folder / "state").mkdir()  # as a kill between the card and the removal leaves it
    again = trained(workspace)
    assert (first.reused, again.reused) == (False, True)
    assert not (first.folder / "state").exists()
    with monkeypatch.context() as patch:
        patch.setattr(content, "code_sha256", lambda *_: "another version")
        assert not trained(workspace).reused
    assert not trained(workspace).reused, "and back again"
    config = first.folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8")[:100], encoding="utf-8")
    assert not trained(workspace).reused
    rows = [r.model_copy(update={"modality": Modality.CLINICAL}) for r in read_rows(workspace.splits, CatalogRow)]
    write_rows(rows, CatalogRow, workspace.splits)
    assert not trained(workspace).reused


def test_a_kill_before_the_card_is_written_goes_on_from_the_state(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outputs, "write_card_of", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(workspace)
    reports: list[dict[str, Any]] = []
    result = train_generator("dcgan", workspace, params_of(dcgan={**SHORT}), lambda row: reports.append(dict(row)))
    assert not result.reused
    assert [Path(row["sheet"]).name for row in reports if "sheet" in row] == ["final.png"], "not 00000008.png once more"
    assert not (result.folder / "state").exists()
    assert trained(workspace).checkpoint_sha256 == result.checkpoint_sha256


def test_the_code_that_counts_is_what_dvc_names(tmp_path: Path) -> None:
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["train"]["do"]["deps"]
    assert set(CODE_FOLDERS) == {d for d in deps if d.startswith("pipelines/") or d == "schemas"}
    for folder in CODE_FOLDERS:
        (tmp_path / folder / "base").mkdir(parents=True)
    source = tmp_path / "pipelines" / "generators" / "base" / "net.py"
    source.write_text("LAYERS = 1\n", encoding="utf-8")
    digest = partial(code_sha256.__wrapped__, CODE_FOLDERS, RUN, tmp_path)  # without its cache
    digests = [digest()]
    (tmp_path / "pipelines/generators/base/config.json").write_text("{}", encoding="utf-8")
    digests.append(digest())
    source.write_text("LAYERS = 2\n", encoding="utf-8")
    digests.append(digest())
    assert digests[0] == digests[1] != digests[2]


def keys(workspace: Workspace, **own: Any) -> list[str]:
    """Return the content keys under the usual sampler and under another."""
    data, held_out = load_training_set(workspace, 0.5), load_validation_set(workspace)
    usual = params_of(diffusion=own)
    quick = usual.produce.sampler.model_copy(update={"steps": 2})
    other = usual.model_copy(update={"produce": usual.produce.model_copy(update={"sampler": quick})})
    return [content_key("diffusion", p, p.train.diffusion, data, held_out) for p in (usual, other)]


def test_the_sampler_counts_where_validation_images_decide(workspace: Workspace) -> None:
    assert len(set(keys(workspace))) == 1
    assert len(set(keys(workspace, ema={"length": "auto"}))) == 2
    assert len(set(keys(workspace, watch={"patience": 2}))) == 2


def test_a_run_is_drawn_as_the_build_will_draw_and_the_card_says_how(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = {"images": 4, "batch": 4, "start": "scratch", "mixed_precision": "no", "guiding": False}
    usual = params_of(diffusion={**tiny, "watch": {"least_diversity": 0}})
    quick = usual.produce.sampler.model_copy(update={"steps": 1})
    params: Params = usual.model_copy(update={"produce": usual.produce.model_copy(update={"sampler": quick})})
    asked: list[tuple[str, int]] = []

    def drawing(folder: Path, conditions: Any, title: str, target: Path, sampler: Any, turn: int) -> Any:
        asked.append((target.name, sampler.steps))
        return draw_sheet(folder, conditions, title, target, sampler, turn)

    monkeypatch.setattr("pipelines.train.observer.draw_sheet", drawing)
    result = train_generator("diffusion", workspace, params)
    assert asked == [("final.png", 1)], "the look at the end and the final sheet are one drawing"
    card = (result.folder / "card.md").read_text(encoding="utf-8")
    assert "drawn with `produce.sampler` as it was then: solver dpmsolver++, steps 1, spacing log_snr" in card


def test_the_final_sheet_is_drawn_again_where_other_weights_are_kept(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(Observer, "_draw", lambda self, checkpoint, name, run: drawn.append(checkpoint.name))
    observer = Observer.__new__(Observer)
    observer.last, observer.folder = "a" * 64, Path("model")
    run = type("Ended", (), {"turn": 1})()
    observer.show_finished(run, "a" * 64)
    assert drawn == []
    observer.show_finished(run, "b" * 64)
    assert (drawn, run.turn) == (["model"], 0)


@pytest.mark.parametrize("text", ["{", "[]", "\xff", '{"generator": "line"}'])
def test_a_damaged_config_is_a_checkpoint_error(text: str, tmp_path: Path) -> None:
    save_checkpoint(torch.nn.Linear(2, 2), {"generator": "line"}, tmp_path)
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config\.json.*train again or restore it"):
        load_checkpoint(tmp_path, "line")


_WORKER = """
import sys
import pipelines.train.worker as worker
import schemas.errors as errors
def failing(*_):
    raise errors.{error}("no room")
worker.{what} = failing
sys.argv[1:] = ["dcgan"]
worker.main()
"""


@pytest.fixture
def failing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that lets a worker fail with an error of that name."""
    shutil.copy(ROOT / "params.yaml", workspace.root)

    def fail(error: str, what: str) -> None:
        command = [sys.executable, "-c", _WORKER.format(error=error, what=what)]
        monkeypatch.setattr(launch, "launch_command", lambda *_: command)
        train_launched("dcgan", workspace, params_of(dcgan=SHORT))

    return fail


@pytest.mark.parametrize(
    ("error", "what"), [(DiskFullError, "train_generator"), (WorkspaceError, "load_params")], ids=lambda x: str(x)
)
def test_every_error_of_a_worker_keeps_its_kind(failing: Any, error: type[EquidermError], what: str) -> None:
    with pytest.raises(error, match="no room") as caught:
        failing(error.__name__, what)
    assert type(caught.value) is error
    assert caught.value.exit_code == 2


def test_the_config_says_how_it_was_drawn_and_a_gan_has_no_sampler(workspace: Workspace) -> None:
    result = trained(workspace)
    assert json.loads((result.folder / "config.json").read_text(encoding="utf-8"))["sampler"] is None
    assert "produce.sampler" not in (result.folder / "card.md").read_text(encoding="utf-8")
