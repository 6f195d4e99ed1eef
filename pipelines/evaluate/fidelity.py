"""How near the synthetic images are to real ones, against how near real ones are to each other.

The synthetic set is balanced on purpose and the real one is not, so comparing them whole would mostly measure that.
Every draw therefore takes equally many images of each stratum from the synthetic images and from two disjoint halves of
the real ones; the halves give the reference. Where light and dark skin are both reported, both have the same n.
Real are the test images, which no training, probe or choice saw; where those are too few, all of them, and the rows say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.distance import cubic_kernel, frechet_distance, unbiased_mmd2
from pipelines.evaluate.material import Cell, Material
from pipelines.evaluate.resample import EstimateFields, measured, not_measured
from schemas.metrics import Comparison, FidelityMetric, FidelityRow, RealImages, SkinGroup, skin_group
from schemas.params import EvaluateParams
from schemas.words import Split

MOST_IN_A_DRAW: Final = 500
"""KID does not depend on n, so larger draws would only take longer."""

MOST_IN_POOL: Final = 2000
"""Images of each kind that draws are taken from: their kernel is 4,000 x 4,000, 128 MB."""

Index = NDArray[np.int_]


@dataclass(frozen=True)
class Draw:
    """Positions of n synthetic images and of two disjoint sets of n real ones, of the same strata."""

    synthetic: Index
    real: Index
    other: Index


@dataclass(frozen=True)
class Places:
    """Positions of each stratum's real and synthetic images."""

    real: dict[Cell, list[int]]
    synthetic: dict[Cell, list[int]]


def measure_fidelity(material: Material, extractor: str, params: EvaluateParams) -> list[FidelityRow]:
    """Return KID and FD for all images and each skin group, with the real-to-real reference beside each."""
    if not material.real:
        return []
    groups = sorted({skin_group(row.fst) for row in material.real}, key=list(SkinGroup).index)
    unseen = _only(material, material.real_split(Split.TEST))
    kind = RealImages.TEST if _measurable(unseen, params) >= _measurable(material, params) else RealImages.ALL
    material = unseen if kind == RealImages.TEST else material
    sizes = {group: len(matched_slots(material, group)) for group in groups}
    enough = [n for n in sizes.values() if n >= params.min_images]
    common = min(enough, default=0)
    rows = []
    for group in (SkinGroup.ALL, *groups):
        slots = matched_slots(material, group)
        n = len(slots) if group == SkinGroup.ALL or len(slots) < params.min_images else common
        for metric, measure, floor in (
            (FidelityMetric.KID, _kid, params.min_images),
            (FidelityMetric.FD, _fd, params.min_images_fd),
        ):
            pair = measure(material, slots, n, params) if n >= floor else [_too_few(n, floor)] * 2
            about = {"modality": material.modality, "group": group, "metric": metric, "extractor": extractor}
            rows.extend(_rows({**about, "real_images": kind}, pair))
    return rows


def _only(material: Material, real: Index) -> Material:
    """Return the material with the real images at those positions alone."""
    return replace(material, real=[material.real[i] for i in real], real_features=material.real_features[real])


def _measurable(material: Material, params: EvaluateParams) -> set[SkinGroup]:
    """Return the groups of which there are images enough for KID."""
    return {group for group in SkinGroup if len(matched_slots(material, group)) >= params.min_images}


def _rows(about: Mapping[str, object], pair: Sequence[EstimateFields]) -> list[FidelityRow]:
    return [
        FidelityRow.model_validate({**fields, **about, "comparison": comparison})
        for fields, comparison in zip(pair, (Comparison.SYNTHETIC_REAL, Comparison.REAL_REAL), strict=True)
    ]


def _too_few(n: int, floor: int) -> EstimateFields:
    return not_measured(n, f"{n} images of matching strata in each set, {floor} needed; make more or add real images")


