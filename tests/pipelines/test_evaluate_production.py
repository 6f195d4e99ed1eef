"""Evaluation end to end on phantoms, and what it refuses to say when there is too little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from production_workspace import (
    LESIONS,
    PlantingGenerator,
    ThumbnailExtractor,
    asked_phantom,
    catalog_row,
    phantoms,
    precalibrate,
    write_workspace,
)

from pipelines.evaluate.fidelity import draw_matched, find_places, matched_slots, measure_fidelity
from pipelines.evaluate.material import Material
from pipelines.evaluate.measure import evaluate_production
from pipelines.evaluate.tone import signed_error, tone_agreement
from pipelines.evaluate.utility import assert_disjoint, measure_utility
from pipelines.produce.identity import requested_ita
from pipelines.produce.run import produce_quotas
from schemas.errors import CheckFailed, UserError
from schemas.ledger import AttemptRow
from schemas.metrics import (
    Comparison,
    FidelityMetric,
    FidelityRow,
    Metrics,
    RealImages,
    SkinGroup,
    Tables,
    ToneImages,
    ToneMeasure,
    ToneRow,
    Training,
    UtilityMeasure,
    UtilityRow,
    load_metrics,
)
from schemas.params import EvaluateParams, GateParams, Params
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.words import Lesion, Modality, Split

PARAMS = EvaluateParams(bootstrap=40, min_images=8)


def attempt(fst: int | None, lesion: Lesion, i: int, *, accepted: bool = True, ita: float | None = None) -> AttemptRow:
    """Return a ledger row whose tone is as asked unless `ita` says otherwise."""
    image_id = f"{i:024x}"
    asked = requested_ita(image_id, (10.0, 20.0)) if fst else None
    return AttemptRow(
        image_id=image_id, modality=Modality.PHANTOM, fst=fst, lesion=lesion, seed_index=i, generator="diffusion",
        checkpoint_sha256="f" * 64, sampler='{"request_deg":[10.0,20.0]}' if fst else '{"request_deg":null}',
        ita_deg=asked if ita is None else ita, decodable_passed=True, decodable_score=1.0, blank_passed=True,
        blank_score=30.0, tone_passed=accepted, tone_score=0.0 if accepted else 9.0, tone_probe_passed=True,
        tone_probe_score=None, lesion_passed=True, lesion_score=0.9, outlier_passed=True, outlier_score=0.8,
        copy_passed=True, copy_score=2.0, duplicate_passed=True, duplicate_score=2.0, accepted=accepted,
        reason=None if accepted else "tone", choice=None,
    )  # fmt: skip


def split(index: int) -> Split:
    """Return a split without the validation part: of every 3 patients' pictures, one is for testing."""
    return Split.TEST if int(phantoms()[index].patient.rsplit("-", 1)[1]) % 3 == 0 else Split.TRAIN


@pytest.fixture(scope="module")
def material() -> Material:
    """Return the phantoms and, as synthetic images, perfect new phantoms of the dark types."""
    rows = [catalog_row(p, split(i)) for i, p in enumerate(phantoms())]
    cells = [(fst, lesion) for fst in (4, 5, 6) for lesion in LESIONS for _ in range(4)]
    made = [attempt(fst, lesion, i) for i, (fst, lesion) in enumerate(cells)]
    extractor = ThumbnailExtractor()
    new = np.stack([asked_phantom(fst, lesion, 500 + i) for i, (fst, lesion) in enumerate(cells)])
    return Material(
        Modality.PHANTOM, rows, extractor(np.stack([p.pixels for p in phantoms()])) / 255, made, extractor(new) / 255
    )


def fidelity(rows: list[FidelityRow], group: SkinGroup, metric: FidelityMetric, comparison: Comparison) -> FidelityRow:
    return next(r for r in rows if (r.group, r.metric, r.comparison) == (group, metric, comparison))


def utility(rows: list[UtilityRow], group: SkinGroup, measure: UtilityMeasure, training: Training) -> UtilityRow:
    return next(r for r in rows if (r.group, r.measure, r.training) == (group, measure, training))


