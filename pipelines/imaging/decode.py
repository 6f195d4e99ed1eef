"""Bytes of any origin in, sRGB pixels out, or a stable code for why not. Nothing a file holds may stop the run."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

# Our own limit is checked from the header before any pixel is decoded; Pillow's warning at 89 MP adds only noise.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# What Pillow says of damaged metadata is either harmless or comes back as an error, which becomes a quarantine row.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

FORMATS: Final = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "MPO")
"""Formats photographs are published in. Pillow's other 40 decoders are attack surface."""

CODES: Final = {
    "empty_file": "the file has no bytes",
    "file_too_large": "more bytes than ingest.max_bytes",
    "too_many_pixels": "more pixels than ingest.max_pixels, by its header (a decompression bomb)",
    "not_an_image": "no picture in a format we read, whatever its name ends in",
    "animated": "several frames; which one is meant is not ours to say",
    "truncated": "the file ends before its picture does",
    "corrupted": "the file is whole but its contents contradict themselves",
    "unsupported_mode": "pixels whose range or colour space the file does not define",
}
"""Why a file was refused; the quarantine's `code`."""

_MAGIC: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF", b"II*\x00", b"MM\x00*", b"BM")
_ORIENTATION_TAG: Final = 0x0112
_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Undecodable(Exception):
    """This file cannot become pixels. `code` is a key of CODES, `message` says what was found."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class DecodedImage:
    """A picture as a viewer would show it, and the size the file itself has."""

    image: Image.Image
    """sRGB, 8 bits, mode RGB, upright; where the decoder left it, for a large photograph is cropped before it is copied."""
    width: int
    """Of the file after EXIF rotation, px; `image` may be smaller if `at_least` allowed it."""
    height: int

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """A copy of the pixels, uint8, (H, W, 3)."""
        return np.asarray(self.image)


def decode_image(data: bytes, *, max_pixels: int, max_bytes: int, at_least: int | None = None) -> DecodedImage:
    """Return the file's picture as upright 8-bit sRGB.

    EXIF rotation is applied. A colour profile is converted to sRGB where it can be; that of a grey file is not asked.
    Transparency is then composited on white, as a viewer would. Grey, palette, CMYK and 16-bit files become RGB; 16 bits
    are divided by 257, so full range stays full range.

    Args:
        data: the whole file.
        max_pixels: most pixels the header may declare.
        max_bytes: longest file.
        at_least: shortest side the caller needs, px. A JPEG may then be decoded at 1/2, 1/4 or 1/8 in the DCT domain,
            never below it.

    Raises:
        Undecodable: the file is refused; the code says why.
    """
    if not data:
        raise Undecodable("empty_file", "0 bytes; needs an image; fetch the file again")
    if len(data) > max_bytes:
        raise file_too_large(len(data), max_bytes)
    try:
        return _decode(data, max_pixels, at_least)
    except Undecodable:
        raise
    except Image.DecompressionBombError:
        raise Undecodable("too_many_pixels", "more pixels by its header than any photograph; check the file") from None
    except UnidentifiedImageError:
        raise _broken(data, "its header cannot be read") from None
    except Exception as error:
        # Decoders raise whatever their parser met (struct.error, SyntaxError, KeyError, ...); none may end the run.
        raise _broken(data, _first_line(error)) from None


def file_too_large(size: int, max_bytes: int) -> Undecodable:
    """Return the refusal of a file of `size` bytes; for callers who know the size before they read."""
    return Undecodable("file_too_large", f"{size} bytes; ingest.max_bytes is {max_bytes}; raise it if the file is good")


def _decode(data: bytes, max_pixels: int, at_least: int | None) -> DecodedImage:
    image: Any = Image.open(BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width * height > max_pixels:
        raise Undecodable(
            "too_many_pixels",
            f"{width} x {height} px by its header; ingest.max_pixels is {max_pixels}; raise it if the file is good",
        )
    if image.format != "MPO" and getattr(image, "is_animated", False):
        # A phone's MPO is one photograph plus a depth map or preview, so its first frame is the photograph.
        raise Undecodable("animated", f"a {image.format} of several frames; needs one; save the frame that is meant")
    if image.format == "PNG":
        # Pillow does not check the pixel chunks' CRC when it loads them, so a flipped bit would pass as skin.
        Image.open(BytesIO(data), formats=("PNG",)).verify()
    turn = _orientation(image)
    if at_least is not None:
        image.draft(None, (at_least, at_least) if width == height else _draft_size(width, height, at_least))
    image.load()
    if turn in _TRANSPOSE:
        profile = image.info.get("icc_profile")
        image = image.transpose(_TRANSPOSE[turn])
        image.info["icc_profile"] = profile
    if turn >= 5:
        width, height = height, width
    return DecodedImage(_to_srgb(image), width, height)


def _draft_size(width: int, height: int, shortest: int) -> tuple[int, int]:
    """Return the size to ask of the JPEG decoder so that the shorter side keeps at least `shortest` px."""
    scale = shortest / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _orientation(image: Any) -> int:
    """Return the EXIF orientation 1-8; 1 where there is none or EXIF is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        # Damaged EXIF says nothing about the pixels; the picture is taken as it lies.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_srgb(image: Any) -> Any:
    """Return the image in mode RGB, sRGB, 8 bits."""
    if image.mode == "RGB" and "icc_profile" not in image.info and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_deep_grey(image)
    if image.mode in ("F", "LAB"):
        raise Undecodable("unsupported_mode", f"pixel mode {image.mode}; needs 8 or 16 bits a channel; convert it")
    # A grey file's profile, if it is a valid one, says nothing of red, green and blue.
    profile = None if image.mode in ("1", "L", "LA", "La") else image.info.get("icc_profile")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _on_white(image.convert("RGBA"), profile)
    if not profile:
        return image.convert("RGB")
    return _through_profile(image if image.mode in ("RGB", "CMYK") else image.convert("RGB"), profile)


