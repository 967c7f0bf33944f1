"""datasets.check: everything odd about a folder is in its table by name, and nothing stops it."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import signal
import sys
import threading
import time
import warnings
from concurrent.futures import Future
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageFile

from tlcore import datasets
from tlcore.datasets import _alike, _check, _examine, _html
from tlcore.datasets._report import Table
from tlcore.layers import Conv2D, GlobalAveragePooling2D
from tlcore.models import Sequential
from tlcore.preprocessing.image import ImageDataGenerator, _headers, load_img


def picture(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """Smooth colours: no two seeds look alike."""
    few = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(few).resize(size, Image.Resampling.BICUBIC)


def written(img: Image.Image, kind: str, **options) -> bytes:
    data = io.BytesIO()
    img.save(data, kind, **options)
    return data.getvalue()


def fill(folder, n: int, first: int) -> None:
    folder.mkdir(parents=True)
    for i in range(n):
        picture(first + i).save(folder / f"plain{i}.png")


def look(folder, **options):
    """{(kind, file): row} of the report, each once."""
    report = datasets.check(folder, verbose=False, **options)
    rows = {(finding.kind, finding.file): finding.row() for finding in report._found}
    assert len(rows) == len(report)
    return rows


@pytest.fixture
def folder(tmp_path):
    """Two classes without a blemish: 4 pictures of "a", 5 of "b"."""
    fill(tmp_path / "a", 4, 100)
    fill(tmp_path / "b", 5, 200)
    return tmp_path


def test_nothing_is_found_in_a_clean_folder(folder, capsys):
    report = datasets.check(folder, 0.4)
    assert len(report) == 0 and report.findings == {} and report.notes == []
    assert report.counts == {"a": 4, "b": 5} and report.pictures == 9
    assert report.files() == [] and len(report.table) == 0
    # int(0.4 * 4) and int(0.4 * 5) of the classes
    assert capsys.readouterr().out == (
        f"{folder}: 9 pictures (a 4, b 5), 3 for validation, 6 for training\n  nothing was found\n"
    )


# --- files that are odd ---------------------------------------------------------------------------

# name -> (content, {kind: part of its detail}); every file is one that flow_from_directory lists.
ODD = {
    "cut.jpg": (
        written(picture(1), "JPEG")[:700],
        {"truncated": "Picture is truncated or damaged ("},
    ),
    "cut.png": (written(picture(2), "PNG")[:900], {"truncated": "damaged ("}),
    "cmyk.jpg": (
        written(picture(3).convert("CMYK"), "JPEG"),
        {"CMYK": "converted to RGB without its colour profile"},
    ),
    "deep.png": (
        written(Image.fromarray(np.arange(0, 64000, 10, dtype=np.uint16).reshape(80, 80)), "PNG"),
        {"16-bit": "'rgb' cuts its values to 0..255"},
    ),
    "palette.png": (
        written(picture(4).quantize(16), "PNG", transparency=3),
        {"transparency": "'rgb' drops it"},
    ),
    "animated.png": (
        written(picture(5), "GIF", save_all=True, append_images=[picture(6)]),
        {"animated": "a GIF file of several", "wrong extension": "a GIF file called .png"},
    ),
    "apng.png": (
        written(picture(7), "PNG", save_all=True, append_images=[picture(8)]),
        {"animated": "a PNG file of several"},
    ),
    "pages.tif": (
        written(picture(9), "TIFF", save_all=True, append_images=[picture(10)]),
        {"animated": "a TIFF file of several"},
    ),
    "renamed.jpg": (written(picture(11), "WEBP"), {"wrong extension": "a WEBP file called .jpg"}),
    "empty.jpg": (b"", {"empty file": "no bytes"}),
    "text.jpg": (b"not a picture", {"unreadable": "File is not a picture in one of the formats"}),
    "broken.bmp": (b"BM" + bytes(60), {"unreadable": ""}),
    "small.png": (written(picture(12, (31, 40)), "PNG"), {"tiny": "31 x 40 pixels"}),
    "not-small.png": (written(picture(18, (32, 40)), "PNG"), {}),
    "slim.png": (written(picture(13, (161, 40)), "PNG"), {"extreme shape": "161 x 40 pixels"}),
    "not-slim.png": (written(picture(14, (160, 40)), "PNG"), {}),
    "opaque.png": (written(picture(15).convert("RGBA"), "PNG"), {}),
    "ünïcode 花.jpg": (written(picture(16), "JPEG")[:500], {"truncated": "damaged"}),
    "evil\n\x1b[31m<b>&.jpg": (b"", {"empty file": "no bytes"}),
}


def test_every_odd_file_is_named(folder):
    for name, (content, _) in ODD.items():
        (folder / "a" / name).write_bytes(content)
    os.symlink("nowhere.jpg", folder / "a" / "lost.jpg")
    os.mkfifo(folder / "a" / "pipe.jpg")
    os.mkdir(folder / "a" / "folder.jpg")  # neither here nor in Keras a picture
    undecodable = os.fsencode(folder / "a") + b"/\xff.jpg"
    with open(undecodable, "wb") as file:
        file.write(written(picture(17), "JPEG"))

    rows = look(folder, max_imbalance=100)
    wanted = {
        (kind, f"a/{name}"): part
        for name, (_, kinds) in ODD.items()
        for kind, part in kinds.items()
    }
    wanted["broken link", "a/lost.jpg"] = "it leads to 'nowhere.jpg', which does not exist"
    wanted["unreadable", "a/pipe.jpg"] = "it is not a regular file"
    assert rows.keys() == wanted.keys()
    for key, part in wanted.items():
        assert part in rows[key]["detail"]
        assert str(folder) not in rows[key]["detail"]
        assert rows[key]["class"] == "a" and rows[key]["advice"]
    assert {row["severity"] for (kind, _), row in rows.items() if kind == "truncated"} == {"error"}


def test_errors_are_what_training_stops_at(folder):
    """Each file with an error cannot be loaded, and each one without can."""
    for name, (content, _) in ODD.items():
        (folder / "a" / name).write_bytes(content)
    stops = {file for (_, file), row in look(folder).items() if row["severity"] == "error"}
    for name in ODD:
        path = folder / "a" / name
        if f"a/{name}" in stops:
            with pytest.raises((OSError, ValueError), match=re.escape(repr(str(path)))):
                load_img(path)
        else:
            load_img(path)


def test_what_is_said_of_16_bits_and_transparency_is_so(folder):
    pixels = np.array(load_img(io.BytesIO(ODD["deep.png"][0])))
    assert pixels.max() == 255 and (pixels == 255).mean() > 0.9
    assert np.array(load_img(io.BytesIO(ODD["deep.png"][0]), color_mode="grayscale")).max() == 63990
    hidden = Image.new("RGBA", (40, 40), (10, 200, 30, 0))
    assert np.array(load_img(io.BytesIO(written(hidden, "PNG"))))[0, 0].tolist() == [10, 200, 30]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_rotation(folder, kind, orientation):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    exif[0x0112] = orientation
    name = "turned." + {"WEBP": "png", "TIFF": "tif"}.get(kind, kind.lower())
    picture(1).save(folder / "a" / name, kind, exif=exif)
    rows = look(folder)
    said = orientation != 1 and kind != "TIFF"  # which Pillow turns, and Keras with it
    assert (("EXIF rotation", f"a/{name}") in rows) == said
    if said:
        assert rows["EXIF rotation", f"a/{name}"]["detail"] == f"orientation {orientation}"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's, for its own sake
@pytest.mark.parametrize("exif", [b"", b"II", b"MM\0*\0\0\0\x08\xff\xff" + bytes(20), b"\xff" * 40])
def test_broken_exif_is_no_rotation(folder, exif):
    picture(1).save(folder / "a" / "broken.jpg", exif=b"Exif\0\0" + exif)
    assert not look(folder)


def test_orientation_of_any_bytes():
    random = np.random.default_rng(0)
    for start in (b"II*\0", b"MM\0*", b""):
        for _ in range(300):
            data = start + random.integers(0, 30, random.integers(0, 60), dtype=np.uint8).tobytes()
            assert 1 <= _headers.orientation(data) <= 8


def test_a_file_without_its_end_is_found_though_it_loads(folder, monkeypatch):
    """As with the advice to set LOAD_TRUNCATED_IMAGES, which leaves grey where data are missing."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    (folder / "a" / "grey.jpg").write_bytes(written(picture(1), "JPEG")[:700])
    whole = written(picture(2), "PNG")
    (folder / "a" / "end.png").write_bytes(whole[: whole.index(b"IEND") - 4])
    rows = look(folder)
    assert set(rows) == {("truncated", "a/end.png"), ("truncated", "a/grey.jpg")}
    assert all("though all pixels were decoded" in row["detail"] for row in rows.values())