def test_every_draw_has_the_same_strata_on_both_sides_and_disjoint_halves(material: Material) -> None:
    slots = matched_slots(material, SkinGroup.ALL)
    draw = draw_matched(find_places(material), slots, 30, np.random.default_rng(0))
    sides = [[(material.real[i].fst, material.real[i].lesion) for i in index] for index in (draw.real, draw.other)]
    made = [(material.synthetic[i].fst, material.synthetic[i].lesion) for i in draw.synthetic]
    assert sides[0] == sides[1] == made
    assert len({*draw.real, *draw.other}) == 60
    assert len(set(draw.synthetic)) == 30


def test_good_synthetic_images_are_as_near_as_real_ones_and_bad_ones_are_not(material: Material) -> None:
    rows = measure_fidelity(material, "thumbs", PARAMS)
    good = fidelity(rows, SkinGroup.DARK, FidelityMetric.KID, Comparison.SYNTHETIC_REAL)
    reference = fidelity(rows, SkinGroup.DARK, FidelityMetric.KID, Comparison.REAL_REAL)
    assert good.value is not None
    assert reference.low is not None
    assert reference.high is not None
    assert reference.low < good.value < reference.high
    assert good.n == reference.n >= 8
    assert good.extractor == "thumbs"
    assert all(r.value is None or np.isfinite(r.value) for r in rows)
    grey = replace(material, synthetic_features=np.full_like(material.synthetic_features, 0.5))
    bad = fidelity(
        measure_fidelity(grey, "thumbs", PARAMS), SkinGroup.DARK, FidelityMetric.KID, Comparison.SYNTHETIC_REAL
    )
    assert bad.low is not None
    assert bad.low > reference.high


def test_images_that_a_training_saw_are_left_out_where_the_others_are_enough(material: Material) -> None:
    seen = np.array([row.split != Split.TEST for row in material.real])
    scrambled = material.real_features.copy()
    scrambled[seen] = 0.5
    rows = measure_fidelity(material, "thumbs", PARAMS)
    assert {r.real_images for r in rows} == {RealImages.TEST}
    assert measure_fidelity(replace(material, real_features=scrambled), "thumbs", PARAMS) == rows


def test_where_test_images_are_too_few_all_are_compared_and_the_rows_say_so(material: Material) -> None:
    few = [row.model_copy(update={"split": Split.TRAIN}) for row in material.real[1:]]
    rows = measure_fidelity(replace(material, real=[material.real[0], *few]), "thumbs", PARAMS)
    assert {r.real_images for r in rows} == {RealImages.ALL}
    assert fidelity(rows, SkinGroup.DARK, FidelityMetric.KID, Comparison.REAL_REAL).value is not None


def test_groups_without_enough_images_get_a_reason_and_no_number(material: Material) -> None:
    rows = measure_fidelity(material, "thumbs", PARAMS)
    light = fidelity(rows, SkinGroup.LIGHT, FidelityMetric.KID, Comparison.SYNTHETIC_REAL)
    assert (light.value, light.low, light.n) == (None, None, 0)
    assert light.reason == "0 images of matching strata in each set, 8 needed; make more or add real images"
    fd = fidelity(rows, SkinGroup.ALL, FidelityMetric.FD, Comparison.REAL_REAL)
    assert fd.value is None
    assert "2000 needed" in (fd.reason or "")


def test_light_and_dark_are_measured_at_the_same_n(material: Material) -> None:
    few = [attempt(2, lesion, 900 + i) for i, lesion in enumerate(LESIONS * 3)]
    features = np.concatenate([material.synthetic_features, material.real_features[: len(few)]])
    both = replace(material, synthetic=[*material.synthetic, *few], synthetic_features=features)
    rows = measure_fidelity(both, "thumbs", PARAMS)
    sizes = {
        g: fidelity(rows, g, FidelityMetric.KID, Comparison.REAL_REAL).n for g in (SkinGroup.LIGHT, SkinGroup.DARK)
    }
    test = both.real_split(Split.TEST)
    unseen = replace(both, real=[both.real[i] for i in test], real_features=both.real_features[test])
    assert sizes[SkinGroup.LIGHT] == sizes[SkinGroup.DARK] == len(matched_slots(unseen, SkinGroup.LIGHT)) >= 8


