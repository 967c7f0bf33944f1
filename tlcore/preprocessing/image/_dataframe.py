"""Pictures that a table names, with whatever the table says about them."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.preprocessing.image._columns import Columns
from tlcore.preprocessing.image._files import FilesIterator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from tlcore.preprocessing.image._draws import Draw, Indices
    from tlcore.preprocessing.image._generator import ImageDataGenerator

# Those whose y_col names classes.
_OF_CLASSES = ("binary", "categorical", "sparse")
# How many file names of a kind a message shows.
_SHOWN = 5


class DataFrameIterator(FilesIterator):
    """Batches of pictures whose names and targets stand in the columns of a table.

    Args:
        dataframe: a pandas DataFrame or any mapping of column names to sequences of one length. It
            is read once and left alone.
        directory: the folder that file names are relative to; None: they are paths.
        x_col: name of the column of file names, strings.
        y_col: name of the column of targets; a list of names for "multi_output", allowed for "raw".
        weight_col: name of a column of numbers, the sample weights.
        classes: names of the classes, in the order of their labels, rows of others being left out;
            None for all that occur, sorted.
        class_mode: "categorical" gives y (n, classes) of 0 and 1, where a row of y_col is a class
            name, or a list or tuple of them; "binary" and "sparse" (n,) class numbers; "input" the
            pictures themselves; all in `dtype`. "raw" gives the values of y_col, (n,) or
            (n, columns), "multi_output" a list with an array for each column of y_col. None gives
            pictures alone.
        subset: "training" or "validation", by the generator's `validation_split` of all rows.
        validate_filenames: leave out, with a warning that names them, file names that do not end in
            png, jpg, jpeg, bmp, ppm, tif or tiff or where there is no file. False: all are taken,
            whatever they are called, and what cannot be read is met when it is read.

    The other arguments, `skipped`, `keep_decoded` and what is said about unusual pictures are those
    of `DirectoryIterator`.

    Attributes:
        classes: for modes with classes, the class number of every picture, or the list of them.
        class_indices: class name -> number, for modes with classes.
        labels: `classes`, or the targets of "raw" and "multi_output"; else None.
        sample_weight: the weights, (n,), or None.

    Raises TypeError for values of a wrong type, ValueError for a missing column, columns of unequal
    length, no picture left or a bad argument; reading a batch raises OSError or ValueError, naming
    the picture. Source: `keras.src.legacy.preprocessing.image.DataFrameIterator`.
    """

    class_indices: dict[str, int]
    allowed_class_modes = frozenset(
        ("binary", "categorical", "input", "multi_output", "raw", "sparse", None)
    )

    def __init__(
        self,
        dataframe: Any,
        directory: str | os.PathLike[str] | None = None,
        image_data_generator: ImageDataGenerator | None = None,
        x_col: Any = "filename",
        y_col: Any = "class",
        weight_col: Any = None,
        target_size: Sequence[int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        data_format: str | None = "channels_last",
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        dtype: DTypeLike | None = "float32",
        validate_filenames: bool = True,
        *,
        exif: bool = False,
        on_error: str = "raise",
        **queue: Any,
    ) -> None:
        if isinstance(classes, str):
            raise TypeError(f"classes must be a list of class names, not the string {classes!r}.")
        classes = None if classes is None else list(classes)
        self.directory = "" if directory is None else directory
        self._set_reading(
            image_data_generator,
            target_size=target_size,
            color_mode=color_mode,
            interpolation=interpolation,
            keep_aspect_ratio=keep_aspect_ratio,
            class_mode=class_mode,
            subset=subset,
            data_format=data_format,
            dtype=dtype,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            exif=exif,
            on_error=on_error,
        )
        if class_mode == "multi_output" and not isinstance(y_col, list):
            raise TypeError(
                f"y_col must be a list of columns for class_mode='multi_output', not {y_col!r}."
            )
        columns = Columns(dataframe, "x_col", x_col)
        names = _file_names(columns, x_col)
        labels = self._labels(columns, y_col, classes)
        weights = _weights(columns, weight_col)
        rows = list(range(len(names)))
        folder = os.fspath(self.directory)
        paths = [os.path.join(folder, name) for name in names]
        if validate_filenames:
            rows = self._valid(paths, names, x_col)
        if labels is not None:
            rows, labels = self._filter_classes(labels, rows, classes)
        if self.split is not None:
            first, last = (int(share * len(rows)) for share in self.split)
            rows = rows[first:last]
        if not rows:
            raise ValueError(
                f"No picture is left of the {len(names)} that column x_col={x_col!r} names"
                f"{'' if subset is None else f' for subset {subset!r}'} ({folder!r} is the folder)."
            )
        self._targets = self._raw_targets(columns, y_col, rows)
        self.filenames = [names[row] for row in rows]
        self._filepaths = [paths[row] for row in rows]
        readable = self._keep_readable()
        rows = [rows[place] for place in readable]
        if labels is not None:
            self.classes = [_numbers(labels[row], self.class_indices) for row in rows]
        if isinstance(self._targets, list):
            self._targets = [column[readable] for column in self._targets]
        elif self._targets is not None:
            self._targets = self._targets[readable]
        self._sample_weight = None if weights is None else weights[rows]
        self.samples = len(rows)
        validated = "validated" if validate_filenames else "non-validated"
        belonging = "" if labels is None else f" belonging to {self.num_classes} classes"
        print(f"Found {self.samples} {validated} image filenames{belonging}.")
        super().__init__(self.samples, batch_size, shuffle, seed, **queue)

    @property
    def labels(self) -> Any:
        """What `y` is made of: class numbers, or the targets of "raw" and "multi_output"."""
        return getattr(self, "classes", None) if self._targets is None else self._targets

    @property
    def sample_weight(self) -> NDArray[Any] | None:
        """The weight of every picture, shape (n,), or None."""
        return self._sample_weight

    def targets(self, indices: ArrayLike | Draw) -> Any:
        """The batch's `y` (see `class_mode`), or None."""
        if self._targets is None:
            return super().targets(indices)
        rows = self._drawn(indices).indices
        if isinstance(self._targets, list):
            return [column[rows] for column in self._targets]
        return self._targets[rows]

    def sample_weights(self, indices: ArrayLike | Draw) -> NDArray[Any] | None:
        """Weights of these samples, or None."""
        weights = self._sample_weight
        return None if weights is None else weights[self._drawn(indices).indices]

    def _mark_classes(self, hot: NDArray[Any], rows: Indices) -> None:
        for one, row in zip(hot, rows, strict=True):
            one[self.classes[row]] = 1

    def _labels(
        self, columns: Columns, y_col: Any, classes: Sequence[str] | None
    ) -> list[Any] | None:
        """The class names of every row, checked; None if this mode has no classes."""
        mode = self.class_mode
        if mode not in _OF_CLASSES:
            if classes:
                warnings.warn(
                    f'`classes` will be ignored given the class_mode="{mode}"', stacklevel=4
                )
            return None
        labels = columns.values("y_col", y_col)
        allowed = (str, list, tuple) if mode == "categorical" else (str,)
        for row, label in enumerate(labels):
            parts = label if isinstance(label, (list, tuple)) else ()
            if not isinstance(label, allowed) or not all(isinstance(part, str) for part in parts):
                raise TypeError(
                    f"Column y_col={y_col!r} must hold class names, strings"
                    f"{', lists or tuples of them' if mode == 'categorical' else ''}, for "
                    f"class_mode={mode!r}, and row {row} is {label!r}."
                )
        if mode == "binary":
            given = set(classes) if classes else set(labels)
            if len(given) != 2:
                where = "classes" if classes else f"column y_col={y_col!r}"
                raise ValueError(
                    f"class_mode='binary' needs 2 classes, and {where} has {len(given)}."
                )
        return labels

    def _filter_classes(
        self, labels: list[Any], rows: list[int], classes: Sequence[str] | None
    ) -> tuple[list[int], list[Any]]:
        """Rows of known classes, and labels without others; sets the names of the classes."""
        if classes:
            known = dict.fromkeys(classes)
            labels = [
                [name for name in label if name in known]
                if isinstance(label, (list, tuple))
                else label
                for label in labels
            ]
            rows = [
                row
                for row in rows
                if (labels[row] in known if isinstance(labels[row], str) else labels[row])
            ]
            names = list(known)
        else:
            found: set[str] = set()
            for row in rows:
                label = labels[row]
                found.update((label,) if isinstance(label, str) else label)
            names = sorted(found)
        self.num_classes = len(names)
        self.class_indices = {name: number for number, name in enumerate(names)}
        return rows, labels

    def _valid(self, paths: list[str], names: list[str], x_col: Any) -> list[int]:
        """Rows whose files are there and called as a listed picture; a warning names the others."""
        rows: list[int] = []
        strange: list[str] = []
        gone: list[str] = []
        for row, path in enumerate(paths):
            if not path.lower().endswith(self.white_list_formats):
                strange.append(names[row])
            elif not os.path.isfile(path):
                gone.append(names[row])
            else:
                rows.append(row)
        if strange or gone:
            parts = [
                f"{_shown(which)} {why}"
                for which, why in (
                    (gone, "(no such file)"),
                    (strange, f"(no {', '.join(self.white_list_formats)})"),
                )
                if which
            ]
            warnings.warn(
                f'Found {len(strange) + len(gone)} invalid image filename(s) in x_col="{x_col}". '
                f"These filename(s) will be ignored: {'; '.join(parts)}.",
                stacklevel=4,
            )
        return rows

    def _raw_targets(self, columns: Columns, y_col: Any, rows: list[int]) -> Any:
        """The targets of these rows that stand in the table as they are, or None."""
        if self.class_mode == "multi_output":
            return [_stacked(columns.values("y_col", name), rows, name) for name in y_col]
        if self.class_mode == "raw":
            if isinstance(y_col, list):
                return columns.arrays("y_col", y_col)[rows]
            return columns.array("y_col", y_col)[rows]
        return None


