"""A folder of odd pictures: each is read as documented or refused by name, none goes silently.

Orientation, other formats than the name says, 16 bits, transparency, CMYK, damage, links that lead
nowhere, names beyond ASCII, and the extensions that Keras passes over.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import signal
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import tlcore
from tlcore.preprocessing import image
from tlcore.preprocessing.image import _headers, _pictures, _reading
from tlcore.utils import notes

ORIENTATION = 0x0112
# A picture that no rotation or mirroring leaves as it is.
PIXELS = np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)


@pytest.fixture(autouse=True)
def forgotten_notes() -> None:
    notes.reset_notes()


def flow(folder: Path, **more: Any) -> image.DirectoryIterator:
    arguments = {"target_size": (6, 9), "shuffle": False, "batch_size": 50, **more}
    generator = image.ImageDataGenerator(validation_split=arguments.pop("split", 0.0))
    return generator.flow_from_directory(folder, **arguments)


def turned(path: Path, orientation: int, **options: Any) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(PIXELS).save(path, exif=exif, **options)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("tlcore: ")]


# --- the odd folder -------------------------------------------------------------------------------


def cmyk(path: Path) -> None:
    Image.fromarray(PIXELS).convert("CMYK").save(path)


def deep(path: Path) -> None:
    Image.fromarray(np.arange(54, dtype=np.uint16).reshape(6, 9) * 1000).save(path)


def palette(path: Path) -> None:
    img = Image.fromarray(PIXELS).quantize(8)
    img.save(path, transparency=bytes(range(8)))


def animation(path: Path) -> None:
    frames = [Image.new("RGB", (9, 6), (40 * i,) * 3) for i in range(1, 4)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def truncated(path: Path) -> None:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 90, 3), np.uint8)).save(
        data, "JPEG"
    )
    path.write_bytes(data.getvalue()[:-150])


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.png")


def unicode(path: Path) -> None:
    Image.fromarray(PIXELS).save(path)


ODD: dict[str, Callable[[Path], None]] = {
    "animated.png": animation,
    "cmyk.jpg": cmyk,
    "cut.jpg": truncated,
    "deep.png": deep,
    "link.png": dangling,
    "palette.png": palette,
    "ünïcode 写真 🏄.png": unicode,
}


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    (tmp_path / "odd").mkdir()
    for name, write in ODD.items():
        write(tmp_path / "odd" / name)
    return tmp_path


def one_class(folder: Path, name: str) -> Path:
    """A folder with this picture alone."""
    alone = folder / f"alone {name}"
    (alone / "class").mkdir(parents=True)
    os.rename(folder / "odd" / name, alone / "class" / name)
    return alone


READ = {
    "animated.png": ("rgb", "is a GIF file and was read as one, its first picture alone"),
    "cmyk.jpg": ("rgb", "is CMYK and was converted without its colour profile, as in Keras"),
    "deep.png": ("rgb", "has more than 8 bits a pixel (Pillow's mode I;16), and values above 255"),
    "palette.png": ("rgb", "has transparency, which is left out as in Keras"),
}


@pytest.mark.parametrize("name", READ)
def test_each_is_read_and_said_once(
    odd: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mode, words = READ[name]
    alone = one_class(odd, name)
    iterator = flow(alone, color_mode=mode)
    iterator.keep_decoded = False
    x, _ = iterator[0]
    iterator[0]
    with Image.open(alone / "class" / name) as img:
        img.info.pop("transparency", None)  # of which Pillow would warn
        np.testing.assert_array_equal(x[0], np.asarray(img.convert("RGB")))
    notes_ = said(capsys)
    assert len(notes_) == 1
    assert f"picture {str(alone / 'class' / name)!r} {words}" in notes_[0]
    flow(alone, color_mode=mode)[0]
    assert len(said(capsys)) == 1  # once for each iterator


def test_what_keeps_it_says_nothing(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = flow(one_class(odd, "deep.png"), color_mode="grayscale")[0][0]
    assert x.max() == 53_000
    x = flow(one_class(odd, "palette.png"), color_mode="rgba")[0][0]
    assert set(np.unique(x[..., 3])) <= set(range(8))
    flow(one_class(odd, "ünïcode 写真 🏄.png"))[0]
    assert said(capsys) == []


REFUSED = {
    "cut.jpg": (OSError, r"Picture '{}' is truncated or damaged \(image file is truncated"),
    "link.png": (FileNotFoundError, "Picture '{}' is a symbolic link to a file that is gone"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_that_cannot_be_read_is_named(odd: Path, name: str) -> None:
    kind, words = REFUSED[name]
    alone = one_class(odd, name)
    with pytest.raises(kind, match=words.format(re.escape(str(alone / "class" / name)))):
        flow(alone)[0]
    with pytest.raises(ValueError, match="None of the 1 pictures can be read: Picture"):
        flow(alone, on_error="skip")


def test_the_whole_folder(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match=r"cut\.jpg"):
        flow(odd)[0]
    capsys.readouterr()
    iterator = flow(odd, on_error="skip")
    assert iterator.filenames == [f"odd/{name}" for name in ODD if name not in REFUSED]
    assert [os.path.basename(path) for path in iterator.filepaths] == [
        name for name in ODD if name not in REFUSED
    ]
    assert [name for name, _ in iterator.skipped] == ["odd/cut.jpg", "odd/link.png"]
    assert all(name.rpartition("/")[2] in reason for name, reason in iterator.skipped)
    out, err = capsys.readouterr()
    assert out == "Found 5 images belonging to 1 classes.\n"
    lines = err.splitlines()
    assert len(lines) == len(READ) + 1  # all was said when all was read
    assert lines[-1] == "tlcore: on_error='skip' left out 2 of 7 pictures: " + " ".join(
        reason for _, reason in iterator.skipped
    )
    assert iterator[0][0].shape == (5, 6, 9, 3)
    assert (iterator.n, iterator.samples, iterator.classes.tolist()) == (5, 5, [0] * 5)
    assert capsys.readouterr().err == ""


# --- on_error="skip" ------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Two classes of ten pictures, of which 0, 4 and 9 (a) and 1 (b) are damaged."""
    for name, bad in (("a", (0, 4, 9)), ("b", (1,))):
        (tmp_path / name).mkdir()
        for i in range(10):
            path = tmp_path / name / f"{i}.png"
            Image.new("RGB", (9, 6), (10 * i + 5,) * 3).save(path)
            if i in bad:
                path.write_bytes(path.read_bytes()[:45])
    return tmp_path


