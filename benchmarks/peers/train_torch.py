"""torch, channels last, eager; COMPILE=1 is torch.compile instead. See training.py."""

from __future__ import annotations

import os

import numpy as np
import torch
from shared import THREADS
from torch import nn
from torch_mobilenet import MobileNetV2, Norm
from training import CASE, RATE, batch, each, head, serve_steps, weights

torch.set_num_threads(THREADS)

TRAINED_FROM = 14  # of the stages: the stem, blocks 0 to 16, the last convolution
COMPILE = os.environ.get("COMPILE") == "1"


class Model(nn.Module):
    """The base, global average pooling and a dense layer without its softmax."""

    def __init__(self) -> None:
        super().__init__()
        stages = list(MobileNetV2(weights()).stages)
        first = TRAINED_FROM if CASE in ("block13", "kept") else 0
        self.frozen = nn.Sequential(*([] if CASE == "kept" else stages[:first]))
        self.trained = nn.Sequential(*stages[first:])
        kernel, bias = head()
        self.dense = nn.Linear(*kernel.shape)
        with torch.no_grad():
            self.dense.weight.copy_(torch.from_numpy(kernel.T))
            self.dense.bias.copy_(torch.from_numpy(bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            x = self.frozen(x)
        return self.dense(self.trained(x).mean((2, 3)))


model = Model().to(memory_format=torch.channels_last).train()
model.frozen.eval().requires_grad_(False)
if CASE == "frozen-norm":
    for module in model.modules():
        if isinstance(module, Norm):
            module.eval().requires_grad_(False)
optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], RATE)
loss_of = nn.CrossEntropyLoss()
run = torch.compile(model) if COMPILE else model

pictures, numbers = batch()
# The network is mirrored, see torch_mobilenet.py. NHWC memory is what channels_last means.
x = torch.from_numpy(np.ascontiguousarray(pictures[:, ::-1, ::-1])).permute(0, 3, 1, 2)
labels = torch.from_numpy(numbers)


def step() -> float:
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(run(x), labels)
    loss.backward()
    optimizer.step()
    return float(loss.item())


serve_steps(f"torch {torch.__version__}, {'compiled' if COMPILE else 'eager'}", each(step))
