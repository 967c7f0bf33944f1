"""Pictures from folders, one folder for each class."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.preprocessing.image._arithmetic import (
    pixel_rule,
    reader,
    standardization,
    value_range,
    write_pixels,
)
from tlcore.preprocessing.image._content import file_keys
from tlcore.preprocessing.image._iterator import Indices, PictureIterator
from tlcore.preprocessing.image._listing import list_classes, list_pictures
from tlcore.preprocessing.image._pictures import (
    COLOR_MODES,
    check_color_mode,
    check_interpolation,
    check_target_size,
    img_to_array,
    load_img,
    unreadable,
)
from tlcore.preprocessing.image._reading import submit

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from concurrent.futures import Future

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from tlcore.preprocessing.image._arithmetic import Rule
    from tlcore.preprocessing.image._generator import ImageDataGenerator

CLASS_MODES = ("categorical", "binary", "sparse", "input", None)


class DirectoryIterator(PictureIterator):
    """Batches of pictures from `directory/<class>/**`, with labels from the folders' names.

    Args:
        target_size: (height, width) of every picture.
        color_mode: "grayscale", "rgb" or "rgba": 1, 3 or 4 channels.
        classes: names of the class folders, in the order of their labels; None for all folders,
            sorted, without hidden ones.
        class_mode: "categorical" gives y (n, classes) of 0 and 1, "binary" and "sparse" (n,) class
            numbers, "input" the pictures themselves; all in `dtype`. None gives pictures alone.
        subset: "training" or "validation", by the generator's `validation_split`.
        interpolation: "nearest", "bilinear", "bicubic", "hamming", "box" or "lanczos".
        keep_aspect_ratio: cut the middle of a picture to the target's aspect ratio.
        save_to_dir, save_prefix, save_format: an existing folder that every batch is written to.
        follow_links: follow symbolic links to folders.

    Raises FileNotFoundError, NotADirectoryError or PermissionError for a folder that cannot be
    read, ValueError for a class without pictures or a bad argument; reading a batch raises OSError
    or ValueError, naming the picture. Source: `keras.src.legacy.preprocessing.image`.
    """

    _hash_limit = 10_000_000
    allowed_class_modes = frozenset(CLASS_MODES)
    class_indices: dict[str, int]

    def __init__(
        self,
        directory: str | os.PathLike[str],
        image_data_generator: ImageDataGenerator | None,
        target_size: Sequence[int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        dtype: DTypeLike | None = None,
    ) -> None:
        if data_format not in (None, "channels_last"):
            raise ValueError(f"data_format must be 'channels_last', not {data_format!r}.")
        if class_mode not in CLASS_MODES:
            raise ValueError(
                f"class_mode must be 'categorical', 'binary', 'sparse', 'input' or None, "
                f"not {class_mode!r}."
            )
        if isinstance(classes, str):
            raise TypeError(f"classes must be a list of folder names, not the string {classes!r}.")
        self.directory = directory
        self.image_data_generator = image_data_generator
        self.target_size = check_target_size(target_size)
        self.color_mode = check_color_mode(color_mode)
        self.interpolation = check_interpolation(interpolation)
        self.keep_aspect_ratio = keep_aspect_ratio
        self.image_shape = (*self.target_size, COLOR_MODES[color_mode])
        self.data_format = "channels_last"
        self.class_mode = class_mode
        self.dtype = "float32" if dtype is None else dtype
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        self.subset = subset
        self.split = _split(subset, image_data_generator)

        folder = os.fspath(directory)
        names = list(classes) if classes else list_classes(folder)
        self.num_classes = len(names)
        self.class_indices = {name: index for index, name in enumerate(names)}
        self.filenames: list[str] = []
        labels: list[int] = []
        for name in names:
            pictures = list_pictures(folder, name, self.white_list_formats, follow_links)
            if self.split is not None:
                first, last = (int(share * len(pictures)) for share in self.split)
                pictures = pictures[first:last]
            self.filenames += pictures
            labels += [self.class_indices[name]] * len(pictures)
        self.samples = len(self.filenames)
        if self.samples == 0:
            raise ValueError(
                f"subset {subset!r} of folder {folder!r} holds no picture: validation_split is "
                f"{image_data_generator and image_data_generator._validation_split}."
            )
        self.classes = np.array(labels, dtype="int32")
        self._filepaths = [os.path.join(folder, name) for name in self.filenames]
        print(f"Found {self.samples} images belonging to {self.num_classes} classes.")
        super().__init__(self.samples, batch_size, shuffle, seed)

    @property
    def filepaths(self) -> list[str]:
        """Paths of the pictures, `directory` joined with `filenames`."""
        return self._filepaths

    @property
    def labels(self) -> NDArray[np.int32]:
        """Class number of every picture, shape (n,)."""
        return self.classes

    @property
    def sample_weight(self) -> None:
        """None: pictures from folders have no weights."""
        return None

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Lowest and highest value a pixel can have, None if unknown."""
        # Greyscale is the one mode that keeps 16- and 32-bit pictures as they are.
        eight_bit = self.color_mode != "grayscale" or all(
            name.lower().endswith(("jpg", "jpeg", "bmp")) for name in self.filenames
        )
        return value_range(self.image_data_generator, eight_bit)

    @property
    def reader(self) -> dict[str, Any] | None:
        """How one more picture is to be read like these; None if a user's own function takes part.

        Keys: target_size, color_mode, interpolation, keep_aspect_ratio, rescale, preprocessing.
        """
        return reader(
            self.image_data_generator,
            self.target_size,
            self.color_mode,
            self.interpolation,
            self.keep_aspect_ratio,
        )

    def targets(self, indices: ArrayLike) -> NDArray[Any] | None:
        """The batch's `y` (see `class_mode`), or None."""
        if self.class_mode is None:
            return None
        if self.class_mode == "input":
            return self.load(indices)
        numbers = self.classes[self._checked(indices)]
        if self.class_mode == "categorical":
            one_hot = np.zeros((len(numbers), self.num_classes), dtype=self.dtype)
            one_hot[np.arange(len(numbers)), numbers] = 1
            return one_hot
        return numbers.astype(self.dtype)

    def keys(self, indices: ArrayLike) -> list[Hashable] | None:
        """(path, size, mtime in ns, reading parameters) of each picture; None if not `pure`.

        OSError if a picture has gone.
        """
        if not self.pure:
            return None
        parameters = self._parameters()
        found: list[Hashable] = []
        for j in self._checked(indices):
            path = os.path.abspath(self._filepaths[j])
            try:
                status = os.stat(path)
            except OSError as error:
                raise unreadable(repr(path), error) from error
            found.append((path, status.st_size, status.st_mtime_ns, parameters))
        return found

    def content_keys(self, indices: ArrayLike) -> list[bytes] | None:
        """Keys of the files' bytes and of the way of reading; None for a class not tlcore's own."""
        if not self.pure or not type(self).__module__.startswith("tlcore."):
            return None
        return file_keys([self._filepaths[j] for j in self._checked(indices)], self._parameters())

    def _parameters(self) -> tuple[tuple[str, Any], ...]:
        """All that, beside the files, decides on the pixels of a `pure` iterator."""
        return (
            *(self.reader or {}).items(),
            *standardization(self.image_data_generator),
            ("dtype", np.dtype(self.dtype).str),
        )

    def _job(self, indices: Indices) -> _FilesJob:
        return _FilesJob(self, indices, np.dtype(self.dtype))

    def bytes_rule(self) -> Rule | None:
        # Grey pictures may have 16 bits. A subclass with a `load` of its own is asked for that.
        if (
            self.color_mode == "grayscale"
            or self.save_to_dir is not None
            or np.dtype(self.dtype) != np.float32
            or type(self).load is not PictureIterator.load
        ):
            return None
        return pixel_rule(self.image_data_generator)

    def _bytes_job(self, indices: Indices) -> _FilesJob:
        return _FilesJob(self, indices, np.dtype(np.uint8))

    def _batch(self, indices: Indices, x: NDArray[Any]) -> Any:
        # Not `targets`, which would read the pictures again.
        return (x, x.copy()) if self.class_mode == "input" else super()._batch(indices, x)

    def _decode(
        self, path: str, dst: NDArray[Any], rule: Rule | None
    ) -> NDArray[np.float32] | None:
        """Runs in the crew: a picture to its place, or returned as float32 if more is to come."""
        with load_img(
            path,
            color_mode=self.color_mode,
            target_size=self.target_size,
            interpolation=self.interpolation,
            keep_aspect_ratio=self.keep_aspect_ratio,
        ) as img:
            if rule is None:
                return img_to_array(img)
            pixels = np.asarray(img)
        write_pixels(dst, pixels.reshape(dst.shape), rule, self.image_data_generator)
        return None


