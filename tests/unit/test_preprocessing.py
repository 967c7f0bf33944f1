"""tlcore.preprocessing.image: errors, the interface for training, reading ahead, threads."""

from __future__ import annotations

import io
import os
import re
import threading
import time

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from tlcore import _core
from tlcore.preprocessing import image
from tlcore.preprocessing.image import _pictures, _reading
from tlcore.utils.notes import reset_notes


@pytest.fixture
def folder(tmp_path):
    """Two classes of small JPEGs and PNGs."""
    random = np.random.RandomState(3)
    for name, count in (("a", 6), ("b", 5)):
        (tmp_path / name).mkdir()
        for k in range(count):
            pixels = random.randint(0, 256, (12 + k, 20 - k, 3)).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / name / f"{k}.{'png' if k % 2 else 'jpg'}")
    return tmp_path


def flow(folder, generator=None, **more):
    arguments = {"target_size": (8, 8), "batch_size": 4, "seed": 1, **more}
    return image.ImageDataGenerator(**generator or {}).flow_from_directory(folder, **arguments)


def one_sentence(error, *parts):
    text = str(error.value)
    assert "\n" not in text and not re.search(r"[.!?] [A-Z]", text), text
    for part in parts:
        assert str(part) in text, text


# -- one picture


def test_load_img_takes_every_kind_of_path(folder):
    path = folder / "a" / "0.jpg"
    expected = np.asarray(image.load_img(path))
    for given in (str(path), os.fsencode(path), io.BytesIO(path.read_bytes())):
        np.testing.assert_array_equal(np.asarray(image.load_img(given)), expected)
    with pytest.raises(TypeError, match="not int"):
        image.load_img(3)


def test_bytes_as_the_blog_reads_them(folder):
    img = image.load_img(folder / "a" / "0.jpg", target_size=(5, 7))
    x = image.img_to_array(img, dtype=np.uint8)
    assert x.shape == (5, 7, 3) and x.dtype == np.uint8


@pytest.mark.parametrize("target_size", [(4, 5, 6), 4, (0, 3), (2.5, 3), "ab"])
def test_bad_target_size(folder, target_size):
    with pytest.raises(ValueError, match="target_size must be two positive integers"):
        image.load_img(folder / "a" / "0.jpg", target_size=target_size)


def test_bad_arguments(folder):
    path = folder / "a" / "0.jpg"
    with pytest.raises(ValueError, match=r"color_mode must be .* not 'bgr'"):
        image.load_img(path, color_mode="bgr")
    with pytest.raises(ValueError, match=r"interpolation must be one of .* not 'cubic'"):
        image.load_img(path, interpolation="cubic")
    with pytest.raises(ValueError, match="2 or 3 dimensions"):
        image.img_to_array(np.zeros((2, 2, 2, 2)))
    with pytest.raises(ValueError, match="1, 3 or 4 channels"):
        image.array_to_img(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="data_format must be"):
        image.img_to_array(np.zeros((2, 2)), data_format="last")


def truncated(path):
    path.write_bytes(path.read_bytes()[:300])


def text(path):
    path.write_text("this is not a picture")


def empty(path):
    path.write_bytes(b"")


def gone(path):
    path.unlink()


def a_folder(path):
    path.unlink()
    path.mkdir()


BAD = [
    (truncated, OSError),
    (text, UnidentifiedImageError),
    (empty, UnidentifiedImageError),
    (gone, FileNotFoundError),
    (a_folder, OSError),
]


@pytest.mark.parametrize(("harm", "kind"), BAD, ids=lambda value: value.__name__)
def test_bad_file(folder, harm, kind):
    path = folder / "a" / "2.jpg"
    iterator = flow(folder, {"rescale": 1.0 / 255}, shuffle=False)
    harm(path)
    for read in (lambda: image.load_img(path), lambda: next(iterator)):
        with pytest.raises(kind) as error:
            read()
        one_sentence(error, path)
    # From a worker thread the same, and again when asked again; other batches are unharmed.
    reading = iterator.prefetch([0, 2])
    for _ in range(2):
        with pytest.raises(kind) as error:
            reading.result()
        one_sentence(error, path)
    assert iterator.load([0, 1]).shape == (2, 8, 8, 3)


