"""Planted defects: what each gate finds of them, and what it takes from good images."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from production_workspace import LESIONS, RESOLUTION, asked_phantom, training_pixels, write_workspace

from pipelines.embedding.extractor import default_extractor
from pipelines.produce.calibrate import calibrate_gates
from pipelines.produce.calibration import load_reference, reference_path, stored_calibration
from pipelines.produce.gates import GATES, JUDGES
from pipelines.produce.gates.verdict import Candidates, Limits, Verdict
from schemas.errors import CheckFailed
from schemas.params import GateParams, Params
from schemas.paths import Workspace
from schemas.words import ITA_BANDS_DEG, Lesion, Modality

EACH = 8
CELLS = [(1, Lesion.NEVUS), (3, Lesion.MELANOMA), (5, Lesion.BASAL_CELL_CARCINOMA), (6, Lesion.SEBORRHOEIC_KERATOSIS)]


@dataclass(frozen=True)
class Calibrated:
    """A workspace whose gates are calibrated with the embedded extractor."""

    workspace: Workspace
    params: Params
    limits: Limits

    def judge(
        self, gate: str, pixels: np.ndarray, fst: int, lesion: Lesion, features: np.ndarray | None = None
    ) -> list[Verdict]:
        """Return one gate's verdicts on images asked for as `fst` and `lesion`; without features they are all alike."""
        given = np.zeros((len(pixels), 1280), np.float32) if features is None else features
        candidates = Candidates(pixels, given, fst, lesion, ITA_BANDS_DEG[fst])
        return JUDGES[gate](candidates, self.limits)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    workspace, params = write_workspace(tmp_path_factory.mktemp("gates"), {(5, Lesion.MELANOMA): 4})
    calibration = calibrate_gates(workspace, params)
    reference = load_reference(workspace, Modality.PHANTOM, calibration.digest)
    return Calibrated(workspace, params, Limits(GateParams(), calibration.of(Modality.PHANTOM), reference))


@pytest.fixture(scope="module")
def good() -> dict[tuple[int, Lesion], np.ndarray]:
    return {cell: np.stack([asked_phantom(*cell, 1000 + i) for i in range(EACH)]) for cell in CELLS}


@pytest.fixture(scope="module")
def features(good: dict) -> dict[tuple[int, Lesion], np.ndarray]:
    return {cell: default_extractor()(images) for cell, images in good.items()}


def refused(verdicts: list[Verdict]) -> float:
    """Return the share refused."""
    return sum(not v.keep for v in verdicts) / len(verdicts)


def test_calibration_says_how_well_its_probe_does(calibrated: Calibrated) -> None:
    bounds = calibrated.limits.calibration
    assert bounds.accuracy is not None
    assert bounds.accuracy > 0.8  # measured 0.94 on 48 held-out images
    assert bounds.calibration_error is not None
    assert bounds.calibration_error < 0.2
    assert [check.lesion for check in bounds.lesions] == list(LESIONS)
    assert sum(check.n_train for check in bounds.lesions) == bounds.n_train
    assert 0.5 < bounds.copy_pixels < 3  # levels
    assert 0.2 < bounds.copy_embedding < 0.6


def test_blank_and_burnt_images_are_refused_and_no_good_one(calibrated: Calibrated, good: dict) -> None:
    shape = (RESOLUTION, RESOLUTION, 3)
    noise = np.random.default_rng(0).normal(128, 1, shape)
    burnt = np.full(shape, 255, np.uint8)
    burnt[::2] = good[CELLS[0]][0][::2]
    flat = np.stack([np.zeros(shape), np.full(shape, 255), np.full(shape, (200, 150, 120)), noise, burnt]).astype(
        np.uint8
    )
    assert refused(calibrated.judge("blank", flat, 1, Lesion.NEVUS)) == 1.0
    assert all(refused(calibrated.judge("blank", images, *cell)) == 0.0 for cell, images in good.items())


