"""What an autoencoder does to skin: held-out images there and back, by skin type, before anything is trained on it.

A generator on a learned code cannot draw what the code cannot hold. If dark skin comes back in another colour than light
skin does, everything made there is worse for the same people, and no loss on the planes would show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipelines.embedding.perceptual import FeatureDistance, Lpips, Perceptual
from pipelines.generators.space import AnySpace
from pipelines.imaging.colour import ita_from_lab
from pipelines.imaging.difference import ciede2000
from pipelines.imaging.normalise import decode_png
from pipelines.imaging.skin import find_skin, lab_at, medians
from schemas.catalog import CatalogRow, PixelRow
from schemas.errors import CheckFailed
from schemas.paths import Workspace
from schemas.pinned_params import RoundTripParams
from schemas.table import read_rows, read_table, write_text
from schemas.words import FST_RANGE, FST_ROMAN, Split

FILE: Final = "round_trip.json"
LIGHT, DARK = "light, FST I-III", "dark, FST IV-VI"
_AT_ONCE: Final = 8


class SkinRoundTrip(BaseModel):
    """What the round trip did to one group's images: medians over them, None where there were too few."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    group: str
    images: int = Field(description="with skin found in them")
    colour_difference: float | None = Field(description="CIEDE2000, median over each image's skin")
    ita_shift_deg: float | None = Field(description="after minus before; below 0 is darker or yellower")
    ita_shift_size_deg: float | None = Field(description="whichever way")
    perceptual: float | None


