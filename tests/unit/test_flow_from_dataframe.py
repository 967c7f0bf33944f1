"""flow_from_dataframe without pandas: a dict of lists, and what is said of bad ones.

Numbers and order against Keras's own are in tests/parity/test_flow_from_dataframe.py.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlcore import layers
from tlcore.keras.preprocessing.image import DataFrameIterator as Aliased
from tlcore.models import Sequential
from tlcore.preprocessing.image import DataFrameIterator, ImageDataGenerator
from tlcore.utils import notes, set_random_seed

NAMES = [f"{i}.png" for i in range(10)]


@pytest.fixture(autouse=True)
def forgotten_notes() -> None:
    notes.reset_notes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures, the i-th one of the grey value 20 i."""
    root = tmp_path_factory.mktemp("pictures")
    for i, name in enumerate(NAMES):
        Image.new("RGB", (9, 8), (20 * i,) * 3).save(root / name)
    return root


def table(**columns: Any) -> dict[str, Any]:
    return {"filename": list(NAMES), "class": ["cat", "dog"] * 5, **columns}


def flow(folder: Path, columns: Any, split: float = 0.0, **more: Any) -> DataFrameIterator:
    generator = ImageDataGenerator(validation_split=split)
    arguments = {"target_size": (8, 9), "batch_size": 4, "shuffle": False, **more}
    return generator.flow_from_dataframe(columns, folder, **arguments)


def greys(x: np.ndarray) -> list[int]:
    return (x[:, 0, 0, 0] / 20).astype(int).tolist()


def test_a_mapping_is_read_and_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = table()
    before = {name: list(column) for name, column in columns.items()}
    for given in (columns, types.MappingProxyType(columns)):
        iterator = flow(folder, given)
        assert columns == before
        assert capsys.readouterr().out == (
            "Found 10 validated image filenames belonging to 2 classes.\n"
        )
        x, y = iterator[1]
        assert greys(x) == [4, 5, 6, 7]
        assert y.tolist() == [[1, 0], [0, 1]] * 2
        assert iterator.class_indices == {"cat": 0, "dog": 1}
        assert iterator.classes == iterator.labels == [0, 1] * 5
        assert (iterator.n, iterator.samples, len(iterator)) == (10, 10, 3)
    assert isinstance(iterator, Aliased)


def test_columns_of_arrays(folder: Path) -> None:
    columns = table(box=np.arange(40).reshape(10, 4), weight=np.linspace(0, 1, 10))
    columns["filename"] = np.array(NAMES)
    iterator = flow(folder, columns, class_mode="raw", y_col="box", weight_col="weight")
    x, y, weights = iterator[2]
    assert greys(x) == [8, 9]
    np.testing.assert_array_equal(y, columns["box"][8:])
    np.testing.assert_array_equal(weights, columns["weight"][8:])
    iterator = flow(folder, columns, class_mode="multi_output", y_col=["box", "class"])
    _, y = iterator[2]
    np.testing.assert_array_equal(y[0], columns["box"][8:])
    assert y[1].tolist() == ["cat", "dog"]


def test_weights_of_pictures_that_are_their_own_targets(folder: Path) -> None:
    iterator = flow(folder, table(weight=range(10)), class_mode="input", weight_col="weight")
    x, y, weights = iterator[2]
    np.testing.assert_array_equal(x, y)
    assert weights.tolist() == [8, 9]
    assert not np.shares_memory(x, y)


def test_several_classes_a_picture(folder: Path) -> None:
    tags = [["a"], ("b", "a"), "c", [], ["c", "b"], "a", ["z"], "b", "z", ["a", "z"]]
    x, y = flow(folder, table(tags=tags), y_col="tags", batch_size=10)[0]
    assert y.shape == (10, 4)
    assert [row.nonzero()[0].tolist() for row in y[:6]] == [[0], [0, 1], [2], [], [1, 2], [0]]
    iterator = flow(folder, table(tags=tags), y_col="tags", batch_size=10, classes=["c", "a"])
    x, y = iterator[0]
    assert greys(x) == [0, 1, 2, 4, 5, 9]
    assert [row.nonzero()[0].tolist() for row in y] == [[1], [1], [0], [0], [1], [1]]


