"""Small pictures of what was refused: big enough to see what it is, small enough to keep."""

from __future__ import annotations

from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from schemas.table import Image

PICTURE_PX: Final = 32
QUALITY: Final = 85

Pixels = NDArray[np.uint8]


def small_picture(pixels: Pixels, name: str) -> Image:
    """Return an image (r, r, 3) reduced to 32 px or less by area average, as JPEG: about 1 kB."""
    picture = Pictures.fromarray(pixels)
    if pixels.shape[0] > PICTURE_PX:
        picture = picture.resize((PICTURE_PX, PICTURE_PX), Pictures.Resampling.BOX)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return Image(bytes=buffer.getvalue(), path=f"{name}.jpg")


def read_picture(picture: Image) -> Pixels:
    """Return the pixels of a small picture at 32 px, (32, 32, 3); a smaller one is enlarged without smoothing."""
    with Pictures.open(BytesIO(picture.bytes), formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB").resize((PICTURE_PX, PICTURE_PX), Pictures.Resampling.NEAREST))
