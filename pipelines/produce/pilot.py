"""Which generator makes which stratum, where several are named: each makes the stratum's first attempts, and the gates
and the real validation images decide.

A pilot's attempts are the first round of the stratum (`StratumPlan.first`): those of the chosen generator are whole
blocks already and go on into the ledger, those of the others stay in pilot.parquet as counts and are in no ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.embedding.corpus import Corpus, read_corpus, read_labels
from pipelines.embedding.distance import kid
from pipelines.embedding.extractor import Extractor, default_extractor
from pipelines.imaging.normalise import decode_png
from pipelines.produce.acceptance import acceptance_bounds
from pipelines.produce.attempts import BlockPlan, BlockRow, read_block
from pipelines.produce.identity import digest
from pipelines.produce.models import candidates
from pipelines.produce.plan import ProductionPlan, StratumPlan, assemble, plan_strata
from pipelines.produce.schedule import cut_round
from schemas.errors import CheckFailed, WorkspaceError
from schemas.params import Params, PilotParams
from schemas.paths import Workspace
from schemas.pilot import PilotRow
from schemas.table import read_rows, write_rows
from schemas.words import Modality, Split

if TYPE_CHECKING:
    from pipelines.produce.models import Given

DECIMALS = 4
"""Of a KID: kernels round differently from machine to machine, and the decision should not."""


class Trial(NamedTuple):
    """What one candidate came to in one stratum."""

    generator: str
    attempts: int
    passed: int
    kid: float | None = None


def pilot_plans(workspace: Workspace, params: Params, given: Given = None) -> list[ProductionPlan]:
    """Return a plan for each candidate, in which it makes every stratum; [] where there is but one.

    Raises:
        UserError: as `plan_production`.
    """
    found = candidates(workspace, params, given)
    if len(found) < 2:
        return []
    strata = plan_strata(workspace, params)
    most = params.produce.pilot.attempts
    return [
        assemble(
            workspace,
            params,
            {name: generator},
            [one.model_copy(update={"generator": name, "first": min(most, one.attempts)}) for one in strata],
        )
        for name, generator in found.items()
    ]


def pilot_blocks(workspace: Workspace, params: Params, plans: Sequence[ProductionPlan]) -> list[list[BlockPlan]]:
    """Return the blocks to make for each plan; none of a stratum that is decided already."""
    keys, known = _keys(workspace, params, plans), _stored(workspace)
    open_strata = [i for i, key in enumerate(keys) if key not in known]
    return [
        [b for i in open_strata for b in _blocks(plan, plan.strata[i]) if read_block(workspace, plan, b) is None]
        for plan in plans
    ]


def decide(
    workspace: Workspace, params: Params, plans: Sequence[ProductionPlan], extractor: Extractor | None = None
) -> list[PilotRow]:
    """Return production/pilot.parquet after it is written: a row a stratum and candidate. What was decided stays.

    Raises:
        CheckFailed: a block of the pilot has not been made.
    """
    known, real = _stored(workspace), _Real(workspace, extractor)
    rows: list[PilotRow] = []
    for i, key in enumerate(_keys(workspace, params, plans)):
        rows += known.get(key) or _decide_one(workspace, params, plans, i, key, real)
    write_rows(rows, PilotRow, workspace.pilot)
    return rows


def decided(workspace: Workspace, params: Params, plans: Sequence[ProductionPlan]) -> list[StratumPlan]:
    """Return the strata, each with the generator that its pilot chose.

    Raises:
        WorkspaceError: there is no pilot of these generators, gates and images.
    """
    known = _stored(workspace)
    strata = []
    for i, key in enumerate(_keys(workspace, params, plans)):
        chosen = next((row for row in known.get(key, ()) if row.chosen), None)
        if chosen is None:
            raise WorkspaceError(
                f"stratum {plans[0].strata[i].name}: {len(plans)} generators named and no pilot of them yet; "
                "run `equiderm produce`"
            )
        strata.append(plans[0].strata[i].model_copy(update={"generator": chosen.generator, "choice": chosen.reason}))
    return strata


def choose(trials: Sequence[Trial], params: PilotParams) -> tuple[int, str]:
    """Return the position of the chosen candidate and why, in one line.

    The highest share of attempts that pass the gates wins, if its lower bound is above the upper bound of every other's
    (Wilson, at `confidence`). Among those it does not tell apart, the smallest KID to the stratum's own real validation
    images; where one of them has too few images for that, the highest share, ties to the earlier. KID against other
    strata's images is never used: it would reward images that look like the lighter skin most of those show.
    """
    bounds = [acceptance_bounds(t.passed, t.attempts, params.confidence) for t in trials]
    shares = [t.passed / t.attempts for t in trials]
    best = shares.index(max(shares))
    near = [i for i, (_, high) in enumerate(bounds) if i == best or high >= bounds[best][0]]
    said = ", ".join(f"{t.generator} {t.passed} of {t.attempts}" for t in trials)
    if not trials[best].passed:
        return best, f"no candidate passed a gate ({said}): the first named"
    if len(near) == 1:
        return best, f"gate yield: {said}"
    scores = {i: score for i in near if (score := trials[i].kid) is not None}
    if len(scores) == len(near):
        closest = min(near, key=lambda i: scores[i])
        told = ", ".join(f"{trials[i].generator} {scores[i]:g}" for i in near)
        return closest, f"gate yields too near ({said}), KID: {told}"
    return best, f"gate yields too near ({said}) and too few images for KID: the highest yield"


class _Real:
    """Validation images by stratum, read and measured when they are asked for."""

    def __init__(self, workspace: Workspace, extractor: Extractor | None) -> None:
        self._workspace, self._extractor = workspace, extractor
        self._corpora: dict[Modality, Corpus] = {}

    def images(self, stratum: StratumPlan) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        if stratum.modality not in self._corpora:
            found = read_corpus(self._workspace, stratum.modality, (Split.VALIDATION,))
            self._corpora[stratum.modality] = found
        corpus = self._corpora[stratum.modality]
        mine = [(row.fst, row.lesion) == (stratum.fst, stratum.lesion) for row in corpus.rows]
        return corpus.where(np.array(mine, dtype=bool)).pixels

    def features(
        self, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        self._extractor = self._extractor or default_extractor()
        return self._extractor(pixels).astype(np.float64)


def _decide_one(
    workspace: Workspace, params: Params, plans: Sequence[ProductionPlan], i: int, key: str, real: _Real
) -> list[PilotRow]:
    stratum, images, trials = plans[0].strata[i], real.images(plans[0].strata[i]), []
    enough = len(images) >= params.produce.pilot.min_images
    reference = real.features(images) if enough else None
    for plan in plans:
        rows = _attempts(workspace, plan, plan.strata[i])
        passed = [decode_png(row.image.bytes) for row in rows if row.image is not None]
        score = None
        if reference is not None and len(passed) >= params.produce.pilot.min_images:
            score = round(kid(real.features(np.stack(passed)), reference), DECIMALS)
        trials.append(Trial(plan.strata[i].generator, len(rows), len(passed), score))
    chosen, reason = choose(trials, params.produce.pilot)
    found = []
    for at, (trial, plan) in enumerate(zip(trials, plans, strict=True)):
        low, high = acceptance_bounds(trial.passed, trial.attempts, params.produce.pilot.confidence)
        found.append(
            PilotRow(
                modality=stratum.modality, fst=stratum.fst, lesion=stratum.lesion, generator=trial.generator,
                checkpoint_sha256=plan.model_of(plan.strata[i]).checkpoint_sha256, attempts=trial.attempts,
                passed=trial.passed, yield_low=low, yield_high=high, kid=trial.kid, validation_images=len(images),
                chosen=at == chosen, reason=reason, key=key,
            )
        )  # fmt: skip
    return found


def _attempts(workspace: Workspace, plan: ProductionPlan, stratum: StratumPlan) -> list[BlockRow]:
    rows: list[BlockRow] = []
    for block in _blocks(plan, stratum):
        found = read_block(workspace, plan, block)
        if found is None:
            raise CheckFailed(
                f"pilot of {stratum.generator} in {stratum.name}: block {block.key} is not made; run `equiderm produce`"
            )
        rows += found
    return rows


def _blocks(plan: ProductionPlan, stratum: StratumPlan) -> list[BlockPlan]:
    return list(cut_round(plan, stratum, 0, stratum.first or 1))


def _keys(workspace: Workspace, params: Params, plans: Sequence[ProductionPlan]) -> list[str]:
    """Return for each stratum a digest of all that its decision follows from: attempts, gates, real images, params."""
    labels = [row for row in read_labels(workspace) if row.split == Split.VALIDATION]
    pilot, keys = params.produce.pilot.model_dump(), []
    for parts in zip(*(plan.strata for plan in plans), strict=True):
        cell = (parts[0].modality, parts[0].fst, parts[0].lesion)
        seen = [row.image_id for row in labels if (row.modality, row.fst, row.lesion) == cell]
        blocks = [[b.key for b in _blocks(plan, part)] for plan, part in zip(plans, parts, strict=True)]
        keys.append(digest([pilot, blocks, seen]))
    return keys


def _stored(workspace: Workspace) -> Mapping[str, list[PilotRow]]:
    """Return what pilot.parquet says, by key; nothing if it is not there or not readable."""
    try:
        rows = read_rows(workspace.pilot, PilotRow)
    except (OSError, pa.ArrowException, CheckFailed, ValueError):
        return {}
    found: dict[str, list[PilotRow]] = {}
    for row in rows:
        found.setdefault(row.key, []).append(row)
    return found
