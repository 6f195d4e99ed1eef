"""Conditional StyleGAN2 in pixels: mapping network, modulated convolutions, R1, path length, adaptive augmentation.

Sources: mapping network, noise inputs and equalised learning rates, Karras et al. (2019, 2018); weight modulation and
demodulation, skip generator, residual discriminator, lazy R1 and path-length regularisation, Karras et al. (2020a);
conditions in the mapping network and by projection, adaptive augmentation, Karras et al. (2020b); R1 itself, Mescheder
et al. (2018); projection, Miyato & Koyama (2018); logistic loss, Goodfellow et al. (2014).

We differ in the condition (the sum of the tokens of skin type, ITA, lesion and modality); in a score of psi(phi) + y V phi as in
Miyato & Koyama where the authors have the product alone; in regularising in the same optimiser step as the main loss,
so Adam's settings need no correction; in R1 at what the discriminator sees, after augmentation, because the second
derivative of the resampling is not to be had; and in no style mixing and no truncation. Feature maps: `width` at full resolution,
twice as many at each halving, at most 8 times.
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
from pipelines.generators.equalised import EqualConv, EqualLinear, activate, blur, pixel_norm, with_deviation
from pipelines.generators.interface import Condition, Step, key_noise
from schemas.params import SamplerParams
from schemas.train_params import Stylegan2Params

CODE: Final = 64
LATENT: Final = 128
STYLE: Final = 128
MAPPING_LAYERS: Final = 4
MAPPING_RATE: Final = 0.01
"""Learning rate of the mapping network, of everything else's."""


