"""What is kept is found round by round and without comparing every pair; it is what comparing them all at once finds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.probes.skin_type_trust import no_probe
from pipelines.produce.calibration import Calibration, ModalityCalibration
from pipelines.produce.gates import GATES, SURPLUS
from pipelines.produce.gates.duplicate import scores_against
from pipelines.produce.likeness import RING_ERROR, pixel_distances, poses, ring_means, turned_hashes
from pipelines.produce.plan import ModelPlan, ProductionPlan, StratumPlan
from pipelines.produce.selection import Decision, Selection
from pipelines.produce.traits import NOT_REFUSED, Traits
from schemas.params import GateParams
from schemas.words import Lesion, Modality, Support

BOUND = 3.0
NAMES = [f"phantom/{fst}/nevus" for fst in ("I", "II", "III")]


def plan_of(quotas: list[int], bits: int) -> ProductionPlan:
    """Return a plan of one stratum a quota."""
    bounds = ModalityCalibration(
        modality=Modality.PHANTOM, n_train=1, n_held_out=1, held_out="validation", accuracy=None,
        calibration_error=None, probe_strength=1, lesions=(), copy_embedding=1, copy_pixels=BOUND,
        copy_pattern=1, duplicate_pixels=BOUND, tone_probe=no_probe("none"), outlier=(),
    )  # fmt: skip
    strata = [
        StratumPlan(
            modality=Modality.PHANTOM, fst=fst + 1, lesion=Lesion.NEVUS, support=Support.SUPPORTED, quota=quota,
            attempts=1000, band_deg=None, request_deg=None, generator="none",
        )
        for fst, quota in enumerate(quotas)
    ]  # fmt: skip
    return ProductionPlan(
        models={"none": ModelPlan(checkpoint_sha256="0" * 64, settings={})}, resolution=32, confidence=0.8,
        gates=GateParams(duplicate_bits=bits),
        calibration=Calibration(digest="", extractor="", modalities=(bounds,)), block=8, strata=tuple(strata),
    )  # fmt: skip


def exhaustive(
    plan: ProductionPlan, thumbs: Mapping[str, NDArray[np.uint8]], refused: Mapping[str, NDArray[np.int8]]
) -> dict[str, list[Decision]]:
    """Return the decisions by the rule as it is written: every attempt against every image kept before it."""
    kept: list[NDArray[np.uint8]] = []
    decided: dict[str, list[Decision]] = {}
    for stratum in plan.strata:
        mine: list[Decision] = []
        for thumb, gate in zip(thumbs[stratum.name], refused[stratum.name], strict=True):
            others = np.stack(kept) if kept else thumbs[stratum.name][:0]
            scores = scores_against(thumb[None], others, bits=plan.gates.duplicate_bits, pixel_bound=BOUND)[0]
            score = min(1.0, float(scores.min(initial=1.0)))
            reason = GATES[gate] if gate != NOT_REFUSED else "duplicate" if score < 1 else None
            if reason is None and sum(d.accepted for d in mine) >= stratum.quota:
                reason = SURPLUS
            if reason is None:
                kept.append(thumb)
            mine.append(Decision(score, reason))
        decided[stratum.name] = mine
    return decided


def pictures(rng: np.random.Generator, n: int, families: int) -> NDArray[np.uint8]:
    """Return thumbnails of few families, turned and blurred by noise: some within the bounds, some just outside."""
    coarse = rng.integers(30, 220, (families, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    chosen = coarse[rng.integers(0, families, n)].astype(np.uint8)
    turned = poses(chosen)[np.arange(n), rng.integers(0, 8, n)]
    level = rng.choice([0.0, 2.0, 4.0, 5.0], (n, 1, 1, 1))
    return np.clip(turned + rng.normal(0, 1, turned.shape) * level, 0, 255).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    quotas=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    rounds=st.lists(st.lists(st.integers(0, 14), min_size=3, max_size=3), min_size=1, max_size=5),
    families=st.integers(1, 60),
    bits=st.sampled_from([0, 4, 9, 64]),
)
def test_round_by_round_is_all_at_once(
    seed: int, quotas: list[int], rounds: list[list[int]], families: int, bits: int
) -> None:
    rng = np.random.default_rng(seed)
    plan = plan_of(quotas, bits)
    names = [stratum.name for stratum in plan.strata]
    thumbs = {name: np.empty((0, 16, 16, 3), np.uint8) for name in names}
    refused = {name: np.empty(0, np.int8) for name in names}
    selection = Selection(plan, lambda name, index: thumbs[name][index])
    for sizes in rounds:
        found = {}
        for name, size in zip(names, sizes, strict=False):
            fresh = pictures(rng, size, families)
            gates = rng.choice(np.array([NOT_REFUSED, 0, 2], np.int8), size, p=[0.7, 0.1, 0.2])
            thumbs[name], refused[name] = np.concatenate([thumbs[name], fresh]), np.concatenate([refused[name], gates])
            if size:
                half = size // 2
                traits = Traits(gates, turned_hashes(fresh), ring_means(fresh))
                found[name] = [traits[:half], traits[half:]]
        selection.take(found)
        expected = exhaustive(plan, thumbs, refused)
        assert {name: list(selection.decisions(name)) for name in names} == expected
        for name in names:
            assert selection.attempts(name) == len(expected[name])
            assert selection.accepted(name) == sum(d.accepted for d in expected[name])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_rings_are_never_farther_apart_than_the_pictures(seed: int, families: int) -> None:
    thumbs = pictures(np.random.default_rng(seed), 12, families)
    rings = ring_means(thumbs)
    apart = np.abs(rings[:, None] - rings[None]).sum(axis=2)
    assert (apart <= pixel_distances(thumbs, thumbs) + RING_ERROR).all()
    turned = poses(thumbs)[:, 3]
    assert np.abs(ring_means(turned) - rings).max() < RING_ERROR / 2


def test_attempts_of_one_picture_are_refused_in_linear_time() -> None:
    """A collapsed generator: every pair is near, so a search that listed pairs would list 50 million."""
    plan = plan_of([10_000], 4)
    one = pictures(np.random.default_rng(0), 1, 1)
    looked = 0

    def thumb(name: str, index: int) -> NDArray[np.uint8]:
        nonlocal looked
        looked += 1
        return one[0]

    selection = Selection(plan, thumb)
    n = 10_000
    everyone = np.zeros(n, np.intp)
    traits = Traits(np.full(n, NOT_REFUSED, np.int8), turned_hashes(one), ring_means(one))
    selection.take({NAMES[0]: [Traits(traits.refused, traits.hashes[everyone], traits.rings[everyone])]})
    assert selection.accepted(NAMES[0]) == 1
    assert looked == 2 * (n - 1)  # its own and the one that was kept
