"""Parameters of training, a section a generator."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from schemas.pinned_params import AutoencoderParams, PretrainedParams, RoundTripParams
from schemas.section import Section, Share

GeneratorName = Literal["diffusion", "gan", "dcgan", "stylegan2", "stable_diffusion"]

OptimizerName = Literal["adamw", "muon"]

LONGEST_AVERAGE: Final = 0.28
"""Of an average's profile; 0.2887 would be every step alike."""


class LossWeights(Section):
    """Condition dropout: the share of training images whose tone, lesion or both are replaced by null."""

    drop_tone: Share = 0.1
    drop_lesion: Share = 0.1
    drop_both: Share = 0.05


class GroupWeightParams(Section):
    """Loss weights by stratum and noise level (group DRO): strata that are learned worse count more."""

    use: bool = Field(False, description="off: measured, they left the darkest skin's tone worse (docs/log.md)")
    rate: float = Field(0.02, gt=0, le=1, description="of the exponentiated-gradient update, a step")
    clamp: float = Field(3.0, ge=1, le=100, description="weights stay in [1/clamp, clamp]; their mean is 1")
    noise_bins: int = Field(4, ge=1, le=100, description="noise levels that are weighed apart")


class ToneTermParams(Section):
    """KL between a mix of skin types and a frozen probe's reading of the predicted clean images."""

    weight: float = Field(0.1, ge=0, description="of the KL (nats) in the loss; 0: off")
    target: Literal["batch", "equal"] = Field(
        "batch", description="the mix the images were labelled with, or all types alike, which pulls rare draws along"
    )
    least_snr: float = Field(1.0, gt=0, description="signal-to-noise ratio from which a predicted image is read")
    least_recall: Share = Field(
        0.5, description="mean recall of the probe on validation images below which the term is left out"
    )


class FairnessParams(Section):
    """What keeps rare strata from being learned worst; each part can be switched off. For diffusion.

    A GAN has neither a loss that means the same for two strata nor noise levels: it has `resample_power`, `max_repeats`
    and a regression of each image's skin colour on that of a real one with the same condition.
    """

    group_weights: GroupWeightParams = GroupWeightParams()
    tone: ToneTermParams = ToneTermParams()


class WatchParams(Section):
    """When a run stops before its budget, asked each time a state is saved (`sheet_every_images`)."""

    patience: int = Field(
        0, ge=0, description="evaluations without a better worst group, then stop and keep the best; 0: none is made"
    )
    images: int = Field(24, ge=2, description="drawn of each group for its KID against real validation images")
    least_real: int = Field(
        12, ge=2, description="validation images a stratum needs to be judged alone; else its FST; fewer: not judged"
    )
    least_diversity: Share = Field(
        0.2, description="variety within a cell of the sheet, over real images': below it twice running is a collapse"
    )


class EmaParams(Section):
    """Averaging of the weights with a power-function profile (EDM2), in float32."""

    length: float | Literal["auto"] = Field(
        0.1,
        description="standard deviation of the profile, as a share of the run; auto: the candidate whose worst group's "
        "KID to validation images is lowest, chosen when the training is done",
    )
    candidates: tuple[float, ...] = Field(
        (0.03, 0.05, 0.1, 0.15, 0.2), min_length=2, description="lengths that auto tries"
    )

    @model_validator(mode="after")
    def _lengths_exist(self) -> EmaParams:
        for length in (*self.candidates, *([] if self.length == "auto" else [self.length])):
            if not 0.01 <= float(length) <= LONGEST_AVERAGE:
                raise ValueError(
                    f"length {length:g}; a profile's standard deviation is between 0.01 and {LONGEST_AVERAGE:g} of the run; use 0.1"
                )
        return self


