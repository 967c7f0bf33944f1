"""Single transformations of one picture, with Keras's names, draws and numbers.

float32 pictures are computed in C, float64 and integers as SciPy computes them. The random
functions draw from NumPy's global generator, as Keras's do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore import _core

if TYPE_CHECKING:
    from collections.abc import Sequence

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
            f"Unsupported channel number: {channels}; brightness needs a picture of 1, 3 or 4."
        )


def transform_matrix_offset_center(matrix: ArrayLike, x: float, y: float) -> NDArray[Any]:
    """`matrix` (3, 3) as it acts around the centre of a picture of size `x` by `y`."""
    o_x = float(x) / 2 - 0.5
    o_y = float(y) / 2 - 0.5
    offset_matrix = np.array([[1, 0, o_x], [0, 1, o_y], [0, 0, 1]])
    reset_matrix = np.array([[1, 0, -o_x], [0, 1, -o_y], [0, 0, 1]])
    centered: NDArray[Any] = np.dot(np.dot(offset_matrix, matrix), reset_matrix)
    return centered


def affine_matrix(
    theta: float,
    tx: float,
    ty: float,
    shear: float,
    zx: float,
    zy: float,
    height: int,
    width: int,
    swapped: bool = True,
) -> Matrix | None:
    """Where pixel (i, j) of the result lies in the source, None if nowhere else.

    Row m[0] i + m[1] j + m[2] and column m[3] i + m[4] j + m[5]. `swapped`: rows come before
    columns in the array, while Keras's matrices mean x, y.
    """
    # NumPy's products, so that the last bit is Keras's as well.
    parts = []
    if theta != 0:
        angle = np.deg2rad(theta)
        cos, sin = np.cos(angle), np.sin(angle)
        parts.append(np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]))
    if tx != 0 or ty != 0:
        parts.append(np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]]))
    if shear != 0:
        angle = np.deg2rad(shear)
        parts.append(np.array([[1, -np.sin(angle), 0], [0, np.cos(angle), 0], [0, 0, 1]]))
    if zx != 1 or zy != 1:
        parts.append(np.array([[zx, 0, 0], [0, zy, 0], [0, 0, 1]]))
    if not parts:
        return None
    matrix = parts[0]
    for part in parts[1:]:
        matrix = np.dot(matrix, part)
    (a, b, c), (d, e, f), _ = transform_matrix_offset_center(matrix, height, width).tolist()
    return (e, d, f, b, a, c) if swapped else (a, b, c, d, e, f)


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
    axes = [row_axis, col_axis, channel_axis]
    if len(set(axes)) != 3:
        raise ValueError(
            f"'row_axis', 'col_axis', and 'channel_axis' must be distinct, not {axes}."
        )
    if set(axes) != {0, 1, 2}:
        raise ValueError(f"Invalid axis' indices: {set(axes) - {0, 1, 2}}; allowed are 0, 1, 2.")
    x = np.asarray(x)
    if x.ndim != 3:
        raise ValueError(
            f"Input arrays must be multi-channel 2D images: x must have 3 dimensions, but its "
            f"shape is {x.shape}."
        )
    if channel_axis not in (0, 2):
        raise ValueError("Channels are allowed and the first and last dimensions: 0 or 2.")
    check_fill_mode(fill_mode)
    order = check_order("order", order)
    height, width = x.shape[row_axis], x.shape[col_axis]
    matrix = affine_matrix(theta, tx, ty, shear, zx, zy, height, width, col_axis > row_axis)
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
    return apply_affine_transform(
        x,
        theta=theta,
        row_axis=row_axis,
        col_axis=col_axis,
        channel_axis=channel_axis,
        fill_mode=fill_mode,
        cval=cval,
        order=interpolation_order,
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
    return apply_affine_transform(
        x,
        tx=tx,
        ty=ty,
        row_axis=row_axis,
        col_axis=col_axis,
        channel_axis=channel_axis,
        fill_mode=fill_mode,
        cval=cval,
        order=interpolation_order,
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
    return apply_affine_transform(
        x,
        shear=shear,
        row_axis=row_axis,
        col_axis=col_axis,
        channel_axis=channel_axis,
        fill_mode=fill_mode,
        cval=cval,
        order=interpolation_order,
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
        raise ValueError(
            f"`zoom_range` should be a tuple or list of two floats. Received: {zoom_range}"
        )
    if zoom_range[0] == 1 and zoom_range[1] == 1:
        zx, zy = 1.0, 1.0
    else:
        zx, zy = np.random.uniform(zoom_range[0], zoom_range[1], 2)
    return apply_affine_transform(
        x,
        zx=zx,
        zy=zy,
        row_axis=row_axis,
        col_axis=col_axis,
        channel_axis=channel_axis,
        fill_mode=fill_mode,
        cval=cval,
        order=interpolation_order,
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
        raise ValueError(
            f"`brightness_range should be tuple or list of two floats. Received: {brightness_range}"
        )
    u = np.random.uniform(brightness_range[0], brightness_range[1])
    return apply_brightness_shift(x, u, scale)
