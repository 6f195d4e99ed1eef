"""The autoencoder's round trip by skin type: measured, stored, and refused where dark skin comes back worse."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_diffusers import copying_autoencoder, tiny_autoencoder

from pipelines.embedding.perceptual import FeatureDistance, Lpips
from pipelines.generators.diffusion import DiffusionRecipe
from pipelines.generators.latent import Latent
from pipelines.generators.space import AnySpace
from pipelines.imaging.colour import ita_from_lab
from pipelines.imaging.difference import ciede2000
from pipelines.imaging.skin import find_skin, lab_at
from pipelines.imaging.spectral import Spectral
from pipelines.phantoms.lesions import PAINTERS
from pipelines.phantoms.scene import ITA_DRAWN_DEG, render
from pipelines.train.round_trip import DARK, LIGHT, RoundTrip, check_round_trip, measure_round_trip, round_trip_table
from schemas.errors import CheckFailed, ParamsError
from schemas.paths import Workspace
from schemas.pinned_params import FileParams, RoundTripParams
from schemas.train_params import DiffusionParams

SHARMA = """
50 2.6772 -79.7751 50 0 -82.7485 2.0425 / 50 3.1571 -77.2803 50 0 -82.7485 2.8615 / 50 2.8361 -74.02 50 0 -82.7485 3.4412
50 -1.3802 -84.2814 50 0 -82.7485 1 / 50 -1.1848 -84.8006 50 0 -82.7485 1 / 50 -0.9009 -85.5211 50 0 -82.7485 1
50 0 0 50 -1 2 2.3669 / 50 -1 2 50 0 0 2.3669 / 50 2.49 -0.001 50 -2.49 0.0009 7.1792
50 2.49 -0.001 50 -2.49 0.001 7.1792 / 50 2.49 -0.001 50 -2.49 0.0011 7.2195 / 50 2.49 -0.001 50 -2.49 0.0012 7.2195
50 -0.001 2.49 50 0.0009 -2.49 4.8045 / 50 -0.001 2.49 50 0.001 -2.49 4.8045 / 50 -0.001 2.49 50 0.0011 -2.49 4.7461
50 2.5 0 50 0 -2.5 4.3065 / 50 2.5 0 73 25 -18 27.1492 / 50 2.5 0 61 -5 29 22.8977 / 50 2.5 0 56 -27 -3 31.9030
50 2.5 0 58 24 15 19.4535 / 50 2.5 0 50 3.1736 0.5854 1 / 50 2.5 0 50 3.2972 0 1 / 50 2.5 0 50 1.8634 0.5757 1
50 2.5 0 50 3.2592 0.335 1 / 60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630 / 61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645 / 22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146 / 90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381 / 6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""
"""Sharma, Wu & Dalal 2005, table 1: two CIELAB colours and their difference."""


def test_ciede2000_gives_the_34_published_differences() -> None:
    rows = np.array([[float(v) for v in row.split()] for row in SHARMA.replace("\n", "/").split("/") if row.strip()])
    assert rows.shape == (34, 7)
    assert ciede2000(rows[:, :3], rows[:, 3:6]) == pytest.approx(rows[:, 6], abs=1e-4)
    assert ciede2000(rows[:, 3:6], rows[:, :3]) == pytest.approx(rows[:, 6], abs=1e-4)
    assert ciede2000(rows[:, :3], rows[:, :3]).max() == 0


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Latent:
    """An autoencoder in the real format that gives back what it gets."""
    return Latent.read(copying_autoencoder(tmp_path_factory.mktemp("exact")), "test", ParamsError)


@pytest.fixture(scope="module")
def darkening(tmp_path_factory: pytest.TempPathFactory) -> Latent:
    """One that gives back light skin and darkens dark skin."""
    return Latent.read(copying_autoencoder(tmp_path_factory.mktemp("darkening"), darkens=True), "test", ParamsError)


