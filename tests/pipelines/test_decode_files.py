"""Hostile and unusual files, made for real: each becomes the right pixels or is refused with its code."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniature import photo, png
from PIL import Image, ImageCms

from pipelines.imaging.decode import CODES, DecodedImage, Undecodable, decode_image


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def decoded(data: bytes, **options: int) -> DecodedImage:
    return decode_image(data, **{"max_pixels": 1_000_000, "max_bytes": 10_000_000, **options})


def refusal(data: bytes, **options: int) -> Undecodable:
    with pytest.raises(Undecodable) as caught:
        decoded(data, **options)
    assert caught.value.code in CODES
    assert "\n" not in caught.value.message
    return caught.value


def outcome(data: bytes) -> DecodedImage | Undecodable:
    try:
        return decoded(data)
    except Undecodable as error:
        return error


def bomb(side: int) -> bytes:
    """A PNG of a few bytes whose header declares side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


P3 = ((0.51512, 0.29198, 0.15710), (0.24120, 0.69225, 0.06657), (-0.00105, 0.04189, 0.78407))
"""Display P3's linear RGB to XYZ under D50."""
SRGB = ((0.4360747, 0.3850649, 0.1430804), (0.2225045, 0.7168786, 0.0606169), (0.0139322, 0.0971045, 0.7141733))
GAMMA = 1.8
"""Not P3's own curve, so that greys move too."""


