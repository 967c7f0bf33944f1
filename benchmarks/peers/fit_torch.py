"""The same training in torch, features taken once by hand; nothing is saved or converted.

Arguments: folder of photos, folder with the base's folded list of steps.
"""

from __future__ import annotations

import stopwatch  # first: it starts the clock

# isort: split
import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shared import steps
from torch import nn
from torch_network import Network

photos = Path(sys.argv[3])
torch.manual_seed(int(os.environ["SEED"]))
torch.set_num_threads(int(sys.argv[2]))
stopwatch.lap("import")

base = Network(steps()).eval().to(memory_format=torch.channels_last)
classes = sorted(path for path in photos.iterdir() if path.is_dir())
train: list[tuple[Path, int]] = []
held_back: list[tuple[Path, int]] = []
for number, folder in enumerate(classes):
    files = [(path, number) for path in sorted(folder.iterdir())]
    first = len(files) // 5
    held_back += files[:first]
    train += files[first:]
head = nn.Sequential(nn.Linear(1280, 64), nn.ReLU(), nn.Linear(64, len(classes)), nn.Sigmoid())
for layer in (head[0], head[2]):
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
optimizer, loss = torch.optim.Adam(head.parameters(), 0.005), nn.BCELoss()
stopwatch.lap("build")


def features(items: list[tuple[Path, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = []
    with torch.inference_mode():
        for i in range(0, len(items), 32):
            pixels = [
                np.asarray(Image.open(path).convert("RGB").resize((224, 224), 0))
                for path, _ in items[i : i + 32]
            ]
            x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div_(255)
            rows.append(base(x).mean((2, 3)))
    labels = torch.tensor([number for _, number in items])
    return torch.cat(rows).clone(), nn.functional.one_hot(labels, len(classes)).float()


x, y = features(train)
x_held_back, y_held_back = features(held_back)
for _ in range(10):
    order = torch.randperm(len(x))
    for i in range(0, len(order), 32):
        chosen = order[i : i + 32]
        optimizer.zero_grad()
        loss(head(x[chosen]), y[chosen]).backward()
        optimizer.step()
with torch.no_grad():
    right = head(x_held_back).argmax(1) == y_held_back.argmax(1)
stopwatch.lap("fit")
stopwatch.report(accuracy=right.float().mean().item())