def matched_slots(material: Material, group: SkinGroup) -> list[Cell]:
    """Return the strata to draw from, each as often as it can be drawn: min(synthetic, half of the real images)."""
    real = Counter(_cells(material.real, group))
    synthetic = Counter(_cells(material.synthetic, group))
    cells = sorted(real.keys() & synthetic.keys(), key=lambda cell: (cell[0] or 0, cell[1]))
    return [cell for cell in cells for _ in range(min(synthetic[cell], real[cell] // 2))]


def _cells(rows: Sequence[object], group: SkinGroup) -> list[Cell]:
    cells = [_cell(row) for row in rows]
    return [cell for cell in cells if group in (SkinGroup.ALL, skin_group(cell[0]))]


def _cell(row: object) -> Cell:
    return (getattr(row, "fst"), getattr(row, "lesion").value)  # noqa: B009 (catalog and ledger rows share these two)


def draw_matched(places: Places, slots: Sequence[Cell], n: int, rng: np.random.Generator) -> Draw:
    """Return one draw of n images of each kind, at random within the strata."""
    wanted = Counter(slots[i] for i in rng.choice(len(slots), n, replace=False))
    parts: list[tuple[Index, Index, Index]] = []
    for cell in sorted(wanted, key=lambda c: (c[0] or 0, c[1])):
        count = wanted[cell]
        ours = rng.permutation(places.real[cell])
        parts.append((rng.permutation(places.synthetic[cell])[:count], ours[:count], ours[count : 2 * count]))
    return Draw(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def find_places(material: Material) -> Places:
    """Return where the images of each stratum are."""
    return Places(_positions(material.real), _positions(material.synthetic))


def _positions(rows: Sequence[object]) -> dict[Cell, list[int]]:
    found: dict[Cell, list[int]] = {}
    for i, row in enumerate(rows):
        found.setdefault(_cell(row), []).append(i)
    return found


def _kid(material: Material, slots: Sequence[Cell], n: int, params: EvaluateParams) -> list[EstimateFields]:
    """Return KID synthetic to real and real to real: the mean over draws, and the interval the draws span."""
    rng = np.random.default_rng(params.seed)
    pool = _pool(material, set(slots), rng)
    slots, places = matched_slots(pool, SkinGroup.ALL), find_places(pool)
    n = min(n, len(slots), MOST_IN_A_DRAW)
    # One kernel for all draws; a draw only picks rows and columns of it.
    features = np.concatenate([pool.synthetic_features, pool.real_features]).astype(np.float64)
    kernel, shift = cubic_kernel(features, features), len(pool.synthetic)
    values = np.empty((params.bootstrap, 2))
    for i in range(params.bootstrap):
        draw = draw_matched(places, slots, n, rng)
        real = draw.real + shift
        inside = kernel[np.ix_(real, real)]
        for column, other in enumerate((draw.synthetic, draw.other + shift)):
            values[i, column] = unbiased_mmd2(kernel[np.ix_(other, other)], inside, kernel[np.ix_(other, real)])
    return [measured(float(column.mean()), column, params.interval, n) for column in values.T]


def _pool(material: Material, cells: set[Cell], rng: np.random.Generator) -> Material:
    """Return the images of `cells`, at most `MOST_IN_POOL` of each kind at random, so that one kernel holds them all."""
    real = np.flatnonzero([_cell(row) in cells for row in material.real])
    made = np.flatnonzero([_cell(row) in cells for row in material.synthetic])
    real, made = (np.sort(rng.permutation(index)[:MOST_IN_POOL]) for index in (real, made))
    return Material(
        material.modality,
        [material.real[i] for i in real],
        material.real_features[real],
        [material.synthetic[i] for i in made],
        material.synthetic_features[made],
    )


def _fd(material: Material, slots: Sequence[Cell], n: int, params: EvaluateParams) -> list[EstimateFields]:
    """Return FD synthetic to real and real to real of one draw. No interval: a resample would bias it upwards."""
    draw = draw_matched(find_places(material), slots, n, np.random.default_rng(params.seed))
    synthetic = material.synthetic_features[draw.synthetic].astype(np.float64)
    real, other = (material.real_features[index].astype(np.float64) for index in (draw.real, draw.other))
    none = np.empty(0)
    return [measured(frechet_distance(a, real), none, params.interval, n) for a in (synthetic, other)]
