"""tlcore.preprocessing.image against the real Keras, on real photos: files, order, labels, bits.

To add a case, add a line to a list of arguments: both libraries are called with it.
"""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest

keras_image = pytest.importorskip(
    "keras.src.legacy.preprocessing.image", reason="needs the real Keras: run `make parity`"
)
from keras.src.applications import mobilenet_v2 as keras_mobilenet_v2  # noqa: E402
from keras.src.utils import image_utils as keras_utils  # noqa: E402

from tlcore.preprocessing import image  # noqa: E402


@pytest.fixture(scope="module")
def flowers(shared_data):
    return shared_data / "photos" / "flowers"


def equal(ours, theirs):
    if isinstance(theirs, (tuple, list)):
        assert type(ours) is type(theirs) and len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            equal(a, b)
        return
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    if ours.dtype == object:
        assert ours.tolist() == theirs.tolist()
    else:
        assert ours.tobytes() == theirs.tobytes()


def both(generator, flow):
    """The same generator and flow, tlcore's and Keras's."""
    np.random.seed(123)
    ours = image.ImageDataGenerator(**generator).flow_from_directory(**flow)
    theirs = keras_image.ImageDataGenerator(**generator).flow_from_directory(**flow)
    return ours, theirs


def small(**more):
    return {"target_size": (40, 30), "batch_size": 16, "seed": 37, **more}


FLOWS = [
    small(),
    small(subset="training"),
    small(subset="validation"),
    small(shuffle=False),
    small(seed=None, shuffle=False, subset="validation", target_size=(224, 224), batch_size=32),
    small(class_mode="sparse", color_mode="grayscale", subset="validation"),
    small(class_mode="binary", color_mode="rgba", subset="validation"),
    small(class_mode="input", subset="validation"),
    small(class_mode=None, subset="validation"),
    small(classes=["tulips", "daisy"], subset="validation"),
    small(follow_links=True, subset="validation"),
    *(
        small(interpolation=name, keep_aspect_ratio=keep, subset="validation")
        for name in ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")
        for keep in (False, True)
    ),
]


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_directory(flowers, flow, capsys):
    generator = {"rescale": 1.0 / 255, "validation_split": 0.2}
    ours, theirs = both(generator, {"directory": str(flowers), **flow})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == printed[1]
    assert ours.filenames == theirs.filenames and ours.filepaths == theirs.filepaths
    assert ours.class_indices == theirs.class_indices
    equal(ours.classes, theirs.classes)
    for name in ("n", "samples", "batch_size", "num_classes", "image_shape", "target_size"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours) == len(theirs)
    for _ in range(min(3, len(ours))):
        equal(next(ours), next(theirs))
        assert ours.batch_index == theirs.batch_index
        assert ours.total_batches_seen == theirs.total_batches_seen
    equal(ours[len(ours) - 1], theirs[len(theirs) - 1])


@pytest.mark.parametrize(
    "generator",
    [
        {},
        {"rescale": 1.0 / 255},
        {"rescale": 2},
        {"rescale": np.float64(1) / 255},
        {"rescale": np.float32(1) / 255},
        {"rescale": -1.0 / 127},
        {"dtype": "float64", "rescale": 1.0 / 255},
        {"dtype": "float16"},
        {"dtype": "uint8"},
        {"preprocessing_function": lambda x: x[::-1] - 100.0},
        {"preprocessing_function": lambda x: x.mean(axis=-1, keepdims=True), "rescale": 0.5},
    ],
    ids=str,
)
def test_arithmetic(flowers, generator):
    ours, theirs = both(
        {"validation_split": 0.1, **generator},
        {"directory": str(flowers), **small(subset="validation")},
    )
    for _ in range(2):
        equal(next(ours), next(theirs))


@pytest.mark.parametrize("rescale", [None, 1.0 / 255])
def test_own_preprocessing(flowers, rescale):
    from tlcore.applications.mobilenet_v2 import preprocess_input

    flow = {"directory": str(flowers), **small(subset="validation", target_size=(224, 224))}
    common = {"validation_split": 0.1, "rescale": rescale}
    ours = image.ImageDataGenerator(
        preprocessing_function=preprocess_input, **common
    ).flow_from_directory(**flow)
    theirs = keras_image.ImageDataGenerator(
        preprocessing_function=keras_mobilenet_v2.preprocess_input, **common
    ).flow_from_directory(**flow)
    assert ours.pure
    equal(next(ours), next(theirs))


@pytest.mark.parametrize("seed", [37, None])
def test_order_over_passes(flowers, seed):
    """next(), [i], reset() and on_epoch_end(), mixed, over several passes."""
    flow = {"directory": str(flowers), **small(seed=seed, class_mode="sparse", target_size=(2, 2))}
    generator = {"rescale": 1.0 / 255}
    ours, theirs = both(generator, flow)

    def walk(iterator):
        np.random.seed(5)
        order = []
        for _ in range(len(iterator) + 3):
            order.append(next(iterator))
        iterator.reset()
        order.append(next(iterator))
        for _ in range(2):
            for i in range(len(iterator)):
                order.append(iterator[i])
            iterator.on_epoch_end()
            order.append(iterator.index_array.copy())
        order.append(next(iterator))
        return order

    for a, b in zip(walk(ours), walk(theirs), strict=True):
        equal(tuple(a) if isinstance(a, tuple) else a, b)


