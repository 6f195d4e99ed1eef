"""What a classifier gains: trained on real images alone against real plus synthetic, tested on real unseen patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.material import Material
from pipelines.evaluate.resample import EstimateFields, Floats, cluster_weights, measured, not_measured, weighted_mean
from pipelines.probes.lesion import fit_lesion_probe
from pipelines.produce.calibrate import patients
from schemas.catalog import CatalogRow
from schemas.errors import CheckFailed
from schemas.metrics import GROUP_LABEL, SkinGroup, Training, UtilityMeasure, UtilityRow, skin_group
from schemas.params import EvaluateParams
from schemas.words import Lesion, Split

FEWEST_IMAGES: Final = 10
"""Test images a group needs for an accuracy."""

FEWEST_MELANOMAS: Final = 5
"""Test melanomas a group needs for a false-negative rate: below it one image moves the rate by more than 20 points."""

Question = tuple[SkinGroup, UtilityMeasure]


@dataclass(frozen=True)
class HeldOut:
    """The real test images: who they are, and which right answers count."""

    group: NDArray[np.str_]  # (N,)
    melanoma: NDArray[np.bool_]  # (N,)
    weights: Floats  # (1 + B, N): the images themselves, then the resamples


def measure_utility(material: Material, params: EvaluateParams) -> list[UtilityRow]:
    """Return accuracy, melanoma false-negative rate, EDFR and fairness gap of both classifiers, and the differences.

    Raises:
        CheckFailed: a patient, lesion or duplicate cluster of the test split is in the training split.
    """
    train, held = material.real_split(Split.TRAIN), material.real_split(Split.TEST)
    if not len(train) or not len(held):
        return []
    rows = [material.real[i] for i in held]
    assert_disjoint([material.real[i] for i in train], rows)
    test = _test(rows, params)
    real, both = _right_answers(material, train, held, params.seed)
    answers = {Training.REAL: _answers(real, test)}
    sizes = {Training.REAL: len(train)}
    if both is not None:
        answers[Training.REAL_SYNTHETIC] = _answers(both, test)
        answers[Training.DIFFERENCE] = {
            q: answers[Training.REAL_SYNTHETIC][q] - values for q, values in answers[Training.REAL].items()
        }
    sizes[Training.REAL_SYNTHETIC] = sizes[Training.DIFFERENCE] = len(train) + len(material.synthetic)
    return [
        _row(material, test, question, training, sizes[training], answers.get(training), params)
        for question in _questions(test)
        for training in Training
    ]


def assert_disjoint(train: Sequence[CatalogRow], test: Sequence[CatalogRow]) -> None:
    """Return if no patient, lesion, duplicate cluster or image is on both sides.

    Raises:
        CheckFailed: naming what is.
    """
    for name in ("patient_id", "lesion_id", "dup_cluster", "image_id"):
        shared = {getattr(r, name) for r in train} & {getattr(r, name) for r in test} - {None}
        if shared:
            raise CheckFailed(
                f"splits: {len(shared)} {name} values are in train and test, first {min(shared)}; a test needs unseen "
                "patients; run `equiderm stratify` again"
            )


def _test(rows: Sequence[CatalogRow], params: EvaluateParams) -> HeldOut:
    resamples = cluster_weights(patients(rows), params.bootstrap, params.seed)
    return HeldOut(
        group=np.array([skin_group(row.fst).value for row in rows], dtype=np.str_),
        melanoma=np.array([row.lesion == Lesion.MELANOMA for row in rows], dtype=bool),
        weights=np.concatenate([np.ones((1, len(rows))), resamples]),
    )


def _right_answers(
    material: Material, train: NDArray[np.int_], held: NDArray[np.int_], seed: int
) -> tuple[Floats, Floats | None]:
    """Return whether each test image is named right, 0 or 1, (N,): by the classifier without and with synthetic images.

    Both are logistic regressions on the same frozen features with the regularisation that suits the real images, so
    the training images are the only difference. The second is None where there is no synthetic image.
    """
    rows = [material.real[i] for i in train]
    labels = [row.lesion.value for row in rows]
    truth = np.array([material.real[i].lesion.value for i in held], dtype=np.str_)
    features, unseen = material.real_features[train], material.real_features[held]
    alone = fit_lesion_probe(features, labels, seed, groups=patients(rows))
    real: Floats = (alone.predict(unseen) == truth).astype(np.float64)
    if not material.synthetic:
        return real, None
    more = np.concatenate([features, material.synthetic_features])
    more_labels = labels + [row.lesion.value for row in material.synthetic]
    helped = fit_lesion_probe(more, more_labels, seed, strength=alone.strength or None)
    both: Floats = (helped.predict(unseen) == truth).astype(np.float64)
    return real, both


def _answers(right: Floats, test: HeldOut) -> Mapping[Question, Floats]:
    """Return (1 + B,) values of every question: the first is the estimate, the rest are its resamples."""
    accuracy, missed = {}, {}
    for group in SkinGroup:
        mine = np.ones(len(right)) if group == SkinGroup.ALL else (test.group == group.value).astype(np.float64)
        accuracy[group] = weighted_mean(right, test.weights * mine)
        missed[group] = weighted_mean(1 - right, test.weights * mine * test.melanoma)
    found: dict[Question, Floats] = {}
    for group in SkinGroup:
        found[group, UtilityMeasure.ACCURACY] = accuracy[group]
        found[group, UtilityMeasure.MELANOMA_FNR] = missed[group]
    light, dark = SkinGroup.LIGHT, SkinGroup.DARK
    found[SkinGroup.ALL, UtilityMeasure.EDFR] = np.abs(missed[light] - missed[dark])
    found[SkinGroup.ALL, UtilityMeasure.FAIRNESS_GAP] = accuracy[light] - accuracy[dark]
    return found


def _questions(test: HeldOut) -> list[Question]:
    """Return what is asked of this test set: groups it has, and the comparisons if it has light or dark skin."""
    present = [g for g in SkinGroup if g == SkinGroup.ALL or (test.group == g.value).any()]
    asked = [(g, m) for g in present for m in (UtilityMeasure.ACCURACY, UtilityMeasure.MELANOMA_FNR)]
    if SkinGroup.LIGHT in present or SkinGroup.DARK in present:
        asked += [(SkinGroup.ALL, UtilityMeasure.EDFR), (SkinGroup.ALL, UtilityMeasure.FAIRNESS_GAP)]
    return asked


def _row(
    material: Material,
    test: HeldOut,
    question: Question,
    training: Training,
    n_train: int,
    answers: Mapping[Question, Floats] | None,
    params: EvaluateParams,
) -> UtilityRow:
    n, reason = _support(test, question)
    if answers is None:
        reason = reason or "no synthetic image was accepted"
    if reason or answers is None:
        fields: EstimateFields = not_measured(n, reason or "")
    else:
        values = answers[question]
        fields = measured(float(values[0]), values[1:], params.interval, n)
    about = {"modality": material.modality, "group": question[0], "measure": question[1], "training": training}
    return UtilityRow.model_validate({**fields, **about, "n_train": n_train})


def _support(test: HeldOut, question: Question) -> tuple[int, str | None]:
    """Return how many test images are behind a question, and why they are too few if they are."""
    group, measure = question
    melanomas = measure in (UtilityMeasure.MELANOMA_FNR, UtilityMeasure.EDFR)
    counted = test.melanoma if melanomas else np.ones(len(test.melanoma), dtype=bool)
    compared = measure in (UtilityMeasure.EDFR, UtilityMeasure.FAIRNESS_GAP)
    groups = (SkinGroup.LIGHT, SkinGroup.DARK) if compared else (group,)
    sizes = {g: int((counted & (True if g == SkinGroup.ALL else test.group == g.value)).sum()) for g in groups}
    fewest = FEWEST_MELANOMAS if melanomas else FEWEST_IMAGES
    what = "test melanomas" if melanomas else "test images"
    small = [f"{GROUP_LABEL[g]}: {n} {what}, {fewest} needed" for g, n in sizes.items() if n < fewest]
    return sum(sizes.values()), "; ".join(small) or None
