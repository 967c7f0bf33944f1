"""Random graphs, shapes, batch sizes and numbers of threads, against an evaluator in C that knows
neither lowering nor folding (tests/c/naive_graph.c). hypothesis chooses bytes and makes them
smaller; tests/c/random_graph.c turns them into networks, for libFuzzer (tests/fuzz), too.

How far a result may be off is no number here: the evaluator carries, beside each value, the
rounding error that float32 sums of these very values may be expected to have, and four times that
is allowed (tests/c/check_graph.c). So a network whose values cancel or die in a relu gets the room
that it needs, and one that does not gets none. Batches, threads and repetitions must be equal
bit for bit. TLCORE_FUZZ_EXAMPLES says how many networks each test tries.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tlcore._core

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

HERE = Path(__file__).parents[1] / "c"
EXAMPLES = int(os.environ.get("TLCORE_FUZZ_EXAMPLES", "20"))
NOTHING, KEPT = 0, 1

Check = Callable[[str, bytes], int]


@pytest.fixture(scope="module")
def check(onednn_headers: None) -> Check:
    """check(name, bytes): applies a check of tests/c/check_graph.h; KEPT, or NOTHING to look at."""
    for tool in ("make", os.environ.get("CC", "cc")):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is needed to build the library of random graphs")
    dnnl = Path(tlcore._core.__file__).parent / "_lib"
    done = subprocess.run(
        ["make", "-s", "-C", HERE, "library", f"PYTHON={sys.executable}", f"DNNL_FOLDER={dnnl}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(HERE.parents[1] / "build" / "tests-c-shared" / "librandom.so")
    text = ctypes.create_string_buffer(8192)

    def apply(name: str, data: bytes) -> int:
        answer = library.random_library_try(
            name.encode(), data, ctypes.c_size_t(len(data)), text, ctypes.c_size_t(len(text))
        )
        assert answer in (NOTHING, KEPT), f"{answer}: {text.value.decode()}"
        return int(answer)

    return apply


# hypothesis likes short and even strings, which shrink well but make dull networks: half of them
# come from a generator.
networks = st.binary(max_size=160) | st.builds(
    lambda seed, length: random.Random(seed).randbytes(length),
    st.integers(0, 2**32),
    st.integers(20, 160),
)
tries = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="TLCORE_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(data=networks)
@tries
def test_random_graphs_are_built_as_promised(check: Check, data: bytes) -> None:
    assert check("building", data) == KEPT


@given(data=networks)
@tries
def test_random_graphs_are_lowered_in_order(check: Check, data: bytes) -> None:
    assert check("lowering", data) == KEPT


@given(data=networks)
@tries
def test_plans_answer_for_any_shape(check: Check, data: bytes) -> None:
    check("plan", data)


@given(data=networks)
@tries
def test_cuts_are_the_last_that_may_be(check: Check, data: bytes) -> None:
    check("cut", data)


@given(data=networks)
@tries
def test_random_graphs_by_reference_loops(check: Check, data: bytes) -> None:
    check("reference", data)


@given(data=networks)
@tries
def test_random_graphs_by_the_product(check: Check, data: bytes) -> None:
    check("product", data)


@given(data=networks)
@tries
def test_random_heads_have_the_gradients_of_their_losses(check: Check, data: bytes) -> None:
    check("training", data)


@pytest.mark.parametrize("name", ["plan", "cut", "reference", "product", "training"])
def test_most_strings_are_networks_that_can_be_looked_at(check: Check, name: str) -> None:
    """A check that skips what it is given would never fail."""
    seen = sum(check(name, random.Random(i).randbytes(20 + 2 * i)) for i in range(60))
    assert seen >= (15 if name == "training" else 40)


def test_an_unknown_check_is_told(check: Check) -> None:
    with pytest.raises(AssertionError, match="-1"):
        check("nothing", b"")