def test_first_bad_file_of_the_batch_is_named(folder):
    iterator = flow(folder, shuffle=False)
    text(folder / "a" / "1.png")
    text(folder / "a" / "3.png")
    for _ in range(5):
        with pytest.raises(UnidentifiedImageError, match=re.escape("1.png")):
            iterator.load([0, 3, 1, 2][::-1])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(folder):
    path = folder / "a" / "0.jpg"
    iterator = flow(folder, shuffle=False)
    path.chmod(0)
    with pytest.raises(PermissionError) as error:
        next(iterator)
    one_sentence(error, path, "permission")
    (folder / "a").chmod(0)
    with pytest.raises(PermissionError) as error:
        flow(folder)
    (folder / "a").chmod(0o700)
    one_sentence(error, folder / "a", "permission")


def test_no_permission_reported_by_the_system(folder, monkeypatch):
    def refuse(path, *rest, **more):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(_core, "read_file", refuse)
    with pytest.raises(PermissionError) as error:
        image.load_img(folder / "a" / "0.jpg")
    one_sentence(error, folder / "a" / "0.jpg")
    with pytest.raises(PermissionError) as error:
        image.save_img(folder / "new.png", np.zeros((2, 2, 3)))
    one_sentence(error, folder / "new.png")
    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(PermissionError) as error:
        flow(folder)
    one_sentence(error, folder)


def test_too_many_pixels(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(ValueError, match="has 20 x 12 pixels, and at most 20 ") as error:
        image.load_img(folder / "a" / "0.jpg")
    one_sentence(error, folder / "a" / "0.jpg")


def test_save_img(folder):
    x = np.random.RandomState(0).rand(6, 5, 3)
    image.save_img(folder / "x.png", x)
    assert image.load_img(folder / "x.png").size == (5, 6)
    with pytest.warns(UserWarning, match="converting to RGB"):
        image.save_img(folder / "x.jpg", np.random.RandomState(0).rand(6, 5, 4))
    data = io.BytesIO()
    image.save_img(data, x, file_format="jpg", quality=70)
    assert data.getvalue()[:2] == b"\xff\xd8"
    for bad in ("x", "x.xyz"):
        with pytest.raises(ValueError, match="file_format must be"):
            image.save_img(folder / bad, x)
    with pytest.raises(FileNotFoundError, match="cannot be written"):
        image.save_img(folder / "none" / "x.png", x)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "x.jpg", "x.png"]


# -- the generator


def test_default_values_may_be_given():
    defaults = (False, False, False, False, False, 1e-6, 0, 0.0, 0.0, None, 0.0, 0, 0, "nearest")
    generator = image.ImageDataGenerator(*defaults, 0.0, False, False, 0.5, None, None, 0.25, 1)
    assert generator.rescale == 0.5 and generator._validation_split == 0.25
    image.ImageDataGenerator(rotation_range=None, width_shift_range=False)


@pytest.mark.parametrize("split", [1, 1.5, -0.1])
def test_bad_split(split):
    with pytest.raises(ValueError, match="validation_split must be strictly between"):
        image.ImageDataGenerator(validation_split=split)


def test_other_bad_generator_arguments():
    with pytest.raises(TypeError, match="preprocessing_function must be callable"):
        image.ImageDataGenerator(preprocessing_function="mobilenet")


# -- folders


def test_prints_what_it_found(folder, capsys):
    flow(folder)
    assert capsys.readouterr().out == "Found 11 images belonging to 2 classes.\n"


def test_missing_folder(folder):
    with pytest.raises(FileNotFoundError) as error:
        flow(folder / "none")
    one_sentence(error, folder / "none")
    with pytest.raises(NotADirectoryError) as error:
        flow(folder / "a" / "0.jpg")
    one_sentence(error, folder / "a" / "0.jpg")
    with pytest.raises(FileNotFoundError) as error:
        flow(folder, classes=["a", "c"])
    one_sentence(error, folder / "c")