@lru_cache
def phantoms(each: int, types: tuple[int, ...] = (1, 2, 3, 4, 5, 6)) -> tuple[np.ndarray, list[int]]:
    lesions = list(PAINTERS)
    drawn = [
        render(np.random.default_rng([fst, i]), lesions[i % 4], float(np.mean(ITA_DRAWN_DEG[fst])), 0.025, 64)[0]
        for fst in types
        for i in range(each)
    ]
    return np.stack(drawn), [fst for fst in types for _ in range(each)]


def measured(space: AnySpace, each: int = 5, **params: object) -> RoundTrip:
    pixels, fst = phantoms(each)
    few = RoundTripParams.model_validate({"min_images": 4, **params})
    return measure_round_trip(space, pixels, fst, FeatureDistance(), few)


def test_what_gives_back_the_picture_has_no_gap_and_the_spectral_space_hardly_any(exact: Latent) -> None:
    record = measured(exact)
    assert list(record.gaps) == ["colour difference", "ITA shift", record.perceptual_score]
    assert all(gap == pytest.approx(0, abs=0.02) for gap in record.gaps.values()), record.gaps
    spectral = measured(Spectral())
    assert all(gap is not None and gap <= spectral.bounds[name] for name, gap in spectral.gaps.items())
    assert record.perceptual_score == "1 - cosine of efficientnet-lite0-imagenet-128px features"


def test_the_shift_of_ita_is_signed_and_on_the_same_skin(darkening: Latent) -> None:
    record = measured(darkening)
    groups = {g.group: g for g in record.groups}
    dark, light = groups[DARK].ita_shift_deg, groups[LIGHT].ita_shift_deg
    assert dark is not None
    assert light is not None
    assert dark < light <= 0, "darker, and dark skin more so"
    assert groups[DARK].ita_shift_size_deg == pytest.approx(-dark)
    before = phantoms(1, (6,))[0][0]
    skin = find_skin(before)
    assert lab_at(before, skin.where) == pytest.approx(skin.lab, abs=1e-4)
    assert np.isfinite(ita_from_lab(skin.lab)).all()


