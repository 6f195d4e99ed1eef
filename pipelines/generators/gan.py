"""Conditional GAN in the spectral space: residual generator, projection discriminator, hinge loss, R1.

Sources: projection discriminator, Miyato & Koyama (2018); hinge loss, Lim & Ye (2017); R1 on real images, applied
lazily, Mescheder et al. (2018) and Karras et al. (2020); minibatch standard deviation, Karras et al. (2018);
real images under another lesion's name shown as false, Reed et al. (2016);
DiffAugment's translation, Zhao et al. (2020). We differ in working on block-cosine coefficients (the inverse
transform is the generator's last layer); in showing them to the discriminator weighted by the root of their standard
deviation (a guess at why a first attempt failed, not tested alone: docs/log.md); in never augmenting colour, since
tone is a condition; in a regression of the skin's mean colour on that of a real image of the same condition; and in a
diversity term after Yang et al. (2019), which asks two latents of one condition for two pictures: they divide by the
distance of the latents and clamp at a constant, here the distance of two real images sets the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.generators.checkpoint import load_checkpoint
from pipelines.generators.conditioning import Conditioner, drop, encode
from pipelines.generators.draws import Draws
from pipelines.generators.interface import Condition, Step, key_noise
from pipelines.imaging.spectral import BLOCK, PLANES, Spectral
from schemas.params import SamplerParams
from schemas.train_params import GanParams

WIDTH: Final = 64
LATENT: Final = 128
CHANNELS: Final = (192, 160, 128)
"""Feature maps at 1/4, 1/2 and all of the coefficient planes' side."""

UNKNOWN_SHARE: Final = 0.05
LEAK: Final = 0.2
TONE_WEIGHT: Final = 0.5
DIVERSITY_WEIGHT: Final = 1.0
DIVERSITY_SHARE: Final = 0.6
"""Two images of one condition should differ this much of what two real images of any condition do; below it costs.

Phantoms of one FST and lesion reach 0.8 (nevus) to 1.3 (melanoma)."""

MISMATCH_WEIGHT: Final = 0.5


