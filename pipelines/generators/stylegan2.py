"""Conditional StyleGAN2 in pixels: mapping network, modulated convolutions, R1, path length, adaptive augmentation.

Sources: mapping network, noise inputs and equalised learning rates, Karras et al. (2019, 2018); weight modulation and
demodulation, skip generator, residual discriminator, lazy R1 and path-length regularisation, Karras et al. (2020a);
conditions in the mapping network and by projection, adaptive augmentation, Karras et al. (2020b); R1 itself, Mescheder
et al. (2018); projection, Miyato & Koyama (2018); logistic loss, Goodfellow et al. (2014).

We differ in the condition (the sum of the tokens of skin type, ITA, lesion and modality); in a score of psi(phi) + y V phi as in
Miyato & Koyama where the authors have the product alone; in regularising in the same optimiser step as the main loss,
so Adam's settings need no correction; in R1 at what the discriminator sees, after augmentation, because the second
derivative of the resampling is not to be had; in false images drawn once a step, for both networks, where the authors draw
anew for the generator; in a diversity-sensitive term after Yang et al. (2019) beside the path lengths, which asks two latents of
one condition for two pictures (without it variety fell to 0.3 of the real images': docs/log.md; `diversity_weight: 0` leaves
it out); and in no style mixing and no truncation. The mapping network has two layers and R1 its weight as in
the authors' `auto` settings. Feature maps: `width` at full resolution, twice as many at each halving, at most 8 times.

The learning rate goes with the width. One step of Adam moves an equalised layer's output by up to the rate times the root of
its inputs, so the authors' 0.0025, for 256 to 512 maps, moves 8 to 64 maps three to six times less: such networks learned
too slowly (docs/log.md). The layers that read the ITA are equalised too: plain ones start at a tenth, and the same rate
would shake them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.generators.adversarial import (
    FIRST_SIDE,
    UNKNOWN_SHARE,
    PathLength,
    diversity_sensitive,
    doublings,
    frozen,
    logistic_discriminator,
    logistic_generator,
    path_lengths,
    pixels_of,
    r1_penalty,
    signed,
)
from pipelines.generators.augment import AdaptiveAugmentation
from pipelines.generators.checkpoint import check_lesions, load_checkpoint
from pipelines.generators.conditioning import Conditioner, drop, encode
from pipelines.generators.equalised import EqualConv, EqualLinear, ResidualBlock, activate, pixel_norm, with_deviation
from pipelines.generators.interface import Condition, Step, key_noise
from pipelines.generators.modulated import STYLE, StyledLayer, ToRgb
from schemas.params import SamplerParams
from schemas.train_params import Stylegan2Params

CODE: Final = 64
LATENT: Final = 128
MAPPING_LAYERS: Final = 2
R1_HEURISTIC: Final = 0.0002
MAPPING_RATE: Final = 0.01
"""Learning rate of the mapping network, of everything else's."""


