"""The spectral space: orthonormal, invertible but for fine chroma, the same loss for every skin tone."""

from __future__ import annotations

import numpy as np
import torch

from pipelines.imaging.spectral import PLANES, Spectral
from pipelines.phantoms.lesions import PAINTERS
from pipelines.phantoms.scene import ITA_DRAWN_DEG, render


def phantoms(fst: int) -> torch.Tensor:
    lesions = list(PAINTERS)
    drawn = [
        render(np.random.default_rng([fst, i]), lesions[i % 4], float(np.mean(ITA_DRAWN_DEG[fst])), 0.025, 64)[0]
        for i in range(12)
    ]
    return torch.from_numpy(np.stack(drawn))


def test_filters_are_orthonormal_and_grey_detail_survives_exactly() -> None:
    spectral = Spectral()
    rows = spectral.filters.flatten(1)
    assert torch.allclose(rows @ rows.T, torch.eye(PLANES), atol=1e-5)
    grey = torch.randint(0, 256, (2, 64, 64, 1), dtype=torch.uint8).expand(-1, -1, -1, 3).contiguous()
    assert (spectral.decode(spectral.encode(grey)).int() - grey.int()).abs().max() <= 1


def test_fit_gives_zero_mean_unit_variance() -> None:
    spectral, pixels = Spectral(), phantoms(2)
    spectral.fit(pixels)
    planes = spectral.encode(pixels)
    assert planes.shape == (12, PLANES, 16, 16)
    assert planes.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    assert (planes.std(dim=(0, 2, 3)) - 1).abs().max() < 0.05


def test_round_trip_is_as_good_on_dark_skin_as_on_light() -> None:
    spectral = Spectral()
    error = {}
    for fst in (1, 6):
        pixels = phantoms(fst)
        error[fst] = float((spectral.decode(spectral.encode(pixels)).float() - pixels.float()).square().mean().sqrt())
    assert max(error.values()) < 4.0, "RMSE in grey levels"
    assert error[6] < error[1] * 1.5, error