def test_utility_is_paired_and_its_difference_is_the_difference(material: Material) -> None:
    rows = measure_utility(material, PARAMS)
    for group in (SkinGroup.ALL, SkinGroup.LIGHT, SkinGroup.DARK):
        real, both, gain = (utility(rows, group, UtilityMeasure.ACCURACY, t) for t in Training)
        assert real.value is not None
        assert both.value is not None
        assert gain.value == pytest.approx(both.value - real.value)
        assert gain.low is not None
        assert gain.high is not None
        assert gain.low <= gain.value <= gain.high
        assert gain.high - gain.low < (real.high or 1) - (real.low or 0) + (both.high or 1) - (both.low or 0)
    assert real.n_train == sum(r.split == Split.TRAIN for r in material.real)
    assert both.n_train == real.n_train + len(material.synthetic)
    gap = utility(rows, SkinGroup.ALL, UtilityMeasure.FAIRNESS_GAP, Training.REAL)
    light, dark = (
        utility(rows, g, UtilityMeasure.ACCURACY, Training.REAL).value or 0 for g in (SkinGroup.LIGHT, SkinGroup.DARK)
    )
    assert gap.value == pytest.approx(light - dark)
    misses = [utility(rows, g, UtilityMeasure.MELANOMA_FNR, Training.REAL) for g in (SkinGroup.LIGHT, SkinGroup.DARK)]
    assert utility(rows, SkinGroup.ALL, UtilityMeasure.EDFR, Training.REAL).value == pytest.approx(
        abs((misses[0].value or 0) - (misses[1].value or 0))
    )


def test_utility_without_synthetic_images_or_test_melanomas_says_so(material: Material) -> None:
    keep = [
        i
        for i, r in enumerate(material.real)
        if not (r.split == Split.TEST and r.lesion == Lesion.MELANOMA and (r.fst or 0) > 3)
    ]
    bare = Material(
        Modality.PHANTOM,
        [material.real[i] for i in keep],
        material.real_features[keep],
        [],
        material.synthetic_features[:0],
    )
    rows = measure_utility(bare, PARAMS)
    assert utility(rows, SkinGroup.ALL, UtilityMeasure.ACCURACY, Training.REAL).value is not None
    none = utility(rows, SkinGroup.ALL, UtilityMeasure.ACCURACY, Training.DIFFERENCE)
    assert (none.value, none.reason) == (None, "no synthetic image was accepted")
    for group, measure in ((SkinGroup.DARK, UtilityMeasure.MELANOMA_FNR), (SkinGroup.ALL, UtilityMeasure.EDFR)):
        dark = utility(rows, group, measure, Training.REAL)
        assert (dark.value, dark.reason) == (None, "FST IV-VI: 0 test melanomas, 5 needed")


def test_images_without_fst_are_one_unknown_group(material: Material) -> None:
    blind = replace(
        material,
        real=[r.model_copy(update={"fst": None}) for r in material.real],
        synthetic=[a.model_copy(update={"fst": None}) for a in material.synthetic],
    )
    groups = {r.group for r in [*measure_utility(blind, PARAMS), *measure_fidelity(blind, "thumbs", PARAMS)]}
    assert groups == {SkinGroup.ALL, SkinGroup.UNKNOWN}
    measures = {r.measure for r in measure_utility(blind, PARAMS)}
    assert measures == {UtilityMeasure.ACCURACY, UtilityMeasure.MELANOMA_FNR}


@pytest.mark.parametrize("field", ["patient_id", "lesion_id", "dup_cluster", "image_id"])
def test_a_test_patient_in_training_stops_the_evaluation(material: Material, field: str) -> None:
    train = [r.model_copy(update={field: "shared"}) for r in material.real[:3]]
    held = [r.model_copy(update={field: "shared", "image_id": f"x{i}"}) for i, r in enumerate(material.real[200:203])]
    held = [r.model_copy(update={field: "shared"}) for r in held]
    with pytest.raises(CheckFailed, match=rf"{field} values are in train and test, first shared"):
        assert_disjoint(train, held)