class _FilesJob:
    """A batch of picture files: decoded in the crew, finished by whoever wants it."""

    def __init__(self, iterator: DirectoryIterator, indices: Indices, dtype: np.dtype[Any]) -> None:
        self._iterator = iterator
        self._indices = indices
        self._dtype = dtype
        self._shape = (len(indices), *iterator.image_shape)
        each = 1 if dtype == np.uint8 else max(4, dtype.itemsize)
        self.nbytes = int(np.prod(self._shape)) * each

    def begin(self) -> list[Future[Any]]:
        iterator = self._iterator
        rule = pixel_rule(iterator.image_data_generator)
        self._dst = np.empty(self._shape, dtype=self._dtype)
        return [
            submit(iterator._decode, iterator._filepaths[j], dst, rule)
            for j, dst in zip(self._indices, self._dst, strict=True)
        ]

    def finish(self, parts: list[NDArray[np.float32] | None]) -> NDArray[Any]:
        generator = self._iterator.image_data_generator
        for dst, x in zip(self._dst, parts, strict=True):
            if x is not None and generator is not None:
                dst[...] = generator.standardize(x)
        self._iterator._save(self._indices, self._dst)
        return self._dst


def _split(subset: str | None, generator: ImageDataGenerator | None) -> tuple[float, float] | None:
    """The share of each class that the subset takes, as (from, to)."""
    if subset is None:
        return None
    if subset not in ("training", "validation") or generator is None:
        raise ValueError(f"subset must be 'training', 'validation' or None, not {subset!r}.")
    share = generator._validation_split
    return (0.0, share) if subset == "validation" else (share, 1.0)