class StyleSynthesis(nn.Module):
    """Noise and conditions to styles and images."""

    def __init__(self, resolution: int, width: int) -> None:
        super().__init__()
        steps = doublings(resolution, "stylegan2")
        channels = [width * min(8, 1 << k) for k in reversed(range(steps + 1))]
        self.sides = [FIRST_SIDE, *(FIRST_SIDE << k for k in range(1, steps + 1) for _ in range(2))]
        self.conditioner = Conditioner(CODE, EqualLinear)
        self.embed = EqualLinear(CODE, LATENT)
        sizes = [2 * LATENT, *[STYLE] * MAPPING_LAYERS]
        self.mapping = nn.ModuleList([EqualLinear(a, b, rate=MAPPING_RATE) for a, b in pairwise(sizes)])
        self.constant = nn.Parameter(torch.randn(channels[0], FIRST_SIDE, FIRST_SIDE))
        layers = [StyledLayer(channels[0], channels[0])]
        for a, b in pairwise(channels):
            layers += [StyledLayer(a, b, up=True), StyledLayer(b, b)]
        self.layers = nn.ModuleList(layers)
        self.colours = nn.ModuleList([ToRgb(c) for c in channels])

    def noise_size(self) -> int:
        """Return how many normal numbers one image takes: the latent, then one for each pixel of every layer."""
        return LATENT + sum(side * side for side in self.sides)

    def forward(self, noise: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return images (n, 3, r, r) and styles (n, 128) for noise (n, noise_size) and codes (n, 4)."""
        _, code = self.conditioner(codes)
        style = torch.cat([pixel_norm(noise[:, :LATENT]), pixel_norm(self.embed(code))], dim=1)
        for layer in self.mapping:
            style = activate(layer(style))
        x, used, images = self.constant.expand(len(noise), -1, -1, -1), LATENT, torch.zeros(())
        x = x.contiguous(memory_format=torch.channels_last)  # a quarter quicker on a CPU, and tensor cores' layout
        for index, (layer, side) in enumerate(zip(self.layers, self.sides, strict=True)):
            x = layer(x, style, noise[:, used : used + side * side].reshape(-1, 1, side, side))
            used += side * side
            if index % 2 == 0:
                colour = self.colours[index // 2](x, style)
                images = F.interpolate(images, scale_factor=2, mode="bilinear") + colour if index else colour
        return images, style


class StyleDiscriminator(nn.Module):
    """Images and conditions to one score."""

    def __init__(self, resolution: int, width: int) -> None:
        super().__init__()
        channels = [width * min(8, 1 << k) for k in range(doublings(resolution, "stylegan2") + 1)]
        self.conditioner = Conditioner(CODE, EqualLinear)
        self.colours = EqualConv(3, channels[0], 1)
        self.blocks = nn.ModuleList([ResidualBlock(a, b) for a, b in pairwise(channels)])
        self.last = EqualConv(channels[-1] + 1, channels[-1], 3)
        self.flat = EqualLinear(channels[-1] * FIRST_SIDE**2, channels[-1])
        self.score = EqualLinear(channels[-1], 1)
        self.project = EqualLinear(CODE, channels[-1])

    def forward(self, images: Tensor, codes: Tensor) -> Tensor:
        """Return scores (n,) for images (n, 3, r, r) and codes (n, 4)."""
        x = self.colours(images.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        phi = activate(self.flat(self.last(with_deviation(x)).flatten(1)))
        _, code = self.conditioner(codes)
        projected = pixel_norm(self.project(code))
        return self.score(phi)[:, 0] + (projected * phi).sum(dim=1) / math.sqrt(phi.shape[1])


class Stylegan2Recipe:
    """Training of discriminator and generator in turns, each with its regulariser every few steps."""

    name = "stylegan2"
    whitening = 1.0  # works in pixels: there is no spectral scale to fit
    exported = ("synthesis",)

    def __init__(self, params: Stylegan2Params, resolution: int) -> None:
        self.params = params
        self.resolution = resolution
        self.augment, self.path_length = AdaptiveAugmentation(params.ada_images), PathLength()
        self.net = nn.ModuleDict(
            {
                "synthesis": StyleSynthesis(resolution, params.width),
                "discriminator": StyleDiscriminator(resolution, params.width),
                "augment": self.augment,
                "path_length": self.path_length,
            }
        )

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        return [list(self.net[k].parameters()) for k in ("discriminator", "synthesis")]

    def step(self, context: Step) -> dict[str, float]:
        codes = drop(context.conditions, 0, 0, 0, UNKNOWN_SHARE, context.draws)
        real = signed(context.pixels)
        with context.backend.autocast():
            fake = context.wrapped["synthesis"](self._noise(context, len(codes)), codes)[0].float()
        losses = self._discriminate(context, real, fake.detach(), codes)
        losses |= self._generate(context, real, fake, codes)
        for optimiser in context.optimisers:
            optimiser.zero_grad(set_to_none=True)
        return losses

    def _noise(self, context: Step, n: int) -> Tensor:
        synthesis = self.net["synthesis"]
        assert isinstance(synthesis, StyleSynthesis)
        return context.draws.normal(n, synthesis.noise_size()).to(context.pixels.device)

    def r1_gamma(self, batch: int) -> float:
        """Return the weight of R1: what was set, or the authors' 0.0002 r^2 / batch (Karras et al. 2020b, appendix)."""
        set_by_user = self.params.r1_gamma
        return R1_HEURISTIC * self.resolution**2 / batch if set_by_user is None else set_by_user

    def _discriminate(self, context: Step, real: Tensor, fake: Tensor, codes: Tensor) -> dict[str, float]:
        discriminator = context.wrapped["discriminator"]
        shown = self.augment(real, context.draws)
        with context.backend.autocast():
            on_real = discriminator(shown, codes).float()
            on_fake = discriminator(self.augment(fake, context.draws), codes).float()
        loss = logistic_discriminator(on_real, on_fake)
        gamma = self.r1_gamma(len(real) * context.draws.world)
        if context.number % self.params.r1_every == 0 and gamma > 0:
            weight = 0.5 * gamma * self.params.r1_every
            loss = loss + weight * r1_penalty(discriminator, shown, codes)
        context.backend.backward(loss)
        context.optimisers[0].step()
        sign = self.augment.adapt(on_real.detach(), context.backend)
        return {
            "discriminator": float(logistic_discriminator(on_real.detach(), on_fake.detach())),
            "real_score": float(on_real.detach().mean()),
            "fake_score": float(on_fake.detach().mean()),
            "real_sign": sign,
            "augmented": float(self.augment.probability),
        }

    def _generate(self, context: Step, real: Tensor, fake: Tensor, codes: Tensor) -> dict[str, float]:
        with frozen(self.net["discriminator"]) as discriminator, context.backend.autocast():
            score = discriminator(self.augment(fake, context.draws), codes).float()
        main = loss = logistic_generator(score)
        if context.number % self.params.path_every == 0 and (self.params.path_weight or self.params.diversity_weight):
            loss = main + self.params.path_every * self.regularisers(context, real, fake, codes)
        context.backend.backward(loss)
        context.optimisers[1].step()
        return {"generator": float(main.detach()), "path_length": float(self.path_length.mean)}

    def regularisers(self, context: Step, real: Tensor, fake: Tensor, codes: Tensor) -> Tensor:
        """Return the weighed regularisers: path lengths of other images of half the codes, and how alike the two are."""
        half = max(1, len(codes) // 2)  # as the authors do
        with context.backend.autocast():
            images, styles = context.wrapped["synthesis"](self._noise(context, half), codes[:half])
        loss = torch.zeros((), device=codes.device)
        if self.params.path_weight:
            noise = context.draws.normal(*images.shape)
            lengths = path_lengths(images.float(), styles, noise)
            loss = loss + self.params.path_weight * self.path_length.penalty(lengths, context.backend)
        if self.params.diversity_weight:
            loss = loss + self.params.diversity_weight * diversity_sensitive(fake[:half], images.float(), real)
        return loss

    def config(self) -> dict[str, Any]:
        return {"generator": self.name, "resolution": self.resolution, "width": self.params.width}


class Stylegan2Generator:
    """A trained synthesis network."""

    name = "stylegan2"

    def __init__(self, folder: Path, sampler: SamplerParams) -> None:
        del sampler  # one pass, no guidance, no truncation: nothing to set
        checkpoint = load_checkpoint(folder, self.name)
        self.config = checkpoint.config
        self.resolution: int = checkpoint.config["resolution"]
        self.checkpoint_sha256 = checkpoint.sha256
        self.settings = {"sampler": "one pass"}
        self._synthesis = StyleSynthesis(self.resolution, checkpoint.config["width"])
        checkpoint.load_into(nn.ModuleDict({"synthesis": self._synthesis}))

    @torch.inference_mode()
    def sample(self, conditions: Sequence[Condition], keys: Sequence[str]) -> NDArray[np.uint8]:
        """Return images; see `Generator.sample`.

        Raises:
            CheckpointError: a lesion is asked for that the checkpoint never saw.
        """
        check_lesions(self.config, conditions)
        noise = key_noise(keys, (self._synthesis.noise_size(),))
        return np.asarray(pixels_of(self._synthesis(noise, encode(conditions))[0]).numpy())