def test_files_that_are_not_used(folder):
    picture(1).save(folder / "a" / "one.webp")
    picture(2).save(folder / "a" / "two.gif")
    (folder / "a" / "three.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "a" / "four").write_bytes(written(picture(3), "JPEG"))
    (folder / "a" / "notes.txt").write_text("BMW")
    os.mkfifo(folder / "a" / "pipe")
    os.symlink("nowhere", folder / "a" / "link")
    (folder / "a" / ".inner").mkdir()
    picture(4).save(folder / "a" / ".inner" / "five.png")
    (folder / ".ipynb_checkpoints").mkdir()
    picture(5).save(folder / "beside.jpg")
    (folder / "a" / "deeper").mkdir()
    picture(6).save(folder / "a" / "deeper" / "six.webp")
    outside = folder.parent / f"{folder.name}-outside"
    fill(outside, 1, 300)
    os.symlink(outside, folder / "a" / "elsewhere")

    rows = look(folder)
    assert set(rows) == {
        ("ignored picture", "a/one.webp"),
        ("ignored picture", "a/two.gif"),
        ("ignored picture", "a/three.heic"),
        ("ignored picture", "a/four"),
        ("ignored picture", "a/deeper/six.webp"),
        ("other file", "a/notes.txt"),
        ("other file", "a/pipe"),
        ("broken link", "a/link"),
        ("hidden folder", "a/.inner"),
        ("hidden folder", ".ipynb_checkpoints"),
        ("outside the classes", "beside.jpg"),
        ("link not followed", "a/elsewhere"),
    }
    followed = datasets.check(folder, follow_links=True, verbose=False)
    assert "link not followed" not in followed.findings and followed.pictures == 10


def test_pictures_are_listed_as_flow_from_directory_lists_them(folder, capsys):
    for name in ("B", "b", "ä", ".hidden", "b/../Z"):
        fill(folder / "a" / name, 2, 400)
    for name in ("x.JPG", "x.TIFF", "y.jpeg", "y.ppm", "z.bmp", ".hidden.png", "z.webp"):
        (folder / "a" / "b" / name).write_bytes(b"")
    listed = [one.name for one in _check.list_folder(str(folder), None, 0.3, False).pictures]
    with pytest.warns(UserWarning, match="tiff"):
        everything = ImageDataGenerator().flow_from_directory(folder, shuffle=False)
    assert listed == everything.filenames
    for subset in ("training", "validation"):
        with pytest.warns(UserWarning, match="tiff"):
            half = ImageDataGenerator(validation_split=0.3).flow_from_directory(
                folder, shuffle=False, subset=subset
            )
        pictures = _check.list_folder(str(folder), None, 0.3, False).pictures
        assert [one.name for one in pictures if one.split == subset] == half.filenames
    capsys.readouterr()


def test_values_without_bounds(folder):
    """Floats may be as large as they like, and no numbers at all; Lab has no way to grey."""
    wild = np.zeros((40, 40), np.float32)
    wild[:20], wild[20:] = -3.4e38, 3.4e38
    wild.view(np.uint32)[::7, 5] = 0x7FA00000  # a signalling NaN
    Image.fromarray(wild).save(folder / "a" / "wild.tif")
    picture(1).convert("L").save(folder / "a" / "grey.tif")
    Image.merge("LAB", picture(2).split()).save(folder / "a" / "lab.tif")
    assert set(look(folder)) == {("16-bit", "a/wild.tif")}


def test_damaged_pictures(tmp_path, monkeypatch):
    """Whatever the damage: the file stops training exactly if it is said to."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "fuzz"))
    import mutate_pictures

    random = Random(5)
    sight = _examine.Look(32, 4, True, (32, 32, 3))
    bad = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's, of damaged Exif data
        for _ in range(300):
            path = tmp_path / "damaged.jpg"
            path.write_bytes(mutate_pictures.make(random)[0])
            facts = _examine.examine(str(path), sight)
            kinds = {kind for kind, _ in facts.findings}
            assert all("\n" not in detail for _, detail in facts.findings)
            try:
                load_img(path)
            except (OSError, ValueError):
                bad += 1
                assert kinds <= {"unreadable", "truncated", "empty file"} and len(kinds) == 1
            else:
                assert not kinds & {"unreadable", "empty file"} and facts.pixels is not None
                assert facts.picture is not None and facts.picture.shape == (32, 32, 3)
    assert 50 < bad < 250


# --- classes --------------------------------------------------------------------------------------


def test_class_balance(tmp_path):
    for name, n in (("many", 12), ("enough", 4), ("few", 3), ("none", 0)):
        fill(tmp_path / name, n, 10 * n * n)
    rows = look(tmp_path, validation_split=0.25)
    assert set(rows) == {
        ("class imbalance", "few"),  # 3 * 3 < 12, and 4 * 3 is not
        ("empty class", "none"),
        ("no validation pictures", "few"),  # int(0.25 * 3) is 0
    }
    assert rows["class imbalance", "few"]["detail"] == "3 pictures, 'many' has 12: 4.0 times"
    assert set(look(tmp_path, max_imbalance=4)) == {("empty class", "none")}
    assert set(look(tmp_path, classes=["enough", "few"])) == set()


def test_two_folders_with_other_classes(folder):
    second = folder.parent / f"{folder.name}-validation"
    fill(second / "a", 2, 500)
    fill(second / "c", 2, 600)
    shutil.copy(folder / "a" / "plain1.png", second / "a" / "zz.png")
    rows = look(folder, validation_directory=second)
    assert {key: row["split"] for key, row in rows.items()} == {
        ("different classes", "b"): "training",
        ("different classes", "c"): "validation",
        ("across the split", "a/plain1.png"): "training",
        ("exact duplicate", f"{second}/a/zz.png"): "validation",
    }
    assert rows["across the split", "a/plain1.png"]["other"] == f"{second}/a/zz.png"
    report = datasets.check(folder, validation_directory=second, verbose=False)
    assert report.files("exact duplicate") == [str(second / "a" / "zz.png")]


# --- duplicates -----------------------------------------------------------------------------------


def test_duplicates_conflicts_and_leaks(folder):
    """For validation are a/plain0 (int(0.3 * 5) is 1), b/plain0 and b/plain1 (int(0.3 * 9))."""
    shutil.copy(folder / "a" / "plain0.png", folder / "a" / "zz copy.png")
    shutil.copy(folder / "a" / "plain0.png", folder / "b" / "zz copy.png")
    picture(201).save(folder / "b" / "zz pixels.bmp")  # plain1's
    picture(202).resize((200, 150), Image.Resampling.BICUBIC).save(folder / "b" / "zz near.jpg")
    turned = picture(203).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned.save(folder / "b" / "zz mirrored.jpg", quality=60)

    rows = look(folder, validation_split=0.3)
    assert {key: row["other"] for key, row in rows.items()} == {
        ("across the split", "a/zz copy.png"): "a/plain0.png",
        ("across the split", "b/zz copy.png"): "a/plain0.png",
        ("across the split", "b/zz pixels.bmp"): "b/plain1.png",
        ("label conflict", "b/zz copy.png"): "a/plain0.png",
        ("exact duplicate", "a/zz copy.png"): "a/plain0.png",
        ("exact duplicate", "b/zz copy.png"): "a/plain0.png",
        ("same pixels", "b/zz pixels.bmp"): "b/plain1.png",
        ("near duplicate", "b/zz near.jpg"): "b/plain2.png",
        ("near duplicate", "b/zz mirrored.jpg"): "b/plain3.png",
    }
    assert rows["across the split", "b/zz copy.png"]["detail"] == (
        "the same bytes; classes 'b' and 'a'"
    )
    assert rows["across the split", "b/zz copy.png"]["split"] == "training"
    assert rows["near duplicate", "b/zz mirrored.jpg"]["detail"].endswith(", one is mirrored")
    assert "mirrored" not in rows["near duplicate", "b/zz near.jpg"]["detail"]

    exact = look(folder, validation_split=0.3, near=None)
    assert set(exact) == {key for key in rows if key[0] != "near duplicate"}


def test_a_leak_is_found_whichever_side_comes_first(folder):
    """b's validation pictures come behind all of a."""
    shutil.copy(folder / "b" / "plain0.png", folder / "a" / "zz.png")
    rows = look(folder, validation_split=0.3)
    assert rows["across the split", "a/zz.png"]["other"] == "b/plain0.png"
    assert rows["exact duplicate", "b/plain0.png"]["other"] == "a/zz.png"


def test_broken_copies_are_duplicates_too(folder):
    for name in ("x.jpg", "y.jpg"):
        (folder / "a" / name).write_bytes(b"not a picture")
    assert ("exact duplicate", "a/y.jpg") in look(folder)


def test_blank_pictures_are_not_near_each_other(folder):
    noise = np.random.default_rng(0)
    for i in range(4):
        pixels = 128 + noise.integers(0, 3, (60, 80, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "a" / f"blank{i}.png")
    assert not look(folder)


def test_pictures_of_16_bits_are_hashed_by_what_they_show(folder):
    for i in range(3):
        grey = np.asarray(picture(i).convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(folder / "a" / f"deep{i}.png")
    picture(1).convert("L").save(folder / "a" / "deep1.jpg")
    rows = look(folder)
    assert {key: row["other"] for key, row in rows.items() if key[0] != "16-bit"} == {
        ("near duplicate", "a/deep1.png"): "a/deep1.jpg"
    }


def test_near_is_a_number_of_bits(folder):
    picture(100).rotate(3, Image.Resampling.BICUBIC).save(folder / "a" / "turned.png")
    key = ("near duplicate", "a/turned.png")
    detail = look(folder, near=96)[key]["detail"]
    bits = int(detail.removesuffix(" of 192 bits of their hashes differ"))
    assert 1 < bits < 60
    assert key in look(folder, near=bits) and key not in look(folder, near=bits - 1)


def brute_force(rows, mirrored, least, question):
    """`nearest` in words."""
    found = {}
    for i, row in enumerate(rows):
        best = None
        for j in range(len(rows)):
            product = max(float(row @ rows[j]), float(row @ mirrored[j]))
            if j != i and question(i, j) and product >= least and (not best or product > best[1]):
                best = (j, product, float(row @ mirrored[j]) > float(row @ rows[j]))
        if best:
            found[i] = best
    return found


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_nearest_against_a_plain_search(monkeypatch, block):
    monkeypatch.setattr(_alike, "_BLOCK", block)
    random = np.random.default_rng(block)
    rows, mirrored = random.choice([-1, 1], (2, 60, 12)).astype(np.float32)
    label = random.integers(0, 3, 60)
    questions = [
        lambda one, other: other < one,
        lambda one, other: (label[one] != label[other]) & (other < one),
    ]
    for question, answer in zip(
        questions, _alike.nearest(rows, mirrored, 6, questions), strict=True
    ):
        assert answer == brute_force(rows, mirrored, 6, question)
        assert len(answer) > 10


def test_many_copies_take_no_square_of_questions():
    asked = []
    kinds = [("a", "training"), ("b", "training")] * 5_000

    def earlier_of_another_class(one, other):
        asked.append(one)
        return other < one and kinds[one] != kinds[other]

    found = _alike.equal([b"same"] * 10_000, kinds, earlier_of_another_class)
    assert found == {i: 1 if i % 2 == 0 else 0 for i in range(1, 10_000)}
    assert len(asked) <= 20_000


# --- features -------------------------------------------------------------------------------------


def colours(*further, input_range=(0, 1)):
    """A model whose features are the colours of a picture, or what `further` makes of them."""
    model = Sequential([Conv2D(3, 1, use_bias=False, input_shape=(16, 16, 3)), *further])
    model.set_weights([np.eye(3, dtype=np.float32).reshape(1, 1, 3, 3)])
    model.input_range = input_range
    return model


def test_features_of_a_model(tmp_path):
    for name, colour in (
        ("red", (200, 20, 20)),
        ("dark red", (100, 10, 10)),
        ("green", (0, 90, 0)),
    ):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.new("RGB", (64, 64), colour).save(tmp_path / "a" / f"{name}.png")
    (tmp_path / "a" / "broken.png").write_bytes(b"")
    rows = look(tmp_path, features=colours(GlobalAveragePooling2D()), similarity=0.999)
    assert {key: row["other"] for key, row in rows.items() if key[0] != "empty file"} == {
        ("near duplicate", "a/red.png"): "a/dark red.png"
    }
    assert rows["near duplicate", "a/red.png"]["detail"] == "their features have a cosine of 1.00"


@pytest.mark.parametrize("pooled", [True, False], ids=["vectors", "maps"])
def test_features_are_those_of_predict_in_batches(tmp_path, monkeypatch, pooled):
    from tlcore.datasets._features import Extractor

    monkeypatch.setattr(_check, "_BATCH", 4)
    fill(tmp_path / "a", 10, 700)
    pictures = _check.list_folder(str(tmp_path), None, None, False).pictures
    further = [GlobalAveragePooling2D()] if pooled else []
    extractor = Extractor(colours(*further, input_range=(-1, 3)))
    sight = _examine.Look(0, 100, False, extractor.shape)
    facts, (places, rows) = _check._all_facts(pictures, sight, extractor)
    assert places == list(range(10)) and all(one.picture is None for one in facts)
    for row, one in zip(rows, pictures, strict=True):
        small = load_img(one.path).resize((16, 16), Image.Resampling.BILINEAR)
        mean = np.asarray(small).reshape(-1, 3).mean(axis=0) * 4 / 255 - 1
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)


def test_features_that_cannot_be(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TLCORE_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.setattr("tlcore.weights._download.download", None)
    with pytest.raises(
        FileNotFoundError, match=r"features=True needs ImageNet weights .* downloads"
    ):
        datasets.check(folder, features=True)
    with pytest.raises(
        TypeError, match=r"features must be None, True or a tlcore model .* got int"
    ):
        datasets.check(folder, features=3)
    model = colours()
    model.input_range = None
    with pytest.raises(ValueError, match="input_range is not set"):
        datasets.check(folder, features=model)
    flat = Sequential([Conv2D(3, 1, input_shape=(16, 16, 2)), GlobalAveragePooling2D()])
    flat.input_range = (0, 1)
    with pytest.raises(ValueError, match=r"1 or 3\), but its input_shape is \(None, 16, 16, 2\)"):
        datasets.check(folder, features=flat)


# --- photos ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(shared_data, tmp_path_factory):
    """60 photos of flowers, and copies of each fifth of them, changed in one of four ways."""
    folder = tmp_path_factory.mktemp("photos")
    ways = [
        lambda img: img.resize((img.width // 2, img.height // 2), Image.Resampling.BICUBIC),
        lambda img: img,  # saved anew
        lambda img: img.crop(
            (img.width // 40, img.height // 40, img.width * 39 // 40, img.height * 39 // 40)
        ),
        lambda img: img.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    ]
    wanted = {}
    for name in ("daisy", "roses", "tulips"):
        (folder / name).mkdir()
        for i, path in enumerate(
            sorted((shared_data / "photos" / "flowers" / name).iterdir())[:20]
        ):
            shutil.copy(path, folder / name)
            if i % 5 == 0:
                with Image.open(path) as img:
                    ways[i // 5](img.convert("RGB")).save(folder / name / f"zz{i}.jpg", quality=50)
                wanted[f"{name}/zz{i}.jpg"] = f"{name}/{path.name}"
    return folder, wanted


def test_near_duplicates_of_photos(photos):
    folder, wanted = photos
    found = {file: row["other"] for (_, file), row in look(folder).items()}
    assert found == wanted and len(found) == 12


def test_near_duplicates_by_imagenet_features(photos, shared_data, monkeypatch):
    """What saves anew moves features far: those are the hashes' to find. No false one."""
    folder, wanted = photos
    monkeypatch.setenv("TLCORE_WEIGHTS", str(shared_data / "weights"))
    found = {
        file: row["other"] for (_, file), row in look(folder, near=None, features=True).items()
    }
    assert found.items() <= wanted.items()
    both = {file: row["other"] for (_, file), row in look(folder, features=True).items()}
    assert both == wanted


# --- the report -----------------------------------------------------------------------------------


@pytest.fixture
def odd(folder):
    for name in ("text.jpg", "evil\n\x1b[31m<b>&.jpg", "small.png", "cmyk.jpg"):
        (folder / "a" / name).write_bytes(ODD[name][0])
    for i in range(8):
        shutil.copy(folder / "a" / "plain0.png", folder / "a" / f"zz{i}.png")
    return folder


def test_the_summary(odd, capsys):
    report = datasets.check(odd)
    text = capsys.readouterr().out
    assert text == f"{report}\n"
    assert f"{odd}: 21 pictures (a 16, b 5)" in text
    assert "  warning: 8 exact duplicate: a/zz0.png = a/plain0.png, a/zz1.png" in text
    assert " and 5 more\n    it counts twice: remove one\n" in text
    assert r"  error: 1 empty file: a/evil\n\x1b[31m<b>&.jpg (it has no bytes)" in text
    kinds = re.findall(r"^  (error|warning|note): ", text, re.MULTILINE)
    assert kinds == sorted(kinds, key=["error", "warning", "note"].index) and len(kinds) == 6
    assert report.findings["exact duplicate"] == 8
    assert sum(report.findings.values()) == len(report)
    assert report.files("tiny", "CMYK") == [
        str(odd / "a" / "cmyk.jpg"),
        str(odd / "a" / "small.png"),
    ]
    with pytest.raises(ValueError, match=r"kind must be one of .*, not 'blurred'"):
        report.files("blurred")


def test_a_terminal_without_the_characters(folder, monkeypatch):
    shutil.move(folder / "a", folder / "花")
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", out)
    datasets.check(folder)
    out.flush()
    assert rb"(b 5, \u82b1 4)" in out.buffer.getvalue()


def test_the_table_is_a_data_frame(odd):
    pandas = pytest.importorskip("pandas")
    report = datasets.check(odd, verbose=False)
    table = report.table
    assert isinstance(table, pandas.DataFrame) and len(table) == len(report)
    assert list(table) == [
        *("file", "class", "split", "kind", "severity", "detail", "other", "advice")
    ]
    assert (table.kind == "exact duplicate").sum() == 8
    assert table.file[table.kind == "tiny"].tolist() == ["a/small.png"]


def test_without_the_libraries(odd, monkeypatch):
    """Exact duplicates are found, the rest is said to be missing, and the table is a list."""
    picture(200).save(odd / "b" / "near.jpg")
    monkeypatch.setitem(sys.modules, "imagehash", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    report = datasets.check(odd, verbose=False)
    assert "near duplicate" not in report.findings and report.findings["exact duplicate"] == 8
    (said,) = report.notes
    assert "near duplicates were not looked for" in said and "tlcore[check]" in said
    assert said in str(report) and said in report._repr_html_().replace("&#x27;", "'")
    with pytest.raises(ImportError, match=r"pip install 'tlcore\[check\]'"):
        report.to_pandas()
    table = report.table
    assert isinstance(table, Table) and [row["kind"] for row in table].count("tiny") == 1
    lines = repr(table).splitlines()
    assert lines[0].split() == [*table[0]] and len(lines) == len(table) + 2
    assert r"a/evil\n\x1b[31m<b>&.jpg" in repr(table)
    assert datasets.check(odd, near=None, verbose=False).notes == []


def test_what_a_notebook_shows(odd):
    page = datasets.check(odd, verbose=False)._repr_html_()
    assert r"a/evil\n\x1b[31m&lt;b&gt;&amp;.jpg" in page and "<b>&" not in page
    assert "and 2 more in <code>report.table</code>" in page  # 6 of 8 copies
    thumbnails = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(thumbnails) == 2 * 6 + 2  # pairs, the tiny one and CMYK
    for data in thumbnails:
        with Image.open(io.BytesIO(base64.b64decode(data))) as img:
            assert img.format == "JPEG" and max(img.size) <= 144
    assert page.count("not readable") == 2
    assert page.count("<div") == page.count("</div>") and page.count("<span") == page.count(
        "</span>"
    )


def test_the_page_stays_small(folder, monkeypatch):
    """A folder in which everything is wrong with large pictures, which have disappeared since."""
    for i in range(40):
        picture(1, (1000, 200)).convert("CMYK").save(folder / "a" / f"large{i:02}.jpg")
    page = datasets.check(folder, verbose=False)._repr_html_()
    assert page.count("<img") <= 120 and len(page) < 1_000_000
    monkeypatch.setattr(_html, "_THUMBNAILS", 3)
    assert datasets.check(folder, verbose=False)._repr_html_().count("<img") == 3
    report = datasets.check(folder, verbose=False)
    shutil.rmtree(folder)
    assert "not readable" in report._repr_html_()


# --- refusals, Ctrl-C, memory ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"validation_split": 0}, ValueError, "validation_split must be None or strictly between"),
        ({"validation_split": 1.0}, ValueError, "validation_split must be None or strictly"),
        ({"validation_split": "half"}, ValueError, "validation_split must be a number"),
        ({"validation_split": 0.2, "validation_directory": "."}, ValueError, "not both"),
        ({"near": 97}, ValueError, "near must be at most 96 bits, got 97"),
        ({"near": -1}, ValueError, "near must be a whole number of at least 0"),
        (
            {"similarity": 1.5},
            ValueError,
            "similarity must be a number of at least 0 and at most 1",
        ),
        ({"min_size": -1}, ValueError, "min_size must be a whole number"),
        ({"max_aspect_ratio": 0.5}, ValueError, "max_aspect_ratio must be a number of at least 1"),
        ({"max_imbalance": 0}, ValueError, "max_imbalance must be a number of at least 1"),
        ({"classes": "a"}, TypeError, "classes must be a list of folder names, not the string 'a'"),
        ({"classes": ["a", "x"]}, FileNotFoundError, "holds no folder 'x'"),
    ],
)
def test_bad_arguments(folder, options, error, text):
    with pytest.raises(error, match=text):
        datasets.check(folder, **options)


def test_folders_that_cannot_be_looked_at(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        datasets.check(tmp_path / "missing")
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        datasets.check(folder / "a" / "plain0.png")
    with pytest.raises(ValueError, match="holds no folder"):
        datasets.check(folder / "a")


def test_a_folder_inside_that_cannot_be_listed(folder, monkeypatch):
    (folder / "a" / "closed").mkdir()
    real = os.listdir

    def listdir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert look(folder).keys() == {("unreadable folder", "a/closed")}


def test_ctrl_c_ends_it(folder, monkeypatch):
    """The rest is not looked at, and the crew is free again."""
    looked: list[str] = []
    go_on = threading.Event()

    def stuck(path, what):
        looked.append(path)
        if len(looked) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        # Not for ever: a signal that comes just before the main thread waits does not wake it.
        go_on.wait(0.05)
        return _examine.Facts()

    for i in range(200):
        shutil.copy(folder / "a" / "plain0.png", folder / "a" / f"zz{i}.png")
    monkeypatch.setattr(_check, "examine", stuck)
    # A shell's background jobs ignore the signal, and their Python does then.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            datasets.check(folder)
    finally:
        signal.signal(signal.SIGINT, handler)
        go_on.set()
    monkeypatch.undo()
    assert datasets.check(folder, verbose=False).pictures == 209
    assert len(looked) < 209


def test_what_has_not_begun_is_given_up(folder, monkeypatch):
    futures = []

    class Interrupted(Future):
        def result(self, timeout=None):
            raise KeyboardInterrupt

    def submit(function, *args):
        futures.append(Future() if futures else Interrupted())
        return futures[-1]

    monkeypatch.setattr(_check, "submit", submit)
    with pytest.raises(KeyboardInterrupt):
        datasets.check(folder)
    assert len(futures) == 9 and all(future.cancelled() for future in futures[1:])


def test_no_memory_is_not_a_finding(folder, monkeypatch):
    def full(img):
        raise MemoryError

    monkeypatch.setattr(_examine, "_pixel_digest", full)
    with pytest.raises(MemoryError):
        datasets.check(folder)


def test_only_so_many_files_are_ahead(folder, monkeypatch):
    """What was looked at and not yet taken is bounded: with features it holds pictures."""
    done = []
    real = _check.examine
    monkeypatch.setattr(_check, "examine", lambda path, what: done.append(path) or real(path, what))
    monkeypatch.setattr(_check, "_AHEAD", 3)
    pictures = _check.list_folder(str(folder), None, None, False).pictures
    taken = 0
    for _ in _check._examined(pictures, _examine.Look(0, 100, False, None)):
        taken += 1
        time.sleep(0.01)
        assert len(done) <= taken + 3
    assert taken == 9 == len(done)
