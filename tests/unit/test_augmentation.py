"""ImageDataGenerator's transforms and standardisation, without peers: values made by hand, draws
made again, and the one call of C against the methods in steps."""

from __future__ import annotations

import itertools
import sys
import threading
import warnings
from typing import Any

import numpy as np
import pytest

from tlcore.applications.mobilenet_v2 import preprocess_input
from tlcore.preprocessing import image
from tlcore.preprocessing.image._arithmetic import (
    pixel_rule,
    reader,
    standardization_key,
    value_range,
)
from tlcore.preprocessing.image._transforming import Transformer

LAST = {"row_axis": 0, "col_axis": 1, "channel_axis": 2}


def generator(**arguments: Any) -> image.ImageDataGenerator:
    return image.ImageDataGenerator(**arguments)


@pytest.fixture
def photo():
    """(19, 31, 3), uint8."""
    return np.random.RandomState(5).randint(0, 256, (19, 31, 3)).astype("uint8")


def column(values: Any) -> Any:
    return np.array(values, "float32")[:, None, None]


def rows(x: Any) -> list[float]:
    return x[:, 0, 0].tolist()


# -- one transformation


@pytest.mark.parametrize(
    ("fill_mode", "expected"),
    [
        ("nearest", [1, 1, 1, 2]),
        ("constant", [9, 9, 1, 2]),
        ("reflect", [2, 1, 1, 2]),
        ("grid-mirror", [2, 1, 1, 2]),
        ("mirror", [3, 2, 1, 2]),
        ("wrap", [2, 3, 1, 2]),
        ("grid-wrap", [3, 4, 1, 2]),
        ("grid-constant", [9, 9, 1, 2]),
    ],
)
@pytest.mark.parametrize("order", [0, 1])
def test_what_lies_beyond_the_edge(fill_mode, expected, order):
    x = column([1, 2, 3, 4])
    moved = image.apply_affine_transform(
        np.repeat(x, 3, axis=1), ty=-2, fill_mode=fill_mode, cval=9.0, order=order, **LAST
    )
    assert moved.dtype == np.float32
    for j in range(3):
        assert moved[:, j, 0].tolist() == expected


def test_half_a_pixel_is_a_mean():
    x = np.repeat(column([1, 2, 4, 8]), 2, axis=1)
    move = {"ty": 0.5, "fill_mode": "nearest", **LAST}
    assert rows(image.apply_affine_transform(x, **move)) == [1.5, 3, 6, 8]
    # With blending at the edge, and without.
    move.update(cval=16.0, fill_mode="grid-constant")
    assert rows(image.apply_affine_transform(x, **move)) == [1.5, 3, 6, 12]
    move["fill_mode"] = "constant"
    assert rows(image.apply_affine_transform(x, **move)) == [1.5, 3, 6, 16]


def test_a_quarter_turn_about_the_centre(photo):
    square = photo[:, :19].astype("float32")
    turned = image.apply_affine_transform(square, theta=90, order=0, **LAST)
    np.testing.assert_array_equal(turned, np.rot90(square))  # anticlockwise


def test_zoom_and_shear():
    x = np.arange(25, dtype="float32").reshape(5, 5, 1)
    # Steps of two rows from the centre.
    zoomed = image.apply_affine_transform(x, zy=2, fill_mode="constant", cval=-1, **LAST)
    assert zoomed[:, 2, 0].tolist() == [-1, 2, 12, 22, -1]
    sheared = image.apply_affine_transform(x, shear=30, order=1, **LAST)
    # A row below the centre: sin 30 of a pixel to the left, cos 30 down.
    row, col = 2 + np.cos(np.pi / 6), 2 - 0.5
    assert sheared[3, 2, 0] == pytest.approx(5 * row + col, abs=1e-5)


def test_nothing_to_do_gives_the_picture_itself(photo):
    assert image.apply_affine_transform(photo, **LAST) is photo
    x = photo.astype("float32")
    assert generator(rotation_range=9).apply_transform(x, {}) is x


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "bool", "float64"])
def test_types_stay(photo, dtype):
    x = photo.astype(dtype)
    y = image.apply_affine_transform(x, theta=13, tx=2.5, **LAST)
    assert y.dtype == x.dtype
    exact = image.apply_affine_transform(x.astype("float64"), theta=13, tx=2.5, **LAST)
    limit = {"float64": 0, "bool": 1}.get(dtype, 0.5)
    assert np.abs(y.astype("float64") - exact).max() <= limit


