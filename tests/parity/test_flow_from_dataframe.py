"""flow_from_dataframe and the books of every iterator against the real Keras, with real pandas.

To add a case, add a line to a list of arguments: both libraries are called with it.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

keras_image = pytest.importorskip(
    "keras.src.legacy.preprocessing.image", reason="needs the real Keras: run `make parity`"
)
pd = pytest.importorskip("pandas", reason="needs pandas")
from parity.test_preprocessing import equal  # noqa: E402
from PIL import Image  # noqa: E402

from tlcore.preprocessing import image  # noqa: E402

CLASSES = ["wolf", "bear", "lynx"]
ATTRIBUTES = (
    *("batch_index", "total_batches_seen", "n", "batch_size", "seed", "shuffle", "class_mode"),
    *("target_size", "color_mode", "image_shape", "data_format", "dtype", "subset", "split"),
    *("interpolation", "keep_aspect_ratio", "samples", "filenames", "filepaths"),
    *("class_indices", "white_list_formats"),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """(folder, DataFrame) with 23 good rows and 5 bad ones between them."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(5)
    rows = []
    for i in range(23):
        name = f"{'ab'[i % 2]}/é {i}.{('png', 'JPG', 'bmp')[i % 3]}"
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (14 + i, 20, 3), dtype=np.uint8)).save(folder / name)
        rows.append(name)
    (folder / "a" / "odd.webp").write_bytes(b"RIFF")
    (folder / "folder.png").mkdir()
    (folder / "away.png").symlink_to("nowhere")
    for place, bad in ((0, "gone.png"), (7, "a/odd.webp"), (9, "folder.png"), (28, "away.png")):
        rows.insert(place, bad)
    n = len(rows)
    frame = pd.DataFrame(
        {
            "filename": rows,
            "class": [CLASSES[i % 3] for i in range(n)],
            "two": [CLASSES[i % 2] for i in range(n)],
            "several": [
                (CLASSES[i % 3], CLASSES[i // 3 % 3]) if i % 4 else CLASSES[i % 3] for i in range(n)
            ],
            "lists": [list(rng.choice(CLASSES, i % 3, replace=False)) for i in range(n)],
            "x": np.linspace(0, 1, n),
            "k": np.arange(n),
            "flag": np.arange(n) % 2 == 0,
            "box": [[i, i + 1, i + 2] for i in range(n)],
            "weight": np.linspace(1, 2, n).astype("float32"),
            "count": np.arange(n) + 1,
        }
    )
    return folder, frame


def same_books(ours, theirs):
    for name in ATTRIBUTES:
        if hasattr(theirs, name):
            assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours) == len(theirs)
    if theirs.index_array is None:
        assert ours.index_array is None
    else:
        assert ours.index_array.tolist() == theirs.index_array.tolist()


def walked_alike(ours, theirs):
    """Two passes by index, then by `next` with a reset between, then by index again."""
    same_books(ours, theirs)
    for _ in range(2):
        for i in range(len(theirs)):
            equal(ours[i], theirs[i])
            same_books(ours, theirs)
        state = ours._rng.get_state() if ours.seed is not None else None
        if state is not None:
            np.random.set_state(state)  # on_epoch_end goes on from where the last batch left it
        ours.on_epoch_end()
        theirs.on_epoch_end()
        same_books(ours, theirs)
    for step in range(len(theirs) + 2):
        equal(next(ours), next(theirs))
        if step == 1:
            ours.reset()
            theirs.reset()
        same_books(ours, theirs)
    equal(ours[len(theirs) - 1], theirs[len(theirs) - 1])


def both(table, generator=None, **more):
    folder, frame = table
    arguments = {
        "dataframe": frame,
        "directory": str(folder),
        "target_size": (12, 10),
        "batch_size": 5,
        "seed": 11,
        **more,
    }
    made = []
    for package in (image, keras_image):
        np.random.seed(3)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            made.append(
                package.ImageDataGenerator(**generator or {}).flow_from_dataframe(**arguments)
            )
        made.append([w for w in said if "invalid image" in str(w.message)])
    ours, our_warnings, theirs, their_warnings = made
    assert len(our_warnings) == len(their_warnings)
    for mine, other in zip(our_warnings, their_warnings, strict=True):
        assert mine.category is other.category
        assert str(mine.message).startswith(str(other.message)[:-1])
    return ours, theirs


FLOWS = [
    {},
    {"shuffle": False},
    {"subset": "training"},
    {"subset": "validation"},
    {"subset": "validation", "class_mode": "raw", "y_col": "x", "weight_col": "weight"},
    {"classes": ["lynx", "wolf"]},
    {"classes": ["lynx", "wolf", "lynx", "cat"], "subset": "training"},
    {"y_col": "several"},
    {"y_col": "lists"},
    {"y_col": "lists", "classes": ["bear", "wolf"]},
    {"y_col": "several", "classes": ["bear"], "weight_col": "count"},
    {"class_mode": "sparse"},
    {"class_mode": "sparse", "classes": ["bear", "lynx"], "weight_col": "weight"},
    {"class_mode": "binary", "y_col": "two"},
    {"class_mode": "binary", "classes": ["bear", "lynx"]},
    {"class_mode": "input", "weight_col": "weight"},
    {"class_mode": "input", "classes": ["bear"]},
    {"class_mode": None},
    {"class_mode": None, "weight_col": "weight", "color_mode": "grayscale"},
    {"class_mode": "raw", "y_col": "k"},
    {"class_mode": "raw", "y_col": ["x", "k"], "color_mode": "rgba"},
    {"class_mode": "raw", "y_col": ["x", "class"]},
    {"class_mode": "raw", "y_col": ["flag", "k"]},
    {"class_mode": "raw", "y_col": "box"},
    {"class_mode": "other", "y_col": ["x"]},
    {"class_mode": "multi_output", "y_col": ["x", "class", "box"], "weight_col": "count"},
    {"class_mode": "multi_output", "y_col": ["k"], "subset": "training"},
    {"interpolation": "bilinear", "batch_size": 40},
    {"has_ext": True, "sort": True, "drop_duplicates": False},
]


@pytest.mark.parametrize("arguments", FLOWS, ids=str)
def test_the_same_batches(table, arguments, capsys):
    generator = {"rescale": 1 / 255, "validation_split": 0.3}
    ours, theirs = both(table, generator, **arguments)
    found = capsys.readouterr().out.splitlines()
    assert len(found) == 2 and found[0] == found[1]
    if hasattr(theirs, "classes"):
        assert ours.classes == theirs.classes
        assert ours.labels == theirs.labels
    elif theirs.class_mode in ("raw", "multi_output"):
        equal(ours.labels, theirs.labels)
    if theirs.sample_weight is None:
        assert ours.sample_weight is None
    else:
        equal(ours.sample_weight, theirs.sample_weight)
    walked_alike(ours, theirs)


@pytest.mark.parametrize("seed", [None, 4])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_dict_of_lists_is_the_frame(table, seed, shuffle):
    """Without pandas, the same batches; file names that are paths need no directory."""
    folder, frame = table
    good = frame[[name.startswith(("a/é", "b/é")) for name in frame["filename"]]]
    paths = [f"{folder}/{name}" for name in good["filename"]]
    theirs_frame = good.assign(filename=paths)
    columns = {name: theirs_frame[name].tolist() for name in theirs_frame.columns}
    arguments = {"y_col": "several", "weight_col": "weight", "target_size": (9, 8), "seed": seed}
    np.random.seed(8)
    ours = image.ImageDataGenerator().flow_from_dataframe(columns, shuffle=shuffle, **arguments)
    first = [next(ours) for _ in range(2)]
    np.random.seed(8)
    theirs = keras_image.ImageDataGenerator().flow_from_dataframe(
        theirs_frame, shuffle=shuffle, **arguments
    )
    for batch in first:
        x, y, weights = next(theirs)
        equal(batch[:2], (x, y))
        np.testing.assert_array_equal(batch[2].astype("float32"), weights)


REFUSED = [
    {"class_mode": "sparse", "y_col": "k"},
    {"class_mode": "categorical", "y_col": "x"},
    {"class_mode": "sparse", "y_col": "several"},
    {"class_mode": "binary"},
    {"class_mode": "binary", "classes": ["bear", "bear"]},
    {"class_mode": "multi_output", "y_col": "x"},
    {"class_mode": "nonsense"},
    {"weight_col": "class"},
    {"weight_col": "flag"},
    {"x_col": "k"},
    {"color_mode": "hsv"},
]


@pytest.mark.parametrize("arguments", REFUSED, ids=str)
def test_the_same_refusals(table, arguments):
    folder, frame = table
    kinds = []
    for package in (image, keras_image):
        with pytest.raises((TypeError, ValueError)) as error:
            package.ImageDataGenerator().flow_from_dataframe(
                **{"dataframe": frame, "directory": str(folder), **arguments}
            )
        kinds.append(error.type)
    assert kinds[0] is kinds[1]


def test_saved_pictures_have_keras_names(table, tmp_path):
    saved = []
    for name, package in (("ours", image), ("theirs", keras_image)):
        (tmp_path / name).mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            flow = package.ImageDataGenerator().flow_from_dataframe(
                table[1], str(table[0]), target_size=(8, 8), batch_size=4, seed=2,
                save_to_dir=str(tmp_path / name), save_prefix="p",
            )  # fmt: skip
        next(flow)
        next(flow)
        saved.append(sorted(p.name for p in (tmp_path / name).iterdir()))
    assert saved[0] == saved[1] and len(saved[0]) == 8


# --- the books of the other iterators -------------------------------------------------------------


@pytest.mark.parametrize("subset", [None, "training", "validation"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("beside", ["none", "mask", "masks"])
def test_arrays(subset, shuffle, beside):
    rng = np.random.default_rng(1)
    x = rng.random((17, 6, 5, 3)).astype("float32")
    masks = [rng.integers(0, 2, (17, 6, 5, 1)), rng.random(17)]
    given = {"none": x, "mask": (x, masks[0]), "masks": (x, masks)}[beside]
    y = np.arange(17) % 2
    weights = None if subset == "training" else rng.random(17)  # there Keras takes others' weights
    made = [
        package.ImageDataGenerator(validation_split=0.4, rescale=0.5).flow(
            given, y, batch_size=4, seed=6, shuffle=shuffle, subset=subset, sample_weight=weights
        )
        for package in (image, keras_image)
    ]
    walked_alike(*made)


@pytest.mark.parametrize("class_mode", ["categorical", "binary", "sparse", "input", None])
def test_folders(table, class_mode):
    made = [
        package.ImageDataGenerator(rescale=0.5).flow_from_directory(
            str(table[0]), target_size=(7, 9), classes=["b", "a"], batch_size=6, seed=1,
            class_mode=class_mode,
        )
        for package in (image, keras_image)
    ]  # fmt: skip
    walked_alike(*made)
    assert made[0].workers == made[1].workers == 1
    assert made[0].use_multiprocessing is made[1].use_multiprocessing is False
    assert made[0].max_queue_size == made[1].max_queue_size == 10
