"""What a finished training leaves: checkpoint, records, sheet, card, and the list of the images it learned from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.generators.checkpoint import CONFIG, save_checkpoint
from pipelines.generators.interface import Recipe
from pipelines.train.card import write_card
from pipelines.train.content import sampler_of
from pipelines.train.data import TrainingSet
from pipelines.train.loop import Run
from pipelines.train.observer import Observer
from pipelines.train.round_trip import FILE as ROUND_TRIP
from pipelines.train.round_trip import RoundTrip, round_trip_table
from pipelines.train.sheets import exported
from pipelines.train.state import discard_state
from schemas.catalog import CatalogRow
from schemas.params import Params
from schemas.paths import Workspace
from schemas.strata import StratumRow
from schemas.table import read_rows, write_rows, write_table
from schemas.train_params import GeneratorParams, StableDiffusionParams
from schemas.training import LOOKS, STRATUM_LOSSES, LookRow, StratumLossRow
from schemas.withdrawal import TRAINING, TrainingImageRow
from schemas.words import Split


def describe(
    recipe: Recipe, run: Run, params: Params, data: TrainingSet, key: str, workspace: Workspace
) -> dict[str, Any]:
    """Return the checkpoint's config: what the card says of a run and what later stages ask of it."""
    own: GeneratorParams = getattr(params.train, recipe.name)
    rows = [r for r in read_rows(workspace.splits, CatalogRow) if r.split == Split.TRAIN]
    sampler = sampler_of(own, params)
    theirs = own.base if isinstance(own, StableDiffusionParams) else getattr(own, "autoencoder", None)
    return {
        **recipe.config(),
        "content_key": key,
        "data_digest": data.digest,
        "images": run.images,
        "training_images": len(data.conditions),
        "parameters": sum(p.numel() for p in exported(recipe, run.average).parameters()),
        "start": own.start,
        "params": own.model_dump(mode="json"),
        "sampler": sampler.model_dump(mode="json") if sampler else None,
        "sources": sorted({r.source for r in rows}),
        "licences": sorted({r.licence for r in rows} | ({theirs.licence} if theirs else set())),
        "lesions": sorted({str(r.lesion) for r in rows}),
        "fst": sorted({r.fst for r in rows if r.fst is not None}),
        "resample_power": params.train.resample_power,
        "max_repeats": params.train.max_repeats,
        "watch": run.records["watch"][0],
        "average": run.records["average"][0],
        "lengths": run.records.get("lengths", []),
    }


def write_training_images(folder: Path, workspace: Workspace) -> None:
    """Write training.parquet: which images the weights come from, for `equiderm impact`."""
    rows = sorted(
        (r for r in read_rows(workspace.splits, CatalogRow) if r.split == Split.TRAIN), key=lambda r: r.image_id
    )
    used = [TrainingImageRow(image_id=r.image_id, source=r.source, patient_id=r.patient_id) for r in rows]
    write_rows(used, TrainingImageRow, folder / TRAINING)


def write_outputs(recipe: Recipe, run: Run, observer: Observer, about: dict[str, Any], workspace: Workspace) -> None:
    """Write the outputs, the card last: its presence says the run is whole. Only then does the run's state go: a process killed
    before goes on from it."""
    folder = observer.folder
    (folder / "card.md").unlink(missing_ok=True)
    digest = save_checkpoint(exported(recipe, run.average), about, folder)
    write_table(pa.Table.from_pylist(run.log), folder / "losses.parquet")
    write_rows([StratumLossRow.model_validate(row) for row in run.strata], StratumLossRow, folder / STRATUM_LOSSES)
    looks = [LookRow.model_validate(row) for row in run.records.get("looks", [])]
    write_rows(looks, LookRow, folder / LOOKS)
    observer.show_finished(run, digest)
    write_training_images(folder, workspace)
    write_card_of(folder, {**about, "sha256": digest}, workspace)
    _clear(folder)


def renew_outputs(folder: Path, about: dict[str, Any], workspace: Workspace) -> None:
    """Bring what lies beside a finished checkpoint up to the strata as they are now, and remove what a killed run left."""
    write_training_images(folder, workspace)
    write_card_of(folder, about, workspace)
    _clear(folder)


def _clear(folder: Path) -> None:
    shutil.rmtree(folder / "snapshot", ignore_errors=True)
    discard_state(folder / "state")


def write_card_of(folder: Path, about: dict[str, Any], workspace: Workspace) -> None:
    """Write the card from what lies beside the checkpoint and the strata as they are classed now."""
    losses = pq.read_table(folder / "losses.parquet").to_pylist()
    strata = read_rows(workspace.strata, StratumRow) if workspace.strata.is_file() else []
    by_stratum = read_rows(folder / STRATUM_LOSSES, StratumLossRow)
    record = folder / ROUND_TRIP
    round_trip = RoundTrip.model_validate_json(record.read_text(encoding="utf-8")) if record.is_file() else None
    table = round_trip_table(round_trip) if round_trip else None
    write_card(about, losses, by_stratum, strata, folder / "card.md", table)


def read_result(folder: Path) -> dict[str, Any]:
    """Return a finished run's config as stored."""
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return config
