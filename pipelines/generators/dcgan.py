"""Conditional DCGAN in pixels: strided convolutions both ways, projection discriminator, hinge or WGAN-GP loss.

Sources: architecture and initial weights, Radford et al. (2016); projection discriminator, Miyato & Koyama (2018); hinge
loss, Lim & Ye (2017), with spectral normalisation, Miyato et al. (2018); Wasserstein loss, Arjovsky et al. (2017), with
gradient penalty, Gulrajani et al. (2017), without any normalisation of the discriminator; a condition that scales and
shifts normalised features, de Vries et al. (2017), as Miyato & Koyama's generator has it; diversity-sensitive term, Yang
et al. (2019), without which two latents of one condition came out as one picture (docs/log.md).

We differ from Radford et al. in normalising each image by itself, over groups of feature maps, where they normalise
over the batch: an image must follow from its own key whatever it is drawn with, and two processes that share a batch
must see what one would. Their discriminator's batch normalisation is left out for the same reason (and a gradient
penalty does not allow it).
"""

from __future__ import annotations

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
    Score,
    diversity_sensitive,
    doublings,
    frozen,
    gradient_penalty,
    hinge_discriminator,
    hinge_generator,
    pixels_of,
    signed,
    wasserstein_discriminator,
    wasserstein_generator,
)
from pipelines.generators.checkpoint import check_lesions, load_checkpoint
from pipelines.generators.conditioning import Conditioner, drop, encode
from pipelines.generators.interface import Condition, Step, key_noise
from schemas.params import SamplerParams
from schemas.train_params import DcganParams

CODE: Final = 64
LATENT: Final = 100
LEAK: Final = 0.2
GROUP: Final = 16
"""Feature maps normalised together."""

WEIGHT_STD: Final = 0.02
"""Of the first weights of every convolution (Radford et al. 2016, section 4)."""

LOSSES: Final = {
    "hinge": (hinge_discriminator, hinge_generator),
    "wgan_gp": (wasserstein_discriminator, wasserstein_generator),
}


