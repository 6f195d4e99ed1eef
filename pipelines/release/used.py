"""What used an image, as rows of facts and as text: models, gates, releases, and where was looked."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """Base of what an answer is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelUse(Part):
    """A checkpoint that learned from the images."""

    generator: str
    checkpoint_sha256: str
    where: list[str]
    images: int = Field(description="of the images asked for, in its training set")
    training_images: int


class GateUse(Part):
    """The production's gates, fitted on or calibrated with the images."""

    where: str
    copy_gate: int = Field(
        description="images among those that the copy gate compares with and the probe was fitted on"
    )
    calibration: int = Field(description="validation images among those that set the bounds")
    descendants: int = Field(description="accepted synthetic images of a checkpoint that learned from the images")


class ReleaseUse(Part):
    """A release that holds the images or what was learned from them."""

    name: str
    version: str | None
    digest: str | None = Field(description="sha256 of its SHA256SUMS")
    where: list[str]
    pixels: int = Field(description="of the images asked for, shipped with their pixels")
    withheld: int = Field(description="listed without pixels, because their licence forbids sharing")
    train: int = Field(description="in its train split: generator, lesion probe and copy gate learned from them")
    validation: int = Field(description="in its validation split: they calibrated the gates")
    test: int = Field(description="in its test split: they measured")
    synthetic: int = Field(description="synthetic images that descend from them: made by a checkpoint that learned so")


class Impact(Part):
    """Everything found to have used what was asked for."""

    asked: str
    images: list[str] = Field(description="image_ids found to be meant")
    models: list[ModelUse]
    gates: list[GateUse]
    releases: list[ReleaseUse]
    searched: list[str]
    not_searched: list[str] = Field(description="known to have been there, not readable from here")

    @property
    def nothing(self) -> bool:
        """Whether nothing used it, as far as was searched."""
        return not (self.models or self.gates or self.releases)

    def text(self) -> str:
        """Return the answer for a person, one fact a line."""
        lines = [f"{self.asked}: {len(self.images)} {'image' if len(self.images) == 1 else 'images'} meant"]
        if self.nothing:
            lines.append("  nothing used it")
        lines += [_model(use) for use in self.models]
        lines += [_gates(use) for use in self.gates]
        lines += [_release(use) for use in self.releases]
        lines += [f"  searched       {place}" for place in self.searched]
        lines += [f"  NOT searched   {place}" for place in self.not_searched]
        return "\n".join(lines)


def _model(use: ModelUse) -> str:
    return (
        f"  model          {use.generator} {use.checkpoint_sha256[:12]}: learned from {use.images} of them, among "
        f"{use.training_images:,} ({', '.join(use.where)})"
    )


def _gates(use: GateUse) -> str:
    return (
        f"  gates          {use.where}: {use.copy_gate} in the lesion probe and copy gate, {use.calibration} in the "
        f"calibration; {use.descendants} accepted synthetic images descend"
    )


def _release(use: ReleaseUse) -> str:
    parts = [f"{use.pixels} with pixels"] if use.pixels else []
    parts += [f"{use.withheld} listed without pixels"] if use.withheld else []
    parts += [f"{n} in {split}" for split in ("train", "validation", "test") if (n := getattr(use, split))]
    parts += [f"{use.synthetic} synthetic images descend"]
    name = f"{use.name} {use.version or '(version unreadable)'}"
    return f"  release        {name}: {', '.join(parts)} ({', '.join(use.where)})"
