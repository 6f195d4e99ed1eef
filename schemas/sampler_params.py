"""How a diffusion checkpoint is sampled: `produce.sampler` of params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from schemas.section import Section, Share

ADDED_LATER: Final[dict[str, Any]] = {
    "solver": "dpmsolver++", "spacing": "uniform", "guidance_from": 0.0, "guidance_every": 1, "precision": "float32",
    "autoguidance": 1.0, "sigma_max": 70.0, "sigma_min": 0.05,
}  # fmt: skip
"""Options that came when images had been made without them, and what was done then: so they are no part of an identity."""


class SamplerParams(Section):
    """How a diffusion checkpoint is sampled."""

    solver: Literal["dpmsolver++", "unipc"] = Field(
        "dpmsolver++", description="unipc has no stochastic form: it needs stochastic: false"
    )
    steps: int = Field(14, ge=1, le=1000)
    spacing: Literal["uniform", "karras", "log_snr"] = Field(
        "log_snr",
        description="of the steps: evenly in time; as EDM spaces noise, many where it is loudest, where the whole picture is "
        "decided; or evenly in the noise's logarithm, many where hairs and borders are",
    )
    sigma_max: float = Field(
        70.0,
        gt=0,
        description="noisiest step but the first, unless spacing is uniform, in standard deviations of the clean planes",
    )
    sigma_min: float = Field(0.1, gt=0, description="least noisy step, unless spacing is uniform")
    stochastic: bool = Field(True, description="fresh noise at every step (SDE-DPM-Solver++), from the image's own key")
    guidance_tone: float = Field(1.0, ge=0, description="1 is none")
    guidance_lesion: float = Field(
        1.0,
        ge=0,
        description="1 is none; a checkpoint without a guiding network, as Stable Diffusion, wants 1.5 or more",
    )
    guidance_from: Share = Field(0.0, description="share of the steps, from the noisy end, before guidance begins")
    guidance_until: Share = Field(
        0.8, description="share of the steps, from the noisy end, after which none are guided"
    )
    guidance_every: int = Field(
        1, ge=1, le=1000, description="guided steps a computed guidance serves; above 1 it is reused, which is quicker"
    )
    autoguidance: float = Field(
        1.5, ge=1, description="away from the checkpoint's guiding network, at every step, if it has one; 1 is none"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the network's passes; bfloat16 is quicker where the machine has it"
    )

    @model_validator(mode="after")
    def _can_be_sampled(self) -> SamplerParams:
        if self.solver == "unipc" and self.stochastic:
            raise ValueError(
                "unipc draws no noise and stochastic is true, which is the default; set stochastic: false or solver: dpmsolver++"
            )
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min:g} is not below sigma_max {self.sigma_max:g}; lower sigma_min")
        if self.guidance_from > self.guidance_until:
            raise ValueError(
                f"guidance_from {self.guidance_from:g} is above guidance_until {self.guidance_until:g}; lower guidance_from"
            )
        return self

    def identity(self, guiding: bool) -> dict[str, Any]:
        """Return what tells an image of this sampler from one of another, JSON-able; see `ADDED_LATER`.

        Args:
            guiding: whether the checkpoint has a guiding network; without one there is no autoguidance. Steps even
                in time have no span.
        """
        unused = ([] if guiding else ["autoguidance"]) + (
            ["sigma_max", "sigma_min"] if self.spacing == "uniform" else []
        )
        done = self.model_copy(update={name: ADDED_LATER[name] for name in unused})
        said = {k: v for k, v in done.model_dump().items() if k not in ADDED_LATER or v != ADDED_LATER[k]}
        return {"sampler": {"dpmsolver++": "dpmsolver++ 2m", "unipc": "unipc bh2 2"}[self.solver], **said}

    @classmethod
    def of(cls, identity: Mapping[str, Any]) -> SamplerParams:
        """Return the sampler with that identity, which may say other things too."""
        return cls(**ADDED_LATER | {k: v for k, v in identity.items() if k in cls.model_fields})
