"""Pictures made to take memory or time, to start programs, or to be something else."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
import picture_files as files

from tlcore.preprocessing import image
from tlcore.preprocessing.image import _decoding

RAISE = "(raise PIL.Image.MAX_IMAGE_PIXELS if you trust it)."


UNLIKE = files.originals()[: -3 - len(files._photos())]  # those that differ from each other


def written(img: Image.Image, kind: str, **options) -> bytes:
    data = io.BytesIO()
    img.save(data, kind, **options)
    return data.getvalue()


def refused(content: bytes, kind: type[Exception] = ValueError) -> str:
    """The sentence; nothing of weight was allocated by Python for it, and no second passed."""
    before = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(kind) as error:
            image.load_img(io.BytesIO(content))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.process_time() - before < 20
    assert peak < (100 << 20) + 4 * len(content)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- size -----------------------------------------------------------------------------------------


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    rows = (b"\0" + bytes(30_000 // 8)) * 30_000
    bomb = files.png(30_000, 30_000, rows, depth=1, kind=0)
    assert len(bomb) < 200_000
    text = refused(bomb)
    assert "has 30000 x 30000 pixels, and at most 89478485 with sides of at most 65535" in text
    assert text.endswith(RAISE)


KINDS = {"JPEG": "RGB", "PNG": "RGB", "GIF": "P", "BMP": "RGB", "WEBP": "RGB", "PPM": "RGB"}
KINDS |= {"TIFF": "RGB"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [399, 200, 199, 1], ids="limit{}".format)
def test_the_limit_is_pillows_own(kind: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow itself would warn (an error in these tests) from 200 to 399, and refuse below."""
    content = written(Image.new(KINDS[kind], (20, 20)), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert f"20 x 20 pixels, and at most {limit} " in refused(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    assert image.load_img(io.BytesIO(content)).size == (20, 20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert image.load_img(io.BytesIO(content)).size == (20, 20)


@pytest.mark.parametrize("limit", [400, 220])
def test_a_frame_that_makes_the_canvas_larger(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(written(Image.new("P", (20, 20)), "GIF", comment=b"hello"))
    content[6:10] = struct.pack("<HH", 1, 1)
    at = content.index(b",\0\0\0\0")
    content[at + 1 : at + 5] = struct.pack("<HH", 1, 2)
    assert image.load_img(io.BytesIO(content)).size == (21, 22)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert "has 21 x 22 pixels" in refused(bytes(content))


@pytest.mark.parametrize("size", [(1, 65_536), (65_536, 1)])
def test_a_side_is_limited(size: tuple[int, int]) -> None:
    """Pillow keeps a pointer and four bytes for a row of one pixel, and resizing makes more."""
    assert "sides of at most 65535" in refused(written(Image.new("L", size), "PNG"))


def test_a_file_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(written(Image.new("L", (9, 9)), "PNG"))
    os.truncate(path, 2_000_000_000)  # a hole
    with pytest.raises(ValueError, match="is a file of 2000000000 bytes, and at most 961893714"):
        image.load_img(path)


@pytest.mark.parametrize("name", ["pipe", "device"])
def test_what_is_no_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.jpg"
    if name == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match=r"x\.jpg' cannot be read \(it is not a regular file\)"):
        image.load_img(path)


BLANK = [
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {"progressive": True, "optimize": True}),
    ("PNG", "1", {}),
    ("PNG", "L", {"compress_level": 9}),
    ("PNG", "RGBA", {"compress_level": 9}),
    ("GIF", "P", {}),
    ("WEBP", "RGB", {"quality": 0}),
    ("BMP", "1", {}),
    ("PPM", "1", {}),
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
]


@pytest.mark.parametrize(("kind", "mode", "options"), BLANK, ids=str)
def test_a_large_blank_picture_is_no_bomb(kind: str, mode: str, options: dict) -> None:
    content = written(Image.new(mode, (2600, 2400)), kind, **options)  # 6 million pixels
    assert image.load_img(io.BytesIO(content), "grayscale", (2, 3)).size == (3, 2)


@pytest.mark.parametrize("number", range(len(UNLIKE)))
def test_few_bytes_are_not_many_pixels(number: int) -> None:
    """A header that says 8,000 x 8,000 before a few thousand bytes: refused, or at once damaged."""
    extension, content = UNLIKE[number]
    changed = files.repaired(extension, files.resized(content, 8000, 8000))
    if changed == content:
        pytest.skip("sizes of TIFF files and of lossy WebP files are not set by this test")
    assert "8000 x 8000" in refused(changed) or content.startswith(b"P3")


# --- other costs ----------------------------------------------------------------------------------


def tiff(*entries: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """A TIFF file with these (tag, type, count, value) entries."""
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return head + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4) + tail


def basic(width: int = 2, height: int = 2) -> list[tuple[int, int, int, int]]:
    return [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1)),
        *((262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 4)),
    ]


