"""What stops a training: losses that diverge, in one line; and what a training set is refused for."""

from __future__ import annotations

import numpy as np
import pytest
from test_training import PARAMS, tiny_set

from pipelines.generators.interface import Condition
from pipelines.generators.registry import entry
from pipelines.train.data import TrainingSet, training_set
from pipelines.train.run import check_variety, start_from
from pipelines.train.stability import check_losses
from schemas.errors import CheckFailed, CheckpointError
from schemas.words import Lesion, Modality


def uniform_set(count: int) -> TrainingSet:
    conditions = [Condition(Modality.PHANTOM, 2, Lesion.NEVUS, 45.0)] * count
    return training_set(np.zeros((count, 64, 64, 3), np.uint8), conditions, 0.5, "uniform")


@pytest.mark.parametrize("count", [1, 9])
def test_one_image_or_one_lesion_is_refused(count: int) -> None:
    with pytest.raises(CheckFailed) as caught:
        check_variety(uniform_set(count))
    assert str(caught.value) == (
        f"train: {count} images of nevus in the train split; a generator learns lesions from each other, so 2 images of 2 "
        "lesions are the least; add a source or map its labels to more lesions"
    )
    check_variety(tiny_set())


@pytest.mark.parametrize("name", ["dcgan", "stylegan2"])
def test_a_base_that_is_not_shipped_is_said_so(name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        start_from(entry(name).recipe(PARAMS[name], 64), tiny_set(), "base")
    assert str(caught.value) == (
        f"train.{name}.start: base, but no base of {name} is shipped; set it to scratch, or make one with "
        f"`python -m pipelines.train.base {name}`"
    )


@pytest.mark.parametrize("score", [-2e5, float("inf"), float("nan")])
def test_scores_that_run_away_stop_the_training(score: float) -> None:
    check_losses("dcgan", {"real_score": -99_999.0, "generator": 0.0}, 3)
    with pytest.raises(CheckFailed) as caught:
        check_losses("dcgan", {"real_score": score, "generator": 1.0}, 3)
    assert str(caught.value) == (
        f"train dcgan: real_score {score:g}, generator 1 at step 3; losses and scores need to be finite and within 100000, "
        "the training diverges; lower train.dcgan.learning_rate"
    )