def _from_deep_grey(image: Any) -> Any:
    """Return 16-bit (or 32-bit holding 16-bit) grey as RGB, full range to full range."""
    values = np.asarray(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise Undecodable("unsupported_mode", f"grey values {low} to {high}; needs 0 to 65535; convert the file")
    grey = ((values + 128) // 257).astype(np.uint8)
    return Image.fromarray(grey, "L").convert("RGB")


def _on_white(image: Any, profile: bytes | None) -> Any:
    """Return RGBA, through its profile if there is one, over white; where alpha is 255 that leaves the colours alone."""
    alpha, opaque = image.getchannel("A"), image.convert("RGB")
    if profile:
        opaque = _through_profile(opaque, profile)
    if alpha.getextrema() == (255, 255):
        return opaque
    if profile:
        image = opaque.copy()
        image.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")


def _through_profile(image: Any, profile: bytes) -> Any:
    """Return the image converted from its colour profile to sRGB; as it is where the profile cannot be read."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image.convert("RGB")
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image.convert("RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")


def _broken(data: bytes, found: str) -> Undecodable:
    """Return `truncated` if the format's end mark is missing, `not_an_image` if its first mark is, else `corrupted`."""
    if not data.startswith(_MAGIC):
        return Undecodable("not_an_image", f"begins with {data[:8]!r}; needs one of {', '.join(FORMATS)}")
    tail = data[-64:].rstrip(b"\x00")
    ends = (data.startswith(b"\xff\xd8") and b"\xff\xd9" not in tail) or (
        data.startswith(b"\x89PNG") and b"IEND" not in tail
    )
    if ends or "truncated" in found.lower():
        return Undecodable("truncated", f"{len(data)} bytes, then nothing ({found}); fetch the file again")
    return Undecodable("corrupted", f"{found}; fetch the file again")


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).split(" <")[0]
