"""What a network works on instead of pictures: planes of block cosines, of folded pixels, or of a learned autoencoder.

A space is a module: its scale is fitted to the training images and stored in the checkpoint, under the space's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from pipelines.generators.latent import Latent
from pipelines.generators.pixel import Pixel
from pipelines.imaging.spectral import Spectral
from schemas.errors import CheckpointError, ParamsError
from schemas.pinned_params import AutoencoderParams
from schemas.train_params import DiffusionParams


@runtime_checkable
class Space(Protocol):
    """Pictures to planes and back: uint8 sRGB (n, r, r, 3) to float32 (n, channels, r/reduction, r/reduction)."""

    @property
    def channels(self) -> int:
        """How many planes there are."""
        ...

    @property
    def reduction(self) -> int:
        """How many pixels a side one value of a plane stands for."""
        ...

    def fit(self, pixels: Tensor, whitening: float = 1.0) -> None:
        """Set the scale from uint8 `pixels` so that planes have zero mean and unit mean variance.

        Args:
            whitening: 1 gives every plane unit variance, 0 leaves their proportions; a space of planes alike ignores it.
        """
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Return planes of uint8 pixels."""
        ...

    def to_srgb(self, planes: Tensor) -> Tensor:
        """Return float32 sRGB (n, r, r, 3), nominally in [0, 1] but not clipped, so that gradients flow to the planes."""
        ...

    def decode(self, planes: Tensor) -> Tensor:
        """Return uint8 pixels; out-of-range values are clipped."""
        ...

    def importance(self) -> Tensor:
        """Return each plane's weight in a loss (channels,), mean 1."""
        ...


AnySpace = Spectral | Pixel | Latent
"""The spaces there are; each is a Space and a module. The name each goes by is in `DiffusionParams.space`."""

_RECORDED = ("space", "pixel_block", "autoencoder")


def configured_space(params: DiffusionParams) -> AnySpace:
    """Return the space that params ask for, not yet fitted.

    Raises:
        ParamsError: the autoencoder is not there, is not the pinned one, or is none.
    """
    if params.space == "spectral":
        return Spectral()
    if params.space == "pixel":
        return Pixel(params.pixel_block)
    assert params.autoencoder is not None
    return Latent.read(params.autoencoder, "train.diffusion.autoencoder", ParamsError)


def space_config(params: DiffusionParams) -> dict[str, Any]:
    """Return what a checkpoint says of its space (JSON-able); `recorded_space` reads it."""
    return params.model_dump(mode="json", include=set(_RECORDED))


def recorded_space(config: Mapping[str, Any], folder: Path) -> tuple[str, AnySpace]:
    """Return the name and the space of the checkpoint in `folder`; one that says nothing is spectral.

    Raises:
        CheckpointError: the autoencoder it was trained on is not there, or another lies in its place.
    """
    name = config.get("space", "spectral")
    if name == "spectral":
        return name, Spectral()
    if name == "pixel":
        return name, Pixel(config["pixel_block"])
    if name == "latent":
        recorded = AutoencoderParams(**config["autoencoder"])
        return name, Latent.read(recorded, f"{folder}: trained on the autoencoder", CheckpointError)
    raise CheckpointError(
        f"{folder}: made in a space {name!r}; this version has spectral, pixel and latent; train again"
    )