class DiffusionParams(Section):
    """Conditional diffusion: v-prediction, zero terminal SNR, averaged weights."""

    space: Literal["spectral", "pixel", "latent"] = Field(
        "spectral", description="what it works on: block cosines, folded pixels, or planes of a learned autoencoder"
    )
    pixel_block: Literal[1, 2, 4, 8] = Field(4, description="px a side folded into planes of space pixel; 1 is plain")
    autoencoder: AutoencoderParams | None = Field(None, description="of space latent, and needed there")
    round_trip: RoundTripParams = Field(RoundTripParams(), description="of space latent")

    images: int = Field(6000, ge=1, description="training images seen (not epochs)")
    batch: int = Field(48, ge=1, description="images a step, over all processes")
    accumulate: int = Field(
        1, ge=1, description="parts in which a process does its share of a step; the tone term then costs another pass"
    )
    gradient_checkpointing: bool = Field(False, description="compute activations twice to hold fewer: less memory")
    compile: bool = Field(
        False, description="torch.compile the network, which takes minutes; on CPU it needs gcc and mixed_precision no"
    )
    optimizer: OptimizerName = Field(
        "adamw", description="muon: matrices by Muon at 5 times the rate, the rest by AdamW; learns more of an image"
    )
    learning_rate: float = Field(2e-4, gt=0)
    warmup_images: int = Field(500, ge=0)
    ema: EmaParams = EmaParams()
    dropout: LossWeights = LossWeights()
    fairness: FairnessParams = FairnessParams()
    watch: WatchParams = WatchParams()
    guiding: bool = Field(
        True,
        description="a fifth as large a network learns along, for produce.sampler.autoguidance: half again the time",
    )
    mixed_precision: Literal["auto", "no", "bf16"] = Field(
        "auto",
        description="auto: bf16 where the machine multiplies in it, which is quicker; elsewhere it is many times slower",
    )
    start: Literal["base", "scratch"] = "base"
    log_every: int = Field(10, ge=1, description="steps")
    sheet_every_images: int = Field(2000, ge=1)

    @model_validator(mode="after")
    def _space_is_whole(self) -> DiffusionParams:
        if self.space == "latent" and self.autoencoder is None:
            raise ValueError(
                "space latent without an autoencoder; give autoencoder: {path: ..., sha256: ..., licence: ...}"
            )
        if self.space != "latent" and self.autoencoder is not None:
            raise ValueError(f"an autoencoder beside space {self.space}; set space: latent or remove it")
        if self.space != "spectral" and self.start == "base":
            raise ValueError(f"start base with space {self.space}; the base is spectral; set start: scratch")
        return self


class GanParams(Section):
    """Conditional GAN: projection discriminator, hinge loss, R1, averaged weights."""

    images: int = Field(6000, ge=1, description="real images seen by the discriminator")
    batch: int = Field(48, ge=2)
    learning_rate: float = Field(1e-4, gt=0)
    ema: EmaParams = EmaParams()
    r1_gamma: float = Field(1.0, ge=0)
    r1_every: int = Field(8, ge=1, description="steps")
    watch: WatchParams = WatchParams()
    mixed_precision: Literal["no", "bf16"] = "no"
    start: Literal["base", "scratch"] = "base"
    log_every: int = Field(10, ge=1, description="steps")
    sheet_every_images: int = Field(2000, ge=1)


class DcganParams(Section):
    """Conditional DCGAN: projection discriminator, hinge or WGAN-GP loss, averaged weights."""

    images: int = Field(20_000, ge=1, description="real images seen by the discriminator")
    batch: int = Field(16, ge=2)
    learning_rate: float = Field(2e-4, gt=0)
    ema: EmaParams = EmaParams()
    width: int = Field(32, ge=8, le=512, multiple_of=8, description="feature maps at half the resolution")
    loss: Literal["hinge", "wgan_gp"] = "hinge"
    gradient_penalty: float = Field(10.0, ge=0, description="weight of the penalty of wgan_gp")
    generator_every: int = Field(1, ge=1, description="steps of the discriminator for one of the generator")
    diversity_weight: float = Field(1.0, ge=0, description="of the diversity-sensitive term of Yang et al.; 0: none")
    watch: WatchParams = WatchParams()
    mixed_precision: Literal["no", "bf16"] = "no"
    start: Literal["base", "scratch"] = Field("scratch", description="no base of it is shipped")
    log_every: int = Field(10, ge=1, description="steps")
    sheet_every_images: int = Field(5000, ge=1)


