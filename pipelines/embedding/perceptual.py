"""How different two pictures look to a network: LPIPS where its backbone is at hand, else embedded features.

Every distance has a name that stands beside its scores; scores of two distances are never compared.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.embedding.extractor import Extractor, default_extractor
from schemas.errors import ParamsError
from schemas.pinned_params import FileParams

_BATCH: Final = 16


class Perceptual(Protocol):
    """Anything that says how different pictures look."""

    @property
    def name(self) -> str:
        """Name that stands beside every score."""

    def __call__(self, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return distances float32 (N,), 0 for equal pictures, of sRGB images uint8 (N, H, W, 3)."""


class FeatureDistance:
    """1 - cosine of an extractor's features. Not LPIPS: averages over the picture, blind to where something moved."""

    def __init__(self, extractor: Extractor | None = None) -> None:
        self._extractor = extractor or default_extractor()
        self.name = f"1 - cosine of {self._extractor.name} features"

    def __call__(self, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
        a, b = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (self._extractor(one), self._extractor(other)))
        return np.asarray(1 - (a * b).sum(axis=1), np.float32)


class Lpips:
    """LPIPS with AlexNet (Zhang et al. 2018), version 0.1: its linear heads ship with torchmetrics, the backbone does not.

    torchmetrics builds the backbone with torchvision, which this project does without; the network is the same five
    layers. Pictures are compared at the size they have; the paper's were 64 px.
    """

    name = "LPIPS alexnet"

    def __init__(self, backbone: dict[str, Tensor], heads: dict[str, Tensor]) -> None:
        sizes = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
        self._layers = nn.ModuleList(nn.Conv2d(i, o, k, s, p) for i, o, k, s, p in sizes)
        for layer, number in zip(self._layers, (0, 3, 6, 8, 10), strict=True):
            layer.load_state_dict({n: backbone[f"features.{number}.{n}"] for n in ("weight", "bias")})
        self._heads = [heads[f"lin{k}.model.1.weight"] for k in range(5)]

    @classmethod
    def read(cls, params: FileParams, path: Path, who: str) -> Lpips:
        """Return LPIPS with torchvision's AlexNet weights from a file (.pth or .safetensors).

        Raises:
            ParamsError: the file is missing, is not the pinned one, or holds other weights.
        """
        if not path.is_file():
            raise ParamsError(
                f"{who}: no file {path}; needs torchvision's AlexNet weights; put them there or remove the key"
            )
        data = path.read_bytes()
        if (found := hashlib.sha256(data).hexdigest()) != params.sha256:
            raise ParamsError(
                f"{who}: {path} has sha256 {found[:12]}, {params.sha256[:12]} is pinned; put the pinned file there"
            )
        try:
            return cls(_tensors(path), _tensors(_heads_file()))
        except Exception as cause:  # a broken archive, another network, a pickle that does more than hold tensors
            first = (str(cause).splitlines() or [type(cause).__name__])[0][:160]
            raise ParamsError(
                f"{who}: {path} is no AlexNet of torchvision ({first}); take alexnet-owt-7be5be79.pth"
            ) from None

    @torch.inference_mode()
    def __call__(self, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = [
            self._batch(torch.from_numpy(one[i : i + _BATCH]), torch.from_numpy(other[i : i + _BATCH]))
            for i in range(0, len(one), _BATCH)
        ]
        return np.concatenate([f.numpy() for f in found]) if found else np.empty(0, np.float32)

    def _batch(self, one: Tensor, other: Tensor) -> Tensor:
        total = torch.zeros(len(one))
        for head, a, b in zip(self._heads, self._features(one), self._features(other), strict=True):
            a, b = (x / torch.sqrt(1e-8 + x.square().sum(dim=1, keepdim=True)) for x in (a, b))
            total += F.conv2d((a - b).square(), head).mean(dim=(1, 2, 3))
        return total

    def _features(self, pixels: Tensor) -> list[Tensor]:
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[
            :, None, None
        ]
        found = []
        for number, layer in enumerate(self._layers):
            x = F.relu(layer(F.max_pool2d(x, 3, 2) if number in (1, 2) else x))
            found.append(x)
        return found


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    loaded: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def _heads_file() -> Path:
    import torchmetrics

    package: Any = torchmetrics
    return Path(package.__file__).parent / "functional/image/lpips_models/alex.pth"
