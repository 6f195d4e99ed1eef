"""What will be made: one line a stratum, with its tone band and its last attempt. Nothing is written by planning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from pipelines.embedding.corpus import read_labels
from pipelines.produce.calibration import Calibration, read_calibration
from pipelines.produce.identity import canonical_json, image_key
from pipelines.produce.models import candidates
from schemas.errors import CheckpointError, UserError, WorkspaceError
from schemas.params import GateParams, Params
from schemas.paths import Workspace
from schemas.strata import QuotaRow, StratumRow
from schemas.table import read_rows
from schemas.words import ITA_BANDS_DEG, Lesion, Modality, Split, Support, stratum_name

if TYPE_CHECKING:
    from pipelines.generators.interface import Generator
    from pipelines.produce.models import Given

Band = tuple[float, float]

REQUEST_LIMITS_DEG: Final[Band] = (-55.0, 70.0)
REQUEST_INSET_DEG: Final = 2.0
"""Phantom tones are asked for inside these limits and this far from a band's edge: where phantoms are drawn too."""

MOST_ATTEMPTS: Final = 2**31 - 1


class StratumPlan(BaseModel):
    """One stratum to fill. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    modality: Modality
    fst: int | None
    lesion: Lesion
    support: Support
    quota: int
    attempts: int  # at most
    band_deg: Band | None  # what the tone gate accepts, before its tolerance; None: FST unknown
    request_deg: Band | None  # what is asked of the generator
    generator: str = ""  # the name of the one that makes it
    choice: str | None = None  # why that one; None where params name no other
    first: int | None = None  # attempts of the first round, where a pilot made them

    @property
    def name(self) -> str:
        """Name as in messages, e.g. `phantom/VI/melanoma`."""
        return stratum_name(self.modality.value, self.fst, self.lesion.value)

    @property
    def file(self) -> str:
        """Name as in files, e.g. `phantom-VI-melanoma.parquet`."""
        return self.name.replace("/", "-").replace("?", "unknown") + ".parquet"


class ModelPlan(BaseModel):
    """One generator as it will be used. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    checkpoint_sha256: str
    settings: dict[str, Any]  # of the sampler, and the seed


class ProductionPlan(BaseModel):
    """Everything that decides which images are made and kept. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    models: dict[str, ModelPlan]  # by generator; each stratum names one
    resolution: int
    gates: GateParams
    calibration: Calibration
    block: int
    confidence: float  # of the acceptance rate's lower bound, 0.5-1
    strata: tuple[StratumPlan, ...]

    def model_of(self, stratum: StratumPlan) -> ModelPlan:
        """Return the generator that makes this stratum."""
        return self.models[stratum.generator]

    def settings_of(self, stratum: StratumPlan) -> dict[str, Any]:
        """Return what shapes an image of this stratum beside the weights; the ledger keeps it as canonical JSON."""
        settings = self.model_of(stratum).settings
        return {**settings, "request_deg": list(stratum.request_deg) if stratum.request_deg else None}

    def image_ids(self, stratum: StratumPlan, start: int, stop: int) -> list[str]:
        """Return the image ids of attempts [start, stop) of a stratum."""
        settings, sha256 = self.settings_of(stratum), self.model_of(stratum).checkpoint_sha256
        return [image_key(sha256, settings, stratum.name, i) for i in range(start, stop)]

    def sampler_json(self, stratum: StratumPlan) -> str:
        """Return the ledger's `sampler` column for this stratum."""
        return canonical_json(self.settings_of(stratum))


def plan_production(workspace: Workspace, params: Params, generator: Given = None) -> ProductionPlan:
    """Return what produce will make.

    Args:
        generator: used in place of the trained ones.

    Raises:
        UserError: no strata, no gate calibration, an unknown generator, a missing checkpoint, a quota that no number of
            attempts can fill, or several generators and no pilot of them yet.
    """
    from pipelines.produce.pilot import decided, pilot_plans

    strata = plan_strata(workspace, params)
    found = candidates(workspace, params, generator)
    if len(found) > 1:
        strata = decided(workspace, params, pilot_plans(workspace, params, generator))
    else:
        strata = [one.model_copy(update={"generator": next(iter(found))}) for one in strata]
    return assemble(workspace, params, found, strata)


def assemble(
    workspace: Workspace, params: Params, found: Mapping[str, Generator], strata: Sequence[StratumPlan]
) -> ProductionPlan:
    """Return the plan of strata that each name one of the generators `found`.

    Raises:
        WorkspaceError: the gates are not calibrated.
        CheckpointError: a generator has not learned a lesion that it is to draw.
    """
    for name in found:
        _check_classes(workspace, name, [s for s in strata if s.generator == name])
    return ProductionPlan(
        models={
            name: ModelPlan(
                checkpoint_sha256=one.checkpoint_sha256, settings={**one.settings, "seed": params.produce.seed}
            )
            for name, one in found.items()
        },
        resolution=params.ingest.resolution,
        gates=params.produce.gates,
        calibration=read_calibration(workspace, params),
        block=params.produce.block,
        confidence=params.produce.confidence,
        strata=tuple(strata),
    )