def test_empty_class(folder):
    (folder / "c").mkdir()
    (folder / "c" / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError) as error:
        flow(folder)
    one_sentence(error, folder / "c", "holds no picture")
    with pytest.raises(ValueError) as error:
        flow(folder / "c")
    one_sentence(error, folder / "c", "holds no folder")


def test_empty_subset(folder):
    with pytest.raises(ValueError, match=r"subset 'validation' .* holds no picture"):
        flow(folder, subset="validation")
    with pytest.raises(ValueError, match="subset must be"):
        flow(folder, subset="test")


def test_hidden_folders_are_left_out_and_said_so(folder, capsys):
    reset_notes()
    for place in (".ipynb_checkpoints", "a/.ipynb_checkpoints", "b/deep"):
        (folder / place).mkdir()
        Image.new("RGB", (3, 3)).save(folder / place / "0-checkpoint.jpg")
    iterator = flow(folder)
    assert iterator.class_indices == {"a": 0, "b": 1} and iterator.samples == 12
    assert os.path.join("b", "deep", "0-checkpoint.jpg") in iterator.filenames
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("left out hidden folder" in line for line in said)
    assert ".ipynb_checkpoints" in said[0] and "a/.ipynb_checkpoints" in said[1]
    # Asked for by name it is a class like any other.
    assert flow(folder, classes=[".ipynb_checkpoints"]).samples == 1


def test_classes_must_be_folder_names(folder):
    with pytest.raises(TypeError, match="not the string 'ab'"):
        flow(folder, classes="ab")
    with pytest.raises(ValueError, match="must be names of folders"):
        flow(folder, classes=["a/deep"])
    assert flow(folder / "a", classes=["."], class_mode=None).samples == 6


@pytest.mark.parametrize(
    "argument",
    [
        {"class_mode": "other"},
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"color_mode": "bgr"},
        {"interpolation": "cubic"},
        {"target_size": 224},
    ],
    ids=str,
)
def test_bad_flow_arguments(folder, argument):
    with pytest.raises(ValueError, match=next(iter(argument))):
        flow(folder, **argument)


def test_tiff_warns(folder):
    Image.new("RGB", (3, 3)).save(folder / "a" / "x.tiff")
    with pytest.warns(UserWarning, match="multiple bands"):
        flow(folder)


# -- order and randomness


def test_the_users_generator_is_left_alone(folder):
    for seed in (1, None):
        np.random.seed(8)
        before = np.random.get_state()[1:3]
        iterator = flow(folder, seed=seed)
        next(iterator)
        iterator[0]
        iterator.on_epoch_end()
        after = np.random.get_state()[1:3]
        np.testing.assert_array_equal(before[0], after[0])
        assert before[1] == after[1]


def test_without_seed_the_users_seed_decides(folder):
    orders = []
    for seed in (8, 8, 9):
        np.random.seed(seed)
        iterator = flow(folder, seed=None)
        next(iterator)
        orders.append(iterator.index_array.tolist())
    assert orders[0] == orders[1] != orders[2]


def test_positions(folder):
    iterator = flow(folder)
    assert len(iterator) == 3
    assert iterator[2][0].shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(iterator[-1][0], iterator[2][0])
    for i in (3, -4):
        with pytest.raises(ValueError, match="there are 3 batches"):
            iterator[i]
    assert iter(iterator) is iterator
    assert iterator.next()[1].shape == (4, 2)


def test_a_class_of_ones_own():
    class Squares(image.Iterator):
        def _get_batches_of_transformed_samples(self, index_array):
            return index_array**2

    squares = Squares(5, 2, False, None)
    assert [next(squares).tolist() for _ in range(4)] == [[0, 1], [4, 9], [16], [0, 1]]
    assert squares[2].tolist() == [16]
    with pytest.raises(NotImplementedError, match="Iterator must define"):
        next(image.Iterator(5, 2, False, None))


def test_next_from_many_threads(folder):
    iterator = flow(folder, shuffle=False, class_mode="sparse")
    seen = []

    def take():
        for _ in range(9):
            seen.append(len(next(iterator)[0]))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [3] * 12 + [4] * 24 and iterator.total_batches_seen == 36


# -- what training asks


