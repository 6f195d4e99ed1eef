"""Features of an image are its own: neither its batch nor its neighbours may show in them."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.embedding.extractor import EfficientNetLite0, default_extractor
from pipelines.produce.calibration import EXTRACTOR

PIXELS = np.random.default_rng(0).integers(0, 256, (35, 48, 48, 3), dtype=np.uint8)


def test_features_do_not_depend_on_the_batch() -> None:
    extractor = default_extractor()
    whole = extractor(PIXELS)
    assert whole.shape == (35, extractor.dim)
    assert whole.dtype == np.float32
    alone = np.concatenate([extractor(PIXELS[i : i + 1]) for i in (0, 34)])
    assert np.abs(alone - whole[[0, 34]]).max() < 1e-4
    backwards = extractor(np.ascontiguousarray(PIXELS[::-1]))[::-1]
    assert np.abs(backwards - whole).max() < 1e-4
    assert whole.std(axis=0).mean() > 0.01  # and they do depend on the image


def test_the_extractor_is_loaded_once_and_named_where_planning_needs_it() -> None:
    assert default_extractor() is default_extractor()
    assert default_extractor().name == EfficientNetLite0.name == EXTRACTOR


def test_no_images_give_no_features() -> None:
    assert default_extractor()(PIXELS[:0]).shape == (0, 1280)


@pytest.mark.parametrize("wrong", [PIXELS.astype(np.float32), PIXELS[0], PIXELS[..., :1]])
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="features need uint8"):
        default_extractor()(wrong)