def test_types_that_are_refused(photo):
    for dtype in ("float16", "complex64", "O"):
        with pytest.raises(TypeError, match="x must hold integers, float32 or float64"):
            image.apply_affine_transform(photo.astype(dtype), theta=1, **LAST)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"row_axis": 1, "col_axis": 1}, "must be distinct"),
        ({"row_axis": 3}, "Invalid axis' indices"),
        ({"channel_axis": 1, "row_axis": 0}, "Channels are allowed"),
        ({"fill_mode": "mirrored"}, "fill_mode must be one of"),
        ({"order": 6}, "order must be an integer from 0 to 5, not 6"),
        ({"theta": np.inf}, "finite"),
    ],
    ids=str,
)
def test_bad_arguments_of_affine(photo, arguments, message):
    given = {"row_axis": 0, "col_axis": 2 if "channel_axis" in arguments else 1, "channel_axis": 2}
    with pytest.raises(ValueError, match=message), np.errstate(invalid="ignore"):
        image.apply_affine_transform(photo, **{**given, **arguments})
    with pytest.raises(ValueError, match="3 dimensions"):
        image.apply_affine_transform(photo[0], **LAST)


def test_higher_orders_ask_for_scipy(photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"pip install tlcore\[scipy\]"):
        image.apply_affine_transform(photo, theta=3, order=3, **LAST)
    assert not Transformer(generator(rotation_range=3, interpolation_order=3)).runs_in_c


def test_channel_shift():
    x = column([10, 20, 30, 40])
    assert rows(image.apply_channel_shift(x, 15.0, 2)) == [25, 35, 40, 40]
    assert rows(image.apply_channel_shift(x, -15, 2)) == [10, 10, 15, 25]
    # NumPy says what becomes of other types.
    assert image.apply_channel_shift(x.astype("int32"), 1.5, 2).dtype == np.float64


def test_brightness():
    x = column([0, 10.9, 100, 254.99])
    assert rows(image.apply_brightness_shift(x, 1.5, scale=False)) == [0, 15, 150, 255]
    narrow = column([100, 101, 102, 104])
    assert rows(image.apply_brightness_shift(narrow, 1.0)) == [0, 63, 127, 255]
    wide = column([-10, 500, 245, -10])
    back = image.apply_brightness_shift(wide, 0.5, scale=False)
    np.testing.assert_allclose(rows(back), [-10, 127 / 255 * 510 - 10, 63 / 255 * 510 - 10, -10])
    with pytest.raises(ValueError, match="Unsupported channel number: 2"):
        image.apply_brightness_shift(np.zeros((3, 3, 2)), 1.0)
    with pytest.raises(ValueError, match="3 dimensions"):
        image.apply_brightness_shift(np.zeros((3, 3)), 1.0)


def test_flips_and_layouts(photo):
    assert (image.flip_axis(photo, 1) == photo[:, ::-1]).all()
    x = photo.astype("float32")
    last = generator(rotation_range=20, fill_mode="wrap")
    first = generator(rotation_range=20, fill_mode="wrap", data_format="channels_first")
    params = {"theta": 12, "ty": 3, "flip_vertical": True, "brightness": 0.7}
    y = first.apply_transform(x.transpose(2, 0, 1), params)
    np.testing.assert_array_equal(y.transpose(1, 2, 0), last.apply_transform(x, params))


# -- draws


def test_draws_come_in_keras_order():
    augmenting = generator(
        rotation_range=20,
        width_shift_range=[-3, 5],
        height_shift_range=0.25,
        shear_range=4.0,
        zoom_range=(0.5, 2),
        channel_shift_range=7,
        brightness_range=(0.5, 1.5),
        horizontal_flip=True,
    )
    rng = np.random.RandomState(3)
    expected: dict[str, Any] = {"theta": rng.uniform(-20, 20)}
    expected["tx"] = rng.uniform(-0.25, 0.25) * 40
    expected["ty"] = rng.choice([-3, 5]) * rng.choice([-1, 1])
    expected["shear"] = rng.uniform(-4.0, 4.0)
    expected["zx"], expected["zy"] = rng.uniform(0.5, 2, 2)
    expected["flip_horizontal"] = rng.random_sample() < 0.5
    rng.random_sample()  # for the vertical flip, which is off
    expected["flip_vertical"] = 0
    expected["channel_shift_intensity"] = rng.uniform(-7, 7)
    expected["brightness"] = rng.uniform(0.5, 1.5)
    assert augmenting.get_random_transform((40, 30, 3), seed=3) == expected
    assert augmenting._draw_transform(np.random.RandomState(3), (40, 30, 3)) == expected
    np.random.seed(3)
    assert augmenting.get_random_transform((40, 30, 3)) == expected