class ConditionalNorm(nn.Module):
    """Features (n, c, h, w) with zero mean and unit variance in groups of maps, then scaled and shifted by the condition."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(max(1, channels // GROUP), channels, affine=False)
        self.modulation = nn.Linear(code, 2 * channels)
        nn.init.normal_(self.modulation.weight, std=WEIGHT_STD)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        gain, shift = self.modulation(code)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = self.norm(x) * (1 + gain) + shift
        return out


class DcganSynthesis(nn.Module):
    """Noise and conditions to images: a projection to 4 x 4, then 4 x 4 transposed convolutions of stride 2."""

    def __init__(self, resolution: int, width: int) -> None:
        super().__init__()
        steps = doublings(resolution, "dcgan")
        self.channels = [width << k for k in reversed(range(steps))]
        self.conditioner = Conditioner(CODE)
        self.project = nn.Linear(LATENT + CODE, self.channels[0] * FIRST_SIDE**2)
        self.norms = nn.ModuleList([ConditionalNorm(c, CODE) for c in self.channels])
        self.ups = nn.ModuleList(
            [nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(self.channels, [*self.channels[1:], 3], strict=True)]
        )
        _initialise(self.project, self.ups)

    def noise_size(self) -> int:
        """Return how many normal numbers one image takes."""
        return LATENT

    def forward(self, noise: Tensor, codes: Tensor) -> Tensor:
        """Return images (n, 3, r, r) in (-1, 1) for noise (n, 100) and codes (n, 4)."""
        _, code = self.conditioner(codes)
        x = self.project(torch.cat([noise, code], dim=1)).reshape(-1, self.channels[0], FIRST_SIDE, FIRST_SIDE)
        for norm, up in zip(self.norms, self.ups, strict=True):
            x = up(F.relu(norm(x, code)))
        return torch.tanh(x)


class DcganDiscriminator(nn.Module):
    """Images and conditions to one score: psi(phi(x)) + y V phi(x) (Miyato & Koyama 2018, eq. 3)."""

    def __init__(self, resolution: int, width: int, *, spectral_norm: bool) -> None:
        super().__init__()
        channels = [3, *(width << k for k in range(doublings(resolution, "dcgan")))]
        self.conditioner = Conditioner(CODE)
        self.downs = nn.ModuleList([nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(channels)])
        self.score = nn.Linear(channels[-1], 1)
        self.project = nn.Linear(CODE, channels[-1], bias=False)
        _initialise(self.downs, self.score, self.project)
        if spectral_norm:
            for layer in (*self.downs, self.score, self.project):
                nn.utils.parametrizations.spectral_norm(layer)

    def forward(self, images: Tensor, codes: Tensor) -> Tensor:
        """Return scores (n,) for images (n, 3, r, r) and codes (n, 4)."""
        x = images
        for down in self.downs:
            x = F.leaky_relu(down(x), LEAK)
        phi = x.sum(dim=(2, 3)) / FIRST_SIDE
        _, code = self.conditioner(codes)
        scores: Tensor = self.score(phi)[:, 0] + (self.project(code) * phi).sum(dim=1)
        return scores


def _initialise(*parts: nn.Module) -> None:
    for layer in (m for part in parts for m in part.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=WEIGHT_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class DcganRecipe:
    """Training of discriminator and generator in turns."""

    name = "dcgan"
    whitening = 1.0  # works in pixels: there is no spectral scale to fit
    exported = ("synthesis",)

    def __init__(self, params: DcganParams, resolution: int) -> None:
        self.params = params
        self.resolution = resolution
        critic = DcganDiscriminator(resolution, params.width, spectral_norm=params.loss == "hinge")
        self.net = nn.ModuleDict({"synthesis": DcganSynthesis(resolution, params.width), "discriminator": critic})

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        return [list(self.net[k].parameters()) for k in ("discriminator", "synthesis")]

    def step(self, context: Step) -> dict[str, float]:
        real = signed(context.pixels)
        codes = drop(context.conditions, 0, 0, 0, UNKNOWN_SHARE, context.draws)
        noise = [context.draws.normal(len(real), LATENT).to(real.device) for _ in range(2)]
        losses = self._discriminate(context, real, codes, noise[0])
        if (context.number + 1) % self.params.generator_every == 0:
            losses |= self._generate(context, real, codes, noise[1])
        for optimiser in context.optimisers:
            optimiser.zero_grad(set_to_none=True)
        return losses

    def _discriminate(self, context: Step, real: Tensor, codes: Tensor, noise: Tensor) -> dict[str, float]:
        discriminator: Score = context.wrapped["discriminator"]
        with context.backend.autocast():
            with torch.no_grad():
                fake = context.wrapped["synthesis"](noise, codes).float()
            on_real, on_fake = discriminator(real, codes).float(), discriminator(fake, codes).float()
        of_discriminator, of_generator = LOSSES[self.params.loss]
        loss, penalty = of_discriminator(on_real, on_fake), torch.zeros(())
        if self.params.loss == "wgan_gp":
            mix = context.draws.uniform(len(real))
            penalty = gradient_penalty(discriminator, real, fake, codes, mix)
            loss = loss + self.params.gradient_penalty * penalty
        context.backend.backward(loss)
        context.optimisers[0].step()
        return {
            "discriminator": float(loss.detach()),
            "generator": float(of_generator(on_fake.detach())),  # unless its own step follows
            "sameness": 0.0,
            "real_score": float(on_real.detach().mean()),
            "fake_score": float(on_fake.detach().mean()),
            "gradient_penalty": float(penalty.detach()),
        }

    def _generate(self, context: Step, real: Tensor, codes: Tensor, noise: Tensor) -> dict[str, float]:
        """Train the synthesis on pairs of two latents under one condition; an odd last image is left out."""
        half = len(real) // 2
        with frozen(self.net["discriminator"]) as discriminator, context.backend.autocast():
            paired = torch.cat([codes[:half]] * 2)
            fake = context.wrapped["synthesis"](noise[: 2 * half], paired)
            score = discriminator(fake, paired).float()
        one, other = fake.float().chunk(2)
        main, sameness = LOSSES[self.params.loss][1](score), diversity_sensitive(one, other, real)
        context.backend.backward(main + self.params.diversity_weight * sameness)
        context.optimisers[1].step()
        return {"generator": float(main.detach()), "sameness": float(sameness.detach())}

    def config(self) -> dict[str, Any]:
        return {"generator": self.name, "resolution": self.resolution, "width": self.params.width}


class DcganGenerator:
    """A trained synthesis network."""

    name = "dcgan"

    def __init__(self, folder: Path, sampler: SamplerParams) -> None:
        del sampler  # one pass, no guidance: nothing to set
        checkpoint = load_checkpoint(folder, self.name)
        self.config = checkpoint.config
        self.resolution: int = checkpoint.config["resolution"]
        self.checkpoint_sha256 = checkpoint.sha256
        self.settings = {"sampler": "one pass"}
        self._synthesis = DcganSynthesis(self.resolution, checkpoint.config["width"])
        checkpoint.load_into(nn.ModuleDict({"synthesis": self._synthesis}))

    @torch.inference_mode()
    def sample(self, conditions: Sequence[Condition], keys: Sequence[str]) -> NDArray[np.uint8]:
        """Return images; see `Generator.sample`.

        Raises:
            CheckpointError: a lesion is asked for that the checkpoint never saw.
        """
        check_lesions(self.config, conditions)
        images = self._synthesis(key_noise(keys, (LATENT,)), encode(conditions))
        return np.asarray(pixels_of(images).numpy())
