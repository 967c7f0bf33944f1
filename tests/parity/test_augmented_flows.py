"""Random generators, flows and seeds on real photos: draws, pixels, labels, order as in Keras.

A case is a number: everything else is drawn from it, so a failure is found again by its id.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

keras_image = pytest.importorskip(
    "keras.src.legacy.preprocessing.image", reason="needs the real Keras: run `make parity`"
)
pytest.importorskip("scipy", reason="Keras transforms pictures by SciPy")

from tlcore.preprocessing import image  # noqa: E402

CASES = int(os.environ.get("TLCORE_AUGMENTATION_CASES", "200"))


def some(rng, **choices):
    """Each of these with probability one half, by its function of the generator."""
    return {name: draw(rng) for name, draw in choices.items() if rng.random_sample() < 0.5}


def between(low, high):
    return lambda rng: float(rng.uniform(low, high))


def one_of(*values):
    return lambda rng: values[rng.randint(len(values))]


def generator_of(rng):
    chosen = some(
        rng,
        rotation_range=between(0, 180),
        width_shift_range=one_of(0.2, 0.9, 3, 1.0, 7.5, [-4, 0, 9], (0.1, 0.3)),
        height_shift_range=one_of(0.3, 0.05, 5, 1, 2.5, [2, 3], [-0.5, 0.25]),
        shear_range=between(0, 60),
        zoom_range=one_of(0.3, 0.0, [0.5, 0.5], (0.7, 1.6), [1, 1], [1.0, 3.0]),
        channel_shift_range=between(0, 120),
        brightness_range=one_of((0.2, 1.8), [0.5, 0.5], (0.9, 3.0)),
        horizontal_flip=one_of(True, False),
        vertical_flip=one_of(True, False),
        fill_mode=one_of("nearest", "constant", "reflect", "wrap"),
        cval=one_of(0.0, 127.5, -30.0, 255),
        interpolation_order=one_of(0, 1, 1),
    )
    chosen |= one_of(
        {},
        {"rescale": 1.0 / 255},
        {"rescale": 2.0},
        {"samplewise_center": True, "rescale": 1.0 / 255},
        {"samplewise_center": True, "samplewise_std_normalization": True},
        {"preprocessing_function": lambda x: x / 127.5 - 1.0},
    )(rng)
    if rng.random_sample() < 0.5:
        chosen["validation_split"] = 0.15
    return chosen


def flow_of(rng, generator):
    split = "validation_split" in generator
    low, high = one_of((20, 70), (20, 70), (20, 70), (170, 260))(rng)
    return {
        "target_size": (int(rng.randint(low, high)), int(rng.randint(low, high))),
        "color_mode": one_of("rgb", "rgb", "grayscale", "rgba")(rng),
        "class_mode": one_of("categorical", "sparse", "binary", None, "input")(rng),
        "batch_size": int(rng.randint(1, 20)),
        "shuffle": bool(rng.randint(3)),
        "seed": one_of(None, 0, 37, 12345)(rng),
        "subset": one_of("training", "validation")(rng) if split else None,
        "interpolation": one_of("nearest", "bilinear", "lanczos")(rng),
    }


def parts_of(batch):
    return batch if isinstance(batch, tuple) else (batch,)


def compare(ours, theirs, pictures_too):
    assert len(parts_of(ours)) == len(parts_of(theirs))
    for place, (one, other) in enumerate(zip(parts_of(ours), parts_of(theirs), strict=True)):
        assert one.dtype == other.dtype and one.shape == other.shape
        if place and not pictures_too:
            np.testing.assert_array_equal(one, other)
        else:
            # A thousandth of the range that 0..255 becomes, by the picture's own spread.
            spread = max(float(other.max() - other.min()), 1e-3)
            assert np.abs(one - other).max() <= 1e-3 * min(spread, 255.0), spread


@pytest.mark.filterwarnings("ignore:This ImageDataGenerator specifies")
@pytest.mark.parametrize("case", range(CASES))
def test_random_configuration(shared_data, case, monkeypatch, capsys):
    rng = np.random.RandomState(case)
    generator = generator_of(rng)
    flow = {"directory": str(shared_data / "photos" / "flowers"), **flow_of(rng, generator)}
    drawn = []
    real = keras_image.ImageDataGenerator.get_random_transform

    def recorded(self, *args, **kwargs):
        drawn.append(real(self, *args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(keras_image.ImageDataGenerator, "get_random_transform", recorded)
    one = image.ImageDataGenerator(**generator, augment_validation=True)
    other = keras_image.ImageDataGenerator(**generator)
    batches = []
    walk_by_index = bool(rng.randint(2))
    for library in (one, other):
        np.random.seed(case + 1)
        iterator = library.flow_from_directory(**flow)
        taken = []
        for step in range(3):
            if not walk_by_index:
                taken.append(next(iterator))
                continue
            taken.append(iterator[step % len(iterator)])
            if step == 1:
                iterator.on_epoch_end()
        batches.append((iterator, taken))
    (ours, our_batches), (theirs, their_batches) = batches
    assert ours.filenames == theirs.filenames and ours.class_indices == theirs.class_indices
    np.testing.assert_array_equal(ours.classes, theirs.classes)
    np.testing.assert_array_equal(ours.index_array, theirs.index_array)
    for a, b in zip(our_batches, their_batches, strict=True):
        compare(a, b, flow["class_mode"] == "input")

    # The draws themselves, to the last bit.
    np.random.seed(case + 1)
    again = one.flow_from_directory(**flow)
    transforms = []
    for step in range(3):
        if walk_by_index:
            draw = again.draw_batch(step % len(again))
        else:
            draw = again._draw(next(again.index_generator))
        transforms += draw.transforms or ()
        if walk_by_index and step == 1:
            again.on_epoch_end()
    if transforms:
        assert transforms == drawn
    else:
        assert all(not any((t["theta"], t["tx"], t["ty"], t["shear"])) for t in drawn)


def test_arrays_with_masks_weights_and_everything(shared_data):
    flowers = str(shared_data / "photos" / "flowers")
    x = next(image.ImageDataGenerator().flow_from_directory(flowers, (48, 40), seed=1))[0]
    masks = np.arange(len(x) * 4).reshape(len(x), 2, 2)
    y, weights = np.arange(len(x)), np.linspace(0, 1, len(x))
    settings = {
        "rotation_range": 40, "width_shift_range": 5, "zoom_range": 0.3,
        "brightness_range": (0.4, 2), "channel_shift_range": 30, "vertical_flip": True,
        "fill_mode": "reflect",
        "featurewise_center": True, "featurewise_std_normalization": True, "rescale": 1 / 255,
    }  # fmt: skip
    one = image.ImageDataGenerator(**settings)
    other = keras_image.ImageDataGenerator(**settings)
    for generator in (one, other):
        generator.fit(x, augment=True, rounds=2, seed=5)
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-5)
    np.testing.assert_allclose(one.std, other.std, rtol=1e-5)
    for data in (x, (x, masks)):
        ours, theirs = (
            generator.flow(data, y, 7, True, weights, seed=3) for generator in (one, other)
        )
        for _ in range(12):
            a, b = next(ours), next(theirs)
            if isinstance(b[0], list):
                np.testing.assert_array_equal(a[0][1], b[0][1])
                a, b = (a[0][0], *a[1:]), (b[0][0], *b[1:])
            compare(a, b, False)
