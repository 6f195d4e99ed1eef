"""Every copy of a training image is caught whichever way it lies and, but for a stranger's picture, whatever its colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from production_workspace import phantoms, training_pixels, write_workspace

from pipelines.imaging.hashing import POSES, patterns, posed_patterns, turn
from pipelines.produce.calibrate import calibrate_gates
from pipelines.produce.calibration import load_reference
from pipelines.produce.gates import JUDGES
from pipelines.produce.gates.verdict import Candidates, Limits, Verdict
from pipelines.produce.likeness import pixel_distances, thumbnails
from pipelines.produce.manifold import neighbour_radii, outlier_bounds, strangeness
from pipelines.produce.nearest import nearest_thumbnails, nearest_vectors
from schemas.params import GateParams
from schemas.words import Lesion, Modality, Split


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> Limits:
    workspace, params = write_workspace(tmp_path_factory.mktemp("copies"), {(5, Lesion.MELANOMA): 4})
    calibration = calibrate_gates(workspace, params)
    reference = load_reference(workspace, Modality.PHANTOM, calibration.digest)
    return Limits(GateParams(), calibration.of(Modality.PHANTOM), reference)


def copy_verdicts(pixels: np.ndarray, limits: Limits) -> list[Verdict]:
    """Return the copy gate's verdicts without features: the pictures alone have to show it."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((len(pixels), 1280)).astype(np.float32)  # far from any image's
    return JUDGES["copy"](Candidates(pixels, features, None, Lesion.NEVUS, None), limits)


@settings(max_examples=40, deadline=None)
@given(which=st.integers(0, len(training_pixels()) - 1), pose=st.integers(0, POSES - 1))
def test_an_exact_copy_is_caught_in_every_pose(limits: Limits, which: int, pose: int) -> None:
    (verdict,) = copy_verdicts(turn(training_pixels()[which], pose)[None].copy(), limits)
    assert not verdict.keep
    assert verdict.score is not None
    assert verdict.score < 0.1
    assert verdict.reason is not None
    assert verdict.reason.endswith(limits.reference.image_ids[int(nearest(which, limits))])


def nearest(which: int, limits: Limits) -> int:
    """Return where the reference holds a training picture."""
    return int((limits.reference.thumbs == thumbnails(training_pixels()[which][None])).all(axis=(1, 2, 3)).argmax())


@settings(max_examples=40, deadline=None)
@given(
    which=st.integers(0, len(training_pixels()) - 1),
    pose=st.integers(0, POSES - 1),
    gain=st.tuples(*[st.floats(0.5, 1.1)] * 3),
    offset=st.floats(-10, 10),
)
def test_a_copy_in_other_colours_is_caught(limits: Limits, which: int, pose: int, gain: tuple, offset: float) -> None:
    image = turn(training_pixels()[which], pose).astype(np.float64)
    recoloured = np.clip(np.rint(image * np.array(gain) + offset), 0, 255).astype(np.uint8)
    assert not copy_verdicts(recoloured[None], limits)[0].keep


def test_new_pictures_are_no_copies_by_their_pattern(limits: Limits) -> None:
    new = np.stack([p.pixels for p in phantoms() if split_name(p.patient) is Split.TEST])
    refused = [v for v in copy_verdicts(new, limits) if not v.keep]
    assert len(new) > 50
    assert len(refused) <= 0.03 * len(new)


def split_name(patient: str) -> Split:
    from production_workspace import split_of

    return split_of(patient)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(24, 70), st.integers(0, POSES - 1))
def test_the_patterns_of_all_poses_follow_from_one(seed: int, side: int, pose: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    made = posed_patterns(patterns(image))[0, pose]
    assert np.allclose(made, patterns(turn(image[0], pose)[None])[0], atol=1e-4)
    assert abs(np.linalg.norm(made) - 1) < 1e-4


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 60))
def test_the_nearest_is_the_one_that_comparing_all_finds(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    thumbs, others = (rng.integers(0, 256, (k, 16, 16, 3), dtype=np.uint8) for k in (n, m))
    every = pixel_distances(thumbs, others)
    found = nearest_thumbnails(thumbs, others)
    assert np.allclose(found.distance, every.min(axis=1))
    assert np.allclose(every[np.arange(n), found.place], found.distance)
    bound = np.full(n, np.median(every))
    some = nearest_thumbnails(thumbs, others, below=bound)
    near = every.min(axis=1) < bound
    assert np.allclose(some.distance[near], every.min(axis=1)[near])
    assert np.isinf(some.distance[~near]).all()
    a, b = (x.reshape(len(x), -1).astype(np.float32) for x in (thumbs, others))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    assert np.allclose(
        nearest_vectors(a[:, None], b).distance, np.linalg.norm(a[:, None] - b[None], axis=-1).min(axis=1), atol=1e-5
    )


def test_no_skin_type_is_held_to_a_stricter_bound_than_all() -> None:
    rng = np.random.default_rng(3)
    scores = np.concatenate([rng.normal(1, 0.1, 200), rng.normal(0.7, 0.01, 12), rng.normal(1.6, 0.1, 12), [np.inf]])
    bounds = {b.fst: b for b in outlier_bounds(scores, [2] * 200 + [5] * 12 + [6] * 12 + [1], 0.9)}
    assert set(bounds) == {None, 2, 5, 6}
    assert all(b.bound >= bounds[None].bound for b in bounds.values())
    assert bounds[6].bound > 1.5  # the rare type's own images are further: the bound goes with them
    assert bounds[6].n_held_out == 12
    assert outlier_bounds(np.array([np.inf]), [None], 0.9) == ()


def test_the_radius_is_the_distance_to_the_kth_image_of_another_patient() -> None:
    rng = np.random.default_rng(5)
    units = rng.standard_normal((40, 8)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    whose = np.array([f"p{i // 4}" for i in range(40)])
    apart = np.linalg.norm(units[:, None] - units[None], axis=-1)
    apart[whose[:, None] == whose[None]] = np.inf
    radii = neighbour_radii(units, whose, 3)
    assert np.allclose(radii, np.sort(apart, axis=1)[:, 2], atol=1e-3)
    assert np.allclose(strangeness(units, units, radii, (whose, whose)), (apart / radii[None]).min(axis=1), rtol=1e-3)
    assert np.isinf(strangeness(units[:3], units[:2], np.zeros(2))).all()  # nobody reaches anywhere: no say