def test_tone_gate_passes_the_asked_type_and_refuses_the_opposite(calibrated: Calibrated, good: dict) -> None:
    kept = [not v.keep for cell, images in good.items() for v in calibrated.judge("tone", images, *cell)]
    assert np.mean(kept) <= 0.15  # light and camera move a phantom's measured tone off its true one
    for (fst, lesion), images in good.items():
        wrong = calibrated.judge("tone", images, 6 if fst < 4 else 1, lesion)
        assert refused(wrong) == 1.0
        assert all(v.score > 3 and v.reason and "degrees" in v.reason for v in wrong)


def test_tone_gate_is_open_without_a_band(calibrated: Calibrated, good: dict) -> None:
    images = good[CELLS[0]]
    candidates = Candidates(images, np.zeros((EACH, 1280), np.float32), 1, Lesion.NEVUS, None)
    assert JUDGES["tone"](candidates, calibrated.limits) == [Verdict(True, 0.0, None)] * EACH


def test_lesion_gate_finds_wrong_lesions(calibrated: Calibrated, good: dict, features: dict) -> None:
    right = [v for cell, images in good.items() for v in calibrated.judge("lesion", images, *cell, features[cell])]
    assert refused(right) <= 0.25
    wrong = [
        v
        for (fst, lesion), images in good.items()
        for other in LESIONS
        if other != lesion
        for v in calibrated.judge("lesion", images, fst, other, features[fst, lesion])
    ]
    assert refused(wrong) >= 0.95
    unseen = calibrated.judge("lesion", good[CELLS[0]], 1, Lesion.VASCULAR_LESION, features[CELLS[0]])
    assert refused(unseen) == 1.0
    assert unseen[0].reason == "the probe has never seen vascular_lesion"


def test_every_exact_and_flipped_copy_is_caught(calibrated: Calibrated) -> None:
    train = training_pixels()  # judged without features: the pixels alone have to find them
    for turn in range(4):
        turned = np.ascontiguousarray(np.rot90(train, turn, axes=(1, 2)))
        assert refused(calibrated.judge("copy", turned, 1, Lesion.NEVUS)) == 1.0
    assert refused(calibrated.judge("copy", np.ascontiguousarray(train[:, :, ::-1]), 1, Lesion.NEVUS)) == 1.0


def test_faintly_altered_copies_are_caught_and_new_images_are_not(
    calibrated: Calibrated, good: dict, features: dict
) -> None:
    train = training_pixels()[:16].astype(np.float64)
    noise = np.random.default_rng(0).normal(0, 3, train.shape)
    altered = [train + noise, train + 4, train * 0.97]
    for images in altered:
        pixels = np.clip(images, 0, 255).astype(np.uint8)
        assert refused(calibrated.judge("copy", pixels, 1, Lesion.NEVUS, default_extractor()(pixels))) >= 0.9
    new = [v for cell, images in good.items() for v in calibrated.judge("copy", images, *cell, features[cell])]
    assert refused(new) <= 0.15  # the bound itself gives up 1% of held-out images


def test_calibration_is_reused_and_redone_when_its_files_go(calibrated: Calibrated, tmp_path: Path) -> None:
    stored = stored_calibration(calibrated.workspace)
    assert calibrate_gates(calibrated.workspace, calibrated.params, extractor=_never) == stored  # type: ignore[arg-type]
    copy = Workspace(tmp_path / "copy")
    shutil.copytree(calibrated.workspace.root, copy.root)
    reference_path(copy, Modality.PHANTOM).write_bytes(b"")
    with pytest.raises(CheckFailed, match="missing, damaged or of another calibration"):
        load_reference(copy, Modality.PHANTOM, "0" * 24)
    reference_path(copy, Modality.PHANTOM).unlink()
    with pytest.raises(AssertionError, match="embedded again"):
        calibrate_gates(copy, calibrated.params, extractor=_never)  # type: ignore[arg-type]


def _never(pixels: np.ndarray) -> np.ndarray:
    raise AssertionError("embedded again")


def test_the_order_of_the_gates_is_the_ledger_s() -> None:
    assert (*JUDGES, "duplicate") == GATES