def test_tags_that_lie_on_one_another() -> None:
    many = [*basic(), *((tag, 1, 300_000, 0) for tag in range(1000, 9000))]
    text = refused(tiff(*many, tail=bytes(300_000)))
    assert "has tags of 2400000000 bytes in a file of 396122 bytes" in text
    assert image.load_img(io.BytesIO(tiff(*basic()))).size == (2, 2)


def test_exif_tags_that_lie_on_one_another() -> None:
    picture = written(Image.new("L", (9, 9)), "JPEG")
    data = tiff(*((tag, 1, 60_000, 0) for tag in range(10_000, 15_000)), tail=bytes(60_000))
    parts = [b"Exif\0\0" + data[at : at + 60_000] for at in range(0, len(data), 60_000)]
    exif = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)
    assert "has tags of 300000000 bytes" in refused(picture[:2] + exif + picture[2:])


def test_a_tile_larger_than_the_picture() -> None:
    entries = [(322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8), (325, 4, 1, 4)]
    assert "60000 x 60000" in refused(tiff(*basic(), *entries))


def test_a_picture_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [entry for entry in basic(2, 4) if entry[0] not in (273, 278, 279)]
    here = 8 + 2 + 9 * 12 + 4
    entries += [(273, 4, 4, here), (278, 4, 1, 1), (279, 4, 4, here + 16)]
    content = tiff(*sorted(entries), tail=struct.pack("<8I", 0, 2, 4, 6, 2, 2, 2, 2))
    assert image.load_img(io.BytesIO(content)).size == (2, 4)
    monkeypatch.setattr(_decoding, "_PIECES", 3)
    assert "is cut into 4 pieces, and at most 3 are read" in refused(content)


def test_a_jpeg_of_many_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(Image.fromarray(files._noise(60, 80, 3)), "JPEG", progressive=True)
    at = content.rindex(b"\xff\xda")
    again = content[:-2] + content[at:-2] * 5000 + b"\xff\xd9"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 80)
    assert image.load_img(io.BytesIO(content)).size == (80, 60)
    assert "has 5010 scans of 80 x 60 pixels, and at most 12 are read" in refused(again)


def test_scans_behind_the_picture_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras append further pictures and films; Exif data hold a small picture."""
    small = written(Image.new("RGB", (80, 60)), "JPEG")
    content = small[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(small)) + small + small[2:]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 80)
    assert image.load_img(io.BytesIO(content + small * 20)).size == (80, 60)


def test_texts_of_a_png_that_expand() -> None:
    import zlib

    content = files.png(1, 1, b"\0\0\0\0")
    data = b"name\0\0" + zlib.compress(bytes(60 << 20))
    chunk = len(data).to_bytes(4, "big") + b"zTXt" + data
    chunk += zlib.crc32(b"zTXt" + data).to_bytes(4, "big")
    assert "damaged" in refused(content[:33] + chunk * 20 + content[33:], OSError)


def test_a_picture_that_cannot_be_resized_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow up to 10 resizes 16-bit pictures by their nearest neighbours alone."""

    def resize(*_: object, **more: object) -> None:
        raise ValueError("image has wrong mode")

    content = written(Image.fromarray(np.zeros((4, 4), np.uint16)), "PNG")
    monkeypatch.setattr(Image.Image, "resize", resize)
    with pytest.raises(ValueError, match=r"<in memory> has Pillow's mode 'I(;16)?', which"):
        image.load_img(io.BytesIO(content), "grayscale", (2, 2), "bilinear")


