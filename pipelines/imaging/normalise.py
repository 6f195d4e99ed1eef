"""Every picture becomes one square of one size, and is named by its pixels.

Choices, and what they cost:

- *Crop, not pad.* The square is the largest one that fits. Padding would draw borders that a generator learns as skin.
- *Where the square lies.* On the centre; with a lesion mask, moved along the longer side until the lesion lies in its
  middle or the edge stops it. A lesion longer than the shorter side is cut, at both ends alike.
- *Resampling* is Pillow's Hamming-windowed area average, on sRGB values. A plain box (Pillow's BOX) takes whole pixels
  only and shifts edges when the ratio is not an integer; Lanczos rings at lesion borders. Working in sRGB instead of
  linear light darkens fine light-dark texture slightly; skin around a lesion is smooth, so ITA moves by less than its
  own repeatability.
- *No enlarging.* A picture smaller than the square is refused by ingest: blur would be learnt as skin.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from PIL import Image

PNG_LEVEL: Final = 1
"""Deflate level, by ISA-L: a quarter of zlib's time at its own level 1 for the same size (docs/log.md)."""

_PNG_UP: Final = 2
"""PNG's filter "each byte less the one above": all of skin's smoothness it can get without trying filters out."""


@dataclass(frozen=True)
class Normalised:
    """Square sRGB pixels, uint8 (r, r, 3), the same as Pillow holds them, and the lesion mask, bool (r, r)."""

    pixels: npt.NDArray[np.uint8]
    image: Image.Image
    mask: npt.NDArray[np.bool_] | None


def normalise(
    picture: Image.Image | npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_] | None, resolution: int
) -> Normalised:
    """Return the square crop at `resolution` px; unchanged pixels if it has that size already.

    Args:
        picture: mode RGB, or its pixels, uint8 (H, W, 3).
        mask: bool (H, W), true on the lesion, or none.
        resolution: side of the result, px.

    Raises:
        ValueError: the shorter side is under `resolution`, or the mask's size is not the picture's.
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    width, height = image.size
    if min(height, width) < resolution:
        raise ValueError(f"{width} x {height} px; needs {resolution} px or more on the shorter side")
    if mask is not None and mask.shape != (height, width):
        raise ValueError(f"mask of {mask.shape[1]} x {mask.shape[0]} px for a picture of {width} x {height} px")
    if not height == width == resolution:
        box = square_box(height, width, mask)
        image = image.resize((resolution, resolution), Image.Resampling.HAMMING, box=box)
        mask = None if mask is None else _resample_mask(mask, box, resolution)
    return Normalised(pixels=np.asarray(image), image=image, mask=mask)


def square_box(height: int, width: int, mask: npt.NDArray[np.bool_] | None) -> tuple[int, int, int, int]:
    """Return the square to keep as (left, top, right, bottom), px."""
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    if mask is not None and mask.any():
        left = _offset(np.flatnonzero(mask.any(axis=0)), width, side)
        top = _offset(np.flatnonzero(mask.any(axis=1)), height, side)
    return left, top, left + side, top + side


def _offset(occupied: npt.NDArray[np.intp], length: int, side: int) -> int:
    """Return where a window of `side` px starts so that the occupied places lie in its middle, within `length` px."""
    middle = (int(occupied[0]) + int(occupied[-1]) + 1 - side) // 2
    return min(max(middle, 0), length - side)


def _resample_mask(
    mask: npt.NDArray[np.bool_], box: tuple[int, int, int, int], resolution: int
) -> npt.NDArray[np.bool_]:
    """Return the mask at `resolution` px: true where half or more of the area was."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize((resolution, resolution), Image.Resampling.BOX, box=box)) >= 128


def image_id(pixels: npt.NDArray[np.uint8]) -> str:
    """Return the image's name: 24 hex digits of sha256 over its shape and bytes. Equal pixels, equal name."""
    shape = "x".join(str(side) for side in pixels.shape)
    digest = hashlib.sha256(shape.encode() + b";")
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()[:24]


def encode_png(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.bool_]) -> bytes:
    """Return a PNG file: RGB for (H, W, 3), grey for (H, W); a mask (bool) becomes 0 and 255.

    Written here rather than by Pillow because that takes several times as long and holds the interpreter lock meanwhile.
    The pixels are exact everywhere; the compressed bytes may differ between versions of the deflate library.
    """
    values = pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels
    height, width = values.shape[:2]
    lines = np.ascontiguousarray(values).reshape(height, -1)
    filtered = np.empty((height, lines.shape[1] + 1), np.uint8)
    filtered[:, 0] = _PNG_UP
    filtered[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if values.ndim == 3 else 0, 0, 0, 0)
    body = isal_zlib.compress(filtered.data, PNG_LEVEL)
    # Joined once: every `+` would copy the picture again.
    return b"".join((b"\x89PNG\r\n\x1a\n", *_chunk(b"IHDR", header), *_chunk(b"IDAT", body), *_chunk(b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    check = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", check)


def decode_png(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels of a PNG that this project wrote: uint8 (H, W, 3) or (H, W). Not for files of other origin."""
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        return np.array(image, dtype=np.uint8)
