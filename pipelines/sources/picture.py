"""The two kinds of picture a source can hold: a file with an optional mask file, and one drawn in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.imaging.decode import DecodedImage, Undecodable, decode_image, file_too_large
from pipelines.sources.interface import LoadedPicture, Refused
from schemas.params import IngestParams

MASK_LEVEL = 128
"""Red at or above this is lesion: 255 against 0 in grey masks, 253 against 68 in viridis ones."""


@dataclass(frozen=True)
class FilePicture:
    """An image file, and its lesion mask if there is one."""

    path: Path
    mask_path: Path | None = None

    def load(self, limits: IngestParams) -> LoadedPicture:
        """Return the decoded file; raises Refused if it or its mask cannot be used."""
        data = _read(self.path, limits.max_bytes, "")
        # A mask lies on the file's own grid, so a file with one is decoded in full. Twice the final size otherwise:
        # the last halving is left to the resampler, whose filter is better than the decoder's.
        image = _decode(data, limits, "", None if self.mask_path else 2 * limits.resolution)
        if min(image.width, image.height) < limits.resolution:
            raise Refused(
                "too_small",
                f"{image.width} x {image.height} px; ingest.resolution is {limits.resolution} and nothing is enlarged; "
                "lower it or bring a larger file",
            )
        mask = self._mask(image, limits)
        return LoadedPicture(image.image, mask, hashlib.sha256(data).hexdigest(), image.width, image.height)

    def _mask(self, image: DecodedImage, limits: IngestParams) -> npt.NDArray[np.bool_] | None:
        if self.mask_path is None:
            return None
        found = _decode(_read(self.mask_path, limits.max_bytes, "mask_"), limits, "mask_", None)
        if (found.width, found.height) != (image.width, image.height):
            raise Refused(
                "mask_size_differs",
                f"mask {found.width} x {found.height} px, image {image.width} x {image.height} px; needs equal sizes; "
                "remove the mask to use the image without it",
            )
        return none_if_empty(found.pixels[..., 0] >= MASK_LEVEL)


@dataclass(frozen=True, eq=False)
class DrawnPicture:
    """Pixels drawn by the project itself; `sha256` is over them, for there is no file."""

    pixels: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]

    def load(self, limits: IngestParams) -> LoadedPicture:
        """Return the pixels as drawn; raises Refused if they are smaller than the normalised size."""
        height, width = self.pixels.shape[:2]
        if min(height, width) < limits.resolution:
            raise Refused(
                "too_small",
                f"drawn at {width} px; ingest.resolution is {limits.resolution} and nothing is enlarged; "
                "raise the source's resolution",
            )
        digest = hashlib.sha256(self.pixels.tobytes()).hexdigest()
        return LoadedPicture(Image.fromarray(self.pixels), none_if_empty(self.mask), digest, width, height)


def none_if_empty(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    """Return the mask, or None where it marks nothing: it then says nothing about where the lesion is."""
    return mask if mask.any() else None


def _read(path: Path, max_bytes: int, prefix: str) -> bytes:
    """Return the file's bytes; the size is asked first, so that a huge file is never read."""
    try:
        size = path.stat().st_size
        if size > max_bytes:
            refusal = file_too_large(size, max_bytes)
            raise Refused(prefix + refusal.code, refusal.message)
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"{prefix}unreadable", f"{error.strerror or error}; needs a readable file; check it") from None


def _decode(data: bytes, limits: IngestParams, prefix: str, at_least: int | None) -> DecodedImage:
    try:
        return decode_image(data, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes, at_least=at_least)
    except Undecodable as error:
        raise Refused(prefix + error.code, error.message) from None