# --- what is read ---------------------------------------------------------------------------------

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("kind", ["EPS", "DIB", "ICO", "JPEG2000", "TGA", "PDF", "XBM", "SGI"])
def test_other_formats_are_refused_whatever_the_name(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file named .jpg with EPS inside would start Ghostscript."""
    path = tmp_path / "x.jpg"
    mode = "1" if kind == "XBM" else "RGB"
    path.write_bytes(EPS if kind == "EPS" else written(Image.new(mode, (16, 16)), kind))

    def started(*args: object, **more: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(UnidentifiedImageError) as error:
        image.load_img(path)
    assert str(error.value) == (
        f"File {str(path)!r} is not a picture in one of the formats BMP, GIF, JPEG, PNG, PPM, "
        "TIFF, WebP (it begins like none of them)."
    )


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    for k, (_, content) in enumerate(UNLIKE):
        (tmp_path / f"{k}.jpg").write_bytes(content)
        try:
            expected = Image.open(io.BytesIO(content)).convert("RGB")
        except ValueError:  # Lab colours
            continue
        found = image.load_img(tmp_path / f"{k}.jpg")
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP", "MPO"])
def test_the_first_of_several_pictures_is_read(kind: str) -> None:
    if kind == "MPO" and not files.writes_good_mpo():
        pytest.skip("this release of Pillow writes MPO files that nothing reads")
    frames = [Image.fromarray(files._noise(20, 30, 3, seed)) for seed in range(3)]
    exact = {"lossless": True} if kind == "WEBP" else {}
    content = written(frames[0].copy(), kind, save_all=True, append_images=frames[1:], **exact)
    found = np.asarray(image.load_img(io.BytesIO(content))).astype(int)
    if kind in ("GIF", "MPO"):
        np.testing.assert_array_equal(found, Image.open(io.BytesIO(content)).convert("RGB"))
    else:
        np.testing.assert_array_equal(found, np.asarray(frames[0]))


@pytest.mark.parametrize("number", range(len(UNLIKE)))
def test_a_file_cut_anywhere_is_read_or_refused(number: int) -> None:
    _, content = UNLIKE[number]
    for size in (*range(0, 64, 5), *range(64, len(content), len(content) // 20)):
        with contextlib.suppress(OSError, ValueError):
            image.load_img(io.BytesIO(content[:size]))


# --- memory ---------------------------------------------------------------------------------------

MEASURE = """
import sys
from tlcore.preprocessing.image import _decoding, load_img

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))

for large, small in zip(sys.argv[1::2], sys.argv[2::2]):
    load_img(small, "rgba", (4, 4), "bilinear")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = peak()
    with open(large, "rb") as file:
        allowed = _decoding.cost(_decoding.opened(file.read()))
    load_img(large, "rgba", (4, 4), "bilinear")
    print(peak() - before, allowed)