def test_tone_is_counted_before_and_after_the_gates() -> None:
    rows = [attempt(5, Lesion.NEVUS, i) for i in range(8)]
    rows += [attempt(5, Lesion.NEVUS, 8 + i, accepted=False, ita=60.0) for i in range(8)]
    rows += [attempt(None, Lesion.NEVUS, 99)]
    found = {(r.fst, r.images, r.measure): r for r in tone_agreement(rows, PARAMS)}
    assert found[5, ToneImages.ATTEMPTED, ToneMeasure.SHARE_IN_BAND].value == 0.5
    assert found[5, ToneImages.ACCEPTED, ToneMeasure.SHARE_IN_BAND].value == 1.0
    assert found[5, ToneImages.ACCEPTED, ToneMeasure.MEDIAN_ERROR].value == pytest.approx(0.0)
    assert (found[5, ToneImages.ATTEMPTED, ToneMeasure.MEDIAN_ERROR].value or 0) > 10
    unknown: ToneRow = found[None, ToneImages.ACCEPTED, ToneMeasure.SHARE_IN_BAND]
    assert (unknown.value, unknown.n, unknown.reason) == (None, 1, "FST unknown: no tone was asked for")
    error = signed_error(rows[-2])
    assert error == pytest.approx(60.0 - (requested_ita(rows[-2].image_id, (10.0, 20.0)) or 0))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Params, Metrics]:
    quotas = {(5, Lesion.MELANOMA): 6, (6, Lesion.NEVUS): 6}
    gates = GateParams(lesion_min_probability=0.0, tone_tolerance_deg=8)
    workspace, params = write_workspace(tmp_path_factory.mktemp("evaluated"), quotas, gates=gates)
    extractor = ThumbnailExtractor()
    precalibrate(workspace, params)
    produce_quotas(workspace, params, generator=PlantingGenerator(), extractor=extractor)
    return workspace, params, evaluate_production(workspace, params, extractor)


def test_metrics_on_disk_are_the_metrics_returned(evaluated: tuple[Workspace, Params, Metrics]) -> None:
    workspace, _, metrics = evaluated
    assert load_metrics(workspace.evaluation) == metrics
    assert sorted(p.name for p in workspace.evaluation.iterdir()) == sorted(
        ["metrics.json", *(t.value for t in Tables)]
    )
    assert read_rows(workspace.evaluation / Tables.UTILITY.value, UtilityRow) == metrics.utility
    assert read_rows(workspace.evaluation / Tables.FIDELITY.value, FidelityRow) == metrics.fidelity
    assert metrics.utility
    assert metrics.fidelity
    for row in [*metrics.fidelity, *metrics.tone, *metrics.utility]:
        assert (row.value is None) == (row.reason is not None)
        assert row.value is None or np.isfinite(row.value)


def test_counts_are_those_of_the_ledger(evaluated: tuple[Workspace, Params, Metrics]) -> None:
    counts = {(c.fst, c.lesion): c for c in evaluated[2].counts}
    assert len(counts) == 24
    assert (counts[5, Lesion.MELANOMA].quota, counts[5, Lesion.MELANOMA].accepted) == (6, 6)
    assert sum(c.attempts for c in counts.values()) == len(read_rows(evaluated[0].ledger, AttemptRow))
    assert sum(c.shortfall for c in counts.values()) == 0


def test_measuring_twice_gives_the_same_bytes(evaluated: tuple[Workspace, Params, Metrics]) -> None:
    workspace, params, _ = evaluated
    before = {p.name: p.read_bytes() for p in workspace.evaluation.iterdir()}
    evaluate_production(workspace, params, ThumbnailExtractor())
    assert {p.name: p.read_bytes() for p in workspace.evaluation.iterdir()} == before


def test_evaluating_before_producing_says_what_to_run(tmp_path: Path) -> None:
    workspace, params = write_workspace(tmp_path, {(5, Lesion.MELANOMA): 2})
    with pytest.raises(UserError, match=r"production/result.json: none readable; run `equiderm produce` first"):
        evaluate_production(workspace, params, ThumbnailExtractor())
    with pytest.raises(UserError, match="run `equiderm evaluate` first"):
        load_metrics(workspace.evaluation)
