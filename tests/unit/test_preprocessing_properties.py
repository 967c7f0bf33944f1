"""Whatever a generator is asked for, its batches are the pictures that `load_img` reads."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tlcore.preprocessing import image

EXAMPLES = int(os.environ.get("TLCORE_FUZZ_EXAMPLES", "20"))
COUNTS = {"a": 7, "b": 4, "c": 9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of pictures of many sizes, modes and formats."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.RandomState(5)
    kinds = [("jpg", "RGB"), ("png", "RGBA"), ("png", "L"), ("bmp", "P"), ("tif", "CMYK")]
    for name, count in COUNTS.items():
        (root / name).mkdir()
        for k in range(count):
            height, width = random.randint(1, 40, 2)
            extension, mode = kinds[(k + ord(name)) % len(kinds)]
            pixels = random.randint(0, 256, (height, width, 3)).astype(np.uint8)
            img = Image.fromarray(pixels)
            if mode == "RGBA":
                img.putalpha(77)
            img.convert(mode).save(root / name / f"{k}.{extension}")
    return root


side = st.integers(1, 30)
generators = st.fixed_dictionaries(
    {},
    optional={
        "rescale": st.sampled_from([1.0 / 255, 2, 0.5]),
        "validation_split": st.sampled_from([0.25, 0.34, 0.5, 0.8]),
        "preprocessing_function": st.sampled_from([lambda x: x[::-1] - 3.0, lambda x: x / 7]),
        "dtype": st.sampled_from(["float32", "float64"]),
    },
)
flows = st.fixed_dictionaries(
    {
        "target_size": st.tuples(side, side),
        "batch_size": st.integers(1, 25),
        "shuffle": st.booleans(),
        "seed": st.one_of(st.none(), st.integers(0, 2**31)),
        "color_mode": st.sampled_from(["rgb", "rgba", "grayscale"]),
        "class_mode": st.sampled_from(["categorical", "sparse", "binary", "input", None]),
        "interpolation": st.sampled_from(
            ["nearest", "bilinear", "bicubic", "hamming", "box", "lanczos"]
        ),
        "keep_aspect_ratio": st.booleans(),
        "subset": st.sampled_from(["training", "validation", None]),
        "classes": st.sampled_from([None, ["c", "a"], ["b", "c", "a"]]),
    }
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(generator=generators, asked=flows, passes=st.integers(1, 3))
def test_batches_are_the_pictures(folder: Path, generator: dict, asked: dict, passes: int) -> None:
    made = image.ImageDataGenerator(**generator)
    names = asked["classes"] or sorted(COUNTS)
    split = generator.get("validation_split", 0.0)
    cut = {name: int(split * COUNTS[name]) for name in names}
    parts = {
        None: {name: (0, COUNTS[name]) for name in names},
        "validation": {name: (0, cut[name]) for name in names},
        "training": {name: (cut[name], COUNTS[name]) for name in names},
    }[asked["subset"]]
    expected = [
        (label, path)
        for label, name in enumerate(names)
        for path in sorted((folder / name).iterdir())[slice(*parts[name])]
    ]
    if not expected:
        with pytest.raises(ValueError, match=r"holds no picture: validation_split is 0\.0"):
            made.flow_from_directory(folder, **asked)
        return
    flow = made.flow_from_directory(folder, **asked)
    assert flow.n == flow.samples == len(expected)
    assert [Path(path) for path in flow.filepaths] == [path for _, path in expected]
    assert flow.classes.tolist() == [label for label, _ in expected]
    assert len(flow) == -(-flow.n // asked["batch_size"])

    channels = {"rgb": 3, "rgba": 4, "grayscale": 1}[asked["color_mode"]]
    pictures = np.stack([one_by_one(made, asked, path) for _, path in expected])
    assert pictures.shape == (flow.n, *asked["target_size"], channels)
    assert np.isfinite(pictures).all()
    for k in range(passes):
        batches = [flow[i] for i in range(len(flow))]
        order = np.arange(flow.n) if flow.index_array is None else flow.index_array
        assert sorted(order.tolist()) == list(range(flow.n))
        if not asked["shuffle"]:
            assert order.tolist() == list(range(flow.n))
        for i, batch in enumerate(batches):
            rows = order[i * asked["batch_size"] : (i + 1) * asked["batch_size"]]
            check(flow, batch, rows, pictures, asked["class_mode"], k)
        flow.on_epoch_end()


def one_by_one(made: image.ImageDataGenerator, asked: dict, path: Path) -> np.ndarray:
    names = ("color_mode", "target_size", "interpolation", "keep_aspect_ratio")
    img = image.load_img(path, **{name: asked[name] for name in names})
    return np.asarray(made.standardize(image.img_to_array(img)), dtype=made.dtype)


def check(
    flow: image.DirectoryIterator,
    batch: object,
    rows: np.ndarray,
    pictures: np.ndarray,
    class_mode: str | None,
    number: int,
) -> None:
    if class_mode is None:
        x, y = batch, None
    else:
        x, y = batch
    assert x.dtype == flow.dtype
    np.testing.assert_array_equal(x, pictures[rows], err_msg=f"pass {number}")
    labels = flow.classes[rows]
    if class_mode == "input":
        np.testing.assert_array_equal(y, x)
    elif class_mode == "categorical":
        np.testing.assert_array_equal(y, np.eye(flow.num_classes)[labels])
    elif class_mode is not None:
        np.testing.assert_array_equal(y, labels)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
)
@given(asked=flows.filter(lambda asked: asked["seed"] is not None))
def test_the_same_seed_gives_the_same_batches(folder: Path, asked: dict) -> None:
    made = image.ImageDataGenerator(rescale=1.0 / 255, validation_split=0.34)
    one, other = (made.flow_from_directory(folder, **asked) for _ in range(2))
    for _ in range(len(one) + 1):
        for first, second in zip(pair(next(one)), pair(next(other)), strict=True):
            np.testing.assert_array_equal(first, second)
    # Reading ahead, in any order, changes nothing.
    readings = [one.prefetch(one.batch_indices(i)) for i in range(len(one))]
    for i in reversed(range(len(one))):
        np.testing.assert_array_equal(readings[i].result(), one.load(order_of(one, i)))


def pair(batch: object) -> tuple:
    return batch if isinstance(batch, tuple) else (batch,)


def order_of(flow: image.DirectoryIterator, i: int) -> np.ndarray:
    assert flow.index_array is not None
    return flow.index_array[i * flow.batch_size : (i + 1) * flow.batch_size]