def test_batch_indices_are_the_batches(flowers):
    flow = {"directory": str(flowers), **small(target_size=(8, 8))}
    ours, theirs = both({"rescale": 1.0 / 255}, flow)
    for _ in range(2):
        for i in range(len(theirs)):
            x, y = theirs[i]
            indices = ours.batch_indices(i)
            equal(ours.prefetch(indices).result(), x)
            equal(ours.targets(indices), y)
        theirs.on_epoch_end()
        ours.on_epoch_end()
        equal(ours.index_array, theirs.index_array)


def test_saved_pictures(flowers, tmp_path):
    saved = []
    for module, name in ((image, "ours"), (keras_image, "theirs")):
        folder = tmp_path / name
        folder.mkdir()
        flow = small(subset="validation", save_to_dir=str(folder), save_prefix="p")
        iterator = module.ImageDataGenerator(
            rescale=1.0 / 255, validation_split=0.1
        ).flow_from_directory(str(flowers), **flow)
        next(iterator)
        iterator[1]
        iterator.on_epoch_end()
        saved.append((iterator.index_array, folder))
    (our_order, ours), (their_order, theirs) = saved
    equal(our_order, their_order)
    names = sorted(path.name for path in theirs.iterdir())
    assert len(names) == 26 and names == sorted(path.name for path in ours.iterdir())
    for name in names:
        pixels = [np.asarray(keras_utils.load_img(folder / name)) for folder in (ours, theirs)]
        equal(*pixels)


def test_folders(flowers, tmp_path):
    """Nested folders, odd names, upper-case extensions, other files."""
    photos = sorted((flowers / "daisy").iterdir())
    for place, photo in zip(
        ["b/z.JPG", "b/a.jpeg", "b/inner/x.jpg", "b/Inner/x.jpg", "a/1.jpg", "a/10.jpg", "a/2.jpg"],
        photos,
        strict=False,
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / place)
    (tmp_path / "a" / "notes.txt").write_text("not a picture")
    (tmp_path / "readme.jpg").write_text("not in a class")
    (tmp_path / "b" / "link").symlink_to(flowers / "roses")
    for follow in (False, True):
        flow = small(target_size=(9, 9), follow_links=follow, shuffle=False)
        ours, theirs = both({}, {"directory": str(tmp_path), **flow})
        assert ours.filenames == theirs.filenames
        equal(next(ours), next(theirs))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"shuffle": False, "batch_size": 3},
        {"seed": 4, "batch_size": 4},
        {"seed": 4, "subset": "training"},
        {"seed": 4, "subset": "validation"},
        {"seed": 4, "batch_size": 4, "sample_weight": True},
        {"seed": 4, "y": None},
        {"seed": 4, "misc": True},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "generator", [{}, {"rescale": 1.0 / 255}, {"preprocessing_function": lambda x: x / 2 - 1}]
)
def test_arrays(arguments, generator):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (21, 6, 5, 3), dtype="uint8")
    arguments = {"y": np.arange(21) % 3, **arguments}
    if arguments.get("sample_weight"):
        arguments["sample_weight"] = rng.random(21)
    if arguments.pop("misc", False):
        x = (x, [rng.random((21, 2)), np.arange(21)])
    order = []
    for module in (image, keras_image):
        np.random.seed(9)
        iterator = module.ImageDataGenerator(validation_split=0.3, **generator).flow(x, **arguments)
        batches = [next(iterator) for _ in range(2 * len(iterator))]
        batches += [iterator[i] for i in range(len(iterator))]
        iterator.on_epoch_end()
        order.append([*batches, iterator.index_array])
    equal(*order)


def test_pictures(flowers, tmp_path):
    photo = next((flowers / "daisy").iterdir())
    for mode, size, interpolation, keep in itertools.product(
        ("rgb", "rgba", "grayscale"), (None, (50, 70)), ("nearest", "bilinear"), (False, True)
    ):
        arguments = (mode, size, interpolation, keep)
        ours, theirs = image.load_img(photo, *arguments), keras_utils.load_img(photo, *arguments)
        assert ours.mode == theirs.mode
        for data_format, dtype in itertools.product(
            (None, "channels_first"), (None, np.uint8, "float64")
        ):
            a = image.img_to_array(ours, data_format, dtype)
            b = keras_utils.img_to_array(theirs, data_format, dtype)
            equal(a, b)
            for scale in (True, False):
                equal(
                    np.asarray(image.array_to_img(a, data_format, scale)),
                    np.asarray(keras_utils.array_to_img(b, data_format, scale)),
                )
    gray16 = np.arange(1200, dtype="float32").reshape(30, 40, 1)
    equal(
        np.asarray(image.array_to_img(gray16, scale=False)),
        np.asarray(keras_utils.array_to_img(gray16, scale=False)),
    )
    a = np.random.default_rng(0).random((8, 9, 3))
    for name in ("x.png", "x.jpg", "x.bmp"):
        image.save_img(tmp_path / name, a)
        keras_utils.save_img(tmp_path / f"keras-{name}", a)
        assert (tmp_path / name).read_bytes() == (tmp_path / f"keras-{name}").read_bytes()
