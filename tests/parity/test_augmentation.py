"""Random transforms and standardisation against the real Keras: draws exactly, pixels nearly.

A configuration is made from its number, see `configuration`; a picture is a real photo. To test
another argument, let it take part there.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

keras_image = pytest.importorskip(
    "keras.src.legacy.preprocessing.image", reason="needs the real Keras: run `make parity`"
)

from tlcore.preprocessing import image  # noqa: E402
from tlcore.preprocessing.image._transforming import Transformer  # noqa: E402

# scipy's order-1 arithmetic is repeated to the bit, and so is Pillow's: what is left is the last
# bit of a float where an edge is repeated, and a step of 1 where that decides about a byte.
ORDERS = (0, 1)
FILLS = ("nearest", "constant", "reflect", "wrap")


def configuration(number: int, orders: tuple[int, ...] = ORDERS) -> dict[str, Any]:
    """Arguments of ImageDataGenerator; the same for the same number."""
    rng = np.random.RandomState(number)

    def maybe(share: float, value: Any, off: Any) -> Any:
        return value if rng.rand() < share else off

    shift = [0.2, 0.35, 7, 1.5, [-12, 3, 5], [0.1, 0.25], (-0.3, 0.2)]
    return {
        "rotation_range": maybe(0.6, rng.randint(1, 180), 0),
        "width_shift_range": maybe(0.6, shift[rng.randint(len(shift))], 0.0),
        "height_shift_range": maybe(0.6, shift[rng.randint(len(shift))], 0.0),
        "shear_range": maybe(0.5, float(rng.uniform(0.1, 30)), 0.0),
        "zoom_range": maybe(0.6, [0.2, (0.7, 1.6), [1.2, 1.3]][rng.randint(3)], 0.0),
        "channel_shift_range": maybe(0.3, float(rng.uniform(1, 80)), 0.0),
        "brightness_range": maybe(0.3, [(0.3, 1.7), (0.5, 0.9), [1.0, 2.5]][rng.randint(3)], None),
        "horizontal_flip": bool(rng.randint(2)),
        "vertical_flip": bool(rng.randint(2)),
        "fill_mode": FILLS[rng.randint(4)],
        "cval": float(rng.choice([0.0, 13.5, -40.0, 300.0])),
        "interpolation_order": int(rng.choice(orders)),
        "rescale": maybe(0.5, 1 / 255, None),
        "samplewise_center": maybe(0.3, True, False),
        "samplewise_std_normalization": maybe(0.2, True, False),
        "featurewise_center": maybe(0.3, True, False),
        "featurewise_std_normalization": maybe(0.2, True, False),
    }


def both(arguments: dict[str, Any]) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return image.ImageDataGenerator(**arguments), keras_image.ImageDataGenerator(**arguments)


@pytest.fixture(scope="module")
def photos(shared_data):
    """(4, 96, 128, 3), uint8."""
    paths = sorted((shared_data / "photos" / "flowers").rglob("*.jpg"))
    chosen = paths[:: len(paths) // 4][:4]
    return np.stack([np.asarray(image.load_img(path, target_size=(96, 128))) for path in chosen])


def gap(arguments: dict[str, Any], theirs: np.ndarray[Any, Any]) -> float:
    """How far a pixel may be off: 0.3 of 0..255, on the scale that the picture ends with."""
    if not any("normalization" in name and on for name, on in arguments.items()):
        return 0.3 * (arguments["rescale"] or 1)
    return 0.3 / 255 * float(np.ptp(theirs))


@pytest.mark.parametrize("number", range(200))
def test_draws_and_pixels(photos, number):
    arguments = configuration(number)
    ours, theirs = both(arguments)
    for generator in (ours, theirs):
        if generator.featurewise_center or generator.featurewise_std_normalization:
            generator.fit(photos)
    transformer = Transformer(ours)
    assert transformer.runs_in_c
    state = np.random.get_state()[1].copy()
    for seed, picture in enumerate(photos, start=number):
        drawn = ours.get_random_transform(picture.shape, seed)
        np.testing.assert_array_equal(np.random.get_state()[1], state)
        global_state = np.random.get_state()
        expected = theirs.get_random_transform(picture.shape, seed)
        np.random.set_state(global_state)
        assert drawn == expected and list(drawn) == list(expected)
        x = picture.astype("float32")
        wanted = theirs.standardize(np.array(theirs.apply_transform(x.copy(), expected)))
        limit = gap(arguments, wanted)

        got = ours.standardize(ours.apply_transform(x.copy(), drawn))
        assert got.dtype == np.float32 and got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=0, atol=limit)
        in_one_call = np.empty_like(x)
        transformer.apply(in_one_call, picture, drawn)
        np.testing.assert_allclose(in_one_call, wanted, rtol=0, atol=limit)
        # Far more than the limit asks for; a picture's own mean is a sum in another order.
        exact = not (ours.samplewise_center or ours.samplewise_std_normalization)
        near = np.abs(in_one_call - wanted) <= (0 if exact else 1e-5 * np.ptp(wanted))
        assert np.mean(near) > 0.999


@pytest.mark.parametrize("number", range(200, 212))
def test_higher_orders_of_interpolation(photos, number):
    arguments = configuration(number, orders=(2, 3, 4, 5))
    arguments = {name: value for name, value in arguments.items() if "wise" not in name}
    ours, theirs = both(arguments)
    for seed, picture in enumerate(photos[:2]):
        drawn = ours.get_random_transform(picture.shape, seed)
        x = picture.astype("float32")
        wanted = theirs.standardize(np.array(theirs.apply_transform(x.copy(), drawn)))
        got = ours.standardize(np.array(ours.apply_transform(x.copy(), drawn)))
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int64", "bool", "float64"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("fill_mode", [*FILLS, "mirror", "grid-constant", "grid-wrap"])
def test_other_types_of_pictures(photos, dtype, order, fill_mode):
    x = photos[0].astype("float64")
    x = x > 100 if dtype == "bool" else (x - (0 if dtype[0] == "u" else 100)).astype(dtype)
    options = {"fill_mode": fill_mode, "order": order, "cval": 7.5}
    move = {"theta": 31.0, "tx": 40.5, "ty": -20.25, "shear": 5, "zx": 1.4, "zy": 0.8}
    for axes in ((0, 1, 2), (1, 2, 0), (1, 0, 2), (2, 1, 0)):
        row, col, channel = axes
        y = np.ascontiguousarray(np.moveaxis(x, 2, channel))
        arguments = {**move, **options, "row_axis": row, "col_axis": col, "channel_axis": channel}
        wanted = keras_image.apply_affine_transform(y, **arguments)
        got = image.apply_affine_transform(y, **arguments)
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)


RANDOM = [
    ("random_rotation", (30,), {}),
    ("random_shift", (0.2, 0.3), {}),
    ("random_shear", (20,), {}),
    ("random_zoom", ((0.6, 1.4),), {}),
    ("random_zoom", ((1, 1),), {}),
    ("random_channel_shift", (40.0,), {}),
]


@pytest.mark.parametrize(("name", "values", "more"), RANDOM)
@pytest.mark.parametrize("layout", ["first", "last"])
def test_random_functions(photos, name, values, more, layout):
    x = photos[1].astype("float32")
    axes = {"channel_axis": 2}
    if name != "random_channel_shift":
        axes.update(row_axis=0, col_axis=1)
    if layout == "first":
        x, axes = np.ascontiguousarray(x.transpose(2, 0, 1)), {}
    results = []
    for module in (image, keras_image):
        np.random.seed(11)
        results.append(getattr(module, name)(x, *values, **axes, **more))
        results.append(np.random.rand())
    np.testing.assert_array_equal(results[0], results[2])
    assert results[1] == results[3]


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("brightness", [0.0, 0.37, 1.0, 1.9, -0.5])
@pytest.mark.parametrize("kind", ["bytes", "beyond", "float64", "gray", "rgba", "flat", "uint8"])
def test_brightness(photos, kind, brightness, scale):
    x = photos[2].astype("float32") + 0.4
    if kind == "beyond":
        x = x * 1.3 - 30
    elif kind == "float64":
        x = x.astype("float64") * 1.1 - 3
    elif kind == "gray":
        x = np.minimum(x[..., :1], 255)
    elif kind == "rgba":
        x = np.minimum(np.concatenate([x, x[..., :1]], axis=-1), 255)
    elif kind == "flat":
        x = np.full_like(x, 77)
    else:
        x = np.minimum(x, 255).astype("uint8" if kind == "uint8" else "float32")
    wanted = keras_image.apply_brightness_shift(x, brightness, scale)
    got = image.apply_brightness_shift(x, brightness, scale)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)


def test_every_byte_and_factor_of_brightness():
    x = np.arange(256, dtype="float32").reshape(16, 16, 1)
    for brightness in np.linspace(-0.2, 3, 400).tolist():
        wanted = keras_image.apply_brightness_shift(x, brightness, False)
        np.testing.assert_array_equal(image.apply_brightness_shift(x, brightness, False), wanted)


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"featurewise_center": True},
        {"featurewise_std_normalization": True, "rescale": 1 / 255},
        {"zca_whitening": True},
        {"zca_whitening": True, "featurewise_std_normalization": True, "zca_epsilon": 0.01},
        {"featurewise_center": True, "rotation_range": 20, "horizontal_flip": True, "augment": 2},
    ],
    ids=str,
)
def test_fit(photos, arguments, layout):
    x = photos[:, ::8, ::8]
    if layout == "channels_first":
        x = x.transpose(0, 3, 1, 2)
    arguments = dict(arguments)
    rounds = arguments.pop("augment", 0)
    found = []
    for generator in both({**arguments, "data_format": layout}):
        generator.fit(x, augment=rounds > 0, rounds=max(rounds, 1), seed=5)
        found.append(generator)
    ours, theirs = found
    for name in ("mean", "std", "zca_whitening_matrix"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is None) == (b is None)
        if b is not None:
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_array_equal(a, b)
    batch = x.astype("float32")
    np.testing.assert_array_equal(ours.standardize(batch.copy()), theirs.standardize(batch.copy()))


def test_the_global_generator_is_used_where_keras_uses_it(photos):
    arguments = {name: value for name, value in configuration(3).items() if "wise" not in name}
    ours, theirs = both({**arguments, "rotation_range": 10})
    results = []
    for generator in (ours, theirs):
        np.random.seed(8)
        drawn = generator.get_random_transform((96, 128, 3))
        results.append((drawn, generator.random_transform(photos[0].astype("float32"))))
        results.append(np.random.rand())
    assert results[0][0] == results[2][0] and results[1] == results[3]
    np.testing.assert_allclose(results[0][1], results[2][1], rtol=0, atol=0.3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"zca_whitening": True},
        {"zca_whitening": True, "featurewise_std_normalization": True},
        {"featurewise_std_normalization": True},
        {"samplewise_std_normalization": True},
        {"featurewise_std_normalization": True, "featurewise_center": True},
    ],
    ids=str,
)
def test_arguments_that_override_others(arguments):
    said = []
    for module in (image, keras_image):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            generator = module.ImageDataGenerator(**arguments)
        facts = [value for name, value in sorted(vars(generator).items()) if "wise" in name]
        said.append((len(caught), facts))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "arguments",
    [
        {"zoom_range": (1, 2, 3)},
        {"zoom_range": "ab"},
        {"brightness_range": 3},
        {"brightness_range": (1, 2, 3)},
        {"data_format": "rows_first"},
        {"validation_split": 1.5},
    ],
    ids=str,
)
def test_what_keras_refuses_is_refused(arguments):
    for module in (image, keras_image):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            module.ImageDataGenerator(**arguments)
