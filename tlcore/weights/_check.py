"""Whether a file holds MobileNetV2's weights: every tensor, its shape, and finite values."""

from __future__ import annotations

from pathlib import Path

from tlcore import _core


def check_imagenet(path: Path, alpha: float, include_top: bool) -> None:
    """ValueError, naming file and data set, unless `path` holds the weights of this network."""
    from tlcore.saving import _hdf5, _weights

    graph = _core.mobilenet_v2((224, 224, 3), alpha, include_top)
    wanted = [
        (f"{node['name']}/{spec['name'].rpartition('/')[2]}", tuple(spec["shape"]))
        for node in graph.nodes
        for spec in node["parameters"]
    ]
    with _hdf5.opened(path) as file:
        groups = _weights.read_groups(file, file.root)
        found = [dataset for group in groups for dataset in group.datasets]
        if len(found) != len(wanted):
            raise file.refuse(
                f"it holds {len(found)} weights, and MobileNetV2 with alpha={alpha} and "
                f"include_top={include_top} has {len(wanted)}"
            )
        for dataset, (name, shape) in zip(found, wanted, strict=True):
            dataset.weight(shape, f"{name!r} of MobileNetV2")
