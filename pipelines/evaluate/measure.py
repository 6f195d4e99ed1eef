"""All measurements of a finished production, written as evaluation/metrics.json and four tables."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.embedding.corpus import read_labels
from pipelines.embedding.extractor import Extractor, default_extractor
from pipelines.evaluate.counts import count_strata
from pipelines.evaluate.fidelity import measure_fidelity
from pipelines.evaluate.material import read_material
from pipelines.evaluate.tone import tone_agreement
from pipelines.evaluate.utility import measure_utility
from pipelines.probes.lesion import one_blas_thread
from pipelines.produce.result import load_result
from schemas.ledger import AttemptRow
from schemas.metrics import CountRow, FidelityRow, Metrics, Tables, ToneRow, UtilityRow
from schemas.params import Params
from schemas.paths import Workspace
from schemas.strata import QuotaRow, StratumRow
from schemas.table import Row, read_rows, write_rows, write_text
from schemas.words import Modality


def evaluate_production(workspace: Workspace, params: Params, extractor: Extractor | None = None) -> Metrics:
    """Return the metrics after they are on disk.

    Args:
        extractor: in place of the embedded one; its name stands beside the scores.

    Raises:
        WorkspaceError: stratify or produce has not run.
        CheckFailed: test patients are in the training split, or the ledger and the shards disagree.
    """
    result = load_result(workspace.production)
    ledger = read_rows(workspace.ledger, AttemptRow)
    labels = read_labels(workspace)
    extractor = extractor or default_extractor()
    fidelity: list[FidelityRow] = []
    utility: list[UtilityRow] = []
    for modality in _modalities(ledger, [row.modality for row in labels]):
        material = read_material(workspace, modality, ledger, extractor, result.calibration)
        with one_blas_thread():
            fidelity += measure_fidelity(material, extractor.name, params.evaluate)
            utility += measure_utility(material, params.evaluate)
    metrics = Metrics(
        extractor=extractor.name,
        generator=result.generator,
        generator_start=result.generator_start,
        interval=params.evaluate.interval,
        resamples=params.evaluate.bootstrap,
        seed=params.evaluate.seed,
        counts=count_strata(read_rows(workspace.strata, StratumRow), read_rows(workspace.quotas, QuotaRow), ledger),
        fidelity=fidelity,
        tone=tone_agreement(ledger, params.evaluate),
        utility=utility,
    )
    _write(workspace, metrics)
    return metrics


def _modalities(ledger: Sequence[AttemptRow], labels: Sequence[Modality]) -> list[Modality]:
    """Return the modalities that were produced, all of the catalog's if nothing was."""
    made = {row.modality for row in ledger} or set(labels)
    return [modality for modality in Modality if modality in made]


def _write(workspace: Workspace, metrics: Metrics) -> None:
    tables: tuple[tuple[Tables, Sequence[Row], type[Row]], ...] = (
        (Tables.COUNTS, metrics.counts, CountRow),
        (Tables.FIDELITY, metrics.fidelity, FidelityRow),
        (Tables.TONE, metrics.tone, ToneRow),
        (Tables.UTILITY, metrics.utility, UtilityRow),
    )
    for name, rows, row in tables:
        write_rows(rows, row, workspace.evaluation / name.value)
    write_text(metrics.model_dump_json(indent=2) + "\n", workspace.evaluation / "metrics.json")
