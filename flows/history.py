"""Earlier states of releases and models: in the commits of dvc.lock and in DVC's record of runs, as far as cached here.

With flows/graph.py the only place that speaks to DVC. Nothing is fetched: what is not in the local cache is named.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from flows.graph import Graph
from pipelines.release.impact import History, Version
from schemas.paths import Workspace

KEPT = ("releases/", "models/")


def history(workspace: Workspace) -> History:
    """Return every earlier release and model that dvc.lock, in any commit, or DVC's run cache names."""
    repo = Graph(workspace).repo
    committed, said = _committed(workspace)
    runs = list(_runs(Path(repo.stage_cache.cache_dir)))
    named: dict[tuple[str, str], list[str]] = {}
    for label, lock in [*committed, *runs]:
        for path, digest in _outs(lock):
            places = named.setdefault((path, digest), [])
            if label not in places:
                places.append(label)
    found: dict[str, list[Version]] = {"releases": [], "models": []}
    missing = []
    for (path, digest), labels in named.items():
        where = f"{path} ({labels[0]}{f' and {len(labels) - 1} more' if len(labels) > 1 else ''})"
        files = _cached(repo.cache.local, digest)
        if files is None:
            missing.append(f"{where}: not in the local DVC cache; `dvc pull` or `dvc fetch --all-commits` brings it")
        else:
            found[path.split("/")[0]].append(Version(where, Path(path).name, files))
    return History(
        releases=found["releases"],
        models=found["models"],
        searched=[said, f"DVC's run cache: {len(runs)} earlier runs"],
        not_searched=missing,
    )


def _committed(workspace: Workspace) -> tuple[list[tuple[str, Mapping[str, Any]]], str]:
    """Return the dvc.lock of every commit that changed it, on any branch or tag, and a line that says so."""
    try:
        listed = _git(workspace, "log", "--all", "--format=%h%x09%D", "--", "dvc.lock").splitlines()
        locks = []
        for line in listed:
            commit, _, names = line.partition("\t")
            label = f"commit {commit}{f', {names}' if names else ''}".replace("HEAD -> ", "")
            locks.append((label, _yaml(_git(workspace, "show", f"{commit}:./dvc.lock"))))
    except (OSError, subprocess.CalledProcessError) as error:
        return [], f"no commits: git cannot be asked ({type(error).__name__})"
    found = [(label, {"stages": lock["stages"]}) for label, lock in locks if lock.get("stages")]
    return found, f"git: {len(found)} commit(s) that changed dvc.lock, on every branch and tag here"


def _git(workspace: Workspace, *arguments: str) -> str:
    return subprocess.check_output(
        ["git", *arguments], cwd=workspace.root, text=True, stderr=subprocess.DEVNULL, encoding="utf-8"
    )


def _runs(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what DVC remembers of runs in this workspace, committed or not: one file a run, as a stage of dvc.lock."""
    for path in sorted(folder.glob("*/*/*")):
        stage = _yaml(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if stage:
            yield "an earlier run", {"stages": {path.name: stage}}


def _yaml(text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _outs(lock: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (path, digest) of every release and model a dvc.lock names, as out or as dep."""
    for stage in lock["stages"].values():
        for entry in [*stage.get("outs", []), *stage.get("deps", [])]:
            if entry.get("path", "").startswith(KEPT) and entry.get("md5"):
                yield entry["path"], entry["md5"]


def _cached(cache: Any, digest: str) -> dict[str, Path] | None:
    """Return a cached folder's files by relative name, those that are here; None if the folder is not known here."""
    listing = Path(cache.oid_to_path(digest))
    if not digest.endswith(".dir") or not listing.is_file():
        return None
    entries = json.loads(listing.read_text(encoding="utf-8"))
    files = {entry["relpath"]: Path(cache.oid_to_path(entry["md5"])) for entry in entries}
    here = {name: path for name, path in files.items() if path.is_file()}
    wanted = {"index.parquet", "config.json"} & files.keys()
    return here if wanted <= here.keys() else None