def test_batch_indices_load_targets(folder):
    one, other = flow(folder), flow(folder)
    for i in range(len(one)):
        x, y = one[i]
        indices = other.batch_indices(i)
        np.testing.assert_array_equal(other.load(indices), x)
        np.testing.assert_array_equal(other.targets(indices), y)
        assert other.sample_weights(indices) is None
    one.on_epoch_end()
    other.on_epoch_end()
    np.testing.assert_array_equal(one.index_array, other.index_array)
    for bad in ([11], [-1], [[0]], [0.5]):
        with pytest.raises(ValueError, match="indices must"):
            one.load(bad)
    assert one.load([]).shape == (0, 8, 8, 3)


def test_keys(folder):
    iterator = flow(folder, {"rescale": 1 / 255}, shuffle=False)
    keys = iterator.keys([0, 1, 0])
    assert keys[0] == keys[2] != keys[1] and len(set(keys)) == 2
    assert keys == flow(folder, {"rescale": 1 / 255}).keys([0, 1, 0])
    for generator, more in (({}, {}), ({"rescale": 1 / 255}, {"target_size": (9, 8)})):
        assert keys[0] != flow(folder, generator, **more).keys([0])[0]
    os.utime(folder / "a" / "0.jpg", ns=(1, 1))
    assert iterator.keys([0])[0] != keys[0]
    assert iterator.keys([1])[0] == keys[1]
    gone(folder / "a" / "0.jpg")
    with pytest.raises(OSError) as error:
        iterator.keys([0])
    one_sentence(error, folder / "a" / "0.jpg")


def test_pure_range_and_reader(folder, tmp_path):
    plain = flow(folder)
    assert plain.pure and plain.value_range == (0, 255)
    scaled = flow(folder, {"rescale": 1.0 / 255})
    assert scaled.pure and scaled.value_range == (0, 1)
    assert scaled.reader == {
        "target_size": (8, 8),
        "color_mode": "rgb",
        "interpolation": "nearest",
        "keep_aspect_ratio": False,
        "rescale": 1.0 / 255,
        "preprocessing": None,
    }
    odd = flow(folder, {"preprocessing_function": np.copy})
    assert not odd.pure and odd.value_range is None and odd.reader is None and odd.keys([0]) is None
    assert not flow(folder, save_to_dir=tmp_path).pure
    assert flow(folder, color_mode="grayscale").value_range is None

    class Own(image.ImageDataGenerator):
        def standardize(self, x):
            return x * 0 + 3

    own = Own().flow_from_directory(folder, target_size=(8, 8))
    assert not own.pure and own.value_range is None
    assert (next(own)[0] == 3).all()
    set_on_it = image.ImageDataGenerator()
    set_on_it.standardize = lambda x: x * 0 + 4
    flown = set_on_it.flow_from_directory(folder, target_size=(8, 8))
    assert not flown.pure and flown.reader is None
    assert (next(flown)[0] == 4).all()


def test_own_preprocessing(folder):
    from tlcore.applications.mobilenet_v2 import preprocess_input

    iterator = flow(folder, {"preprocessing_function": preprocess_input}, shuffle=False)
    plain = flow(folder, shuffle=False)
    assert iterator.pure and iterator.value_range == (-1, 1)
    assert iterator.reader["preprocessing"] == "mobilenet_v2"
    x = plain.load(range(11))
    expected = x / np.float32(127.5) - np.float32(1)
    assert iterator.load(range(11)).tobytes() == expected.tobytes()
    twice = flow(folder, {"preprocessing_function": preprocess_input, "rescale": 0.5})
    assert twice.pure and twice.value_range == (-0.5, 0.5)
    np.testing.assert_array_equal(twice.load(range(11)), expected * np.float32(0.5))