def test_the_split_is_over_rows_that_are_left(folder: Path) -> None:
    columns = table()
    columns["filename"][0] = "gone.png"
    parts = {}
    for subset in ("validation", "training"):
        with pytest.warns(UserWarning, match=r'1 invalid image filename\(s\).*"filename".*gone'):
            parts[subset] = flow(folder, columns, 0.5, subset=subset, weight_col=None)
    assert parts["validation"].filenames == NAMES[1:5]
    assert parts["training"].filenames == NAMES[5:]


def test_bad_file_names_are_named(folder: Path, tmp_path: Path) -> None:
    columns = {"filename": [f"no {i}.png" for i in range(7)] + ["a.webp"]}
    with pytest.warns(UserWarning) as said, pytest.raises(ValueError, match="No picture is left"):
        flow(folder, columns, class_mode=None)
    text = str(said[0].message)
    assert "'no 4.png' and 2 more (no such file); 'a.webp' (no png, jpg, jpeg," in text


def test_names_are_not_validated(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 8), (60,) * 3).save(tmp_path / "a.webp", lossless=True)
    names = ["a.webp", str(folder / "1.png"), "gone.png"]
    iterator = flow(
        tmp_path, {"filename": names}, class_mode=None, validate_filenames=False, batch_size=2
    )
    assert greys(iterator[0]) == [3, 1]
    with pytest.raises(FileNotFoundError, match=r"Picture '.*gone\.png' does not exist"):
        iterator[1]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"dataframe": ["a"]}, TypeError, "a pandas DataFrame or a mapping .* not list"),
        ({"dataframe": "a"}, TypeError, "not str"),
        ({"x_col": "name"}, ValueError, "x_col='name' is no column .* 'filename', 'class'"),
        ({"y_col": "label"}, ValueError, "y_col='label' is no column"),
        ({"y_col": ["class"]}, ValueError, "is no column"),
        ({"weight_col": "w"}, ValueError, "weight_col='w' is no column"),
        ({"y_col": "short"}, ValueError, "'short' has 9 rows, but column 'filename' has 10"),
        ({"y_col": "text"}, TypeError, "y_col='text' must be a sequence, not str"),
        ({"x_col": "number"}, TypeError, "x_col='number' must hold file names.*row 0 is 0"),
        ({"y_col": "number"}, TypeError, "y_col='number' must hold class names.*row 0 is 0"),
        ({"y_col": "deep"}, TypeError, "row 0 is \\[1\\]"),
        ({"y_col": "ragged", "class_mode": "raw"}, ValueError, "cannot be made an array"),
        ({"y_col": ["ragged"], "class_mode": "multi_output"}, ValueError, "cannot be made an"),
        ({"y_col": "class", "class_mode": "multi_output"}, TypeError, "must be a list of columns"),
        ({"class_mode": "binary", "y_col": "three"}, ValueError, "needs 2 classes.*has 3"),
        ({"class_mode": "binary", "classes": ["a"]}, ValueError, "needs 2 classes.*has 1"),
        ({"class_mode": "many"}, ValueError, "class_mode must be one of .* not 'many'"),
        ({"classes": "cat"}, TypeError, "not the string 'cat'"),
        ({"classes": ["cow"]}, ValueError, "No picture is left of the 10"),
        ({"weight_col": "class"}, TypeError, "weight_col='class' must hold numbers"),
        ({"x_col": "nul"}, ValueError, "is no file name"),
        ({"subset": "validation"}, ValueError, "No picture is left.*subset 'validation'"),
        ({"on_error": "ignore"}, ValueError, "on_error must be 'raise' or 'skip', not 'ignore'"),
        ({"exif": 1}, TypeError, "exif must be True or False, not 1"),
        ({"vertical": True}, TypeError, "unexpected keyword argument 'vertical'"),
    ],
    ids=str,
)
def test_refusals(folder: Path, change: dict[str, Any], kind: type[Exception], words: str) -> None:
    columns = table(
        short=["cat"] * 9,
        text="cat",
        number=list(range(10)),
        deep=[[1]] * 10,
        ragged=[[1], [2, 3]] * 5,
        three=["a", "b", "c", "a", "b"] * 2,
        nul=["a\0.png"] * 10,
    )
    with pytest.raises(kind, match=words) as error:
        flow(folder, **{"columns": change.pop("dataframe", columns), **change})
    assert "\n" not in str(error.value)


