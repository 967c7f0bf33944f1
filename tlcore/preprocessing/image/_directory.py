"""Pictures from folders, one folder for each class."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.preprocessing.image._files import FilesIterator
from tlcore.preprocessing.image._listing import PassedOver, list_classes, list_pictures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from tlcore.preprocessing.image._generator import ImageDataGenerator


class DirectoryIterator(FilesIterator):
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
        exif: turn pictures upright as their EXIF orientation says, before they are resized.
        on_error: "raise" lets the batch raise that has a picture which cannot be read. "skip" reads
            all pictures at once and leaves out those that cannot be read, after the split.
        queue: workers, use_multiprocessing, max_queue_size, which have no effect.

    Attributes:
        skipped: (file name, reason) of each picture that was left out.
        keep_decoded: whether pictures that were read stay in memory, decoded and resized, as long
            as their files do not change. All iterators together keep at most the smaller of 1 GiB
            and a quarter of the memory that the process may use.

    What is unusual about a picture and changes its pixels (orientation, 16 bits, transparency,
    CMYK, another format than its name says) is said once, as are pictures that are not listed
    because of their extension. Of several pictures in a file the first is read.

    Raises FileNotFoundError, NotADirectoryError or PermissionError for a folder that cannot be
    read, ValueError for a class without pictures, none that can be read or a bad argument; reading
    a batch raises OSError or ValueError, naming the picture.
    Source: `keras.src.legacy.preprocessing.image`.
    """

    allowed_class_modes = frozenset(("categorical", "binary", "sparse", "input", None))
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
        *,
        exif: bool = False,
        on_error: str = "raise",
        **queue: Any,
    ) -> None:
        if isinstance(classes, str):
            raise TypeError(f"classes must be a list of folder names, not the string {classes!r}.")
        self.directory = directory
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
        folder = os.fspath(directory)
        names = list(classes) if classes else list_classes(folder)
        self.num_classes = len(names)
        self.class_indices = {name: index for index, name in enumerate(names)}
        self.filenames: list[str] = []
        labels: list[int] = []
        passed_over = PassedOver()
        for name in names:
            pictures = list_pictures(
                folder, name, self.white_list_formats, follow_links, passed_over
            )
            if self.split is not None:
                first, last = (int(share * len(pictures)) for share in self.split)
                pictures = pictures[first:last]
            self.filenames += pictures
            labels += [self.class_indices[name]] * len(pictures)
        passed_over.say(folder)
        if not self.filenames:
            raise ValueError(
                f"subset {subset!r} of folder {folder!r} holds no picture: validation_split is "
                f"{image_data_generator and image_data_generator._validation_split}."
            )
        self._filepaths = [os.path.join(folder, name) for name in self.filenames]
        readable = self._keep_readable()
        self.classes = np.array(labels, dtype="int32")[readable]
        self.samples = len(self.filenames)
        print(f"Found {self.samples} images belonging to {self.num_classes} classes.")
        super().__init__(self.samples, batch_size, shuffle, seed, **queue)

    @property
    def sample_weight(self) -> None:
        """None: pictures from folders have no weights."""
        return None