class ModulatedBlock(nn.Module):
    """Residual block whose normalised features are scaled and shifted by the style, with a learned noise gain."""

    def __init__(self, channels_in: int, channels_out: int, style: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(16, channels_in, affine=False)
        self.norm2 = nn.GroupNorm(16, channels_out, affine=False)
        self.style1 = nn.Linear(style, 2 * channels_in)
        self.style2 = nn.Linear(style, 2 * channels_out)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()
        self.grain = nn.Parameter(torch.full((channels_out, 1, 1), 0.1))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        h = self.conv1(self._modulate(self.norm1(x), self.style1(style)))
        h = h + self.grain * noise
        h = self.conv2(self._modulate(self.norm2(h), self.style2(style)))
        out: Tensor = self.skip(x) + 0.5 * h
        return out

    @staticmethod
    def _modulate(x: Tensor, style: Tensor) -> Tensor:
        gain, shift = style[:, :, None, None].chunk(2, dim=1)
        return F.leaky_relu(x * (1 + gain) + shift, LEAK)


class Synthesis(nn.Module):
    """Noise and conditions to spectral coefficients."""

    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.side = resolution // BLOCK
        self.conditioner = Conditioner(WIDTH)
        self.mapping = nn.Sequential(
            nn.Linear(LATENT + WIDTH, 192), nn.LeakyReLU(LEAK), nn.Linear(192, 192), nn.LeakyReLU(LEAK)
        )
        self.constant = nn.Parameter(torch.randn(CHANNELS[0], self.side // 4, self.side // 4))
        self.blocks = nn.ModuleList(
            [ModulatedBlock(a, b, 192) for a, b in zip((CHANNELS[0], *CHANNELS[:-1]), CHANNELS, strict=True)]
        )
        self.head = nn.Conv2d(CHANNELS[-1], PLANES, 3, padding=1)
        self.tint = nn.Linear(192, PLANES)

    def noise_size(self) -> int:
        """Return how many normal numbers one image takes."""
        return LATENT + sum((self.side // s) ** 2 for s in (4, 2, 1))

    def forward(self, noise: Tensor, codes: Tensor) -> Tensor:
        """Return coefficients (n, 24, side, side) for noise (n, noise_size) and codes (n, 4)."""
        _, pooled = self.conditioner(codes)
        latent = F.normalize(noise[:, :LATENT], dim=1) * LATENT**0.5
        style = self.mapping(torch.cat([latent, pooled], dim=1))
        x, used = self.constant.expand(len(noise), -1, -1, -1), LATENT
        for index, block in enumerate(self.blocks):
            if index:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            side = x.shape[-1]
            grain = noise[:, used : used + side * side].reshape(-1, 1, side, side)
            x, used = block(x, style, grain), used + side * side
        planes: Tensor = self.head(F.leaky_relu(x, LEAK)) + self.tint(style)[:, :, None, None]
        return planes


class Discriminator(nn.Module):
    """Coefficients and conditions to one realness score, by projection."""

    importance: Tensor

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        c4, c2, c1 = CHANNELS
        self.register_buffer("importance", torch.ones(PLANES, 1, 1))
        self.conditioner = Conditioner(WIDTH)
        self.body = nn.Sequential(
            norm(nn.Conv2d(PLANES, c1, 3, padding=1)), nn.LeakyReLU(LEAK),
            norm(nn.Conv2d(c1, c2, 3, padding=1)), nn.LeakyReLU(LEAK), nn.AvgPool2d(2),
            norm(nn.Conv2d(c2, c2, 3, padding=1)), nn.LeakyReLU(LEAK),
            norm(nn.Conv2d(c2, c4, 3, padding=1)), nn.LeakyReLU(LEAK), nn.AvgPool2d(2),
        )  # fmt: skip
        self.last = nn.Sequential(norm(nn.Conv2d(c4 + 1, c4, 3, padding=1)), nn.LeakyReLU(LEAK))
        self.score = norm(nn.Linear(c4, 1))
        self.project = norm(nn.Linear(WIDTH, c4))

    def forward(self, planes: Tensor, codes: Tensor) -> Tensor:
        """Return scores (n,) for coefficients (n, 24, side, side) and codes (n, 4)."""
        h = self.body(planes * self.importance)
        deviation = h.std(dim=0, unbiased=False).mean().expand(len(h), 1, *h.shape[2:])
        h = self.last(torch.cat([h, deviation], dim=1)).mean(dim=(2, 3)) * 4
        _, pooled = self.conditioner(codes)
        realness: Tensor = self.score(h)[:, 0] + (self.project(pooled) * h).sum(dim=1) / h.shape[1] ** 0.5
        return realness


class GanRecipe:
    """Alternating training of discriminator and generator."""

    name = "gan"
    whitening = 1.0
    exported = ("synthesis", "spectral")

    def __init__(self, params: GanParams, resolution: int) -> None:
        self.params = params
        self.resolution = resolution
        self.net = nn.ModuleDict(
            {"synthesis": Synthesis(resolution), "discriminator": Discriminator(), "spectral": Spectral()}
        )

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        return [list(self.net[k].parameters()) for k in ("discriminator", "synthesis")]

    def step(self, context: Step) -> dict[str, float]:
        spectral, synthesis = self.net["spectral"], self.net["synthesis"]
        assert isinstance(spectral, Spectral)
        assert isinstance(synthesis, Synthesis)
        discriminator = self.net["discriminator"]
        assert isinstance(discriminator, Discriminator)
        root = spectral.scale.sqrt()
        discriminator.importance.copy_((root / root.mean())[:, None, None])
        real = spectral.encode(context.pixels)
        codes = drop(context.conditions, 0, 0, 0, UNKNOWN_SHARE, context.draws)
        noise = [context.draws.normal(len(real), synthesis.noise_size()).to(real.device) for _ in range(2)]
        losses = self._discriminate(context, real, codes, noise[0])
        losses |= self._generate(context, real, codes, noise[1])
        for optimiser in context.optimisers:
            optimiser.zero_grad(set_to_none=True)
        return losses

    def _generate(self, context: Step, real: Tensor, codes: Tensor, noise: Tensor) -> dict[str, float]:
        """Train the synthesis on pairs: two latents, one condition, the same grain (which must not pass for variety)."""
        half = len(real) // 2
        paired = torch.cat([torch.arange(half)] * 2).to(real.device)
        noise = torch.cat([noise[: 2 * half, :LATENT], noise[paired, LATENT:]], dim=1)
        with context.backend.autocast():
            fake = context.wrapped["synthesis"](noise, codes[paired])
            score = context.wrapped["discriminator"](_shift(fake, context.draws), codes[paired])
        tone = F.mse_loss(_skin_colour(fake.float()), _skin_colour(real[paired]))
        weight = self.net["discriminator"].importance
        assert isinstance(weight, Tensor)
        goal = DIVERSITY_SHARE * _difference(real, real.roll(1, 0), weight).mean()
        one, other = fake.float().chunk(2)
        variety = _difference(one, other, weight) / goal
        loss = TONE_WEIGHT * tone + DIVERSITY_WEIGHT * F.relu(1 - variety).mean() - score.float().mean()
        context.backend.backward(loss)
        context.optimisers[1].step()
        return {
            "generator": float(-score.detach().float().mean()),
            "tone": float(tone.detach()),
            "variety": float(variety.detach().mean()),
        }

    def _discriminate(self, context: Step, real: Tensor, codes: Tensor, noise: Tensor) -> dict[str, float]:
        discriminator = context.wrapped["discriminator"]
        with context.backend.autocast():
            with torch.no_grad():
                fake = context.wrapped["synthesis"](noise, codes).float()
            on_real = discriminator(_shift(real, context.draws), codes).float()
            on_fake = discriminator(_shift(fake, context.draws), codes).float()
            wrong, differs = _other_lesion(codes)
            on_wrong = discriminator(_shift(real, context.draws), wrong).float()
        mismatch = (F.relu(1 + on_wrong) * differs).sum() / differs.sum().clamp_min(1)
        loss = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean() + MISMATCH_WEIGHT * mismatch
        penalty = torch.zeros(())
        if context.number % self.params.r1_every == 0 and self.params.r1_gamma > 0:
            seen = real.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(discriminator(seen, codes).sum(), seen, create_graph=True)
            penalty = gradient.square().sum(dim=(1, 2, 3)).mean()
            loss = loss + 0.5 * self.params.r1_gamma * self.params.r1_every * penalty
        context.backend.backward(loss)
        context.optimisers[0].step()
        for optimiser in context.optimisers:
            optimiser.zero_grad(set_to_none=True)
        return {
            "discriminator": float(loss.detach()),
            "real_score": float(on_real.mean().detach()),
            "fake_score": float(on_fake.mean().detach()),
            "mismatch": float(mismatch.detach()),
        }

    def config(self) -> dict[str, Any]:
        return {"generator": self.name, "resolution": self.resolution}


def _other_lesion(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the codes, each with its neighbour's lesion, and which of them (n,) differ by it."""
    wrong = codes.clone()
    wrong[:, 3] = codes[:, 3].roll(1, 0)
    return wrong, wrong[:, 3] != codes[:, 3]


def _skin_colour(planes: Tensor) -> Tensor:
    """Return the mean lightness and chroma (n, 3) of the outer ring, where the skin is."""
    colour = planes[:, [0, 16, 20]]
    edge = max(1, planes.shape[-1] // 8)
    total = colour.sum(dim=(2, 3)) - colour[:, :, edge:-edge, edge:-edge].sum(dim=(2, 3))
    return total / (planes.shape[-1] ** 2 - (planes.shape[-1] - 2 * edge) ** 2)


def _difference(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Return how far two batches of coefficients are apart (n,), apart from their mean colour, which is a condition."""
    a, b = (weight * (x - x.mean(dim=(2, 3), keepdim=True)) for x in (a, b))
    return (a - b).abs().mean(dim=(1, 2, 3))


def _shift(planes: Tensor, draws: Draws) -> Tensor:
    """Return the batch moved by up to one block each way, edges repeated (the same shift for the whole batch)."""
    dy, dx = draws.shared(-1, 2, 2)
    side = planes.shape[-1]
    padded = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    return padded[:, :, 1 + dy : 1 + dy + side, 1 + dx : 1 + dx + side]


class GanGenerator:
    """A trained synthesis network."""

    name = "gan"

    def __init__(self, folder: Path, sampler: SamplerParams) -> None:
        del sampler  # one pass, no guidance: nothing to set
        checkpoint = load_checkpoint(folder, self.name)
        self.resolution: int = checkpoint.config["resolution"]
        self.checkpoint_sha256 = checkpoint.sha256
        self.settings = {"sampler": "one pass"}
        net = nn.ModuleDict({"synthesis": Synthesis(self.resolution), "spectral": Spectral()})
        checkpoint.load_into(net)
        self._net = net.eval()

    @torch.inference_mode()
    def sample(self, conditions: Sequence[Condition], keys: Sequence[str]) -> NDArray[np.uint8]:
        """Return images; see `Generator.sample`."""
        synthesis, spectral = self._net["synthesis"], self._net["spectral"]
        assert isinstance(synthesis, Synthesis)
        assert isinstance(spectral, Spectral)
        planes = synthesis(key_noise(keys, (synthesis.noise_size(),)), encode(conditions))
        return np.asarray(spectral.decode(planes).numpy())