def wide_gamut() -> bytes:
    """The least ICC profile of three primaries and a curve: version 2, matrix and gamma."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))

    name = b"Wide\0"
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(GAMMA * 256)) + bytes(2)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78 + 3),
        b"cprt": b"text" + bytes(4) + b"none\0\0\0\0",
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249),
        **{letter + b"TRC": curve for letter in (b"r", b"g", b"b")},
        **{
            letter + b"XYZ": b"XYZ " + bytes(4) + fixed(*column)
            for letter, column in zip((b"r", b"g", b"b"), np.array(P3).T, strict=True)
        },
    }
    table, body = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += tag + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + table + body


def srgb_of(colour: tuple[int, int, int]) -> np.ndarray:
    """What a colour under that profile is in sRGB, by the definition of both."""
    linear = np.linalg.solve(np.array(SRGB), np.array(P3) @ (np.array(colour) / 255) ** GAMMA).clip(0, 1)
    return np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)).astype(int)


def test_plain_png_keeps_every_pixel() -> None:
    pixels = photo(1, (31, 17))
    found = decoded(png(pixels))
    assert (found.width, found.height) == (31, 17)
    np.testing.assert_array_equal(found.pixels, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_shows_the_picture_upright(orientation: int) -> None:
    upright = photo(2, (20, 10))
    # What a camera held that way stores: the inverse of what a viewer must do.
    stored = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, 3),
    }[orientation](upright)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decoded(png(np.ascontiguousarray(stored), exif=exif))
    np.testing.assert_array_equal(found.pixels, upright)
    assert (found.width, found.height) == (20, 10)


def test_damaged_exif_does_not_stop_a_good_picture() -> None:
    data = saved(Image.fromarray(photo(3)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert decoded(data).pixels.shape == (40, 40, 3)


def test_cmyk_jpeg_becomes_the_colour_it_shows() -> None:
    image = Image.new("RGB", (32, 32), (200, 120, 90)).convert("CMYK")
    found = decoded(saved(image, "JPEG", quality=95)).pixels
    assert np.abs(found.astype(int) - (200, 120, 90)).max() <= 6


def test_sixteen_bit_grey_keeps_its_full_range() -> None:
    values = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    for form in ("PNG", "TIFF"):
        found = decoded(saved(Image.fromarray(values), form)).pixels
        np.testing.assert_array_equal(found, np.rint(values / 257).astype(np.uint8)[..., None].repeat(3, axis=-1))


def test_opaque_rgba_is_untouched_and_transparent_lies_on_white() -> None:
    rgba = np.dstack([photo(4), np.full((40, 40), 255, np.uint8)])
    np.testing.assert_array_equal(decoded(png(rgba)).pixels, rgba[..., :3])
    rgba[:20, :, 3] = 0
    found = decoded(png(rgba)).pixels
    assert (found[:20] == 255).all()
    np.testing.assert_array_equal(found[20:], rgba[20:, :, :3])


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "PA"])
def test_grey_and_palette_become_three_channels(mode: str) -> None:
    image = Image.fromarray(photo(5)).convert("L").convert(mode)
    form = "TIFF" if mode == "PA" else "PNG"
    found = decoded(saved(image, form)).pixels
    np.testing.assert_array_equal(found, np.asarray(image.convert("L").convert("RGB")))


def test_palette_with_a_transparent_colour_lies_on_white() -> None:
    image = Image.new("P", (10, 10), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((3, 4), 1)
    found = decoded(saved(image, "PNG", transparency=0)).pixels
    assert tuple(found[4, 3]) == (200, 100, 50)
    assert tuple(found[0, 0]) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_colour_profile_is_converted_to_srgb(mode: str) -> None:
    for colour in [(180, 120, 90), (90, 60, 45), (230, 200, 180), (255, 255, 255)]:
        plain = Image.new("RGB", (16, 16), colour)
        image = plain.quantize(2) if mode == "P" else plain.convert(mode)
        data = saved(image, "PNG", icc_profile=wide_gamut())
        found = decoded(data).pixels
        assert found.shape == (16, 16, 3)
        assert np.abs(found.astype(int) - srgb_of(colour)).max() <= 1, colour
        assert colour == (255, 255, 255) or np.abs(srgb_of(colour) - colour).max() > 3, "else it would show nothing"


@pytest.mark.parametrize("turned", [False, True])
def test_alpha_changes_no_colour_of_a_profile(turned: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    pixels = photo(4)
    opaque = decoded(png(pixels, icc_profile=wide_gamut(), exif=exif)).pixels
    rgba = np.dstack([pixels, np.full((40, 40), 255, np.uint8)])
    np.testing.assert_array_equal(decoded(png(rgba, icc_profile=wide_gamut(), exif=exif)).pixels, opaque)
    rgba[:20, :, 3] = 0
    found = decoded(png(rgba, icc_profile=wide_gamut())).pixels
    assert (found[:20] == 255).all()
    np.testing.assert_array_equal(found[20:], decoded(png(pixels, icc_profile=wide_gamut())).pixels[20:])


def test_a_palette_with_a_transparent_colour_and_a_profile() -> None:
    image = Image.new("P", (10, 10), 0)
    image.putpalette([10, 20, 30, 180, 120, 90])
    image.putpixel((3, 4), 1)
    found = decoded(saved(image, "PNG", transparency=0, icc_profile=wide_gamut())).pixels
    assert np.abs(found[4, 3].astype(int) - srgb_of((180, 120, 90))).max() <= 1
    assert tuple(found[0, 0]) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA"])
def test_a_profile_that_changes_nothing_or_cannot_be_read(mode: str) -> None:
    image = Image.new("RGB", (16, 16), (180, 120, 90)).convert(mode)
    plain = decoded(saved(image, "PNG")).pixels
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile", wide_gamut()[:200], *([wide_gamut()] if mode in ("L", "LA") else [])):
        np.testing.assert_array_equal(decoded(saved(image, "PNG", icc_profile=profile)).pixels, plain)


def test_the_name_s_ending_means_nothing() -> None:
    assert decoded(saved(Image.fromarray(photo(6)), "WEBP", lossless=True)).pixels.shape == (40, 40, 3)
    assert refusal(b"patient_id,age\nP1,40\n").code == "not_an_image"
    assert refusal(b"<svg xmlns='http://www.w3.org/2000/svg'/>").code == "not_an_image"


def test_empty_and_too_large_files() -> None:
    assert refusal(b"").code == "empty_file"
    assert refusal(png(photo(7)), max_bytes=100).code == "file_too_large"


@pytest.mark.parametrize("side", [1001, 20_000, 60_000])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    assert refusal(bomb(side)).code == "too_many_pixels"


def test_a_bomb_message_says_what_to_change() -> None:
    assert refusal(bomb(1001)).message == (
        "1001 x 1001 px by its header; ingest.max_pixels is 1000000; raise it if the file is good"
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated_files(form: str, share: float) -> None:
    data = saved(Image.fromarray(photo(8, (200, 200))), form)
    expected = {"truncated", "corrupted"} if form == "WEBP" else {"truncated"}
    assert refusal(data[: int(len(data) * share)]).code in expected


def test_one_flipped_bit_in_a_png_is_noticed() -> None:
    data = bytearray(png(photo(9, (64, 64))))
    data[len(data) // 2] ^= 1
    assert refusal(bytes(data)).code == "corrupted"


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_are_refused_and_single_frames_are_not(form: str) -> None:
    frames = [Image.fromarray(photo(n)) for n in (10, 11)]
    assert refusal(saved(frames[0], form, save_all=True, append_images=frames[1:])).code == "animated"
    assert decoded(saved(frames[0], form)).pixels.shape == (40, 40, 3)


def test_a_phone_s_two_picture_jpeg_gives_the_first() -> None:
    first, depth = Image.new("RGB", (64, 48), (200, 150, 120)), Image.new("RGB", (64, 48))
    found = decoded(saved(first, "MPO", save_all=True, append_images=[depth]))
    assert np.abs(found.pixels.astype(int) - (200, 150, 120)).max() <= 3


def test_float_pixels_have_no_range() -> None:
    image = Image.fromarray(np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32))
    assert refusal(saved(image, "TIFF")).code == "unsupported_mode"


def test_a_big_jpeg_is_decoded_small_and_keeps_its_own_size() -> None:
    smooth = Image.linear_gradient("L").resize((1600, 1200)).convert("RGB")
    found = decoded(saved(smooth, "JPEG", quality=95), max_pixels=2_000_000, at_least=128)
    assert (found.width, found.height) == (1600, 1200)
    assert found.pixels.shape == (150, 200, 3)


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"]),
    cuts=st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=4)), max_size=6),
    keep=st.floats(0, 1),
)
def test_no_damage_escapes_as_another_error(form: str, cuts: list[tuple[int, bytes]], keep: float) -> None:
    data = bytearray(saved(Image.fromarray(photo(12, (24, 24))), form))
    for place, piece in cuts:
        at = place % len(data)
        data[at : at + len(piece)] = piece
    found = outcome(bytes(data[: int(len(data) * keep)]))
    if isinstance(found, DecodedImage):
        assert found.pixels.dtype == np.uint8
        assert found.pixels.shape[2] == 3
    else:
        assert found.code in CODES
