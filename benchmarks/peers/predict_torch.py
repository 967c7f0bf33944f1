"""torch, eager, channels last, batch norm folded; COMPILE=1 adds torch.compile with freezing."""

from __future__ import annotations

import os

import torch
from protocol import serve
from shared import MANY, THREADS, pictures, steps
from torch_network import Network

torch.set_num_threads(THREADS)
base = Network(steps()).eval().to(memory_format=torch.channels_last)


def as_torch(count: int) -> torch.Tensor:
    # NHWC memory is what channels_last means: nothing is copied.
    return torch.from_numpy(pictures(count)).permute(0, 3, 1, 2)


many = as_torch(MANY)
networks = {"eager": base}
if os.environ.get("COMPILE") == "1":
    import torch._inductor.config

    torch._inductor.config.freezing = True
    networks["compiled"] = torch.compile(base)


def singly(network: torch.nn.Module, images: int) -> None:
    with torch.no_grad():
        for i in range(images):
            network(many[i % MANY, None])


def batches(network: torch.nn.Module, images: int) -> None:
    with torch.no_grad():
        for done in range(0, images, 32):
            network(many[done : min(images, done + 32)])


settings = {}
for how, network in networks.items():
    settings[f"one at a time, {how}"] = lambda n, network=network: singly(network, n)
    settings[f"{how}, batch 32"] = lambda n, network=network: batches(network, n)
with torch.no_grad():
    features = base(as_torch(4)).permute(0, 2, 3, 1).numpy()
serve(f"torch {torch.__version__}", settings, features)
