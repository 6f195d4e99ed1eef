"""Phantoms equally many in every FST x lesion cell, and what images made for the same cells are measured by.

Every phantom is another patient's, of seeds that no training and no other bench uses. Real phantoms go through the same
measurement as made ones, so that what the instrument itself loses (light, a lesion that fills the picture, the probe's
own errors) stands beside every figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.distance import cubic_kernel, unbiased_mmd2
from pipelines.embedding.extractor import default_extractor
from pipelines.embedding.precision_recall import overlap
from pipelines.evaluate.resample import share
from pipelines.generators.interface import Condition
from pipelines.imaging.tone import measure_ita
from pipelines.phantoms.scene import VERSION, Phantom, draw
from pipelines.probes.lesion import LesionProbe, fit_lesion_probe, load_probe, save_probe
from pipelines.train.base import LESIONS, RESOLUTION
from schemas.source_params import PhantomSource
from schemas.words import FST_RANGE, FST_ROMAN, ITA_BANDS_DEG, Modality

CELLS: Final = [(fst, lesion) for fst in FST_RANGE for lesion in LESIONS]
SEED: Final = 88_000_000
RECALL_NEIGHBOURS, COVERAGE_NEIGHBOURS = 3, 5
HALVES, RESAMPLES = 2000, 1000
"""Of 200 halves the outermost would have to stand for the 0.2% that a bench of many comparisons asks for."""

LEVEL: Final = 0.95
LONGEST_RUN: Final = 3
"""Most pictures of one phantom patient; they follow each other."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Images:
    """Pixels with what they show or were asked to show, and what is measured on them, once."""

    pixels: NDArray[np.uint8]  # (N, r, r, 3)
    conditions: list[Condition]

    @property
    def fst(self) -> NDArray[np.int_]:
        """Return the type of each image, (N,)."""
        return np.array([c.fst for c in self.conditions])

    @property
    def lesions(self) -> NDArray[np.str_]:
        """Return the lesion of each image, (N,)."""
        return np.array([str(c.lesion) for c in self.conditions])

    @cached_property
    def features(self) -> Floats:
        """Return features by the embedded extractor, (N, D)."""
        return default_extractor()(self.pixels).astype(np.float64)

    @cached_property
    def ita_deg(self) -> Floats:
        """Return the measured ITA in degrees, (N,); nan where no skin was found."""
        return np.array([np.nan if (deg := measure_ita(p).deg) is None else deg for p in self.pixels])


def balanced_phantoms(each: int, set_number: int, kept: Path) -> Images:
    """Return `each` phantoms of every cell, each of another patient; another set number is another set.

    Args:
        kept: folder where they are looked for and left.
    """
    file = kept / f"set-{set_number}-each-{each}-v{VERSION}.npz"
    if not file.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        drawn = [phantom for number in range(len(CELLS)) for phantom in _of_cell(number, each, set_number)]
        partial = file.with_name(f".{file.name}")
        np.savez(partial, pixels=np.stack([p.pixels for p in drawn]), ita_deg=[p.ita_deg for p in drawn])
        partial.replace(file)
    stored = np.load(file)
    cells = [cell for cell in CELLS for _ in range(each)]
    conditions = [
        Condition(Modality.PHANTOM, fst, lesion, float(ita))
        for (fst, lesion), ita in zip(cells, stored["ita_deg"], strict=True)
    ]
    return Images(stored["pixels"], conditions)


def _of_cell(number: int, each: int, set_number: int) -> list[Phantom]:
    fst, lesion = CELLS[number]
    shares = [0.0] * 6
    shares[fst - 1] = 1.0
    source = PhantomSource(
        count=LONGEST_RUN * each, seed=SEED + 100 * set_number + number, resolution=RESOLUTION,
        fst_shares=tuple(shares), lesion_shares={lesion: 1.0},
    )  # fmt: skip
    return [draw(source, index) for index in range(0, source.count, LONGEST_RUN)]


def fitted_probe(each: int, set_number: int, kept: Path) -> LesionProbe:
    """Return a lesion probe fitted on `each` phantoms of every cell of a set of their own, from `kept` if it is there."""
    file = kept / f"probe-{set_number}-each-{each}-v{VERSION}-{default_extractor().name}.safetensors"
    if not file.is_file():
        phantoms = balanced_phantoms(each, set_number, kept)
        save_probe(fit_lesion_probe(phantoms.features.astype(np.float32), list(phantoms.lesions), seed=0), file)
    return load_probe(file)


