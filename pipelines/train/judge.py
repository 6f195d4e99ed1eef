"""KID of a few samples of each group against real validation images: what early stopping looks at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.distance import kid
from pipelines.embedding.extractor import Extractor
from pipelines.generators.interface import Generator
from pipelines.probes.lesion import one_blas_thread
from pipelines.train.data import TrainingSet, stratum_of, stratum_order
from schemas.errors import ParamsError
from schemas.train_params import WatchParams
from schemas.words import FST_ROMAN, stratum_name


def judged_groups(held_out: TrainingSet, least_real: int) -> dict[str, NDArray[np.int_]]:
    """Return the positions of each group's validation images, by the group's name.

    A stratum of `least_real` images or more is a group of its own. The images of all smaller strata of one modality and
    FST are one group together if they are as many (`phantom/VI/other lesions`); else they are not judged.
    """
    groups: dict[str, NDArray[np.int_]] = {}
    rest: dict[str, list[int]] = {}
    cells = sorted({stratum_of(c) for c in held_out.conditions}, key=stratum_order)
    for cell in cells:
        places = [i for i, c in enumerate(held_out.conditions) if stratum_of(c) == cell]
        modality, fst, lesion = cell
        if len(places) >= least_real:
            groups[stratum_name(modality.value, fst, lesion.value)] = np.array(places)
        else:
            rest.setdefault(f"{modality.value}/{FST_ROMAN[fst] if fst else '?'}/other lesions", []).extend(places)
    return groups | {name: np.array(places) for name, places in rest.items() if len(places) >= least_real}


class Judge:
    """Measures a checkpoint by group. The extractor is not the probe that a training may be pulled by."""

    def __init__(self, held_out: TrainingSet | None, params: WatchParams, extractor: Callable[[], Extractor]) -> None:
        """Prepare the groups; features of the real images are computed at the first look.

        Raises:
            ParamsError: no group has enough validation images.
        """
        self.params, self.extractor = params, extractor
        self.groups = judged_groups(held_out, params.least_real) if held_out is not None else {}
        if held_out is None or not self.groups:
            asked, instead = (
                (f"watch.patience: {params.patience}", "patience to 0")
                if params.patience
                else ("ema.length: auto", "length to a number")
            )
            raise ParamsError(
                f"train.*.{asked}, but no group has {params.least_real} validation images to judge by; raise "
                f"stratify.split.validation, lower watch.least_real or set {instead}"
            )
        self.held_out = held_out
        self.real: dict[str, NDArray[np.float64]] = {}

    def __call__(self, generator: Generator) -> dict[str, float]:
        """Return each group's KID: `params.images` pictures on fixed seeds, of the group's own conditions in turn."""
        extract = self.extractor()
        result = {}
        for name, places in self.groups.items():
            if name not in self.real:
                self.real[name] = extract(self.held_out.pixels[places].numpy()).astype(np.float64)
            asked = [self.held_out.conditions[int(places[i % len(places)])] for i in range(self.params.images)]
            keys = [hashlib.sha256(f"watch {name} {i}".encode()).hexdigest() for i in range(self.params.images)]
            made = extract(generator.sample(asked, keys)).astype(np.float64)
            with one_blas_thread():
                result[name] = kid(made, self.real[name])
        return result
