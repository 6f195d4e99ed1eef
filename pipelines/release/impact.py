"""Which models and releases used an image: as pixels, in training, in gates, and through the synthetic images made since.

An image is known by its image_id, or, once it was withdrawn, by the salted hash of it in infra/withdrawn.csv; a patient
by the salted hash in the catalog. A checkpoint's training.parquet says what it learned from. A release's index.parquet
says the same of the checkpoint that made its synthetic images: its real `train` rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.ingest.withdrawn import Withdrawn
from pipelines.probes.arrays import load_arrays
from pipelines.release.seal import file_sha256
from pipelines.release.used import GateUse, Impact, ModelUse, ReleaseUse
from schemas.paths import Workspace
from schemas.release import SUMS
from schemas.withdrawal import TRAINING
from schemas.words import Kind, Split


@dataclass(frozen=True)
class Version:
    """One state of a release or model, wherever it lies: its files by relative name."""

    where: str
    name: str
    files: Mapping[str, Path]


@dataclass(frozen=True)
class History:
    """Earlier states of releases and models that can be read here, and what was known to exist but cannot."""

    releases: Sequence[Version] = ()
    models: Sequence[Version] = ()
    searched: Sequence[str] = ()
    not_searched: Sequence[str] = ()


@dataclass(frozen=True)
class Wanted:
    """What is looked for."""

    asked: str
    images: frozenset[str]
    patients: frozenset[str] = frozenset()  # salted, as in the catalog
    withdrawn: Withdrawn | None = None  # ask it about every image and patient too

    def image(self, image_id: str) -> bool:
        """Return whether the image is meant."""
        return image_id in self.images or bool(self.withdrawn and self.withdrawn.has_image(image_id))

    def patient(self, patient_id: str | None) -> bool:
        """Return whether the patient, by the catalog's salted hash, is meant."""
        if patient_id is None:
            return False
        listed = self.withdrawn.patients if self.withdrawn else frozenset()
        return patient_id in self.patients or any(patient_id == digest for _, digest in listed)


@dataclass
class _Models:
    """Checkpoints found so far, by sha256."""

    uses: dict[str, ModelUse] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)  # with a training.parquet, whether or not they used it
    images: set[str] = field(default_factory=set)
    silent: list[str] = field(default_factory=list)


def impact(workspace: Workspace, wanted: Wanted, history: History) -> Impact:
    """Return every model, production and release that used the wanted images, here and in the history given."""
    models = _models([*_here(workspace.root / "models", "models"), *history.models], wanted)
    releases, images, unread = _releases([*_here(workspace.releases, "releases"), *history.releases], wanted, models)
    gates, gate_images = _gates(workspace, wanted, models)
    return Impact(
        asked=wanted.asked,
        images=sorted(wanted.images | models.images | images | gate_images),
        models=sorted(models.uses.values(), key=lambda use: (use.generator, use.checkpoint_sha256)),
        gates=gates,
        releases=releases,
        searched=["this workspace: models, production/gates, production/ledger, releases", *history.searched],
        not_searched=[*models.silent, *unread, *history.not_searched],
    )


def _here(folder: Path, name: str) -> list[Version]:
    folders = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    return [
        Version(f"{name}/{p.name}", p.name, {f.relative_to(p).as_posix(): f for f in p.rglob("*") if f.is_file()})
        for p in folders
        if not p.name.startswith(".")
    ]


def _models(versions: Iterable[Version], wanted: Wanted) -> _Models:
    found = _Models()
    for version in versions:
        config = _json(version.files.get("config.json"))
        sha256 = config.get("sha256")
        if sha256 is None:
            continue  # not finished: it has made nothing
        if TRAINING not in version.files:
            found.silent.append(f"{version.where}: an older checkpoint that does not say what it learned from")
            continue
        rows = pq.read_table(version.files[TRAINING]).to_pylist()
        used = {r["image_id"] for r in rows if wanted.image(r["image_id"]) or wanted.patient(r["patient_id"])}
        found.known.add(sha256)
        found.images |= used
        if used:
            before = found.uses[sha256].where if sha256 in found.uses else []
            found.uses[sha256] = ModelUse(
                generator=config.get("generator", version.name), checkpoint_sha256=sha256,
                where=[*before, version.where], images=len(used), training_images=len(rows),
            )  # fmt: skip
    return found


