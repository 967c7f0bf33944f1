"""The table that `model.summary()` prints: Keras 3's text, column for column."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tlcore import _core
from tlcore.layers.layer import Layer, Variable

if TYPE_CHECKING:
    from tlcore.models import Model


def print_summary(
    model: Model,
    line_length: int | None,
    positions: Sequence[float] | None,
    print_fn: Callable[[str], object] | None,
    expand_nested: bool,
    show_trainable: bool,
    batch_size: int,
) -> None:
    """Print `model`'s layers; the arguments are those of `Model.summary`."""
    in_a_row = _is_in_a_row(model)
    header = ["Layer (type)", "Output Shape", "Param #"]
    align: list[Callable[[str, int], str]] = [str.ljust, str.ljust, str.rjust]
    width, ends = 88, [0.45, 0.80, 1.0]
    if not in_a_row:
        header.append("Connected to")
        align.append(str.ljust)
        width, ends = 108, [0.3, 0.56, 0.74, 1.0]
    ends = list(positions or ends)
    if show_trainable:
        header.append("Trainable")
        align.append(_center)
        width += 12
        ends = [0.9 * end for end in ends] + [1.0]
    if line_length is None:
        line_length = min(width, shutil.get_terminal_size().columns - 4)
    if len(ends) != len(header):
        raise ValueError(f"summary: positions must hold {len(header)} numbers, got {positions!r}.")
    widths = _column_widths(line_length, ends)
    rows = []
    connections = {} if in_a_row else _connections(model)
    for layer, depth in _rows(model, expand_nested):
        cells = _cells(layer, depth)
        if not in_a_row:
            cells.append(connections.get(layer.name, "-") if depth == 0 else "-")
        if show_trainable:
            cells.append(_trainable(layer))
        rows.append(cells)

    text = "\n".join(
        [
            f'Model: "{model.name}"',
            *_table(header, rows, widths, align),
            *_footer(model, batch_size),
        ]
    )
    (print_fn or print)(text + "\n" if print_fn else text)


def _table(
    header: list[str],
    rows: list[list[str]],
    widths: list[int],
    align: list[Callable[[str, int], str]],
) -> Iterator[str]:
    """The lines of a table in heavy-headed boxes; long cells wrap at spaces."""

    def rule(left: str, line: str, middle: str, right: str) -> str:
        return left + middle.join(line * (width + 2) for width in widths) + right

    def cells(values: list[str], edge: str) -> Iterator[str]:
        wrapped = [_wrap(value, width) for value, width in zip(values, widths, strict=True)]
        for i in range(max(map(len, wrapped))):
            pieces = (
                place(lines[i] if i < len(lines) else "", width)
                for lines, width, place in zip(wrapped, widths, align, strict=True)
            )
            yield f"{edge} " + f" {edge} ".join(pieces) + f" {edge}"

    yield rule("┏", "━", "┳", "┓")
    yield from cells(header, "┃")
    yield rule("┡", "━", "╇", "┩")
    for i, row in enumerate(rows):
        if i > 0:
            yield rule("├", "─", "┼", "┤")
        yield from cells(row, "│")
    yield rule("└", "─", "┴", "┘")


def _wrap(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
    return [line if len(line) <= width else line[: width - 1] + "…" for line in lines]


def _center(text: str, width: int) -> str:
    return (" " * ((width - len(text)) // 2) + text).ljust(width)


def _is_in_a_row(model: Model) -> bool:
    """Whether every layer takes the one before it alone, so that no wiring need be shown."""
    if not model.built:
        return True
    calls = model.calls
    return all(len(call.sources) < 2 for call in calls) and len(calls) == len(
        {call.layer for call in calls}
    )


def _column_widths(line_length: int, ends: Sequence[float]) -> list[int]:
    widths: list[int] = []
    for end in ends:
        width = int(end * line_length) - sum(widths)
        if width < 4:
            raise ValueError(
                f"summary: line_length {line_length} is too short for {len(ends)} columns."
            )
        widths.append(width)
    # Borders and padding come out of all columns alike, as rich takes them for Keras.
    excess = sum(widths) + 3 * len(widths) + 1 - line_length
    for i in range(len(widths)):
        share = round(excess / (len(widths) - i))
        widths[i] = max(1, widths[i] - share)
        excess -= share
    return widths


def _rows(model: Model, expand_nested: bool, depth: int = 0) -> Iterator[tuple[Layer, int]]:
    from tlcore.models import Model

    for layer in model.layers:
        yield layer, depth
        if expand_nested and isinstance(layer, Model):
            yield from _rows(layer, expand_nested, depth + 1)


def _cells(layer: Layer, depth: int) -> list[str]:
    prefix = "   " * depth + "└ " if depth else ""
    name = f"{prefix}{layer.name} ({type(layer).__name__})"
    if not layer.built:
        return [name, "?", "0 (unbuilt)" if layer._has_weights else "0"]
    return [name, f"({', '.join(map(str, layer.output_shape))})", f"{layer.count_params():,}"]


def _connections(model: Model) -> dict[str, str]:
    """Layer name -> what feeds it: "conv[0][0]" is what the first call of conv makes."""
    count: dict[str, int] = {}
    made: list[str] = []  # what each call makes
    feeds: dict[str, list[str]] = {}
    for layer, sources, _ in model.calls:
        made.append(f"{layer.name}[{count.get(layer.name, 0)}][0]")
        count[layer.name] = count.get(layer.name, 0) + 1
        feeds.setdefault(layer.name, []).extend(made[i] for i in sources)
    return {name: ", ".join(found) or "-" for name, found in feeds.items()}


def _trainable(layer: Layer) -> str:
    if not layer.weights:
        return "-"
    return "Y" if layer.trainable else "N"


def _bytes(count: float) -> str:
    """ "8.93 MB", in steps of 1024 as Keras counts."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if count < 1024:
            return f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} PB"


def _count(variables: Sequence[Variable]) -> int:
    return sum(variable.size for variable in variables)


def _footer(model: Model, batch_size: int) -> Iterator[str]:
    trainable = _count(model.trainable_weights)
    fixed = _count(model.non_trainable_weights)
    slots = model.optimizer_state()[1] if model.compiled else []
    # Keras counts the iterations (8 bytes) and the learning rate (4) with the slots
    optimizer = sum(math.prod(slot.shape) for slot in slots) + 2 if slots else 0
    optimizer_bytes = 4 * (optimizer - 2) + 12 if slots else 0
    lines = [
        ("Total", trainable + fixed + optimizer, 4 * (trainable + fixed) + optimizer_bytes),
        ("Trainable", trainable, 4 * trainable),
        ("Non-trainable", fixed, 4 * fixed),
    ]
    if slots:
        lines.append(("Optimizer", optimizer, optimizer_bytes))
    for what, count, size in lines:
        yield f" {what} params: {count:,} ({_bytes(size)})"
    if model.built:
        memory = model.network.memory()
        threads = _core.get_num_threads()
        peak = memory["parameters"] + memory["packed"] + threads * memory["executor"]
        yield (
            f" Peak memory: {_bytes(peak)} (weights {_bytes(memory['parameters'])}, "
            f"packed {_bytes(memory['packed'])}, {threads} threads x {_bytes(memory['executor'])})"
        )
        training = model.training_memory(batch_size)
        if training is not None:
            yield f" Peak memory of training, batches of {batch_size}: {_bytes(training)}"
