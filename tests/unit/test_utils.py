"""tlcore.utils: names, notes, seeds, labels."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tlcore import utils
from tlcore.utils import naming, notes, seeds


@pytest.fixture
def fresh_names():
    saved = dict(naming._uids)
    naming.reset_uids()
    yield
    naming._uids.update(saved)


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("Dense", "dense"),
        ("GlobalAveragePooling2D", "global_average_pooling2d"),
        ("ReLU", "re_lu"),
        ("Conv2D", "conv2d"),
        ("ZeroPadding2D", "zero_padding2d"),
        ("InputLayer", "input_layer"),
    ],
)
def test_names_are_those_of_keras(class_name, name):
    assert naming.to_snake_case(class_name) == name


def test_names_count_up_and_start_again(fresh_names):
    assert [naming.unique_name("dense") for _ in range(3)] == ["dense", "dense_1", "dense_2"]
    naming.reset_uids()
    assert naming.unique_name("dense") == "dense"


def test_a_note_is_said_once_for_each_key(capsys):
    notes.reset_notes()
    notes.note("one")
    notes.note("one")
    notes.note("two", key="k")
    notes.note("three", key="k")
    assert capsys.readouterr().err == "tlcore: one\ntlcore: two\n"
    notes.reset_notes()
    notes.note("one")
    assert capsys.readouterr().err == "tlcore: one\n"


def test_set_random_seed_seeds_all_three_generators():
    drawn = []
    for _ in range(2):
        utils.set_random_seed(np.int64(37))
        drawn.append((random.random(), np.random.random(), seeds.next_seed(), seeds.next_seed()))
    assert drawn[0] == drawn[1]
    assert drawn[0][2] != drawn[0][3]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "a", None])
def test_a_seed_that_is_none(seed):
    with pytest.raises(ValueError, match=r"seed must be an integer from 0 to 2\*\*32 - 1"):
        utils.set_random_seed(seed)


def test_to_categorical():
    rows = utils.to_categorical([[0], [2]])
    assert rows.dtype == np.float64
    assert rows.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert utils.to_categorical([[0, 1], [1, 0]], 3).shape == (2, 2, 3)
    assert utils.to_categorical([], 3).shape == (0, 3)
    with pytest.raises(ValueError, match="from 0 to 2, got 0 to 5"):
        utils.to_categorical([0, 5], 3)
    with pytest.raises(ValueError, match="got -1 to 1"):
        utils.to_categorical([-1, 1])
    with pytest.raises(ValueError, match="needs num_classes"):
        utils.to_categorical([])