def test_skipping_comes_after_the_split(damaged: Path) -> None:
    validation = flow(damaged, split=0.3, subset="validation", on_error="skip")
    training = flow(damaged, split=0.3, subset="training", on_error="skip")
    assert validation.filenames == ["a/1.png", "a/2.png", "b/0.png", "b/2.png"]
    assert [name for name, _ in validation.skipped] == ["a/0.png", "b/1.png"]
    assert [name for name, _ in training.skipped] == ["a/4.png", "a/9.png"]
    assert training.n == 12 and training.classes.tolist() == [0] * 5 + [1] * 7
    greys = [(x - 5) / 10 for x in training[0][0][:, 0, 0, 0]]
    assert greys == [3, 5, 6, 7, 8, 3, 4, 5, 6, 7, 8, 9]


def test_a_few_are_said_and_all_are_listed(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    iterator = flow(damaged, on_error="skip")
    assert len(iterator.skipped) == 4
    [line] = said(capsys)
    assert line.count("Picture '") == 3
    assert line.endswith("1 more are in the iterator's `skipped`.")
    assert flow(damaged).skipped == []


def test_order_and_seed_are_those_of_the_rest(damaged: Path, tmp_path: Path) -> None:
    iterator = flow(damaged, on_error="skip", shuffle=True, seed=4, batch_size=5)
    for name, _ in iterator.skipped:
        (damaged / name).unlink()
    plain = flow(damaged, shuffle=True, seed=4, batch_size=5)
    for i in range(4):
        np.testing.assert_array_equal(iterator[i][0], plain[i][0])


def test_what_goes_bad_later_raises(damaged: Path) -> None:
    iterator = flow(damaged, on_error="skip")
    path = damaged / "b" / "0.png"
    path.write_bytes(b"no picture any more")
    with pytest.raises(OSError, match=re.escape(str(path))):
        iterator[0]


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt, errno.EMFILE])
def test_the_machines_faults_are_not_the_pictures(
    damaged: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Any) -> Any:
        if isinstance(kind, int):
            try:
                raise OSError(kind, "of the machine")
            except OSError as error:
                raise OSError("cannot be read") from error
        raise kind

    monkeypatch.setattr(_pictures, "_read_bytes", fail)
    with pytest.raises(OSError if isinstance(kind, int) else kind):
        flow(damaged, on_error="skip")


