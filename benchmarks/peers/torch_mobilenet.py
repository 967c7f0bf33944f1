"""MobileNetV2 without its top in torch, with batch norm of its own, to be trained.

Keras pads below and to the right where a stride is 2. torch can only pad all around, and then has
no use for what is below and to the right: so everything is mirrored here, pictures and kernels,
and torch need not pad by hand. Features are Keras's, mirrored.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

BLOCKS = 17
HALVING = (1, 3, 6, 13)


class Norm(nn.BatchNorm2d):
    """Batch norm as Keras's MobileNetV2 sets it."""

    def __init__(self, tensors: dict[str, np.ndarray], name: str) -> None:
        super().__init__(len(tensors[f"{name}/gamma"]), eps=1e-3, momentum=1e-3)
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(tensors[f"{name}/gamma"]))
            self.bias.copy_(torch.from_numpy(tensors[f"{name}/beta"]))
            self.running_mean.copy_(torch.from_numpy(tensors[f"{name}/moving_mean"]))
            self.running_var.copy_(torch.from_numpy(tensors[f"{name}/moving_variance"]))


def convolution(tensors: dict[str, np.ndarray], name: str, stride: int) -> nn.Conv2d:
    """A convolution without bias, depthwise if its kernel is called so."""
    depthwise = f"{name}/depthwise_kernel" in tensors
    kernel = tensors[f"{name}/depthwise_kernel" if depthwise else f"{name}/kernel"][::-1, ::-1]
    ordered = torch.from_numpy(kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)).copy())
    outputs, inputs, size, _ = ordered.shape
    groups = outputs if depthwise else 1
    layer = nn.Conv2d(inputs * groups, outputs, size, stride, size // 2, groups=groups, bias=False)
    with torch.no_grad():
        layer.weight.copy_(ordered)
    return layer


class Block(nn.Module):
    """Expansion, depthwise convolution and projection, with a shortcut where the shape stays."""

    def __init__(self, tensors: dict[str, np.ndarray], number: int) -> None:
        super().__init__()
        name = f"block_{number}" if number else "expanded_conv"
        stride = 2 if number in HALVING else 1
        parts: list[nn.Module] = []
        for part in ("expand", "depthwise", "project"):
            whole = f"{name}_{part}"
            if f"{whole}_BN/gamma" not in tensors:
                continue  # the first block does not expand
            parts.append(convolution(tensors, whole, stride if part == "depthwise" else 1))
            parts.append(Norm(tensors, f"{whole}_BN"))
            if part != "project":
                parts.append(nn.ReLU6(inplace=True))
        self.parts = nn.Sequential(*parts)
        same = parts[0].in_channels == parts[-2].out_channels
        self.shortcut = stride == 1 and same

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.parts(x)
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """Stages in a row: the stem, 17 blocks, the last convolution."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        super().__init__()

        def ends(conv: str, norm: str, stride: int) -> nn.Sequential:
            layers = (convolution(tensors, conv, stride), Norm(tensors, norm))
            return nn.Sequential(*layers, nn.ReLU6(inplace=True))

        blocks = (Block(tensors, number) for number in range(BLOCKS))
        self.stages = nn.ModuleList(
            [ends("Conv1", "bn_Conv1", 2), *blocks, ends("Conv_1", "Conv_1_bn", 1)]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = stage(x)
        return x
