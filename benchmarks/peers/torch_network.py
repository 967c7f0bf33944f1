"""The folded list of steps as a torch module: channels last, ReLU6 and adds in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as f


class Network(nn.Module):
    """Takes and gives (n, channels, height, width)."""

    def __init__(self, steps: list[dict[str, Any]]) -> None:
        super().__init__()
        self.steps = steps
        self.weights = nn.ParameterList()
        self.index: dict[int, int] = {}
        for i, step in enumerate(steps):
            if step["op"] not in ("conv2d", "depthwise_conv2d", "add", "zero_padding2d"):
                raise ValueError(f"no torch module for {step['op']}")
            if step["kernel"] is not None:
                depthwise = step["op"] == "depthwise_conv2d"
                order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
                self.index[i] = len(self.weights)
                self.weights.append(torch.from_numpy(step["kernel"].transpose(order).copy()))
                self.weights.append(torch.from_numpy(step["bias"].copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: list[torch.Tensor] = []
        for i, step in enumerate(self.steps):
            source, *rest = (x if j < 0 else values[j] for j in step["inputs"])
            if step["op"] == "add":
                values.append(source + rest[0])
                continue
            (top, bottom), (left, right) = step["padding"]
            even = top == bottom and left == right
            if not even or step["op"] == "zero_padding2d":
                source = f.pad(source, (left, right, top, bottom))
            if step["op"] == "zero_padding2d":
                values.append(source)
                continue
            kernel = self.weights[self.index[i]]
            y = f.conv2d(
                source,
                kernel,
                self.weights[self.index[i] + 1],
                step["strides"],
                (top, left) if even else 0,
                groups=len(kernel) if step["op"] == "depthwise_conv2d" else 1,
            )
            if rest:
                y += rest[0]
            if step["activation"] == "relu6":
                y.clamp_(0, 6)
            values.append(y)
        return values[-1]