def _releases(
    versions: Iterable[Version], wanted: Wanted, models: _Models
) -> tuple[list[ReleaseUse], set[str], list[str]]:
    found: dict[str, ReleaseUse] = {}
    images: set[str] = set()
    unread: list[str] = []
    for version in versions:
        if "index.parquet" not in version.files:
            unread.append(f"{version.where}: no index.parquet")
            continue
        use, named = _release(version, wanted, models)
        images |= named
        if use is None:
            continue
        key = use.digest or version.where
        found[key] = (
            use if key not in found else found[key].model_copy(update={"where": [*found[key].where, *use.where]})
        )
    return list(found.values()), images, unread


def _release(version: Version, wanted: Wanted, models: _Models) -> tuple[ReleaseUse | None, set[str]]:
    columns = ["image_id", "kind", "split", "shard", "checkpoint_sha256"]
    rows = pq.read_table(version.files["index.parquet"], columns=columns).to_pylist()
    # A patient asked for by id: the release itself does not say whose an image is, but a model beside it may.
    used = [
        r for r in rows if r["kind"] == Kind.REAL and (wanted.image(r["image_id"]) or r["image_id"] in models.images)
    ]
    splits = {split: sum(r["split"] == split for r in used) for split in Split}
    made = [r["checkpoint_sha256"] for r in rows if r["kind"] == Kind.SYNTHETIC]
    # What a checkpoint says of itself counts; of one that is not here, the release's own train split says it.
    synthetic = sum(sha in models.uses or (sha not in models.known and splits[Split.TRAIN] > 0) for sha in made)
    if not used and not synthetic:
        return None, set()
    facts, sums = _json(version.files.get("release.json")), version.files.get(SUMS)
    use = ReleaseUse(
        name=facts.get("name", version.name), version=facts.get("version"),
        digest=file_sha256(sums) if sums else None, where=[version.where],
        pixels=sum(r["shard"] is not None for r in used), withheld=sum(r["shard"] is None for r in used),
        train=splits[Split.TRAIN], validation=splits[Split.VALIDATION], test=splits[Split.TEST], synthetic=synthetic,
    )  # fmt: skip
    return use, {r["image_id"] for r in used}


def _gates(workspace: Workspace, wanted: Wanted, models: _Models) -> tuple[list[GateUse], set[str]]:
    """Return the use by production as it lies here: what its gates were fitted on, and its accepted images."""
    folder = workspace.production / "gates"
    fitted = {i for file in sorted(folder.glob("*-train.safetensors")) for i in _reference_ids(file)}
    used = {i for i in fitted if wanted.image(i) or i in models.images}
    splits = workspace.splits if fitted and workspace.splits.is_file() else None
    held = {
        r["image_id"]
        for r in (pq.read_table(splits, columns=["image_id", "split", "patient_id"]).to_pylist() if splits else [])
        if r["split"] == Split.VALIDATION and (wanted.image(r["image_id"]) or wanted.patient(r["patient_id"]))
    }
    files = sorted(workspace.ledger.glob("*.parquet")) if workspace.ledger.is_dir() else []
    made = [
        row["checkpoint_sha256"]
        for file in files
        for row in pq.read_table(file, columns=["checkpoint_sha256"], filters=[("accepted", "==", True)]).to_pylist()
    ]
    descendants = sum(sha in models.uses for sha in made)
    if not (used or held or descendants):
        return [], set()
    use = GateUse(where="production", copy_gate=len(used), calibration=len(held), descendants=descendants)
    return [use], used | held


def _reference_ids(file: Path) -> list[str]:
    """Return the image ids that a gate's reference file says it holds; [] if it is not readable."""
    try:
        _, about = load_arrays(file)
    except (OSError, ValueError):
        return []
    return list(about.get("image_ids", []))


def _json(path: Path | None) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
