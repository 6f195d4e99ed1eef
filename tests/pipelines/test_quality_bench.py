"""The benches of sample quality and of shortcuts: what they say of images whose faults are planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.probes.lesion import fit_lesion_probe
from schemas.words import FST_ROMAN

ROOT = Path(__file__).resolve().parents[2]
EACH = 6


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Modules, three small sets of phantoms and a probe fitted on the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "infra/bench"))
        import balanced
        import of_quality
        import of_shortcuts

        kept = tmp_path_factory.mktemp("phantoms")
        sets = [balanced.balanced_phantoms(EACH, 900 + i, kept) for i in range(3)]
        probe = fit_lesion_probe(sets[0].features.astype(np.float32), list(sets[0].lesions), seed=0)
        yield balanced, of_quality, of_shortcuts, sets, probe


def test_every_cell_has_as_many_and_every_image_another_patient(bench: Any) -> None:
    balanced, _, _, (_, one, other), _ = bench
    cells = [(c.fst, c.lesion) for c in one.conditions]
    assert {cell: cells.count(cell) for cell in balanced.CELLS} == dict.fromkeys(balanced.CELLS, EACH)
    assert len({c.ita_deg for c in one.conditions}) == len(cells)  # a patient's pictures share the tone exactly
    assert not {c.ita_deg for c in one.conditions} & {c.ita_deg for c in other.conditions}


def test_real_phantoms_meet_the_targets_and_spoilt_ones_miss_those_they_were_spoilt_for(bench: Any) -> None:
    balanced, of_quality, _, (_, real, again), probe = bench
    ceiling = balanced.figures(again, real, probe)
    met = {t["what"]: t["met"] for t in of_quality.judged(ceiling, ceiling)}
    assert all(v for k, v in met.items() if k.startswith(("recall", "coverage", "in_band I", "in_band V")))
    pixels = again.pixels.copy()
    dark = again.fst == 6
    pixels[dark] = again.pixels[again.fst == 3]  # asked for VI, drawn on III
    pixels[again.lesions == "melanoma"] = again.pixels[again.lesions == "nevus"]
    spoilt = balanced.figures(balanced.Images(pixels, again.conditions), real, probe)
    missed = {t["what"] for t in of_quality.judged(spoilt, ceiling) if not t["met"]}
    assert {"in_band VI", "in_band best - worst FST", "lesion_agreement melanoma", "kid worst / best FST"} <= missed
    assert "coverage over real's VI" in missed
    assert "in_band III" not in missed
    assert "lesion_agreement nevus" not in missed


def test_few_images_over_and_over_lose_recall_and_coverage(bench: Any) -> None:
    balanced, of_quality, _, (_, real, again), probe = bench
    ceiling = balanced.figures(again, real, probe)
    first = np.arange(len(again.pixels)) // EACH * EACH  # every cell's first image, six times
    collapsed = balanced.figures(balanced.Images(again.pixels[first], again.conditions), real, probe)
    met = {t["what"]: t["met"] for t in of_quality.judged(collapsed, ceiling)}
    assert not met["recall over real's all"]
    assert not met["coverage over real's all"]
    assert met["in_band II"]


def test_newcombe_s_interval_as_published_and_where_all_is_full(bench: Any) -> None:
    _, of_quality, _, _, _ = bench
    from pipelines.evaluate.resample import share

    # Newcombe 1998, table II, case (a), method 10: 56/70 - 48/80 = 0.2, 0.0524 to 0.3339
    gap, low, high = of_quality.apart([share(56, 70, 0.95), share(48, 80, 0.95)])
    assert (gap, low, high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    gap, low, high = of_quality.apart([share(48, 48, 0.95)] * 6)
    assert (gap, low) == (0, 0)
    assert 0.05 < high < 0.1


def rows(right: np.ndarray) -> dict[str, Any]:
    """Figures as of_shortcuts reads them: 100 images a type that are right or not, and no change of KID."""
    halves = np.random.default_rng(3).normal(0.5, 0.05, 200).tolist()
    return {
        grouping: {
            name: {
                "kid": {"value": 0.5, "halves": halves},
                "right": dict.fromkeys(("in_band", "lesion_agreement"), right[i]),
            }
            for i, name in enumerate(FST_ROMAN.values())
        }
        for grouping in ("fst", "lesion")
    }


def test_a_loss_of_one_type_is_flagged_and_one_of_all_or_by_luck_is_not(bench: Any) -> None:
    _, _, of_shortcuts, _, _ = bench
    good = np.ones((6, 100), bool)

    def flagged(right: np.ndarray) -> set[str]:
        return {x["group"] for x in of_shortcuts.losses(rows(right), rows(good)) if x["flagged"]}

    one, everyone, luck = good.copy(), good.copy(), good.copy()
    one[5, :30] = False
    everyone[:, :30] = False
    luck[2, :3] = False
    assert flagged(one) == {"VI"}
    assert flagged(everyone) == set()
    assert flagged(luck) == set()
    assert flagged(good) == set()
    gained = {x["group"] for x in of_shortcuts.losses(rows(good), rows(one)) if x["flagged"]}
    assert gained == set(), "who alone gains nothing loses nothing"