def test_groups_with_too_few_images_are_said_to_be_unmeasured(exact: Latent) -> None:
    pixels, fst = phantoms(5, (1, 2, 3, 6))
    record = measure_round_trip(exact, pixels, fst, FeatureDistance(), RoundTripParams(min_images=6))
    counts = {"I": 5, "II": 5, "III": 5, "IV": 0, "V": 0, "VI": 5}
    assert record.unmeasured == [*(f"FST {t} ({n} images)" for t, n in counts.items()), f"{DARK} (5 images)"]
    assert set(record.gaps.values()) == {None}
    assert "| FST V | 0 | not measured |" in round_trip_table(record)
    none = measure_round_trip(exact, np.empty((0, 64, 64, 3), np.uint8), [], FeatureDistance(), RoundTripParams())
    assert len(none.unmeasured) == 8


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose validation split has five phantoms of each skin type, and as many of train that are not looked at."""
    from catalog_rows import catalog_row

    from pipelines.imaging.normalise import encode_png
    from schemas.catalog import CatalogRow, PixelRow
    from schemas.table import Image, write_rows
    from schemas.words import Split

    workspace = Workspace(tmp_path_factory.mktemp("held_out"))
    pixels, fst = phantoms(5)
    rows, stored = [], []
    for split, pictures in ((Split.VALIDATION, pixels), (Split.TRAIN, 255 - pixels)):
        for picture, skin in zip(pictures, fst, strict=True):
            rows.append(catalog_row(len(rows), fst=skin, split=split))
            name = rows[-1].image_id
            stored.append(
                PixelRow(image_id=name, image=Image(bytes=encode_png(picture), path=f"{name}.png"), mask=None)
            )
    write_rows(rows, CatalogRow, workspace.splits)
    write_rows(stored, PixelRow, workspace.images / "0.parquet")
    return workspace


FEW = RoundTripParams(min_images=5)


def test_an_autoencoder_that_darkens_dark_skin_is_refused_with_the_numbers(
    held_out: Workspace, darkening: Latent, tmp_path: Path
) -> None:
    said = (
        r"train diffusion: the autoencoder gives back dark skin worse than light: colour difference [\d.]+ \(at most 1\).*"
        r"dark minus light; use another autoencoder or space: spectral; the figures are in"
    )
    with pytest.raises(CheckFailed, match=said) as caught:
        check_round_trip("diffusion", darkening, held_out, FEW, tmp_path)
    assert "\n" not in str(caught.value)
    stored = json.loads((tmp_path / "round_trip.json").read_text())
    assert stored["gaps"]["colour difference"] > 1
    assert [g["images"] for g in stored["groups"]] == [5] * 6 + [15] * 2, "the validation split alone"


def test_one_that_gives_it_back_passes_and_too_few_may_be_refused(
    held_out: Workspace, exact: Latent, tmp_path: Path
) -> None:
    record = check_round_trip("diffusion", exact, held_out, FEW, tmp_path)
    assert record == RoundTrip.model_validate_json((tmp_path / "round_trip.json").read_text())
    lacking = RoundTripParams(min_images=16, unmeasured="refuse")
    with pytest.raises(
        CheckFailed, match=r"not measured for FST I \(5 images\).*needs 16 validation images of dark and of"
    ):
        check_round_trip("diffusion", exact, held_out, lacking, tmp_path)


def test_a_real_autoencoder_is_measured_before_the_first_step(held_out: Workspace, tmp_path: Path) -> None:
    """A random one gives back grey for everybody: it is measured by the code that training calls."""
    own = DiffusionParams(
        space="latent", start="scratch", autoencoder=tiny_autoencoder(tmp_path / "vae"), round_trip=FEW
    )  # fmt: skip
    space = DiffusionRecipe(own, 64).space
    wide = FEW.model_copy(update={"colour_gap": 99.0, "ita_gap_deg": 180.0, "perceptual_gap": 1.0})
    record = check_round_trip("diffusion", space, held_out, wide, tmp_path)
    assert record.groups[0].colour_difference is not None
    assert record.groups[0].colour_difference > 10


def alexnet(path: Path) -> FileParams:
    torch.manual_seed(0)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    weights = {f"features.{n}.weight": torch.randn(o, i, k, k) / (i * k * k) ** 0.5 for n, (o, i, k) in shapes.items()}
    torch.save(weights | {f"features.{n}.bias": torch.zeros(s[0]) for n, s in shapes.items()}, path)
    return FileParams(path=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_lpips_grows_with_the_difference_and_is_0_for_none(held_out: Workspace, exact: Latent, tmp_path: Path) -> None:
    file = held_out.root / "alexnet.pth"
    params = alexnet(file)
    lpips = Lpips.read(params, file, "lpips")
    pixels = phantoms(2)[0]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=pixels.shape)
    distances = [lpips(pixels, np.clip(pixels + s * noise, 0, 255).astype(np.uint8)).mean() for s in (0, 4, 16, 64)]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances == sorted(distances)
    assert distances[1] > 0
    used = FEW.model_copy(update={"lpips_alexnet": params})
    record = check_round_trip("diffusion", exact, held_out, used, tmp_path)
    assert record.perceptual_score == "LPIPS alexnet"


def test_a_backbone_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "alexnet.pth"
    params = alexnet(file)
    with pytest.raises(ParamsError, match=r"lpips: .* has sha256 \w{12}, 000000000000 is pinned"):
        Lpips.read(params.model_copy(update={"sha256": "0" * 64}), file, "lpips")
    file.write_bytes(b"no archive")
    other = FileParams(path="x", sha256=hashlib.sha256(b"no archive").hexdigest())
    with pytest.raises(ParamsError, match=r"lpips: .* is no AlexNet of torchvision") as caught:
        Lpips.read(other, file, "lpips")
    assert "\n" not in str(caught.value)
    with pytest.raises(ParamsError, match=r"lpips: no file .*; needs torchvision's AlexNet weights"):
        Lpips.read(other, tmp_path / "none", "lpips")
