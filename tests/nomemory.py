"""Lets every allocation of Python's own memory fail in turn, in every entry point of the core.

    python tests/nomemory.py            a line for each entry point; exit code 1 if one misbehaves

Each call is made with its first, its second, ... allocation failing, and again with that one
and all that follow, until it needs no more than were granted. Each time it must raise
MemoryError or succeed; afterwards no block of memory and no reference may be missing. Run by
tests/unit/test_core_errors.py as a process of its own: a crash must not end the others.
"""

from __future__ import annotations

import _imp
import _testcapi
import gc
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from core_calls import CALLS, CUT, FLAGS, NODES, World, add_node

from tlcore import _core

NUMPY_CORE = sys.modules.get("numpy._core._multiarray_umath") or np.core._multiarray_umath
MOST_ROUNDS = 15  # Python 3.10 goes on filling free lists for a while
REFUSALS = (ValueError, TypeError, IndexError)

# NumPy hands out these for each array: a leak of one shows in its count.
WATCHED = [
    *(np.dtype(kind) for kind in (np.float32, np.float64, np.uint8, np.int64)),
    *(_core.Graph, _core.Parameters, _core.Network, _core.Trainer, np.ndarray),
]


def with_failures(call: Callable[[], Any], first: int, last: int) -> str:
    """ "", "MemoryError", "refused", or what came instead. `last` 0: all from `first` on."""
    _testcapi.set_nomemory(first, last)
    try:
        call()
    except MemoryError:
        _testcapi.remove_mem_hooks()
        return "MemoryError"
    except REFUSALS:
        _testcapi.remove_mem_hooks()
        return "refused"
    except BaseException as error:
        _testcapi.remove_mem_hooks()
        return f"{type(error).__name__}: {error}"
    _testcapi.remove_mem_hooks()
    return ""


def prepared(call: Callable[[], Any] | ModuleAgain) -> Callable[[], Any]:
    return call.ready() if isinstance(call, ModuleAgain) else call


def sweep(call: Callable[[], Any] | ModuleAgain, usual: str) -> tuple[int, set[str]]:
    """How many calls failed, and what came that is neither MemoryError nor as usual."""
    failures, strange, n = 0, set(), 0
    while True:
        alone = with_failures(prepared(call), n, n + 1)
        onward = with_failures(prepared(call), n, 0)
        failures += [alone, onward].count("MemoryError")
        strange |= {alone, onward} - {"MemoryError", usual}
        if onward == usual:
            return failures, strange
        n += 1


def growth(call: Callable[[], Any] | ModuleAgain, usual: str, objects: list[Any]) -> list[int]:
    """Blocks, types of the core and references that each further 3 sweeps add or take."""

    def counts() -> list[int]:
        gc.collect()
        types = [t for t in gc.get_objects() if isinstance(t, type)]
        ours = sum(t.__name__ in ("Graph", "Parameters", "Network", "Trainer") for t in types)
        del types
        # A type that goes leaves a little in its base; so import is judged by its types alone.
        blocks = 0 if isinstance(call, ModuleAgain) else sys.getallocatedblocks()
        return [blocks, ours, *(sys.getrefcount(item) for item in objects)]

    for _ in range(3):  # fills the free lists of Python and NumPy
        sweep(call, usual)
    before = counts()
    least, most = [1 << 30] * len(before), [-1 << 30] * len(before)
    for _ in range(MOST_ROUNDS):  # a leak adds something in every one
        for _ in range(3):
            sweep(call, usual)
        after = counts()
        added = [b - a for a, b in zip(before, after, strict=True)]
        least = [min(pair) for pair in zip(least, added, strict=True)]
        most = [max(pair) for pair in zip(most, added, strict=True)]
        grown = [max(low, 0) or min(high, 0) for low, high in zip(least, most, strict=True)]
        if grown[0] in (1, 2):
            grown[0] = 0  # numbers in these lists; a leak adds 3 or more
        if not any(grown):
            break
        before = after
    return grown


def entry_points() -> dict[str, tuple[Callable[[], Any], list[Any]]]:
    """Name -> (a call that takes no argument, the objects that it is given)."""
    world = World()
    points = {}
    for name, (call, arguments) in CALLS.items():
        given = arguments(world)
        points[name] = (
            lambda call=call, given=given: call(world, **given),
            [*vars(world).values(), *given.values()],
        )
    for op, attributes in NODES.items():
        points[f"Graph.add {op}"] = (lambda op=op, a=attributes: add_node(op, a), [])
        graph = add_node(op, attributes)
        points[f"Graph.nodes {op}"] = (lambda graph=graph: graph.nodes, [graph])

    large = add_node("zero_padding2d", {"padding": ((300, 400), (500, 600))})  # no small integers
    points["Graph.nodes of large numbers"] = (lambda: large.nodes, [large])
    flat = world.x.reshape(-1)
    trainer = {"network": world.network, "trainable": FLAGS, "from_logits": False, "seed": 0}
    trainer |= {"start": CUT, "loss": "binary_crossentropy", "optimizer": {"name": "sgd"}}
    refusals: dict[str, Callable[[], Any]] = {
        "a bad shape of x": partial(world.network.run, flat),
        "a bad shape of a value": partial(world.parameters.set, [(7, flat)]),
        "a huge integer": partial(world.parameters.get, 10**60),
        "an integer of 5000 digits": partial(world.parameters.get, 10**5000),
        "a bad kind of x": partial(world.network.run, "pictures"),
        "an optimizer of no name": partial(_core.Trainer, **{**trainer, "optimizer": {}}),
        "a bad setting": partial(
            _core.Trainer, **{**trainer, "optimizer": {"name": "adam", "lr": 1}}
        ),
        "a bad start": partial(_core.Trainer, **{**trainer, "start": 99}),
        "a bad node": partial(_core.Graph((4, 4, 3)).add, "conv2d", "c", [0]),
        "a bad flag": partial(world.network.cut, FLAGS[1:]),
    }
    for name, call in refusals.items():
        points[f"refused: {name}"] = (call, list(vars(world).values()))
    return points


class ModuleAgain:
    """Runs the code of a new tlcore._core; the module has been created before."""

    def __init__(self) -> None:
        # Where NumPy 1.26.0 has no such module, every import would look for its file; and
        # importlib itself can lock up when its memory fails.
        sys.modules.setdefault("numpy._core._multiarray_umath", NUMPY_CORE)
        self.spec = importlib.util.spec_from_file_location("tlcore._core", _core.__file__)

    def ready(self) -> Callable[[], Any]:
        return partial(_imp.exec_dynamic, _imp.create_dynamic(self.spec))


def main() -> int:
    gc.disable()  # a collection in the midst would move the count of allocations
    points = entry_points()
    if sys.version_info[:2] != (3, 13):
        # There a dictionary that cannot grow is left half made, and a later insertion into it, in
        # PyType_FromSpec, is a segmentation fault of the interpreter's own (3.13.0).
        points["import"] = (ModuleAgain(), [])
    bad = total = 0
    for name, (call, objects) in points.items():
        usual = "refused" if name.startswith("refused") else ""
        assert with_failures(prepared(call), 1 << 30, 0) == usual, name
        failures, strange = sweep(call, usual)
        grown = growth(call, usual, [*WATCHED, *objects])
        print(f"{name}: {failures} failures")
        if any(grown):
            print(f"    every 3 sweeps leave {grown} blocks, types, references")
        for text in sorted(strange):
            print(f"    {text}")
        total += failures
        bad += bool(any(grown) or strange)
    print(f"{len(points)} entry points, {total} failed calls, {bad} misbehave")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
