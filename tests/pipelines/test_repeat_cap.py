"""How often one image may be shown: the cap on resampling's probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.generators.interface import Condition
from pipelines.train.data import capped, resampling
from schemas.words import Lesion, Modality

shares = st.lists(st.floats(1e-4, 1), min_size=1, max_size=40).map(lambda xs: np.array(xs) / np.sum(xs))


@given(shares, st.floats(1, 50))
def test_no_image_passes_the_cap_and_the_rest_keep_their_proportions(even: Any, repeats: float) -> None:
    cap = repeats / len(even)
    result = capped(even, cap)
    assert result.sum() == pytest.approx(1)
    assert result.max() <= cap * (1 + 1e-9)
    free = result < cap * (1 - 1e-9)
    if free.any():  # only what the cap took went to them, in proportion
        factor = result[free] / even[free]
        assert factor == pytest.approx(factor[0])
        assert factor[0] >= 1 - 1e-9
    assert (np.diff(result[np.argsort(even, kind="stable")]) >= -1e-12).all()


def test_a_cap_that_leaves_less_than_everything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.2 on each of 4 shares"):
        capped(np.full(4, 0.25), 0.2)


def test_the_cap_is_in_showings_of_an_even_draw() -> None:
    conditions = [Condition(Modality.PHANTOM, 1, Lesion.NEVUS, None)] * 99
    conditions += [Condition(Modality.PHANTOM, 6, Lesion.NEVUS, None)]
    assert resampling(conditions, 1.0)[99] == pytest.approx(0.5)
    assert resampling(conditions, 1.0, 5.0)[99] == pytest.approx(0.05)
    assert resampling(conditions, 1.0, 1.0) == pytest.approx(np.full(100, 0.01))