@pytest.mark.parametrize(
    ("value", "allowed"),
    [(4, {-3, -2, -1, 0, 1, 2, 3}), ([0.5], {-20.0, 20.0}), ((1, 9), {1, -1, 9, -9})],
    ids=str,
)
def test_shifts_by_pixels_and_lists(value, allowed):
    shifting = generator(height_shift_range=value)
    drawn = {shifting.get_random_transform((40, 30, 3), seed)["tx"] for seed in range(200)}
    assert drawn == allowed


def test_shifts_of_at_least_one_are_pixels():
    drawn = [
        generator(width_shift_range=1.5).get_random_transform((40, 30, 3), seed)["ty"]
        for seed in range(50)
    ]
    assert max(drawn) <= 1.5 and min(drawn) >= -1.5 and max(drawn) > 1


def test_a_seed_leaves_the_global_generator_alone(photo):
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()
    augmenting = generator(rotation_range=20, featurewise_center=True)
    augmenting.get_random_transform(photo.shape, 5)
    augmenting.random_transform(photo.astype("float32"), seed=5)
    augmenting.fit(photo[None], augment=True, seed=5)
    assert np.random.get_state()[1].tolist() == before
    augmenting.get_random_transform(photo.shape)
    after = np.random.get_state()
    assert (after[1].tolist(), after[2]) != (before, 624)


def test_random_functions_draw_from_the_global_generator(photo):
    x = photo.astype("float32")
    np.random.seed(4)
    theta = np.random.uniform(-30, 30)
    np.random.seed(4)
    np.testing.assert_array_equal(
        image.random_rotation(x, 30, **LAST), image.apply_affine_transform(x, theta=theta, **LAST)
    )
    np.random.seed(4)
    tx, ty = np.random.uniform(-0.2, 0.2) * 19, np.random.uniform(-0.3, 0.3) * 31
    np.random.seed(4)
    np.testing.assert_array_equal(
        image.random_shift(x, 0.3, 0.2, **LAST),
        image.apply_affine_transform(x, tx=tx, ty=ty, **LAST),
    )
    np.random.seed(4)
    zx, zy = np.random.uniform(0.5, 2, 2)
    np.random.seed(4)
    np.testing.assert_array_equal(
        image.random_zoom(x, (0.5, 2), **LAST),
        image.apply_affine_transform(x, zx=zx, zy=zy, **LAST),
    )
    np.random.seed(4)
    u = np.random.uniform(0.5, 2)
    np.random.seed(4)
    np.testing.assert_array_equal(
        image.random_brightness(x, (0.5, 2)), image.apply_brightness_shift(x, u)
    )
    assert image.random_shear(x, 5, **LAST).shape == x.shape
    assert image.random_channel_shift(x, 5, 2).shape == x.shape
    with pytest.raises(ValueError, match="two floats"):
        image.random_zoom(x, [1])
    with pytest.raises(ValueError, match="two floats"):
        image.random_brightness(x, [1])


# -- the chain in one call


CHAINS: list[dict[str, Any]] = [
    {},
    {"rescale": 1 / 255},
    {"preprocessing_function": preprocess_input},
    {"preprocessing_function": preprocess_input, "rescale": 0.3},
    {"samplewise_center": True, "samplewise_std_normalization": True, "rescale": 1 / 255},
    {"featurewise_center": True, "featurewise_std_normalization": True},
    {"samplewise_center": True, "featurewise_center": True},
]
CHANGES: list[dict[str, Any] | None] = [
    None,
    {},
    {"flip_horizontal": True},
    {"flip_vertical": 1, "channel_shift_intensity": -13.5},
    {"theta": 17, "tx": 2.5, "ty": -4, "shear": 3, "zx": 1.1, "zy": 0.8, "flip_horizontal": 1},
    {"theta": -80, "channel_shift_intensity": 20.0, "brightness": 1.6, "flip_vertical": True},
    {"brightness": 0.4},
]


