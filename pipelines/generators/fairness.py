"""What a training does so that no stratum is learned worst: loss weights by group, and a pull on the mix of tones.

Both are modules that hold buffers alone. As a child of a recipe's `net` they are saved and restored with the run's
state, bit for bit; they are neither averaged nor exported, and no sampler knows them.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from pipelines.generators.interface import Backend, Step
from pipelines.probes.tone import TYPES, ToneProbe
from schemas.train_params import FairnessParams, GroupWeightParams, ToneTermParams

MEMORY_IMAGES: Final = 200
"""Half-life of a running mean, in images of its own cell or noise level."""


class GroupWeights(nn.Module):
    """A loss weight for each stratum and noise level, moved by how much worse than others it is learned.

    After online group DRO (Sagawa et al. 2020, algorithm 1): w <- w exp(rate x l), l the group's mean loss in this step.
    We differ in three ways. l is the loss over the running mean of its noise level, minus 1: otherwise the noisiest
    level would win whatever the stratum. Weights are kept in [1/clamp, clamp] with mean 1 over the cells seen so far, so
    that the step's size stays what the learning rate says. A cell that is absent from a batch is carried forward.
    """

    weight: Tensor  # (G, B)
    loss: Tensor  # (G, B), running mean
    relative: Tensor  # (G, B), running mean of the loss over its noise level's
    seen: Tensor  # (G, B), images
    level: Tensor  # (B,), running mean loss of the noise level

    def __init__(self, groups: int, params: GroupWeightParams) -> None:
        super().__init__()
        self.params = params
        shape = (groups, params.noise_bins)
        self.register_buffer("weight", torch.ones(shape))
        self.register_buffer("loss", torch.zeros(shape))
        self.register_buffer("relative", torch.ones(shape))
        self.register_buffer("seen", torch.zeros(shape))
        self.register_buffer("level", torch.zeros(params.noise_bins))

    @torch.no_grad()
    def forward(self, losses: Tensor, groups: Tensor, noise: Tensor, backend: Backend) -> Tensor:
        """Take one batch in and return each image's weight (n,); all 1 where weighting is switched off.

        Args:
            losses: (n,), of this process's images.
            groups: int64 (n,), strata.
            noise: (n,), 0 to 1, where each image lies between no noise and noise alone.
        """
        bins = (noise * self.params.noise_bins).long().clamp(0, self.params.noise_bins - 1)
        totals = torch.zeros(2, *self.weight.shape, device=losses.device)
        totals.index_put_((torch.zeros_like(groups), groups, bins), losses.float(), accumulate=True)
        totals.index_put_((torch.ones_like(groups), groups, bins), torch.ones_like(losses.float()), accumulate=True)
        sums, counts = backend.reduce(totals, "sum")
        mean = sums / counts.clamp_min(1)
        self.level.copy_(
            _running(self.level, sums.sum(0) / counts.sum(0).clamp_min(1), counts.sum(0), self.seen.sum(0))
        )
        ratio = torch.where(counts > 0, mean / self.level.clamp_min(1e-12), 1.0)
        self.loss.copy_(_running(self.loss, mean, counts, self.seen))
        self.relative.copy_(_running(self.relative, ratio, counts, self.seen))
        self.seen += counts
        if not self.params.use:
            return torch.ones_like(losses)
        moved = self.weight * (self.params.rate * (ratio - 1)).exp()
        known = self.seen > 0
        self.weight[known] = mean_one(moved[known], self.params.clamp)
        return self.weight[groups, bins]

    def by_group(self) -> Tensor:
        """Return each group's loss over its noise levels' (G,): 1 is learned like the rest, or was never seen."""
        known = self.seen > 0
        return torch.where(known.any(dim=1), (self.relative * known).sum(dim=1) / known.sum(dim=1).clamp_min(1), 1.0)


def _running(old: Tensor, new: Tensor, count: Tensor, before: Tensor) -> Tensor:
    """Return the running mean after `count` more images of mean `new`; a first value is taken as it is."""
    keep = torch.where(before > 0, 0.5 ** (count / MEMORY_IMAGES), 0.0)
    return torch.where(count > 0, keep * old + (1 - keep) * new, old)


def mean_one(weights: Tensor, clamp: float) -> Tensor:
    """Return weights (n,) x s, clamped to [1/clamp, clamp], with the s for which their mean is 1 (by bisection)."""
    low, high = weights.new_tensor(1 / clamp) / weights.max(), weights.new_tensor(clamp) / weights.min()
    for _ in range(40):
        middle = (low * high).sqrt()
        above = (middle * weights).clamp(1 / clamp, clamp).mean() > 1
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return ((low * high).sqrt() * weights).clamp(1 / clamp, clamp)


class ToneTerm(nn.Module):
    """KL(target || reading) in nats: the mix of skin types a frozen probe reads in the predicted clean images.

    The reading is the mean of the probe's probabilities over the low-noise images of the whole batch; at high noise a
    predicted image is an average of many, whose tone is nobody's. The target is a mix of labels *as the probe would
    read it* on real images (its mean reading of each type), so that its own errors pull at nothing.
    """

    readings: Tensor  # (6, 6)

    def __init__(self, probe: ToneProbe, readings: Tensor, params: ToneTermParams) -> None:
        super().__init__()
        self.params = params
        self.probe = probe
        self.register_buffer("readings", readings)

    def read(self, planes: Tensor, fst: Tensor) -> Tensor:
        """Return (2, 6): the summed probabilities the probe reads, and how many images were asked for, by type.

        Both sum over images, so a batch's is the sum of its parts'.

        Args:
            planes: (n, 3, r, r), -1 to 1, this process's predicted images at low noise; n may be 0.
            fst: int64 (n,), the types asked for; images of unknown type (0) are not read.
        """
        said = fst > 0
        total = self.probe(planes[said]).sum(dim=0)
        return torch.stack([total, torch.bincount(fst[said] - 1, minlength=TYPES).to(total)])

    def forward(self, reading: Tensor, world: int, backend: Backend) -> tuple[Tensor, Tensor]:
        """Return the KL times `world`, whose gradient averaged over processes is the KL's, and the KL itself.

        Args:
            reading: (2, 6), of this process's images: see `read`.
        """
        total = reading[0]
        everyone = backend.reduce(reading.detach(), "sum")
        images = everyone[1].sum().clamp_min(1)
        # The others' share of the sum is a constant here; each process has the gradient of its own.
        mean = (everyone[0] + (total - total.detach())) / images
        known = self.probe.known.to(total)
        mix = known / known.sum() if self.params.target == "equal" else everyone[1] / images
        target = mix @ self.readings
        kl = (torch.xlogy(target, target) - target * mean.clamp_min(1e-6).log()).sum()
        kl = kl * (everyone[1].sum() > 0)
        return kl * world, kl.detach()

    def slope(self, reading: Tensor, world: int, backend: Backend) -> tuple[Tensor, Tensor]:
        """Return the derivative by `reading` (2, 6) of the KL times `weight` and `world`, and the KL itself.

        The derivative times a part's reading, summed over parts, has the gradient of the whole batch's term.
        """
        leaf = reading.detach().requires_grad_(True)
        with torch.enable_grad():
            shared, kl = self(leaf, world, backend)
        (slope,) = torch.autograd.grad(shared, leaf)
        return self.params.weight * slope, kl


class Fairness(nn.Module):
    """The parts a training uses, under one name in the recipe's `net`."""

    def __init__(self, groups: int, params: FairnessParams, tone: ToneTerm | None) -> None:
        super().__init__()
        self.groups = GroupWeights(groups, params.group_weights)
        self.tone = tone

    @property
    def judges_batches(self) -> bool:
        """Return whether the gradient of one image depends on what the rest of the batch is like."""
        return self.tone is not None or self.groups.params.use

    def weights(self, losses: Tensor, noise: Tensor, context: Step) -> Tensor:
        """Return each image's loss weight (n,) and remember its loss."""
        result: Tensor = self.groups(losses.detach(), context.groups, noise, context.backend)
        return result
