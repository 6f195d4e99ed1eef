"""Parameters of somebody else's weights: where they lie, their sha256 and licence, and how an autoencoder is judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.section import KnownLicence, Section

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PinnedParams(Section):
    """Somebody's weights: which, and under which terms. What is drawn with them is under those terms, too."""

    sha256: Sha256 = Field(description="of the weights; `python -m pipelines.generators.pinned FOLDER` prints it")
    licence: KnownLicence = Field(description="of the weights, a key of LICENCES in schemas/licences.py")


class AutoencoderParams(PinnedParams):
    """A learned autoencoder: a folder as diffusers saves an AutoencoderKL."""

    path: str = Field(min_length=1, description="holds config.json and diffusion_pytorch_model.safetensors")


class FileParams(Section):
    """A file of somebody else's weights."""

    path: str = Field(min_length=1)
    sha256: Sha256 = Field(description="as sha256sum prints it")


class RoundTripParams(Section):
    """How much worse an autoencoder may give back dark skin (FST IV-VI) than light (I-III): dark minus light, at most.

    Measured on held-out images before anything is trained on its planes; each figure is a median over images.
    """

    colour_gap: float = Field(1.0, ge=0, description="CIEDE2000 between the skin's pixels; 1 is about just noticeable")
    ita_gap_deg: float = Field(
        3.0, ge=0, le=180, description="of the shift of ITA, whichever way; the tone gate keeps 3"
    )
    perceptual_gap: float = Field(0.02, ge=0, description="of LPIPS, or of the score that stands in for it")
    min_images: int = Field(
        12, ge=1, description="of a skin type, or of dark or light skin, below which it is unmeasured"
    )
    max_images: int = Field(64, ge=1, description="looked at of each skin type")
    unmeasured: Literal["allow", "refuse"] = Field("allow", description="with too few images of dark or light skin")
    lpips_alexnet: FileParams | None = Field(
        None, description="torchvision's AlexNet weights for LPIPS; without them features of the embedded extractor"
    )


class PretrainedParams(PinnedParams):
    """A Stable Diffusion 1.x or 2.x model: a folder as diffusers saves it, or a hub's, pinned by its weights."""

    path: str | None = Field(None, min_length=1, description="holds unet, vae, text_encoder, tokenizer, scheduler")
    hub: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$", description="OWNER/NAME, in place of path")
    revision: str | None = Field(None, min_length=1, description="commit on the hub; needed with hub")

    @model_validator(mode="after")
    def _one_place(self) -> PretrainedParams:
        if (self.path is None) == (self.hub is None):
            raise ValueError("needs a path or a hub id, one of the two")
        if (self.hub is None) != (self.revision is None):
            raise ValueError("hub and revision go together; give the commit, since names on hubs move")
        return self

    @property
    def name(self) -> str:
        """What it is called in messages and checkpoints."""
        return self.path or f"{self.hub}@{self.revision}"