def test_deprecated_words(folder: Path) -> None:
    columns = table(number=list(range(10)))
    with pytest.warns(DeprecationWarning) as said:
        iterator = flow(
            folder, columns, class_mode="other", y_col="number",
            has_ext=True, sort=True, drop_duplicates=True,
        )  # fmt: skip
    assert [str(w.message).split()[0] for w in said] == [
        *("has_ext", "sort", "drop_duplicates"),
        '`class_mode="other"`',
    ]
    assert iterator.class_mode == "raw"
    assert iterator[0][1].tolist() == [0, 1, 2, 3]
    with pytest.warns(UserWarning, match='ignored given the class_mode="raw"'):
        flow(folder, columns, class_mode="raw", y_col="number", classes=["a"])


def test_skip_takes_rows_whole(folder: Path, tmp_path: Path) -> None:
    """Targets, weights and classes stay with their pictures."""
    (tmp_path / "bad.png").write_bytes((folder / "3.png").read_bytes()[:50])
    names = [str(folder / name) for name in NAMES]
    names[3] = str(tmp_path / "bad.png")
    columns = table(number=list(range(10)), weight=[float(i) for i in range(10)])
    columns["filename"] = names
    more = {"on_error": "skip", "weight_col": "weight", "batch_size": 10}
    left = [0, 1, 2, 4, 5, 6, 7, 8, 9]
    for mode, y_col in (("raw", "number"), ("multi_output", ["number"])):
        iterator = flow(folder, columns, class_mode=mode, y_col=y_col, **more)
        x, y, weights = iterator[0]
        assert greys(x) == left == weights.tolist()
        assert (y if mode == "raw" else y[0]).tolist() == left
    iterator = flow(folder, columns, class_mode="sparse", **more)
    assert iterator[0][1].tolist() == [i % 2 for i in left]
    assert iterator.skipped[0][0] == names[3] and len(iterator.skipped) == 1
    part = flow(folder, columns, 0.5, subset="validation", **more)
    assert (part.n, len(part.skipped)) == (4, 1)
    part = flow(folder, columns, 0.5, subset="training", **more)
    assert (part.n, len(part.skipped)) == (5, 0)


def test_training_on_a_table(folder: Path) -> None:
    """fit takes names and weights from the table, and reads every picture once."""
    set_random_seed(1)
    base = Sequential([layers.Conv2D(4, 3, input_shape=(8, 9, 3)), layers.Flatten()])
    base.trainable = False
    model = Sequential([base, layers.Dense(2, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy")
    weights = [0.0] * 5 + [1.0] * 5
    iterator = flow(folder, table(weight=weights), weight_col="weight", seed=1)
    model.fit(iterator, epochs=3, verbose=0)
    assert model.class_indices == {"cat": 0, "dog": 1}
    assert model.reader is not None and model.reader["target_size"] == (8, 9)
    assert model.prefix_runs == 10
    x, y, w = flow(folder, table(weight=weights), weight_col="weight", batch_size=10)[0]
    assert model.evaluate(iterator, verbose=0) == pytest.approx(
        model.evaluate(x, y, sample_weight=w, batch_size=4, verbose=0), rel=1e-6
    )
    assert set(model.predict_image(folder / "1.png")) == {"cat", "dog"}


def test_a_frame_of_pandas(folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table(k=range(10)), index=range(50, 60))
    before = frame.copy()
    iterator = flow(folder, frame, class_mode="raw", y_col=["k"])
    assert iterator[2][1].tolist() == [[8], [9]]
    pandas.testing.assert_frame_equal(frame, before)


def test_idle_workers_are_said_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = ImageDataGenerator()
    iterator = DataFrameIterator(table(), folder, generator, workers=4, max_queue_size=3)
    assert (iterator.workers, iterator.max_queue_size) == (4, 3)
    assert iterator.use_multiprocessing is False
    model = Sequential([layers.Flatten(input_shape=(8, 9, 3)), layers.Dense(2)])
    model.compile("sgd", "categorical_crossentropy")
    batches = flow(folder, table())
    model.fit(batches, verbose=0, workers=2)
    model.evaluate(batches, verbose=0, use_multiprocessing=True)
    model.predict(batches, verbose=0, max_queue_size=1, workers=0)
    model.fit_generator(batches, verbose=0, workers=2)
    assert capsys.readouterr().err.count("tlcore: workers and use_multiprocessing have no") == 1
    notes.reset_notes()
    model.fit(batches, verbose=0, workers=1, use_multiprocessing=False, max_queue_size=50)
    assert "workers" not in capsys.readouterr().err
    with pytest.raises(TypeError, match="'threads'"):
        DataFrameIterator(table(), folder, generator, threads=4)