@pytest.mark.parametrize("kind", ["gaps", "packed", "float", "grey"])
@pytest.mark.parametrize("change", range(len(CHANGES)))
@pytest.mark.parametrize("chain", range(len(CHAINS)))
def test_one_call_does_what_the_methods_do(photo, chain, change, kind):
    augmenting = generator(**CHAINS[chain], fill_mode="reflect")
    if kind == "gaps":
        roomy = np.zeros((*photo.shape[:2], 4), "uint8")
        roomy[..., :3] = photo
        photo = roomy[..., :3]
    elif kind == "float":
        photo = photo.astype("float32")
    elif kind == "grey":
        photo = photo[..., :1].copy()
    if augmenting.featurewise_center:
        augmenting.fit(photo[None])
    transformer = Transformer(augmenting)
    assert transformer.runs_in_c
    x = np.array(photo, "float32")
    if CHANGES[change] is not None:
        x = np.array(augmenting.apply_transform(x, CHANGES[change]))
    expected = augmenting.standardize(np.ascontiguousarray(x))
    for dtype in ("float32", "float64"):
        got = np.full(photo.shape, np.nan, dtype)
        transformer.apply(got, photo, CHANGES[change])
        np.testing.assert_array_equal(got, expected)


def test_means_are_numpys_whatever_the_size():
    """Sums in NumPy's order: equal to the bit."""
    rng = np.random.RandomState(7)
    transformer = Transformer(generator(samplewise_center=True, samplewise_std_normalization=True))
    for height, width in ((1, 1), (1, 3), (2, 3), (7, 6), (13, 10), (40, 33), (97, 64)):
        x = rng.uniform(-3, 200, (height, width, 3)).astype("float32")
        expected = x - np.mean(x)
        expected /= np.std(expected) + np.float32(1e-6)
        got = np.empty_like(x)
        transformer.apply(got, x)
        np.testing.assert_array_equal(got, expected)


def test_flips_of_bytes_stay_bytes(photo):
    transformer = Transformer(generator(horizontal_flip=True, vertical_flip=True, rescale=0.5))
    got = np.empty_like(photo)
    transformer.apply(got, photo, {"flip_horizontal": 1, "flip_vertical": False})
    np.testing.assert_array_equal(got, photo[:, ::-1])
    transformer.apply(got, photo, None)
    np.testing.assert_array_equal(got, photo)


class Own(image.ImageDataGenerator):
    """Transforms in its own way."""

    def apply_transform(self, x: Any, transform_parameters: Any) -> Any:
        return x + 1


class Standardizing(image.ImageDataGenerator):
    def standardize(self, x: Any) -> Any:
        return x * 2


def double(x: Any) -> Any:
    return x * 2


@pytest.mark.parametrize(
    ("augmenting", "identity", "flips_only", "runs_in_c"),
    [
        (None, True, True, True),
        (generator(), True, True, True),
        (generator(rescale=2, samplewise_center=True), True, True, True),
        (generator(vertical_flip=True), False, True, True),
        (generator(rotation_range=1), False, False, True),
        (generator(width_shift_range=[0, 0]), True, True, True),
        (generator(zoom_range=(1, 1)), True, True, True),
        (generator(zoom_range=0.1, horizontal_flip=True), False, False, True),
        (generator(brightness_range=(1, 1)), False, False, True),
        (generator(channel_shift_range=1), False, False, True),
        (generator(shear_range=1, interpolation_order=2), False, False, False),
        (generator(interpolation_order=2), True, True, True),
        (generator(rotation_range=1, data_format="channels_first"), False, False, False),
        (generator(preprocessing_function=double), True, True, False),
        (generator(rescale=np.float64(2)), True, True, False),
        (Own(), False, False, False),
        (Standardizing(), True, True, False),
    ],
    ids=str,
)
def test_what_a_transformer_says(augmenting, identity, flips_only, runs_in_c):
    transformer = Transformer(augmenting)
    assert (transformer.identity, transformer.flips_only, transformer.runs_in_c) == (
        identity,
        flips_only,
        runs_in_c,
    )


