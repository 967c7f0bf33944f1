"""The iterators against what the real Keras answered for the same drawn pictures, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from golden import make_preprocessing as golden

from tlcore.preprocessing import image


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    golden.draw(folder)
    return folder


@pytest.fixture(scope="module")
def keras_answers():
    return golden.stored()


@pytest.mark.parametrize("case", golden.CASES)
def test_case(pictures, keras_answers, case):
    ours = golden.run(image, pictures, case)
    theirs = {name: a for name, a in keras_answers.items() if name.split("/")[0] == case}
    assert list(ours) == list(theirs)
    for name, a in ours.items():
        assert a.dtype == theirs[name].dtype and a.shape == theirs[name].shape, name
        np.testing.assert_array_equal(a, theirs[name], err_msg=name)
