"""Columns of a table: a pandas DataFrame, or any mapping of column names to sequences.

pandas is not needed, and not imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Columns:
    """Reads columns of `table`, which is left alone; the rows are those of the column `first`."""

    def __init__(self, table: Any, argument: str, first: Any) -> None:
        if not isinstance(table, Mapping) and not (
            hasattr(table, "columns") and hasattr(table, "__getitem__")
        ):
            raise TypeError(
                "dataframe must be a pandas DataFrame or a mapping of column names to sequences, "
                f"not {type(table).__name__}."
            )
        self._table = table
        self._first = first
        self._rows: int | None = None
        self._rows = len(self.values(argument, first))

    def values(self, argument: str, name: Any) -> list[Any]:
        """The column as Python objects; `argument` is what named it."""
        column = self._column(argument, name)
        return column.tolist() if hasattr(column, "tolist") else list(column)

    def array(self, argument: str, name: Any) -> NDArray[Any]:
        """The column as an array."""
        try:
            return np.asarray(self._column(argument, name))
        except ValueError as error:
            raise ValueError(
                f"Column {argument}={name!r} cannot be made an array ({error})."
            ) from None

    def arrays(self, argument: str, names: Sequence[Any]) -> NDArray[Any]:
        """Several columns side by side, (rows, columns), in a type that holds them all."""
        columns = [self.array(argument, name) for name in names]
        kinds = {
            "b" if c.dtype.kind == "b" else "n" if c.dtype.kind in "iufc" else "o" for c in columns
        }
        if len(kinds) > 1:  # NumPy would make strings of numbers
            columns = [c.astype(object) for c in columns]
        return np.stack(columns, axis=1)

    def _column(self, argument: str, name: Any) -> Any:
        names = list(getattr(self._table, "columns", self._table))
        try:
            known = name in names
        except (TypeError, ValueError):
            known = False
        if not known:
            shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
            raise ValueError(f"{argument}={name!r} is no column of dataframe, which has {shown}.")
        column = self._table[name]
        if isinstance(column, (str, bytes)) or not hasattr(column, "__len__"):
            raise TypeError(
                f"Column {argument}={name!r} must be a sequence, not {type(column).__name__}."
            )
        if self._rows is not None and len(column) != self._rows:
            raise ValueError(
                f"Column {argument}={name!r} has {len(column)} rows, but column {self._first!r} "
                f"has {self._rows}."
            )
        return column