@pytest.mark.parametrize(
    ("augmenting", "expected"),
    [
        (Own(rescale=3), lambda x: (x + 1) * 3),
        (Standardizing(), lambda x: x * 2),
        (generator(preprocessing_function=double, rescale=3), lambda x: x * 6),
    ],
    ids=["transforms", "standardizes", "function"],
)
def test_what_is_not_in_c_is_asked(photo, augmenting, expected):
    got = np.empty(photo.shape, "float32")
    Transformer(augmenting).apply(got, photo, {})
    np.testing.assert_array_equal(got, expected(photo.astype("float32")))


def test_other_arithmetic_than_float32(photo):
    transformer = Transformer(generator(rescale=1 / 3), "float64")
    assert not transformer.runs_in_c
    got = np.empty(photo.shape, "float64")
    transformer.apply(got, photo, {"theta": 10})
    x = image.apply_affine_transform(photo.astype("float64"), theta=10, **LAST)
    np.testing.assert_array_equal(got, x * (1 / 3))


def test_a_transformer_serves_threads(photo):
    transformer = Transformer(generator(rotation_range=10, rescale=1 / 255))
    changes = [{"theta": angle, "ty": angle / 7} for angle in range(24)]
    expected = []
    for change in changes:
        expected.append(np.empty(photo.shape, "float32"))
        transformer.apply(expected[-1], photo, change)
    wrong: list[int] = []

    def work() -> None:
        got = np.empty(photo.shape, "float32")
        for _, (k, change) in itertools.product(range(10), enumerate(changes)):
            transformer.apply(got, photo, change)
            if not np.array_equal(got, expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_large_picture_by_the_crew_is_the_same():
    x = np.random.RandomState(2).randint(0, 256, (700, 500, 3)).astype("float32")
    augmenting = generator()
    change = {"theta": 33, "ty": 80, "channel_shift_intensity": 5.0, "brightness": 1.2}
    alone = np.empty_like(x)
    Transformer(augmenting).apply(alone, x, change)
    np.testing.assert_array_equal(augmenting.apply_transform(x, change), alone)


# -- what is said about pictures


@pytest.mark.parametrize(
    ("arguments", "rule", "values", "has_reader"),
    [
        ({}, (1, 1, -0.0), (0, 255), True),
        ({"rescale": 0.5}, (1, 0.5, -0.0), (0, 127.5), True),
        ({"horizontal_flip": True, "rescale": 0.5}, (1, 0.5, -0.0), (0, 127.5), True),
        (
            {"rotation_range": 3, "preprocessing_function": preprocess_input},
            (127.5, 1, -1),
            (-1, 1),
            True,
        ),
        ({"rotation_range": 3, "fill_mode": "constant", "cval": -5}, (1, 1, -0.0), (-5, 255), True),
        ({"horizontal_flip": 1, "fill_mode": "constant", "cval": -5}, (1, 1, -0.0), (0, 255), True),
        ({"rotation_range": 3, "interpolation_order": 3}, (1, 1, -0.0), None, True),
        ({"samplewise_center": True}, None, None, False),
        ({"featurewise_center": True}, None, None, False),
        ({"preprocessing_function": double}, None, None, False),
    ],
    ids=str,
)
def test_what_is_known_of_the_pixels(arguments, rule, values, has_reader):
    augmenting = generator(**arguments)
    known = standardization_key(augmenting) is not None
    assert known == (arguments.get("preprocessing_function") is not double)
    assert pixel_rule(augmenting) == rule
    assert value_range(augmenting, True) == values
    assert value_range(augmenting, False) is None
    assert (reader(augmenting, (8, 8), "rgb") is not None) == has_reader


def test_keys_of_standardisation_differ(photo):
    keys = []
    for arguments in (
        {},
        {"rescale": 0.5},
        {"rescale": 2},
        {"preprocessing_function": preprocess_input},
        {"samplewise_center": True},
        {"samplewise_center": True, "samplewise_std_normalization": True},
    ):
        keys.append(standardization_key(generator(**arguments)))
    fitted = generator(featurewise_center=True)
    for value in (0, 1):
        fitted.fit(np.full((2, 4, 4, 3), value))
        keys.append(standardization_key(fitted))
    assert len(set(keys)) == len(keys)
    assert standardization_key(None) == ()


# -- fit and standardisation


def test_fit_finds_mean_and_deviation(photo):
    x = np.stack([photo, photo // 2, photo // 3])
    featurewise = generator(
        featurewise_center=True, featurewise_std_normalization=True, rescale=1 / 255
    )
    featurewise.fit(x)
    scaled = x.astype("float64") / 255
    np.testing.assert_allclose(featurewise.mean.ravel(), scaled.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(featurewise.std.ravel(), scaled.std((0, 1, 2)), rtol=1e-5)
    assert featurewise.mean.shape == (1, 1, 3) and featurewise.std.dtype == np.float32
    batch = featurewise.standardize(x.astype("float32"))
    np.testing.assert_allclose(batch.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(batch.std((0, 1, 2)), 1, atol=1e-4)


def test_whitening_makes_pictures_independent():
    x = np.random.RandomState(3).uniform(0, 1, (6, 4, 4, 3))
    whitening = generator(zca_whitening=True, featurewise_center=True, dtype="float64")
    whitening.fit(x)
    assert whitening.zca_whitening_matrix.shape == (48, 48)
    flat = whitening.standardize(x.copy()).reshape(6, -1)
    np.testing.assert_allclose(flat @ flat.T / 6, np.eye(6), rtol=0, atol=1e-5)
    assert not Transformer(whitening).runs_in_c


def test_fit_on_augmented_pictures(photo):
    flipping = generator(vertical_flip=True, featurewise_center=True)
    flipping.fit(photo[None], augment=True, rounds=3, seed=1)
    np.testing.assert_allclose(flipping.mean.ravel(), photo.mean((0, 1)), rtol=1e-5)

    class Black(image.ImageDataGenerator):
        def random_transform(self, x: Any, seed: int | None = None) -> Any:
            return np.zeros_like(x)

    black = Black(featurewise_center=True)
    black.fit(photo[None], augment=True)
    assert not black.mean.any()


def test_fit_refuses_and_warns(photo):
    featurewise = generator(featurewise_center=True)
    with pytest.raises(ValueError, match="rank 4"):
        featurewise.fit(photo)
    with pytest.raises(ValueError, match="no pictures"):
        featurewise.fit(photo[None][:0])
    with pytest.warns(UserWarning, match="either 1, 3 or 4 channels"):
        featurewise.fit(photo[None, ..., :2])


@pytest.mark.parametrize(
    "name", ["featurewise_center", "featurewise_std_normalization", "zca_whitening"]
)
def test_what_was_not_fitted_warns(photo, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unfitted = generator(**{name: True, "featurewise_center": True})
    if name != "featurewise_center":
        unfitted.mean = np.zeros((1, 1, 3), "float32")
    with pytest.warns(UserWarning, match=f"specifies `{name}`, but it hasn't been fit"):
        unfitted.standardize(photo.astype("float32"))
    if name != "zca_whitening":
        with pytest.warns(UserWarning, match=f"specifies `{name}`, but it hasn't been fit"):
            transformer = Transformer(unfitted)
        got = np.empty(photo.shape, "float32")
        transformer.apply(got, photo)
        np.testing.assert_array_equal(got, photo)


def test_statistics_of_the_users_own_are_used_as_they_are(photo):
    """float64, as a literal gives it: NumPy subtracts in float64."""
    featurewise = generator(featurewise_center=True)
    featurewise.mean = np.array([123.68, 116.779, 103.939])
    transformer = Transformer(featurewise)
    assert not transformer.runs_in_c
    got = np.empty(photo.shape, "float32")
    transformer.apply(got, photo)
    np.testing.assert_array_equal(got, (photo - featurewise.mean).astype("float32"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"rotation_range": "20"},
        {"shear_range": [1, 2]},
        {"channel_shift_range": None},
        {"width_shift_range": "ab"},
        {"height_shift_range": [[1, 2]]},
        {"width_shift_range": np.nan},
        {"zoom_range": None},
        {"zoom_range": (0.5, "a")},
        {"brightness_range": (0.5, None)},
        {"fill_mode": "mirrored"},
        {"cval": "black"},
        {"zca_epsilon": None},
        {"interpolation_order": 6},
        {"interpolation_order": 1.5},
        {"data_format": "rows_first"},
    ],
    ids=str,
)
def test_bad_arguments_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        generator(**arguments)


def test_iterators_refuse_channels_first(photo, tmp_path):
    first = generator(data_format="channels_first")
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="channels_last"):
        first.flow(photo[None].transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match="channels_last"):
        first.flow_from_directory(tmp_path)
