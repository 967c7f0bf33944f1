"""Single transformations of one picture, with Keras's names, draws and numbers.

float32 pictures are computed in C, float64 and integers as SciPy computes them. The random
functions draw from NumPy's global generator, as Keras's do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore import _core

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

Matrix = tuple[float, float, float, float, float, float]

FILL_MODES = (
    "nearest",
    "constant",
    "reflect",
    "wrap",
    "mirror",
    "grid-mirror",
    "grid-constant",
    "grid-wrap",
)


def check_fill_mode(fill_mode: str) -> str:
    if fill_mode not in FILL_MODES:
        names = ", ".join(map(repr, FILL_MODES))
        raise ValueError(f"fill_mode must be one of {names}, not {fill_mode!r}.")
    return fill_mode


def check_order(name: str, order: int) -> int:
    if order not in range(6):
        raise ValueError(f"{name} must be an integer from 0 to 5, not {order!r}.")
    return int(order)


def check_channels(x: NDArray[Any], channel_axis: int) -> None:
    channels = x.shape[channel_axis]
    if channels not in (1, 3, 4):
        raise ValueError(
            f"brightness needs a picture of 1, 3 or 4 channels, not {channels}: x has the shape "
            f"{x.shape}."
        )


def transform_matrix_offset_center(matrix: ArrayLike, x: float, y: float) -> NDArray[Any]:
    """`matrix` (3, 3) as it acts around the centre of a picture of size `x` by `y`."""
    there, back = np.eye(3), np.eye(3)
    there[:2, 2] = float(x) / 2 - 0.5, float(y) / 2 - 0.5
    back[:2, 2] = -there[:2, 2]
    centered: NDArray[Any] = there @ np.asarray(matrix) @ back
    return centered


def affine_matrices(
    transforms: Sequence[Mapping[str, Any]], height: int, width: int, swapped: bool = True
) -> list[Matrix | None]:
    """For each transform where pixel (i, j) of the result lies in the source, None if nowhere else.

    Row m[0] i + m[1] j + m[2] and column m[3] i + m[4] j + m[5]. `swapped`: rows come before
    columns in the array, while Keras's matrices mean x, y.
    """
    defaults = {"theta": 0, "tx": 0, "ty": 0, "shear": 0, "zx": 1, "zy": 1}
    given = {
        name: np.array([t.get(name, default) for t in transforms], np.float64)
        for name, default in defaults.items()
    }
    moves = np.any([given[name] != default for name, default in defaults.items()], axis=0)
    if not moves.any():
        return [None] * len(transforms)
    # NumPy's products, so that the last bit is Keras's as well. A product with a part that is off,
    # and so the identity, changes nothing.
    theta, shear = np.deg2rad(given["theta"]), np.deg2rad(given["shear"])
    rotation, shift, shearing, zoom = (
        np.tile(np.eye(3), (len(transforms), 1, 1)) for _ in range(4)
    )
    rotation[:, 0, 0] = rotation[:, 1, 1] = np.cos(theta)
    rotation[:, 1, 0] = np.sin(theta)
    rotation[:, 0, 1] = -rotation[:, 1, 0]
    shift[:, 0, 2], shift[:, 1, 2] = given["tx"], given["ty"]
    shearing[:, 0, 1], shearing[:, 1, 1] = -np.sin(shear), np.cos(shear)
    zoom[:, 0, 0], zoom[:, 1, 1] = given["zx"], given["zy"]
    products = transform_matrix_offset_center(rotation @ shift @ shearing @ zoom, height, width)
    found: list[Matrix | None] = []
    for moved, ((a, b, c), (d, e, f), _) in zip(moves, products.tolist(), strict=True):
        matrix = (e, d, f, b, a, c) if swapped else (a, b, c, d, e, f)
        found.append(matrix if moved else None)
    return found


def changed(x: NDArray[Any], channel_axis: int, **arguments: Any) -> NDArray[Any]:
    """A new picture from `_core.transform_picture`, in the layout of `x`."""
    src = np.ascontiguousarray(np.moveaxis(x, channel_axis, 2))
    dst = np.empty_like(src)
    _core.transform_picture(dst, src, shared=True, **arguments)
    return np.moveaxis(dst, 2, channel_axis)


def apply_affine_transform(
    x: NDArray[Any],
    theta: float = 0,
    tx: float = 0,
    ty: float = 0,
    shear: float = 0,
    zx: float = 1,
    zy: float = 1,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    order: int = 1,
) -> NDArray[Any]:
    """One picture rotated, shifted, sheared and zoomed about its centre.

    Args:
        x: 3-dimensional array of real numbers; which axis is which say `row_axis`, `col_axis` and
            `channel_axis` (0 or 2).
        theta: rotation in degrees. tx, ty: shift in pixels: tx from side to side, ty up and down.
        shear: angle in degrees. zx, zy: zoom likewise, 1 for none, above 1 for smaller.
        fill_mode: what lies beyond the edges: "nearest", "constant" (`cval`), "reflect", "wrap",
            and SciPy's "mirror", "grid-mirror", "grid-constant" and "grid-wrap".
        order: of the spline, 0 (nearest pixel) to 5; above 1 needs SciPy.

    Returns an array of the shape and dtype of `x`; `x` itself if there is nothing to do.
    Raises ValueError or TypeError for what does not fit, ImportError without SciPy.
    Source: `keras.src.legacy.preprocessing.image.apply_affine_transform`.
    """
    axes = (row_axis, col_axis, channel_axis)
    if sorted(axes) != [0, 1, 2]:
        raise ValueError(
            f"row_axis, col_axis and channel_axis must be 0, 1 and 2 in some order, not {axes}."
        )
    if channel_axis == 1:
        raise ValueError("channel_axis must be 0 or 2, not 1.")
    x = np.asarray(x)
    if x.ndim != 3:
        raise ValueError(f"x must have 3 dimensions, but its shape is {x.shape}.")
    check_fill_mode(fill_mode)
    order = check_order("order", order)
    height, width = x.shape[row_axis], x.shape[col_axis]
    transform = {"theta": theta, "tx": tx, "ty": ty, "shear": shear, "zx": zx, "zy": zy}
    (matrix,) = affine_matrices([transform], height, width, col_axis > row_axis)
    if matrix is None:
        return x
    dtype = x.dtype
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype == np.float16:
        raise TypeError(f"x must hold integers, float32 or float64, not {dtype}.")
    # SciPy computes in double and rounds to the type of the picture.
    y = x if dtype == np.float32 else x.astype(np.float64)
    if order > 1:
        y = _spline(y, matrix, channel_axis, fill_mode, cval, order)
    else:
        y = changed(
            y, channel_axis, matrix=matrix, order=order, fill_mode=fill_mode, cval=float(cval)
        )
    return y if y.dtype == dtype else _rounded(y, dtype)


def _spline(
    x: NDArray[Any],
    matrix: Matrix,
    channel_axis: int,
    fill_mode: str,
    cval: float,
    order: int,
) -> NDArray[Any]:
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImportError(
            f"interpolation of order {order} needs SciPy: pip install tlcore[scipy]"
        ) from error
    planes = [
        ndimage.affine_transform(
            plane,
            np.array([matrix[:2], matrix[3:5]]),
            np.array([matrix[2], matrix[5]]),
            order=order,
            mode=fill_mode,
            cval=cval,
        )
        for plane in np.moveaxis(x, channel_axis, 0)
    ]
    stacked: NDArray[Any] = np.stack(planes, axis=channel_axis)
    return stacked


def _rounded(y: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """float64 as SciPy stores it in an array of integers."""
    if dtype.kind == "b":
        y = np.trunc(y)
        return y.astype(dtype)
    limits = np.iinfo(dtype)
    y = np.where(y > 0, y + 0.5, y - 0.5 if dtype.kind == "i" else 0.0)
    # The largest of 64 bits has no double of its own.
    highest = float(limits.max) if dtype.itemsize < 8 else np.nextafter(float(limits.max), 0)
    y = np.clip(y, float(limits.min), highest)
    return y.astype(dtype)


def apply_channel_shift(x: NDArray[Any], intensity: float, channel_axis: int = 0) -> NDArray[Any]:
    """`x` (3 dimensions) + `intensity`, clipped to the lowest and highest value of `x`.

    Source: `keras.src.legacy.preprocessing.image.apply_channel_shift`.
    """
    x = np.asarray(x)
    if x.dtype == np.float32 and x.ndim == 3 and x.size and type(intensity) in (int, float):
        return changed(x, channel_axis, channel_shift=intensity)
    # Other types by NumPy's rules of what they become.
    shifted: NDArray[Any] = np.clip(x + intensity, np.min(x), np.max(x))
    return shifted


def apply_brightness_shift(x: NDArray[Any], brightness: float, scale: bool = True) -> NDArray[Any]:
    """The brightness of a picture times a factor, through 8 bits as Pillow computes it.

    Args:
        x: (height, width, channels), 1, 3 or 4 channels; of 4 the last one stays.
        brightness: factor; 0 is black, 1 changes nothing but the rounding to whole numbers.
        scale: stretch the picture to 0..255 first. Without it only pictures with values outside
            0..255 are stretched, and brought back to their range afterwards.

    Returns float32. Raises ValueError for another shape.
    Source: `keras.src.legacy.preprocessing.image.apply_brightness_shift`.
    """
    return brightened(np.asarray(x), brightness, scale, 2)


def brightened(x: NDArray[Any], brightness: float, scale: bool, channel_axis: int) -> NDArray[Any]:
    """`apply_brightness_shift` for any axis of channels."""
    if x.ndim != 3:
        raise ValueError(f"x must have 3 dimensions, but its shape is {x.shape}.")
    check_channels(x, channel_axis)
    if x.dtype == np.float32:
        return changed(x, channel_axis, brightness=float(brightness), stretch=bool(scale))
    low, high = np.min(x), np.max(x)
    beyond = low < 0 or high > 255
    y = changed(
        x.astype(np.float32),
        channel_axis,
        brightness=float(brightness),
        stretch=bool(scale or beyond),
    )
    if not scale and beyond:
        y = y / 255 * (high - low) + low
    return y


def flip_axis(x: ArrayLike, axis: int) -> NDArray[Any]:
    """A view of `x` with one axis reversed."""
    return np.flip(np.asarray(x), axis)


def random_rotation(
    x: NDArray[Any],
    rg: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> NDArray[Any]:
    """A picture rotated by up to `rg` degrees either way. See `apply_affine_transform`."""
    theta = np.random.uniform(-rg, rg)
    axes = (row_axis, col_axis, channel_axis)
    return apply_affine_transform(
        x, theta, 0, 0, 0, 1, 1, *axes, fill_mode, cval, interpolation_order
    )


def random_shift(
    x: NDArray[Any],
    wrg: float,
    hrg: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> NDArray[Any]:
    """A picture shifted at random, see `apply_affine_transform`.

    As in Keras, `hrg` of the height is the most it moves from side to side, `wrg` of the width the
    most it moves up or down.
    """
    h, w = x.shape[row_axis], x.shape[col_axis]
    tx = np.random.uniform(-hrg, hrg) * h
    ty = np.random.uniform(-wrg, wrg) * w
    axes = (row_axis, col_axis, channel_axis)
    return apply_affine_transform(
        x, 0, tx, ty, 0, 1, 1, *axes, fill_mode, cval, interpolation_order
    )


def random_shear(
    x: NDArray[Any],
    intensity: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> NDArray[Any]:
    """A picture sheared by up to `intensity` degrees either way. See `apply_affine_transform`."""
    shear = np.random.uniform(-intensity, intensity)
    axes = (row_axis, col_axis, channel_axis)
    return apply_affine_transform(
        x, 0, 0, 0, shear, 1, 1, *axes, fill_mode, cval, interpolation_order
    )


def random_zoom(
    x: NDArray[Any],
    zoom_range: Sequence[float],
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> NDArray[Any]:
    """A picture zoomed by two factors from `zoom_range` (low, high), one for each direction.

    See `apply_affine_transform`. Raises ValueError if `zoom_range` does not hold two numbers.
    """
    if len(zoom_range) != 2:
        raise ValueError(f"zoom_range must hold two numbers, not {zoom_range!r}.")
    if zoom_range[0] == 1 and zoom_range[1] == 1:
        zx, zy = 1.0, 1.0
    else:
        zx, zy = np.random.uniform(zoom_range[0], zoom_range[1], 2)
    axes = (row_axis, col_axis, channel_axis)
    return apply_affine_transform(
        x, 0, 0, 0, 0, zx, zy, *axes, fill_mode, cval, interpolation_order
    )


def random_channel_shift(
    x: NDArray[Any], intensity_range: float, channel_axis: int = 0
) -> NDArray[Any]:
    """`apply_channel_shift` by up to `intensity_range` either way."""
    intensity = np.random.uniform(-intensity_range, intensity_range)
    return apply_channel_shift(x, intensity, channel_axis=channel_axis)


def random_brightness(
    x: NDArray[Any], brightness_range: Sequence[float], scale: bool = True
) -> NDArray[Any]:
    """`apply_brightness_shift` by a factor from `brightness_range` (low, high).

    Raises ValueError if `brightness_range` does not hold two numbers.
    """
    if len(brightness_range) != 2:
        raise ValueError(f"brightness_range must hold two numbers, not {brightness_range!r}.")
    u = np.random.uniform(brightness_range[0], brightness_range[1])
    return apply_brightness_shift(x, u, scale)