class ModulatedConv(nn.Module):
    """Convolution whose weights each image's style scales, and whose outputs are scaled back (Karras et al. 2020a, eq. 1-3).

    w'_ijk = s_i w_ijk; w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + eps). Scaling the input by s and the output by the root is the
    same and needs no weights of each image's own. `up` doubles the side: a transposed convolution, then a blur.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, up: bool = False, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, kernel, kernel))
        self.affine = EqualLinear(STYLE, channels_in, bias=1.0)
        self.gain, self.up, self.demodulate = 1 / math.sqrt(channels_in * kernel**2), up, demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, weight = self.affine(style), self.weight * self.gain
        x = x * scale[:, :, None, None]
        if self.up:
            x = blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 1, gain=4)
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            power = scale.square() @ weight.square().sum(dim=(2, 3)).T
            x = x * (power + 1e-8).rsqrt()[:, :, None, None]
        return x


class StyledLayer(nn.Module):
    """Modulated convolution, noise, bias, activation."""

    def __init__(self, channels_in: int, channels_out: int, *, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(channels_in, channels_out, 3, up=up)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(channels_out))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        return activate(self.conv(x, style) + self.strength * noise + self.bias[:, None, None])


class ToRgb(nn.Module):
    """1 x 1 modulated convolution to colour, not demodulated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(channels, 3, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return self.conv(x, style) + self.bias[:, None, None]


class StyleSynthesis(nn.Module):
    """Noise and conditions to styles and images."""

    def __init__(self, resolution: int, width: int) -> None:
        super().__init__()
        steps = doublings(resolution, "stylegan2")
        channels = [width * min(8, 1 << k) for k in reversed(range(steps + 1))]
        self.sides = [FIRST_SIDE, *(FIRST_SIDE << k for k in range(1, steps + 1) for _ in range(2))]
        self.conditioner = Conditioner(CODE)
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
        for index, (layer, side) in enumerate(zip(self.layers, self.sides, strict=True)):
            x = layer(x, style, noise[:, used : used + side * side].reshape(-1, 1, side, side))
            used += side * side
            if index % 2 == 0:
                colour = self.colours[index // 2](x, style)
                images = F.interpolate(images, scale_factor=2, mode="bilinear") + colour if index else colour
        return images, style


class ResidualBlock(nn.Module):
    """Two convolutions and a 1 x 1 beside them, to half the side."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = EqualConv(channels_in, channels_in, 3)
        self.second = EqualConv(channels_in, channels_out, 3, down=True)
        self.skip = nn.Parameter(torch.randn(channels_out, channels_in, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        beside = F.conv2d(F.avg_pool2d(x, 2), self.skip / math.sqrt(x.shape[1]))
        return (activate(self.second(activate(self.first(x)))) + beside) / math.sqrt(2)


class StyleDiscriminator(nn.Module):
    """Images and conditions to one score."""

    def __init__(self, resolution: int, width: int) -> None:
        super().__init__()
        channels = [width * min(8, 1 << k) for k in range(doublings(resolution, "stylegan2") + 1)]
        self.conditioner = Conditioner(CODE)
        self.colours = EqualConv(3, channels[0], 1)
        self.blocks = nn.ModuleList([ResidualBlock(a, b) for a, b in pairwise(channels)])
        self.last = EqualConv(channels[-1] + 1, channels[-1], 3)
        self.flat = EqualLinear(channels[-1] * FIRST_SIDE**2, channels[-1])
        self.score = EqualLinear(channels[-1], 1)
        self.project = EqualLinear(CODE, channels[-1])

    def forward(self, images: Tensor, codes: Tensor) -> Tensor:
        """Return scores (n,) for images (n, 3, r, r) and codes (n, 4)."""
        x = activate(self.colours(images))
        for block in self.blocks:
            x = block(x)
        phi = activate(self.flat(activate(self.last(with_deviation(x))).flatten(1)))
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
        losses = self._discriminate(context, signed(context.pixels), codes)
        losses |= self._generate(context, codes)
        for optimiser in context.optimisers:
            optimiser.zero_grad(set_to_none=True)
        return losses

    def _noise(self, context: Step, n: int) -> Tensor:
        synthesis = self.net["synthesis"]
        assert isinstance(synthesis, StyleSynthesis)
        return context.draws.normal(n, synthesis.noise_size()).to(context.pixels.device)

    def _discriminate(self, context: Step, real: Tensor, codes: Tensor) -> dict[str, float]:
        discriminator = context.wrapped["discriminator"]
        shown = self.augment(real, context.draws)
        with context.backend.autocast():
            with torch.no_grad():
                fake = context.wrapped["synthesis"](self._noise(context, len(real)), codes)[0].float()
            on_real = discriminator(shown, codes).float()
            on_fake = discriminator(self.augment(fake, context.draws), codes).float()
        loss = logistic_discriminator(on_real, on_fake)
        if context.number % self.params.r1_every == 0 and self.params.r1_gamma > 0:
            weight = 0.5 * self.params.r1_gamma * self.params.r1_every
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

    def _generate(self, context: Step, codes: Tensor) -> dict[str, float]:
        synthesis = context.wrapped["synthesis"]
        with frozen(self.net["discriminator"]) as discriminator, context.backend.autocast():
            fake, _ = synthesis(self._noise(context, len(codes)), codes)
            score = discriminator(self.augment(fake.float(), context.draws), codes).float()
        main = loss = logistic_generator(score)
        if context.number % self.params.path_every == 0 and self.params.path_weight > 0:
            some = codes[: max(1, len(codes) // 2)]  # half the batch, as the authors do
            images, styles = synthesis(self._noise(context, len(some)), some)
            noise = context.draws.normal(*images.shape)
            penalty = self.path_length.penalty(path_lengths(images, styles, noise), context.backend)
            loss = main + self.params.path_weight * self.params.path_every * penalty
        context.backend.backward(loss)
        context.optimisers[1].step()
        return {"generator": float(main.detach()), "path_length": float(self.path_length.mean)}

    def draw(self, net: nn.Module, codes: Tensor, rng: torch.Generator) -> Tensor:
        """Return uint8 pixels (n, r, r, 3) that `net`, a copy of this recipe's, draws."""
        synthesis = net.get_submodule("synthesis")
        assert isinstance(synthesis, StyleSynthesis)
        noise = torch.randn(len(codes), synthesis.noise_size(), generator=rng)
        return pixels_of(synthesis(noise.to(codes.device), codes)[0])

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
