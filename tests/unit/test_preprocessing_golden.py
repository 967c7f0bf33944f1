"""The iterators against what the real Keras answered for the same drawn pictures, bit for bit.

Pillow's numbers are the definition, and its filters differ from version to version: the stored
answers of filtered cases hold for one of them. The parity tests compare within one.
"""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from golden import make_preprocessing as golden

from tlcore.preprocessing import image

STORED_WITH_PILLOW = "13."
FILTERS = ("bilinear", "bicubic", "hamming", "box", "lanczos")


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
    if case.startswith(FILTERS) and not PIL.__version__.startswith(STORED_WITH_PILLOW):
        pytest.skip(f"stored with Pillow 13, whose filters are not those of {PIL.__version__}")
    ours = golden.run(image, pictures, case)
    theirs = {name: a for name, a in keras_answers.items() if name.split("/")[0] == case}
    assert list(ours) == list(theirs)
    for name, a in ours.items():
        assert a.dtype == theirs[name].dtype and a.shape == theirs[name].shape, name
        np.testing.assert_array_equal(a, theirs[name], err_msg=name)