"""

LARGE = [
    *(("JPEG", "L", {}), ("PNG", "L", {}), ("PNG", "RGBA", {}), ("GIF", "P", {})),
    ("WEBP", "RGB", {"quality": 0}),
    ("JPEG", "CMYK", {"progressive": True}),
    ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    ("WEBP", "RGBA", {"quality": 20}),
    ("TIFF", "F", {"compression": "tiff_adobe_deflate"}),
    ("BMP", "RGB", {}),
    ("PPM", "RGB", {}),
    ("TIFF", "CMYK", {}),
]


def test_memory_is_what_was_reckoned(tmp_path: Path) -> None:
    original = Image.fromarray(files._noise(50, 50, 3)).convert("RGB")
    paths = []
    for k, (kind, mode, options) in enumerate(LARGE):
        img = original.quantize() if mode == "P" else original.convert(mode)
        for name, side in (("large", 1600), ("small", 8)):
            path = tmp_path / f"{name}{k}"
            path.write_bytes(written(img.resize((side, side)), kind, **options))
            paths.append(path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    for line, path, of in zip(done.stdout.splitlines(), paths[::2], LARGE, strict=True):
        taken, reckoned = map(int, line.split())
        assert taken <= reckoned + path.stat().st_size + (4 << 20), of


def test_pictures_decoded_together_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    room, most = _decoding._Room(), _decoding.max_bytes()
    assert most is not None
    inside, order = threading.Event(), []

    def second() -> None:
        inside.wait(30)
        with room.taken(most // 2):
            order.append("second")

    other = threading.Thread(target=second)
    other.start()
    with room.taken(most), room.taken(0):  # the second fits beside the first
        inside.set()
        time.sleep(0.2)
        order.append("first")
    other.join(30)
    assert order == ["first", "second"]
    with room.taken(10 * most):  # alone, whatever it takes
        pass


def test_a_place_that_was_never_given_back_is_not_missed_for_ever() -> None:
    room = _decoding._Room()
    place = room.taken(1 << 40)
    place.__enter__()  # as an interrupt at the worst moment leaves it
    del place
    with room.taken(1 << 40):
        pass


def test_a_folder_with_a_bomb_names_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for k in range(3):
        (tmp_path / "a" / f"{k}.png").write_bytes(written(Image.new("RGB", (9, 9)), "PNG"))
    (tmp_path / "a" / "1.png").write_bytes(files.png(30_000, 30_000, bytes(1000)))
    flow = image.ImageDataGenerator().flow_from_directory(tmp_path, target_size=(4, 4))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"1\.png' has 30000 x 30000 pixels"):
            next(flow)
    (tmp_path / "a" / "1.png").write_bytes(written(Image.new("RGB", (9, 9)), "PNG"))
    assert next(flow)[0].shape == (3, 4, 4, 3)


def test_a_reader_that_does_not_fit_the_model_makes_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may say that pictures are read with 32,768 x 32,768 pixels: twelve gigabytes."""
    import tlcore

    (tmp_path / "x.png").write_bytes(written(Image.new("RGB", (9, 9)), "PNG"))
    model = tlcore.Sequential(
        [
            tlcore.layers.GlobalAveragePooling2D(input_shape=(8, 8, 3)),
            tlcore.layers.Dense(2, activation="softmax"),
        ]
    )
    model.class_indices = {"a": 0, "b": 1}
    reader = {"target_size": (8, 8), "color_mode": "rgb", "interpolation": "nearest"}
    model.reader = reader
    assert set(model.predict_image(tmp_path / "x.png")) == {"a", "b"}
    model.reader = {**reader, "target_size": (32768, 32768)}
    with pytest.raises(ValueError, match=r"target_size=\(32768, 32768\), and its input has the sh"):
        model.predict_image(tmp_path / "x.png")


def test_gif_in_which_pillow_finds_another_first_frame(tmp_path: Path) -> None:
    """After an empty extension Pillow reads one more chain of blocks; the frames then differ."""
    path = tmp_path / "x.gif"
    small = b"\x2c" + struct.pack("<4HB", 0, 0, 2, 2, 0)
    large = b"\x2c" + struct.pack("<4HB", 0, 0, 65535, 65535, 0)
    screen = b"GIF89a" + struct.pack("<2H3B", 2, 2, 0, 0, 0)
    empty = b"\x21\x01\x00"
    block = bytes([len(small)]) + small + b"\x00"
    path.write_bytes(screen + empty + block + large + b"\x02\x01\x00\x00;")
    with pytest.raises(ValueError, match=r"pixels.*raise PIL\.Image\.MAX_IMAGE_PIXELS"):
        image.load_img(path)