class Stylegan2Params(Section):
    """Conditional StyleGAN2 with adaptive discriminator augmentation."""

    images: int = Field(60_000, ge=1, description="real images seen by the discriminator")
    batch: int = Field(8, ge=2, description="best a multiple of 4 for each process")
    learning_rate: float = Field(
        6e-3, gt=0, description="the mapping network's is a hundredth; for wider networks less, as 1 / sqrt(width)"
    )
    ema: EmaParams = EmaParams(length=0.05)
    width: int = Field(8, ge=4, le=512, description="feature maps at full resolution; at most 8 times as many below")
    r1_gamma: float | None = Field(
        None, ge=0, description="weight of R1; null: 0.0002 x resolution^2 / batch, the authors' heuristic"
    )
    r1_every: int = Field(16, ge=1, description="steps")
    path_weight: float = Field(2.0, ge=0, description="weight of the path-length penalty")
    path_every: int = Field(4, ge=1, description="steps; diversity_weight's too")
    diversity_weight: float = Field(1.0, ge=0, description="of the diversity-sensitive term of Yang et al.; 0: none")
    ada_images: int = Field(
        100_000, ge=0, description="real images while the augmentation's probability may go from 0 to 1; 0: none"
    )
    watch: WatchParams = WatchParams()
    mixed_precision: Literal["no", "bf16"] = "no"
    start: Literal["base", "scratch"] = Field("scratch", description="no base of it is shipped")
    log_every: int = Field(10, ge=1, description="steps")
    sheet_every_images: int = Field(5000, ge=1)


class StableDiffusionParams(Section):
    """Stable Diffusion fine-tuned by low-rank adapters (LoRA) on its attention, and tokens of our own conditions."""

    base: PretrainedParams | None = Field(None, description="the model to fine-tune; needed to train")
    rank: int = Field(8, ge=1, le=256, description="of the adapters")
    alpha: float = Field(8.0, gt=0, description="the adapters' output is scaled by alpha / rank")
    round_trip: RoundTripParams = RoundTripParams()
    watch: WatchParams = WatchParams()
    prompt: str = Field("a close-up photograph of a skin lesion", description="the same for every image")
    images: int = Field(6000, ge=1, description="training images seen (not epochs)")
    batch: int = Field(8, ge=1, description="images a step, over all processes")
    accumulate: int = Field(
        1, ge=1, description="parts in which a process does its share of a step; more need less memory"
    )
    gradient_checkpointing: bool = Field(False, description="compute activations twice to hold fewer: less memory")
    learning_rate: float = Field(1e-4, gt=0)
    warmup_images: int = Field(500, ge=0)
    ema: EmaParams = EmaParams()
    zero_terminal_snr: bool = Field(False, description="rescale the noise of a v-prediction base (Lin et al. 2024)")
    dropout: LossWeights = LossWeights()
    mixed_precision: Literal["auto", "no", "bf16"] = Field(
        "auto",
        description="auto: bf16 where the machine multiplies in it; bf16 also holds the base's weights in 16 bits",
    )
    start: Literal["pretrained"] = "pretrained"
    log_every: int = Field(10, ge=1, description="steps")
    sheet_every_images: int = Field(2000, ge=1)


GeneratorParams = DiffusionParams | GanParams | DcganParams | Stylegan2Params | StableDiffusionParams


class TrainParams(Section):
    """Generators to train; each name under `use` is a stage `train@<name>`."""

    use: tuple[GeneratorName, ...] = Field(
        ("diffusion", "gan"), min_length=1, description="generators that a build trains; dvc.yaml reads them here"
    )
    seed: int = Field(11, ge=0)
    resample_power: float = Field(
        0.5, ge=0, le=1, description="a stratum of n images is drawn in proportion to n^(1-power)"
    )
    max_repeats: float | None = Field(
        5.0, ge=1, description="no image is shown more than this many times as often as in an even draw; null: no cap"
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="on this machine; they share each batch. diffusion and stable_diffusion learn the same weights up to rounding; "
        "what GANs measure over a batch (deviation, variety, mismatched labels) is of each process's share, as in StyleGAN2",
    )
    accelerate: str | None = Field(
        None, description="accelerate config file, for many GPUs or machines; see infra/accelerate"
    )
    diffusion: DiffusionParams = DiffusionParams()
    gan: GanParams = GanParams()
    dcgan: DcganParams = DcganParams()
    stylegan2: Stylegan2Params = Stylegan2Params()
    stable_diffusion: StableDiffusionParams = StableDiffusionParams()

    @field_validator("use")
    @classmethod
    def _named_once(cls, use: tuple[GeneratorName, ...]) -> tuple[GeneratorName, ...]:
        if len(set(use)) < len(use):
            raise ValueError("a generator is named twice; name each once")
        return use
