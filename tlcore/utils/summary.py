"""The table that `model.summary()` prints: Keras 3's text, drawn by rich."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tlcore import _core
from tlcore.layers.layer import Layer, Variable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tlcore.models import Model

_NUMBER, _SYMBOL = "color(34)", "color(33)"


def print_summary(
    model: Model,
    line_length: int | None,
    positions: Sequence[float] | None,
    print_fn: Callable[[str], object] | None,
    expand_nested: bool,
    show_trainable: bool,
) -> None:
    """Print `model`'s layers; the arguments are those of `Model.summary`."""
    import rich.console
    import rich.table

    in_a_row = _is_in_a_row(model)
    header = ["Layer (type)", "Output Shape", "Param #"]
    alignment = ["left", "left", "right"]
    width, ends = 88, [0.45, 0.80, 1.0]
    if not in_a_row:
        header.append("Connected to")
        alignment.append("left")
        width, ends = 108, [0.3, 0.56, 0.74, 1.0]
    ends = list(positions or ends)
    if show_trainable:
        header.append("Trainable")
        alignment.append("center")
        width += 12
        ends = [0.9 * end for end in ends] + [1.0]
    if line_length is None:
        line_length = min(width, shutil.get_terminal_size().columns - 4)
    if len(ends) != len(header):
        raise ValueError(f"summary: positions must hold {len(header)} numbers, got {positions!r}.")
    widths = _column_widths(line_length, ends)
    columns = [
        rich.table.Column(
            title,
            justify="right" if side == "right" else "center" if side == "center" else "left",
            width=column,
        )
        for title, side, column in zip(header, alignment, widths, strict=True)
    ]
    table = rich.table.Table(*columns, width=line_length, show_lines=True)
    inbound = {} if in_a_row else model.inbound
    for layer, depth in _rows(model, expand_nested):
        cells = _cells(layer, depth)
        if not in_a_row:
            cells.append(_connections(inbound.get(layer.name, []) if depth == 0 else []))
        if show_trainable:
            cells.append(_trainable(layer))
        table.add_row(*cells)

    if print_fn is None:
        _draw(rich.console.Console(highlight=False), model, table)
        return
    console = rich.console.Console(highlight=False, force_terminal=False, color_system=None)
    with console.capture() as captured:
        _draw(console, model, table)
    print_fn(captured.get())


def _draw(console: Console, model: Model, table: Table) -> None:
    from rich.markup import escape

    console.print(f'[bold]Model: "{escape(model.name)}"[/]')
    console.print(table)
    for line in _footer(model):
        console.print(line, soft_wrap=True)


def _is_in_a_row(model: Model) -> bool:
    """Whether every layer takes the one before it alone, so that no wiring need be shown."""
    return all(len(sources) < 2 for sources in model.inbound.values()) and all(
        count < 2 for count in _uses(model).values()
    )


def _uses(model: Model) -> dict[str, int]:
    uses: dict[str, int] = {}
    for sources in model.inbound.values():
        for source in sources:
            uses[source] = uses.get(source, 0) + 1
    return uses


def _column_widths(line_length: int, ends: Sequence[float]) -> list[int]:
    widths: list[int] = []
    for end in ends:
        width = int(end * line_length) - sum(widths)
        if width < 4:
            raise ValueError(
                f"summary: line_length {line_length} is too short for {len(ends)} columns."
            )
        widths.append(width)
    return widths


def _rows(model: Model, expand_nested: bool, depth: int = 0) -> Iterator[tuple[Layer, int]]:
    from tlcore.models import Model

    for layer in model.layers:
        yield layer, depth
        if expand_nested and isinstance(layer, Model):
            yield from _rows(layer, expand_nested, depth + 1)


def _number(value: object) -> str:
    return f"[{'color(45)' if value is None else _NUMBER}]{value}[/]"


def _cells(layer: Layer, depth: int) -> list[str]:
    from rich.markup import escape

    prefix = "   " * depth + "└ " if depth else ""
    name = escape(prefix + layer.name) + f" ([{_SYMBOL}]{escape(type(layer).__name__)}[/])"
    if not layer.built:
        return [name, "?", f"{_number(0)} (unbuilt)" if layer._has_weights else _number(0)]
    shape = f"({', '.join(_number(size) for size in layer.output_shape)})"
    return [name, shape, _number(f"{layer.count_params():,}")]


def _connections(sources: Sequence[str]) -> str:
    from rich.markup import escape

    names = [f"{escape(source)}[{_number(0)}][{_number(0)}]" for source in sources]
    return ", ".join(names) or "-"


def _trainable(layer: Layer) -> str:
    if not layer.weights:
        return "[bold]-[/]"
    return "[bold][color(34)]Y[/][/]" if layer.trainable else "[bold][color(9)]N[/][/]"


def _bytes(count: float) -> str:
    """ "8.93 MB", in steps of 1024 as Keras counts."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if count < 1024:
            return f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} PB"


def _count(variables: Sequence[Variable]) -> int:
    return sum(variable.size for variable in variables)


def _footer(model: Model) -> Iterator[str]:
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
        yield f"[bold] {what} params: [/]{_number(f'{count:,}')} ({_bytes(size)})"
    if model.built:
        memory = model.network.memory()
        threads = _core.get_num_threads()
        peak = memory["parameters"] + memory["packed"] + threads * memory["executor"]
        yield (
            f"[bold] Peak memory: [/]{_bytes(peak)} (weights {_bytes(memory['parameters'])}, "
            f"packed {_bytes(memory['packed'])}, {threads} threads x {_bytes(memory['executor'])})"
        )