def by_group(images: Images) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield the grouping (all, fst or lesion), the group's name, and which images are in it."""
    yield "all", "all", np.ones(len(images.pixels), np.bool_)
    for fst in FST_RANGE:
        yield "fst", FST_ROMAN[fst], images.fst == fst
    for lesion in LESIONS:
        yield "lesion", str(lesion), images.lesions == str(lesion)


def figures(made: Images, real: Images, probe: LesionProbe) -> dict[str, dict[str, Any]]:
    """Return tone, lesion agreement, KID, recall and coverage of the images against real ones, by grouping and group."""
    low, high = np.array([ITA_BANDS_DEG[f] for f in made.fst]).T
    in_band = (made.ita_deg > low) & (made.ita_deg <= high)
    error = made.ita_deg - np.array([c.ita_deg for c in made.conditions], np.float64)
    agrees = probe.predict(made.features) == made.lesions
    rows: dict[str, dict[str, Any]] = {"all": {}, "fst": {}, "lesion": {}}
    for (grouping, name, mine), (_, _, theirs) in zip(by_group(made), by_group(real), strict=True):
        n = int(mine.sum())
        rows[grouping][name] = {
            "n": n,
            "in_band": share(int(in_band[mine].sum()), n, LEVEL),
            "median_error_deg": float(np.nanmedian(error[mine])),
            "median_absolute_error_deg": float(np.nanmedian(np.abs(error[mine]))),
            "no_skin": int(np.isnan(error[mine]).sum()),
            "lesion_agreement": share(int(agrees[mine].sum()), n, LEVEL),
            "kid": kid_and_halves(made.features[mine], real.features[theirs]),
            **_overlap(made.features[mine], real.features[theirs]),
            "right": {"in_band": in_band[mine], "lesion_agreement": agrees[mine]},
        }
    return rows


def kid_and_halves(a: Floats, b: Floats) -> dict[str, Any]:
    """Return KID, its standard deviation and values over halves of both sets.

    Of halves drawn without replacement the spread is that of the whole sets' estimate (Shao & Wu 1989, the delete-d
    jackknife with d = n/2); resampling with replacement would put copies into an estimate that leaves out equals.
    """
    within_a, within_b, between = cubic_kernel(a, a), cubic_kernel(b, b), cubic_kernel(a, b)
    rng = np.random.default_rng(0)
    values = []
    for _ in range(HALVES):
        i, j = (rng.permutation(len(x))[: len(x) // 2] for x in (a, b))
        values.append(unbiased_mmd2(within_a[np.ix_(i, i)], within_b[np.ix_(j, j)], between[np.ix_(i, j)]))
    return {"value": unbiased_mmd2(within_a, within_b, between), "sd": float(np.std(values)), "halves": values}


def _overlap(made: Floats, real: Floats) -> dict[str, Any]:
    near, wide = (overlap(real, made, k) for k in (RECALL_NEIGHBOURS, COVERAGE_NEIGHBOURS))
    return {
        "precision": near.precision, "density": wide.density,
        "recall": near.recall, "coverage": wide.coverage,
        "flags": {"recall": near.real_inside, "coverage": wide.real_covered},
    }  # fmt: skip


def interval(values: Floats) -> tuple[float, float]:
    """Return the 95% percentile interval of resampled values, nan left out."""
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def share_of_ceiling(made: dict[str, Any], ceiling: dict[str, Any], name: str) -> dict[str, float]:
    """Return recall or coverage over that of real images against the same real images, with its interval.

    Resampled are the real images both were measured on, in pairs; the balls stay as they are.
    """
    ours, theirs = (row["flags"][name].astype(np.float64) for row in (made, ceiling))
    picks = np.random.default_rng(0).integers(0, len(ours), (RESAMPLES, len(ours)))
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = interval(ours[picks].mean(axis=1) / theirs[picks].mean(axis=1))
        return {"value": float(ours.mean() / theirs.mean()), "low": low, "high": high}


def spread_by_halves(
    rows: dict[str, Any], combine: Callable[[Floats], Floats], floor: float = 1e-9
) -> tuple[float, float]:
    """Return the 95% interval of a figure of all groups' KIDs: `combine` of (groups, halves) to (halves,)."""
    values = np.array([row["kid"]["halves"] for row in rows.values()])
    return interval(combine(np.maximum(values, floor)))