# What Keras says of arguments of flow_from_dataframe that it no longer heeds.
_DEPRECATED = {
    "has_ext": "filenames in the dataframe have to match the exact filenames in disk.",
    "sort": "batches are in the order of the filenames if shuffle is False.",
    "drop_duplicates": "use the pandas.DataFrame.drop_duplicates method.",
}


def supported_class_mode(class_mode: str | None, options: Mapping[str, Any]) -> str | None:
    """`class_mode` in today's words; warns of what is deprecated in it and in `options`.

    TypeError for an option that `flow_from_dataframe` never had.
    """
    for name in options:
        if name not in _DEPRECATED:
            raise TypeError(f"flow_from_dataframe() got an unexpected keyword argument {name!r}")
        warnings.warn(
            f"{name} is deprecated, {_DEPRECATED[name]}", DeprecationWarning, stacklevel=3
        )
    if class_mode != "other":
        return class_mode
    warnings.warn(
        '`class_mode="other"` is deprecated, please use `class_mode="raw"`.',
        DeprecationWarning,
        stacklevel=3,
    )
    return "raw"


def _file_names(columns: Columns, x_col: Any) -> list[str]:
    names = columns.values("x_col", x_col)
    for row, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(
                f"Column x_col={x_col!r} must hold file names, strings, and row {row} is {name!r}."
            )
        if "\0" in name:
            raise ValueError(f"Column x_col={x_col!r}: row {row}, {name!r}, is no file name.")
    return names


def _weights(columns: Columns, weight_col: Any) -> NDArray[Any] | None:
    if weight_col is None:
        return None
    weights = columns.array("weight_col", weight_col)
    if weights.dtype.kind not in "iuf" or weights.ndim != 1:
        raise TypeError(
            f"Column weight_col={weight_col!r} must hold numbers, not {weights.dtype} of shape "
            f"{weights.shape}."
        )
    return weights


def _numbers(label: str | Iterable[str], class_indices: dict[str, int]) -> int | list[int]:
    if isinstance(label, str):
        return class_indices[label]
    return [class_indices[name] for name in label]


def _stacked(values: list[Any], rows: list[int], name: Any) -> NDArray[Any]:
    try:
        return np.array([values[row] for row in rows])
    except ValueError as error:
        raise ValueError(f"Column y_col={name!r} cannot be made an array ({error}).") from None


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