def test_ctrl_c_ends_the_check(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crew stops at the next picture, and goes on with whatever comes then."""
    struck, gate, read = threading.Event(), threading.Event(), []
    main, known = threading.get_ident(), _pictures._read_bytes

    def slow(path: Any) -> Any:
        read.append(path)
        # A signal that comes just before a wait does not end it: another one does.
        while not struck.wait(0.05):
            signal.pthread_kill(main, signal.SIGINT)
        gate.wait(60)
        return known(path)

    def strike(number: int, frame: Any) -> None:
        if not struck.is_set():
            struck.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(_pictures, "_read_bytes", slow)
    before = signal.signal(signal.SIGINT, strike)
    try:
        with pytest.raises(KeyboardInterrupt):
            flow(damaged, on_error="skip")
    finally:
        signal.signal(signal.SIGINT, before)
        gate.set()
    idle = threading.Barrier(tlcore.get_num_threads() + 1)
    for _ in range(tlcore.get_num_threads()):
        _reading.submit(idle.wait, 60)
    idle.wait(60)
    assert len(read) <= tlcore.get_num_threads()
    assert flow(damaged, on_error="skip").n == 16


# --- EXIF -----------------------------------------------------------------------------------------


KINDS = {"a.png": {}, "a.webp": {"lossless": True}, "a.jpg": {"quality": 95}}


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("name", KINDS)
def test_exif_turns_a_picture(tmp_path: Path, name: str, orientation: int) -> None:
    path = tmp_path / name
    turned(path, orientation, **KINDS[name])
    with Image.open(path) as img:
        as_stored, upright = np.asarray(img), np.asarray(ImageOps.exif_transpose(img))
        assert img.info["exif"]
    assert (as_stored.shape != upright.shape) == (orientation > 4)
    np.testing.assert_array_equal(image.img_to_array(image.load_img(path)), as_stored)
    np.testing.assert_array_equal(image.img_to_array(image.load_img(path, exif=True)), upright)


@pytest.mark.parametrize("keep_aspect_ratio", [False, True])
def test_it_is_turned_before_it_is_cut_and_resized(tmp_path: Path, keep_aspect_ratio: bool) -> None:
    turned(tmp_path / "a.png", 6)
    Image.fromarray(np.rot90(PIXELS, -1)).save(tmp_path / "b.png")
    sizes = {"target_size": (5, 4), "keep_aspect_ratio": keep_aspect_ratio}
    upright = image.load_img(tmp_path / "a.png", exif=True, interpolation="bilinear", **sizes)
    expected = image.load_img(tmp_path / "b.png", interpolation="bilinear", **sizes)
    np.testing.assert_array_equal(np.asarray(upright), np.asarray(expected))


def test_orientation_is_said_once_with_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, orientation in enumerate((1, 3, 6, 1, 8)):
        turned(tmp_path / "a" / f"{i}.jpg", orientation)
    iterator = flow(tmp_path)
    as_stored = iterator[0][0]
    iterator[0]
    [line] = said(capsys)
    assert line == (
        f"tlcore: picture {str(tmp_path / 'a' / '1.jpg')!r} has an EXIF orientation (3), which is "
        "left alone as in Keras; exif=True applies it (the first of 3 such among 5)."
    )
    upright = flow(tmp_path, exif=True)[0][0]
    assert said(capsys) == []
    np.testing.assert_array_equal(upright[[0, 3]], as_stored[[0, 3]])
    np.testing.assert_array_equal(upright[1], as_stored[1, ::-1, ::-1])
    assert (upright[2] != as_stored[2]).any()


def test_exif_is_a_part_of_the_way_of_reading(tmp_path: Path) -> None:
    turned(tmp_path / "a" / "0.jpg", 6)
    plain, upright = flow(tmp_path), flow(tmp_path, exif=True)
    assert plain.reader is not None and "exif" not in plain.reader
    assert upright.reader == {**plain.reader, "exif": True}
    assert plain.keys([0]) != upright.keys([0])


def test_a_model_reads_as_its_pictures_were_read(tmp_path: Path) -> None:
    from tlcore import layers, models

    for i in range(4):
        turned(tmp_path / "ab"[i % 2] / f"{i}.png", 3)
    model = models.Sequential([layers.Flatten(input_shape=(6, 9, 3)), layers.Dense(2)])
    model.compile("sgd", "categorical_crossentropy")
    upright = flow(tmp_path, exif=True)
    model.fit(upright, verbose=0)
    scores = model.predict(upright, verbose=0)[0]
    assert list(model.predict_image(tmp_path / "a" / "0.png").values()) == pytest.approx(
        sorted(scores, reverse=True)
    )
    model.save(tmp_path / "m.h5")
    loaded = models.load_model(tmp_path / "m.h5")
    assert loaded.reader == model.reader and loaded.reader["exif"] is True
    assert loaded.predict_image(tmp_path / "a" / "0.png") == pytest.approx(
        model.predict_image(tmp_path / "a" / "0.png")
    )


def test_orientation_is_pillows_or_upright() -> None:
    """Hostile tags: an orientation that Pillow finds too, or upright; never an exception."""
    rng = np.random.default_rng(0)
    pairs: set[Any] = set()
    for order in "<>":
        head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
        for value in (0, 1, 6, 8, 9, 65_535):
            entry = struct.pack(order + "HHIH2x", ORIENTATION, 3, 1, value)
            for count in (0, 1, 2, 65_535):
                data = head + struct.pack(order + "H", count) + entry
                expected = value if count and 1 <= value <= 8 else 1
                assert _headers.orientation(data) == expected
                assert _headers.orientation(b"Exif\0\0" + data) == expected
        for kind, values in ((4, 1), (3, 2), (3, 0)):
            entry = struct.pack(order + "HHIH2x", ORIENTATION, kind, values, 6)
            assert _headers.orientation(head + struct.pack(order + "H", 1) + entry) == 1
        entry = struct.pack(order + "HHIH2x", ORIENTATION, 3, 1, 6)
        good = head + struct.pack(order + "H", 1) + entry
        compared = 0
        for _ in range(3000):
            harmed = bytearray(good + bytes(int(rng.integers(0, 40))))
            for at in rng.integers(0, len(harmed), rng.integers(1, 4)):
                harmed[at] = rng.integers(0, 256)
            found = _headers.orientation(bytes(harmed))
            assert 1 <= found <= 8
            with contextlib.suppress(Exception):  # and warnings, which are errors here
                exif = Image.Exif()
                exif.load(b"Exif\0\0" + bytes(harmed))
                theirs = exif.get(ORIENTATION, 1)
                compared += 1
                if found != 1 or (isinstance(theirs, int) and 2 <= theirs <= 8):
                    pairs.add((found, theirs))
        assert compared > 500
        for end in range(len(good)):
            assert _headers.orientation(good[:end]) == 1
    assert {found for found, _ in pairs} > {6}
    assert all(found in (1, theirs) for found, theirs in pairs)
    assert _headers.orientation(b"") == 1


def test_tags_cost_no_time() -> None:
    """Sixty thousand entries are walked over once; their values are not looked for."""
    entry = struct.pack("<HHII", 0x9999, 7, 0xFFFFFFFF, 0)
    data = b"II*\0" + struct.pack("<IH", 8, 65_535) + entry * 65_535
    assert _headers.orientation(data) == 1


# --- what the listing passes over -----------------------------------------------------------------


def test_other_pictures_are_mentioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "in").mkdir(parents=True)
        Image.fromarray(PIXELS).save(tmp_path / name / "0.png")
        for other in ("1.webp", "in/2.WEBP", "3.heic", "notes.txt", "Thumbs.db", ".hidden.webp"):
            (tmp_path / name / other).write_bytes(b"")
    (tmp_path / "b" / "4.pgm").write_bytes(b"")
    iterator = flow(tmp_path)
    assert iterator.filenames == ["a/0.png", "b/0.png"]
    [line] = said(capsys)
    assert line == (
        f"tlcore: left out, as Keras does, pictures in {str(tmp_path)!r} because of their "
        "extension: 2 .heic (as 'a/3.heic'), 1 .pgm ('b/4.pgm'), 4 .webp (as 'a/1.webp'); "
        "flow_from_dataframe(validate_filenames=False) reads .pgm, .webp; .heic must be "
        "converted, for example to .png"
    )
    flow(tmp_path)
    assert said(capsys) == []
    (tmp_path / "a" / "0.png").unlink()
    with pytest.raises(ValueError, match=r"holds no picture \(.*\); other pictures: .* 2 \.webp"):
        flow(tmp_path)


def test_plain_folders_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turned(tmp_path / "a" / "0.jpg", 1)
    Image.fromarray(PIXELS).save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "readme.md").write_text("hello")
    flow(tmp_path)[0]
    assert capsys.readouterr().err == ""