def _check_classes(workspace: Workspace, name: str, strata: Sequence[StratumPlan]) -> None:
    """Raise CheckpointError if a quota asks for a lesion the checkpoint has not seen: it would draw something else."""
    from pipelines.generators.checkpoint import CONFIG, read_config

    folder = workspace.model(name)
    known = read_config(folder).get("lesions") if (folder / CONFIG).is_file() else None
    odd = sorted({s.lesion.value for s in strata} - set(known)) if known is not None else []
    if odd:
        raise CheckpointError(
            f"models/{name}: trained on {', '.join(known or [])}; quotas ask for {', '.join(odd)}; "
            f"train it on this catalog (`equiderm train {name}`) or take its checkpoint"
        )


def plan_strata(workspace: Workspace, params: Params) -> list[StratumPlan]:
    """Return the strata with a quota, in a fixed order, each checked to be fillable.

    Raises:
        UserError: stratify has not run, or a quota cannot be filled.
    """
    plans, unfillable = fillable_strata(workspace, params)
    if unfillable:
        name, quota, why = unfillable[0]
        raise UserError(f"stratum {name}: quota {quota}{why}")
    return plans


def fillable_strata(workspace: Workspace, params: Params) -> tuple[list[StratumPlan], list[tuple[str, int, str]]]:
    """Return the strata that can be filled, in a fixed order, and name, quota and reason of those that cannot.

    Raises:
        UserError: stratify has not run, or its tables do not fit together.
    """
    for path in (workspace.quotas, workspace.strata):
        if not path.is_file():
            raise WorkspaceError(f"data/strata/{path.name}: not there; run `equiderm stratify` first")
    bands = {(s.modality, s.fst, s.lesion): s for s in read_rows(workspace.strata, StratumRow)}
    trained = {(r.modality, r.lesion) for r in read_labels(workspace) if r.split == Split.TRAIN}
    wanted = [q for q in read_rows(workspace.quotas, QuotaRow) if q.quota > 0]
    wanted.sort(key=lambda q: (q.modality, q.fst or 0, list(Lesion).index(q.lesion)))
    plans, unfillable = [], []
    for quota in wanted:
        stratum = bands.get((quota.modality, quota.fst, quota.lesion))
        if stratum is None:
            raise WorkspaceError(
                f"{_name(quota)}: has a quota but no row in strata.parquet; run `equiderm stratify` again"
            )
        plan = _plan_stratum(quota, tone_band(stratum), params)
        why = _unreachable(plan, (quota.modality, quota.lesion) in trained, params)
        if why is None:
            plans.append(plan)
        else:
            unfillable.append((plan.name, plan.quota, why))
    return plans, unfillable


def tone_band(stratum: StratumRow) -> Band | None:
    """Return the ITA an image of the stratum may have, degrees: the phantoms' definition, or 5-95% of real photos."""
    if stratum.fst is None:
        return None
    if stratum.modality == Modality.PHANTOM:
        return ITA_BANDS_DEG[stratum.fst]
    if stratum.ita_p05 is None or stratum.ita_p95 is None:
        return None
    return (stratum.ita_p05, stratum.ita_p95)


def request_band(modality: Modality, band: Band | None) -> Band | None:
    """Return the ITA to ask the generator for, degrees: the band itself, on phantoms kept off its edges."""
    if band is None:
        return None
    low, high = band
    if modality == Modality.PHANTOM:
        low = max(low + REQUEST_INSET_DEG, REQUEST_LIMITS_DEG[0])
        high = min(high - REQUEST_INSET_DEG, REQUEST_LIMITS_DEG[1])
    return (round(low, 3), round(high, 3))


def _plan_stratum(quota: QuotaRow, band: Band | None, params: Params) -> StratumPlan:
    return StratumPlan(
        modality=quota.modality,
        fst=quota.fst,
        lesion=quota.lesion,
        support=quota.support,
        quota=quota.quota,
        attempts=math.ceil(quota.quota * params.produce.max_attempts_per_image),
        band_deg=band,
        request_deg=request_band(quota.modality, band),
    )


def _unreachable(plan: StratumPlan, lesion_seen: bool, params: Params) -> str | None:
    """Return why no run of attempts can fill the stratum, to be read after its quota; None if one can."""
    per_image = params.produce.max_attempts_per_image
    if plan.attempts < plan.quota or plan.attempts > MOST_ATTEMPTS:
        return (
            f" needs {plan.quota} attempts or more, at most {MOST_ATTEMPTS}; "
            f"max_attempts_per_image {per_image:g} gives {plan.attempts}; change it or the quota"
        )
    if not lesion_seen:
        return (
            f", but no real training image shows {plan.lesion.value}, so the "
            "lesion gate can pass none; add a source or set stratify.quotas.unsupported: refuse"
        )
    if plan.fst is not None and plan.band_deg is None:
        return (
            ", but no real training image of this skin type has a measured "
            "tone, so there is no band to ask for; add a source or set stratify.quotas.unsupported: refuse"
        )
    return None


def _name(quota: QuotaRow) -> str:
    return f"stratum {stratum_name(quota.modality.value, quota.fst, quota.lesion.value)}"