def test_a_users_function_runs_in_order_in_the_callers_thread(folder):
    seen = []

    def function(x):
        assert x.dtype == np.float32 and x.shape == (8, 8, 3)
        seen.append(threading.current_thread())
        return x + len(seen)

    iterator = flow(folder, {"preprocessing_function": function}, shuffle=False)
    plain = flow(folder, shuffle=False)
    reading = iterator.prefetch(range(11))
    time.sleep(0.05)
    assert not seen
    np.testing.assert_array_equal(
        reading.result(), plain.load(range(11)) + np.arange(1, 12).reshape(11, 1, 1, 1)
    )
    assert set(seen) == {threading.current_thread()} and len(seen) == 11
    assert reading.result() is reading.result() and len(seen) == 11


# -- arrays


def test_arrays():
    x = np.arange(10 * 12, dtype="uint8").reshape(10, 2, 2, 3)
    y, weights = np.arange(10), np.arange(10) / 10
    iterator = image.ImageDataGenerator(rescale=1.0 / 255).flow(
        x, y, batch_size=4, sample_weight=weights, seed=2
    )
    bx, by, bw = next(iterator)
    np.testing.assert_array_equal(bx, x[by].astype("float32") * np.float32(1.0 / 255))
    np.testing.assert_array_equal(bw, weights[by])
    assert iterator.pure and iterator.value_range == (0, 1) and iterator.class_indices is None
    assert iterator.reader["target_size"] == (2, 2)
    np.testing.assert_array_equal(iterator.sample_weights([3]), weights[[3]])
    assert iterator.keys([0, 1, 0]) is None  # an array may be changed in place
    # Values that do not come from bytes have no known range.
    floats = image.ImageDataGenerator().flow(x / 255, y)
    assert floats.value_range is None and floats.reader is None
    np.testing.assert_array_equal(x.ravel(), np.arange(120))


def test_arrays_are_not_changed():
    x = np.ones((3, 2, 2, 3), "float32")
    iterator = image.ImageDataGenerator(rescale=0.5).flow(x)
    assert (next(iterator) == 0.5).all() and (x == 1).all() and iterator.x is x


def test_weights_follow_the_subset(capsys):
    reset_notes()
    x, weights = np.zeros((10, 2, 2, 3)), np.arange(10.0)
    generator = image.ImageDataGenerator(validation_split=0.3)
    for subset, expected in (("validation", weights[:3]), ("training", weights[3:])):
        iterator = generator.flow(
            x, np.arange(10) * 0, sample_weight=weights, subset=subset, shuffle=False
        )
        np.testing.assert_array_equal(next(iterator)[2], expected)
    assert capsys.readouterr().err.count("sample_weight") == 1


def test_bad_arrays():
    generator = image.ImageDataGenerator(validation_split=0.5)
    x = np.zeros((4, 2, 2, 3))
    for arguments, words in (
        ((x[0],), "4 dimensions"),
        ((x, np.zeros(3)), "y has 3 entries"),
        (((x, np.zeros(3)),), "further array"),
        ((list(x),), "not 4 things"),
        ((x, [0, 0, 1, 1], 2, True, None, 1, None, "", "png", False, "training"), "different"),
        ((x, None, 2, True, np.ones(5)), "sample_weight has 5 entries"),
        ((x, None, 2, True, None, 1, None, "", "png", False, "test"), "subset must be"),
    ):
        with pytest.raises(ValueError, match=words):
            generator.flow(*arguments)
    with pytest.warns(UserWarning, match="1, 3 or 4 channels"):
        generator.flow(np.zeros((4, 2, 2, 2)))


# -- saving, reading ahead, threads


def test_save_to_dir(folder, tmp_path):
    target = tmp_path / "saved"
    iterator = flow(folder, save_to_dir=target, save_prefix="p", save_format="jpg")
    with pytest.raises(FileNotFoundError, match="save_to_dir"):
        next(iterator)
    target.mkdir()
    next(iterator)
    assert len(list(target.glob("p_*.jpg"))) == 4
    draw = iterator.draw_batch(2)
    assert len(list(target.iterdir())) == 4
    iterator.prefetch(draw).result()
    iterator.load(draw.indices)
    assert len(list(target.iterdir())) == 7