class RoundTrip(BaseModel):
    """The whole measurement, as stored beside the checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    perceptual_score: str = Field(description="name of the perceptual distance")
    groups: list[SkinRoundTrip]
    gaps: dict[str, float | None] = Field(description="dark minus light; null is not measured")
    bounds: dict[str, float]
    unmeasured: list[str] = Field(description="groups with too few held-out images")


def check_round_trip(
    name: str, space: AnySpace, workspace: Workspace, params: RoundTripParams, folder: Path, write: bool = True
) -> RoundTrip:
    """Measure the round trip on the validation split, write it to `folder`, and return it.

    Raises:
        CheckFailed: dark skin comes back worse than light by more than params allow, or was to be measured and could
            not be.
        ParamsError: the LPIPS backbone is missing or not the pinned one.
    """
    where = f"train.{name}.round_trip"
    file = params.lpips_alexnet
    perceptual = Lpips.read(file, workspace.path(file.path), f"{where}.lpips_alexnet") if file else FeatureDistance()
    fst, pixels = _held_out(workspace, params.max_images)
    record = measure_round_trip(space, pixels, fst, perceptual, params)
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(record.model_dump_json(indent=2) + "\n", folder / FILE)
    if passed := [
        f"{measure} {gap:.3g} (at most {record.bounds[measure]:g})"
        for measure, gap in record.gaps.items()
        if gap is not None and gap > record.bounds[measure]
    ]:
        raise CheckFailed(
            f"train {name}: the autoencoder gives back dark skin worse than light: {', '.join(passed)}, dark minus light; "
            f"use another autoencoder or space: spectral; the figures are in {folder.name}/{FILE}"
        )
    if params.unmeasured == "refuse" and None in record.gaps.values():
        raise CheckFailed(
            f"train {name}: the autoencoder's round trip is not measured for {'; '.join(record.unmeasured)}; {where} needs "
            f"{params.min_images} validation images of dark and of light skin; add some or set unmeasured: allow"
        )
    return record


def measure_round_trip(
    space: AnySpace, pixels: NDArray[np.uint8], fst: Sequence[int], perceptual: Perceptual, params: RoundTripParams
) -> RoundTrip:
    """Return what a space's round trip does to images uint8 (n, r, r, 3) of Fitzpatrick types (n,).

    Colour and ITA are compared on the same places, those `find_skin` finds in the original, so that a darkened picture
    is not measured elsewhere. Images without enough skin are left out.
    """
    decoded = _there_and_back(space, pixels)
    looks = perceptual(pixels, decoded)
    measures = [_skin_change(*pair) for pair in zip(pixels, decoded, strict=True)]
    kept = [i for i, found in enumerate(measures) if found is not None]
    table = np.array([[*(measures[i] or ()), looks[i]] for i in kept]).reshape(len(kept), 3)
    types = np.array([fst[i] for i in kept], int)
    groups = [_group(f"FST {FST_ROMAN[t]}", table[types == t], params.min_images) for t in FST_RANGE]
    light, dark = (
        _group(LIGHT, table[types <= 3], params.min_images),
        _group(DARK, table[types >= 4], params.min_images),
    )
    every = [*groups, light, dark]
    return RoundTrip(
        perceptual_score=perceptual.name,
        groups=every,
        gaps={
            "colour difference": _gap(light.colour_difference, dark.colour_difference),
            "ITA shift": _gap(light.ita_shift_size_deg, dark.ita_shift_size_deg),
            perceptual.name: _gap(light.perceptual, dark.perceptual),
        },
        bounds={
            "colour difference": params.colour_gap,
            "ITA shift": params.ita_gap_deg,
            perceptual.name: params.perceptual_gap,
        },
        unmeasured=[f"{g.group} ({g.images} images)" for g in every if g.images < params.min_images],
    )


def round_trip_table(record: RoundTrip) -> str:
    """Return the measurement as Markdown for a model card."""

    def said(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.3g}"

    head = (
        f"| skin | images | CIEDE2000 | ITA shift | size of ITA shift | {record.perceptual_score} |\n"
        + "|---" * 6
        + "|"
    )
    rows = [
        f"| {g.group} | {g.images} | {said(g.colour_difference)} | {said(g.ita_shift_deg)} | "
        f"{said(g.ita_shift_size_deg)} | {said(g.perceptual)} |"
        for g in record.groups
    ]
    gaps = ", ".join(f"{m} {said(gap)} (at most {record.bounds[m]:g})" for m, gap in record.gaps.items())
    return "\n".join([head, *rows, "", f"Dark minus light: {gaps}. Medians over held-out images; ITA in degrees."])


def _held_out(workspace: Workspace, most: int) -> tuple[list[int], NDArray[np.uint8]]:
    """Return Fitzpatrick types and pixels of validation images, at most `most` of a type (the first by id)."""
    chosen: dict[str, int] = {}
    rows = sorted(read_rows(workspace.splits, CatalogRow), key=lambda r: r.image_id)
    for fst in FST_RANGE:
        mine = [r.image_id for r in rows if r.split == Split.VALIDATION and r.fst == fst]
        chosen |= dict.fromkeys(mine[:most], fst)
    table = read_table(workspace.images, PixelRow, columns=["image_id", "image"])
    found = [
        (chosen[i], decode_png(image["bytes"]))
        for i, image in zip(table["image_id"].to_pylist(), table["image"].to_pylist(), strict=True)
        if i in chosen
    ]
    if not found:
        return [], np.empty((0, 8, 8, 3), np.uint8)
    return [fst for fst, _ in found], np.stack([pixels for _, pixels in found])


def _there_and_back(space: AnySpace, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    device = space.mean.device
    parts = [torch.from_numpy(pixels[i : i + _AT_ONCE]).to(device) for i in range(0, len(pixels), _AT_ONCE)]
    decoded = [space.decode(space.encode(part)).cpu().numpy() for part in parts]
    return np.concatenate(decoded) if decoded else pixels


def _skin_change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[float, float] | None:
    """Return (median CIEDE2000 of the skin, shift of its ITA in degrees), or None where no skin was found."""
    skin = find_skin(before)
    if not len(skin.lab):
        return None
    lab = lab_at(after, skin.where)
    was, now = (float(ita_from_lab(medians(np.ascontiguousarray(x.T)))) for x in (skin.lab, lab))
    return float(np.median(ciede2000(skin.lab, lab))), now - was


def _group(name: str, table: NDArray[np.float64], least: int) -> SkinRoundTrip:
    if len(table) < least:
        return SkinRoundTrip(
            group=name, images=len(table), colour_difference=None, ita_shift_deg=None, ita_shift_size_deg=None,
            perceptual=None,
        )  # fmt: skip
    colour, shift, looks = (float(v) for v in np.median(table, axis=0))
    size = float(np.median(np.abs(table[:, 1])))
    return SkinRoundTrip(
        group=name, images=len(table), colour_difference=colour, ita_shift_deg=shift, ita_shift_size_deg=size,
        perceptual=looks,
    )  # fmt: skip


def _gap(light: float | None, dark: float | None) -> float | None:
    return None if light is None or dark is None else dark - light
