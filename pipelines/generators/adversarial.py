"""Losses and regularisers of adversarial training, each named after its paper; shared by `dcgan` and `stylegan2`.

Scores are (n,), higher for what looks real. A discriminator here is any function of images (n, 3, r, r) in [-1, 1] and
codes (n, 4) that returns scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.generators.interface import Backend
from schemas.errors import ParamsError

Score = Callable[[Tensor, Tensor], Tensor]

PATH_DECAY: Final = 0.01
"""How far one reading moves the running mean of the path length (Karras et al. 2020a, appendix B)."""

FIRST_SIDE: Final = 4
"""Side of the first feature maps, px; every block doubles it."""

BLOCK: Final = 8
"""Side of the blocks in which `coarse` looks at a picture, px."""

DIVERSITY_SHARE: Final = 0.6
"""Of the distance of two real images, as in `gan`; two phantoms of one FST and lesion reach 0.8 (nevus) to 1.3 (melanoma)."""

UNKNOWN_SHARE: Final = 0.05
"""Share of training images whose FST is hidden, so that both networks learn what `unknown` means."""


def hinge_discriminator(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """Return E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] (Lim & Ye 2017, eq. 10)."""
    return F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()


def hinge_generator(on_fake: Tensor) -> Tensor:
    """Return -E[D(G(z))] (Lim & Ye 2017)."""
    return -on_fake.mean()


def wasserstein_discriminator(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """Return E[D(G(z))] - E[D(x)] (Arjovsky et al. 2017): minus the estimated distance; needs a penalty beside it."""
    return on_fake.mean() - on_real.mean()


def wasserstein_generator(on_fake: Tensor) -> Tensor:
    """Return -E[D(G(z))] (Arjovsky et al. 2017)."""
    return -on_fake.mean()


def logistic_discriminator(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """Return E[softplus(-D(x))] + E[softplus(D(G(z)))] (Goodfellow et al. 2014)."""
    return F.softplus(-on_real).mean() + F.softplus(on_fake).mean()


def logistic_generator(on_fake: Tensor) -> Tensor:
    """Return E[softplus(-D(G(z)))], the non-saturating form (Goodfellow et al. 2014)."""
    return F.softplus(-on_fake).mean()


def gradient_penalty(discriminator: Score, real: Tensor, fake: Tensor, codes: Tensor, mix: Tensor) -> Tensor:
    """Return E[(|dD/dx| - 1)^2] on the lines between real and false images (Gulrajani et al. 2017, eq. 3).

    Args:
        mix: (n,) uniform in [0, 1), the place on each line; the condition is the same at both ends.
    """
    between = torch.lerp(fake.detach(), real.detach(), mix.to(real.device)[:, None, None, None]).requires_grad_(True)
    return (_slopes(discriminator, between, codes).sqrt() - 1).square().mean()


def r1_penalty(discriminator: Score, real: Tensor, codes: Tensor) -> Tensor:
    """Return E[|dD/dx|^2] on real images (Mescheder et al. 2018, eq. 9, without its gamma / 2)."""
    return _slopes(discriminator, real.detach().requires_grad_(True), codes).mean()


def _slopes(discriminator: Score, images: Tensor, codes: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(discriminator(images, codes).float().sum(), images, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3))


def path_lengths(images: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """Return |J^T y| (n,): how far images (n, 3, r, r) move when their styles (n, w) do (Karras et al. 2020a, eq. 4).

    Args:
        noise: standard normal, of the images' shape; divided by r here, so that the length does not grow with r.
    """
    moved = (images * noise.to(images.device)).sum() / images.shape[-1]
    (slope,) = torch.autograd.grad(moved, styles, create_graph=True)
    return slope.square().sum(dim=1).sqrt()


class PathLength(nn.Module):
    """Path-length regularisation (Karras et al. 2020a): every style should move its image as far as styles do on average.

    The running mean `a` is a buffer, so that it is saved with a run's state. It is a mean over all processes; the
    authors' code keeps one a process.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def penalty(self, lengths: Tensor, backend: Backend) -> Tensor:
        """Move the mean towards the lengths (n,) and return E[(|J^T y| - a)^2]."""
        self.mean.lerp_(backend.reduce(lengths.detach().mean(), "mean"), PATH_DECAY)
        return (lengths - self.mean).square().mean()


def coarse(images: Tensor) -> Tensor:
    """Return images (n, 3, r, r) as means over blocks of 8 px without the picture's own mean colour, (n, 3 (r/8)^2).

    What a distance between two pictures is taken of: neither grain nor tone, which is a condition, may pass for variety.
    """
    pooled = F.avg_pool2d(images.float(), BLOCK)
    return (pooled - pooled.mean(dim=(2, 3), keepdim=True)).flatten(1)


def diversity_sensitive(one: Tensor, other: Tensor, real: Tensor) -> Tensor:
    """Return E[max(0, 1 - d / bound)] over pairs of images of one condition and two latents (after Yang et al. 2019).

    They maximise the distance of two images divided by that of their latents, clamped at a constant (eq. 3). Here the
    latents' distance is left out (between normal vectors of this length it hardly varies), d is the mean difference of
    `coarse` pictures, and the bound is `DIVERSITY_SHARE` of that of two real images of any condition.
    """
    pictures = coarse(real)
    bound = DIVERSITY_SHARE * (pictures - pictures.roll(1, 0)).abs().mean()
    apart = (coarse(one) - coarse(other)).abs().mean(dim=1)
    return F.relu(1 - apart / bound.clamp_min(1e-6)).mean()


@contextmanager
def frozen(net: nn.Module) -> Iterator[nn.Module]:
    """Give the network without gradients for its weights: the generator's step needs those of its input alone.

    It must be the bare network, not the one wrapped for a process group: that one waits for its weights' gradients.
    """
    net.requires_grad_(False)
    try:
        yield net
    finally:
        net.requires_grad_(True)


def signed(pixels: Tensor) -> Tensor:
    """Return float32 images (n, 3, r, r) in [-1, 1] of uint8 pixels (n, r, r, 3)."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def pixels_of(images: Tensor) -> Tensor:
    """Return uint8 pixels (n, r, r, 3) of images (n, 3, r, r); values outside [-1, 1] are clipped."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def doublings(resolution: int, name: str) -> int:
    """Return how often a side of 4 px is doubled to reach `resolution`.

    Raises:
        ParamsError: it is not 4 times a power of two, or less than 16.
    """
    count = (resolution // FIRST_SIDE).bit_length() - 1
    if resolution < 16 or FIRST_SIDE << count != resolution:
        raise ParamsError(
            f"ingest.resolution: got {resolution} px; {name} doubles 4 px up to it and needs 16, 32, 64, 128, ...; use 64"
        )
    return count