def test_reading_ahead_is_bounded_and_in_order(folder, monkeypatch):
    iterator = flow(folder, shuffle=False)
    iterator.keep_decoded = False  # every picture is read when it is asked for
    expected = iterator.load(range(11))
    one_batch = 2 * 8 * 8 * 3 * 4
    iterator._ahead = _reading.ReadAhead(limit=3 * one_batch)
    begun = []
    read = type(iterator)._read_picture

    def watched(self, j):
        begun.append(j)
        return read(self, j)

    monkeypatch.setattr(type(iterator), "_read_picture", watched)
    readings = [iterator.prefetch([k, k + 1]) for k in range(10)]
    time.sleep(0.1)
    assert len(begun) == 6
    for k, reading in enumerate(readings):
        np.testing.assert_array_equal(reading.result(), expected[k : k + 2])
        assert len(begun) <= 2 * (k + 4)
    assert len(begun) == 20
    # Out of order, given up, or forgotten: nothing waits for ever.
    readings = [iterator.prefetch([k, k + 1]) for k in range(10)]
    readings[1].cancel()
    del readings[0]
    np.testing.assert_array_equal(readings[-1].result(), expected[9:11])
    np.testing.assert_array_equal(readings[2].result(), expected[3:5])


def test_a_batch_beyond_the_limit_is_read(folder):
    iterator = flow(folder, shuffle=False)
    iterator._ahead = _reading.ReadAhead(limit=1)
    readings = [iterator.prefetch([k]) for k in range(4)]
    assert [reading.result().shape[0] for reading in readings] == [1] * 4


def test_number_of_threads(folder):
    from tlcore import get_num_threads, set_num_threads

    before = get_num_threads()
    iterator = flow(folder, shuffle=False)
    expected = iterator.load(range(11))
    try:
        for n in (1, 3):
            set_num_threads(n)
            np.testing.assert_array_equal(iterator.load(range(11)), expected)
            names = [t.name for t in threading.enumerate() if t.name.startswith("tlcore-pictures")]
            assert len(names) <= 3 + n
    finally:
        set_num_threads(before)
    iterator.load([0])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_in_a_forked_child(folder):
    iterator = flow(folder, shuffle=False)
    expected = iterator.load(range(11))
    reading = iterator.prefetch(range(11))
    child = os.fork()
    if child == 0:
        same = all(
            (batch == expected).all() for batch in (iterator.load(range(11)), reading.result())
        )
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(reading.result(), expected)


# -- from Pillow's memory


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "I"])
def test_pixels_are_shown_or_copied_alike(monkeypatch, mode):
    channels = {"RGB": 3, "RGBA": 4}.get(mode, 1)
    kind = {"I;16": np.uint16, "I": np.int32}.get(mode, np.uint8)
    values = (np.arange(5 * 7 * channels) * 31 % 251).astype(kind).reshape(5, 7, channels)
    img = Image.fromarray(values if channels > 1 else values[:, :, 0])
    assert img.mode == mode
    shown = _pictures.image_pixels(img)
    monkeypatch.delattr(Image.Image, "__arrow_c_array__", raising=False)
    copied = _pictures.image_pixels(img)
    assert shown.dtype == copied.dtype == kind
    img.close()  # the pixels outlive it
    np.testing.assert_array_equal(shown, values)
    np.testing.assert_array_equal(copied, values)
    if kind == np.uint8:
        dst = np.empty(values.shape, np.uint8)
        _core.pixels_pack(dst, shown)
        np.testing.assert_array_equal(dst, values)


@pytest.mark.skipif(not hasattr(Image.Image, "__arrow_c_array__"), reason="Pillow has no Arrow")
def test_capsules_that_hold_something_else():
    schema, array = Image.new("RGB", (4, 3)).__arrow_c_array__()
    assert _core.arrow_pixels(schema, array, 3, 4, 3).strides == (16, 4, 1)
    assert not _core.arrow_pixels(schema, array, 3, 4, 3).flags.writeable
    for size in ((3, 5, 3), (4, 4, 3), (3, 4, 5), (3, 4, 0), (0, 4, 3), (-3, -4, 3), (2**62, 4, 3)):
        with pytest.raises(ValueError, match="height \\* width"):
            _core.arrow_pixels(schema, array, *size)
    wide = Image.new("I", (4, 3)).__arrow_c_array__()
    with pytest.raises(ValueError, match="1 or 4 bytes"):
        _core.arrow_pixels(*wide, 3, 4, 1)
    with pytest.raises(ValueError, match="PyCapsule"):
        _core.arrow_pixels(array, schema, 3, 4, 3)


