"""fit says when validation pictures are training pictures, and only then."""

from __future__ import annotations

import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from tlcore.layers import Dense, GlobalAveragePooling2D
from tlcore.models import Sequential
from tlcore.preprocessing.image import ImageDataGenerator
from tlcore.training import leaks


def small_model(shape=(8, 8, 3), units=2):
    model = Sequential([GlobalAveragePooling2D(input_shape=shape), Dense(units, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def said(capsys) -> list[str]:
    """What fit said about leaks."""
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if "validation pictures are training pictures too" in line]


@pytest.fixture
def folder(tmp_path):
    """Two classes of 10 noisy pictures."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(10):
            pixels = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.bmp")  # all of one size
    return tmp_path


def halves(folder, split=0.3, **options):
    generator = ImageDataGenerator(validation_split=split)
    return [
        generator.flow_from_directory(folder, (8, 8), class_mode="sparse", subset=subset, **options)
        for subset in ("training", "validation")
    ]


def fit(training, validation, **options):
    small_model().fit(training, validation_data=validation, verbose=0, **options)


def test_an_ordinary_split_is_clean(folder, capsys):
    fit(*halves(folder), epochs=2)
    assert not said(capsys)


def test_a_copy_on_the_other_side(folder, capsys):
    shutil.copy(folder / "a" / "0.bmp", folder / "b" / "zz.bmp")
    shutil.copy(folder / "b" / "1.bmp", folder / "b" / "zz2.bmp")
    os.link(folder / "b" / "2.bmp", folder / "b" / "zz3.bmp")
    fit(*halves(folder), epochs=3)
    (line,) = said(capsys)
    assert line.startswith(
        "tlcore: 3 of 6 validation pictures are training pictures too "
        f"('{folder}/a/0.bmp' = '{folder}/b/zz.bmp', "
    )
    assert ", ...): " in line and "tlcore.datasets.check(folder" in line


def test_each_fit_says_it(folder, capsys):
    for _ in range(2):
        fit(*[ImageDataGenerator().flow_from_directory(folder, (8, 8), class_mode="sparse")] * 2)
        (line,) = said(capsys)
        assert "20 of 20" in line
        assert line.count("0.bmp") == 1  # the same path on both sides is named once


def test_copies_on_one_side_are_no_leak(folder, capsys):
    for i in range(3):
        shutil.copy(folder / "a" / "9.bmp", folder / "a" / f"z{i}.bmp")
    fit(*halves(folder))
    assert not said(capsys)


def test_files_that_differ_in_one_byte(folder):
    """Same size, same bytes in the middle."""
    first, second = folder / "a" / "0.bmp", folder / "b" / "0.bmp"
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    second.write_bytes(content)
    assert leaks.same_files([str(first)], [str(second)]).places == {}
    content[-1] ^= 1
    second.write_bytes(content)
    assert leaks.same_files([str(first)], [str(second)]).places == {0: 0}


def test_few_files_are_read(tmp_path, monkeypatch):
    """Those whose sizes coincide, and wholly only if their middles do too."""
    paths = []
    for i in range(60):
        paths.append(str(tmp_path / f"{i}.jpg"))
        with open(paths[-1], "wb") as file:
            file.write(bytes([i]) * (1000 + 2 * (i % 30)))
    shutil.copy(paths[3], paths[40])
    opened: list[str] = []
    real = open

    def counting(path, *args, **kwargs):
        opened.append(path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", counting)
    assert leaks.same_files(paths[:30], paths[30:]).places == {10: 3}
    # i and i + 30 have one size and other bytes, but 40 that of 3, so that 10 is alone.
    times = {path: opened.count(path) for path in paths}
    assert {path: n for path, n in times.items() if n != 1} == {
        paths[3]: 2,
        paths[40]: 2,
        paths[10]: 0,
    }


def test_what_is_beyond_the_budget_is_not_read(tmp_path, monkeypatch):
    paths = [str(tmp_path / f"{i}") for i in range(4)]
    for i, path in enumerate(paths):
        with open(path, "wb") as file:
            file.write(bytes([i % 2]) * 3000)
    assert leaks.same_files(paths[:2], paths[2:]).places == {0: 0, 1: 1}
    assert leaks.same_files(paths[:2], paths[2:]).complete
    monkeypatch.setattr(leaks, "_BUDGET", 4000)
    assert leaks.same_files(paths[:2], paths[2:]) == ({0: 0}, False)
    rows = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1) * np.ones((10, 10, 1), np.float32)
    assert leaks.same_rows(rows, rows).places == {i: i for i in range(4)}
    monkeypatch.setattr(leaks, "_BUDGET", 1000)  # 400 bytes each
    assert leaks.same_rows(rows, rows) == ({0: 0, 1: 1}, False)


def test_files_that_are_gone_or_no_files(folder):
    os.mkfifo(folder / "pipe")
    paths = [str(folder / "gone.jpg"), str(folder / "pipe"), str(folder / "a" / "0.bmp")]
    assert leaks.same_files(paths, paths).places == {2: 2}
    assert leaks.same_files(paths[2:] * 2, paths[2:] * 2).places == {0: 0, 1: 0}


def pictures(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3)).astype(np.float32)


def test_arrays(capsys, monkeypatch):
    x, y = pictures(20), np.arange(20) % 2
    model = small_model()
    model.fit(x, y, validation_split=0.25, verbose=0)
    model.fit(x, y, validation_data=(pictures(5, 1), y[:5]), verbose=0)
    assert not said(capsys)
    model.fit(x, y, validation_data=(x[[3, 7, 1]], y[:3]), verbose=0)
    (line,) = said(capsys)
    assert "3 of 3 validation pictures" in line
    assert "(validation's x[0] = x[3], validation's x[1] = x[7], ...)" in line
    monkeypatch.setattr(leaks, "_BUDGET", 1000)  # a picture has 768 bytes
    model.fit(x, y, validation_data=(x[[1, 3]], y[:2]), verbose=0)
    assert re.search(r"at least 1 of 2 .*\(validation's x\[0\] = x\[1\]\)", *said(capsys))


def test_arrays_that_flow(capsys):
    x, y = pictures(20), np.arange(20) % 2
    x[15] = x[2]
    generator = ImageDataGenerator(validation_split=0.5)
    flows = [generator.flow(x, y, subset=subset) for subset in ("training", "validation")]
    fit(*flows)
    assert re.search(r"1 of 10 .*\(validation's x\[2\] = x\[5\]\)", *said(capsys))
    fit(flows[0], (x[:3], y[:3]))  # one flows, the other does not
    assert len(said(capsys)) == 1


def test_rows_that_agree_in_what_is_looked_at_first():
    x = pictures(6).repeat(2, axis=0)
    others = x.copy()
    others[:, 3, 3, 1] += 1  # not among the values that are looked at
    at = np.unravel_index(np.linspace(0, 8 * 8 * 3 - 1, 16).astype(int), (8, 8, 3))
    assert (3, 3, 1) not in set(zip(*(axis.tolist() for axis in at), strict=True))
    assert leaks.same_rows(x, others).places == {}
    assert leaks.same_rows(x[::2], x).places == {i: i // 2 for i in range(12)}


def test_rows_that_are_no_pictures_may_repeat(capsys):
    x, y = np.zeros((6, 3), np.float32), np.arange(6) % 2
    model = Sequential([Dense(2, "softmax", input_shape=(3,))])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, validation_data=(x, y), verbose=0)
    assert not said(capsys)


def test_arrays_of_other_types_or_shapes_have_nothing_in_common():
    x = np.zeros((3, 4, 4, 1), np.float32)
    assert leaks.same_rows(x, x.astype(np.int32)).places == {}
    assert leaks.same_rows(x, np.zeros((3, 4, 4, 3), np.float32)).places == {}
    assert leaks.same_rows(np.zeros((2, 0, 4, 3)), np.zeros((2, 0, 4, 3))).places == {}
