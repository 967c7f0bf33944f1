"""Makes preprocessing.npz: what the real Keras answers for small drawn pictures.

Run it where the real Keras is installed:  python tests/golden/make_preprocessing.py
The tests draw the same pictures, walk tlcore's iterators through the same steps and compare bits.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

STORED = Path(__file__).with_name("preprocessing.npz")

SMALL = {"target_size": (4, 3), "batch_size": 4, "seed": 37}
RESCALE = {"rescale": 1.0 / 255}
SPLIT = {**RESCALE, "validation_split": 0.3}


def _centred(x):
    return (x - 100.0) / 50.0


# name -> what the generator gets, what flow_from_directory gets
CASES = {
    "plain": ({}, SMALL),
    "rescale": (RESCALE, SMALL),
    "training": (SPLIT, {**SMALL, "subset": "training"}),
    "validation": (SPLIT, {**SMALL, "subset": "validation"}),
    "in_order": (RESCALE, {**SMALL, "shuffle": False}),
    "without_seed": (RESCALE, {**SMALL, "seed": None}),
    "sparse_grayscale": (RESCALE, {**SMALL, "class_mode": "sparse", "color_mode": "grayscale"}),
    "binary_rgba": (RESCALE, {**SMALL, "class_mode": "binary", "color_mode": "rgba"}),
    "input": (RESCALE, {**SMALL, "class_mode": "input"}),
    "no_labels": (RESCALE, {**SMALL, "class_mode": None}),
    "classes": (RESCALE, {**SMALL, "classes": ["sea", "land"]}),
    "function": ({**RESCALE, "preprocessing_function": _centred}, SMALL),
    "float64": ({**RESCALE, "dtype": "float64"}, SMALL),
    **{
        f"{method}_{'cut' if keep else 'squeezed'}": (
            RESCALE,
            {
                **SMALL,
                "subset": None,
                "interpolation": method,
                "keep_aspect_ratio": keep,
                "target_size": (7, 6),
                "batch_size": 2,
            },
        )
        for method in ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")
        for keep in (False, True)
    },
}


def draw(folder):
    """Nineteen small pictures of three classes, of several sizes and modes, losslessly stored."""
    from PIL import Image

    random = np.random.RandomState(7)
    modes = ("RGB", "L", "RGBA", "P", "I;16", "1")
    for name, count in (("air", 8), ("land", 5), ("sea", 6)):
        for k in range(count):
            height, width = random.randint(5, 24, 2)
            mode = modes[k % len(modes)]
            shape = (height, width, 3) if mode != "RGBA" else (height, width, 4)
            pixels = random.randint(0, 256, shape).astype("uint8")
            img = Image.fromarray(pixels)
            if mode == "I;16":
                img = Image.fromarray(pixels[:, :, 0].astype("uint16") * 257)
            elif mode not in ("RGB", "RGBA"):
                img = img.convert(mode)
            inner = Path(folder, name, "inner") if k == 3 else Path(folder, name)
            inner.mkdir(parents=True, exist_ok=True)
            img.save(inner / f"{k:x}{'.PNG' if k == 1 else '.png'}")


def walk(iterator):
    """Batches by next() over two passes, by [i] over two more, and the orders drawn."""
    answers = [next(iterator) for _ in range(min(2 * len(iterator), 6))]
    for _ in range(2):
        answers += [iterator[i] for i in range(min(len(iterator), 3))]
        iterator.on_epoch_end()
        answers.append(iterator.index_array)
    return answers


def run(module, folder, case):
    """{name: array} of all that the iterator of a case answers."""
    generator, flow = CASES[case]
    np.random.seed(11)
    iterator = module.ImageDataGenerator(**generator).flow_from_directory(str(folder), **flow)
    arrays = {"classes": iterator.classes, "filenames": np.array(iterator.filenames)}
    for step, answer in enumerate(walk(iterator)):
        parts = answer if isinstance(answer, tuple) else (answer,)
        arrays.update({f"{step}.{k}": part for k, part in enumerate(parts)})
    return {f"{case}/{name}": array for name, array in arrays.items()}


def store(arrays):
    """All arrays as one block of bytes and a list of what lies in it: hundreds of members cost."""
    index = [[name, a.dtype.str, a.shape] for name, a in arrays.items()]
    data = b"".join(a.tobytes() for a in arrays.values())
    np.savez_compressed(STORED, index=json.dumps(index), data=np.frombuffer(data, "uint8"))


def stored():
    """What `store` has written, as {name: array}."""
    arrays, start = {}, 0
    with np.load(STORED) as file:
        index, data = json.loads(str(file["index"])), file["data"].tobytes()
    for name, dtype, shape in index:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        arrays[name] = np.frombuffer(data[start : start + size], dtype).reshape(shape)
        start += size
    return arrays


def main():
    from keras.src.legacy.preprocessing import image

    with TemporaryDirectory() as folder:
        draw(folder)
        arrays = {}
        for case in CASES:
            arrays.update(run(image, folder, case))
    store(arrays)
    print(f"{STORED.name}: {len(arrays)} arrays, {STORED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