@pytest.mark.parametrize("keep_aspect_ratio", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_nearest_is_what_pillow_picks(tmp_path, mode, keep_aspect_ratio):
    random_numbers = np.random.RandomState(4)
    for n in range(60):
        height, width = random_numbers.randint(1, 300, 2)
        size = tuple(int(side) for side in random_numbers.randint(1, 300, 2))
        if n % 10 == 0:
            size = (height, width)
        channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
        values = random_numbers.randint(0, 256, (height, width, channels)).astype(np.uint8)
        path = tmp_path / f"{n}.png"
        Image.fromarray(values if channels > 1 else values[:, :, 0]).save(path)
        color_mode = "grayscale" if mode == "L" else mode.lower()
        arguments = (color_mode, size, "nearest", keep_aspect_ratio)
        ours, _, stamp = _pictures.read_pixels(path, *arguments, exif=False)
        theirs = np.asarray(image.load_img(path, *arguments)).reshape(ours.shape)
        np.testing.assert_array_equal(ours, theirs)
        assert stamp == (path.stat().st_size, path.stat().st_mtime_ns)


def test_read_file(tmp_path):
    path = tmp_path / "bytes ü"
    for size in (0, 1, 5000, 3 << 20):
        content = np.random.RandomState(size).bytes(size)
        path.write_bytes(content)
        facts = (size, path.stat().st_mtime_ns)
        for way in (path, str(path), os.fsencode(path)):
            assert _core.read_file(way, size) == (content, *facts)
        assert size == 0 or _core.read_file(path, size - 1) == (None, *facts)
    with pytest.raises(FileNotFoundError) as error:
        _core.read_file(tmp_path / "none", 10)
    assert error.value.filename == tmp_path / "none"
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(OSError, match="not a regular file"):
            _core.read_file(odd, 10)
    for bad in (3.5, None, "a\0b"):
        with pytest.raises((TypeError, ValueError)):
            _core.read_file(bad, 10)
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        _core.read_file(path, 10)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_what_pixels_pick_refuses():
    src, dst = np.zeros((4, 5, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    places = np.array([0, 3]), np.array([4, 0])
    _core.pixels_pick(dst, src, *places)
    for bad, words in (
        ((dst.astype(float), src, *places), "dst"),
        ((dst[:, ::2], src, *places), "dst"),
        ((dst[:, :, :2], src, *places), "dst"),
        ((dst, src.astype(float), *places), "src"),
        ((dst, src[0], *places), "src"),
        ((dst, src[:, :, ::-1], *places), "src"),
        ((dst, src[::-1], *places), "src"),
        ((dst, src[:, ::-1], *places), "src"),
        ((dst, src, np.array([0, 4]), places[1]), "rows"),
        ((dst, src, np.array([-1, 0]), places[1]), "rows"),
        ((dst, src, places[0], np.array([0, 5])), "cols"),
        ((dst, src, places[0], np.array([0, 1, 2])), "cols"),
        ((dst, src, places[0].astype(np.int32), places[1]), "rows"),
    ):
        with pytest.raises(ValueError, match=words):
            _core.pixels_pick(*bad)


def test_names_of_pictures(tmp_path):
    for name in ("a.png", "b.JPG", "c.txt", "in/d.tiff", "in/e.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = sorted(os.path.relpath(path, tmp_path) for path in image.list_pictures(tmp_path))
    assert found == ["a.png", "b.JPG", "in/d.tiff"]
    assert len(image.list_pictures(str(tmp_path), ext="png")) == 1
    assert image.list_pictures(tmp_path / "none") == []
    assert image.validate_filename(str(tmp_path / "b.JPG"), ("png", "jpg"))
    assert image.validate_filename(tmp_path / "a.png", "png")
    assert not image.validate_filename(str(tmp_path / "c.txt"), ("png", "jpg"))
    assert not image.validate_filename("none.png", ("png", "jpg"))
