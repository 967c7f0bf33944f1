"""What augmentation means for batches, for features that are kept, and for validation."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from PIL import Image

import tlcore
from tlcore import layers
from tlcore.preprocessing.image import ImageDataGenerator
from tlcore.preprocessing.image._files import FilesIterator
from tlcore.utils.notes import reset_notes

N = 12


@pytest.fixture
def folder(tmp_path):
    random_numbers = np.random.RandomState(0)
    for i in range(N):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        pixels = random_numbers.randint(0, 256, (40, 36, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    return str(tmp_path)


def flow(folder, settings, **more):
    arguments = {"target_size": (33, 33), "batch_size": 5, "seed": 3, **more}
    return ImageDataGenerator(**settings).flow_from_directory(folder, **arguments)


def make_model():
    base = tlcore.applications.MobileNetV2((33, 33, 3), 0.35, False, weights=None, pooling="avg")
    base.trainable = False
    model = tlcore.Sequential([base, layers.Dense(2, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=["acc"])
    return model


def trained(folder, settings, epochs, keep, model, **more):
    start = model.get_weights()
    before = model.prefix_runs
    history = model.fit(
        flow(folder, settings, **more), epochs=epochs, verbose=0, keep_features=keep
    ).history
    weights = model.get_weights()
    model.set_weights(start)
    return history, weights, model.prefix_runs - before


FLIPS = [({"horizontal_flip": True}, 2), ({"vertical_flip": True}, 2),
         ({"horizontal_flip": True, "vertical_flip": True, "rescale": 1 / 255}, 4)]  # fmt: skip
MOVES = {"rotation_range": 30, "width_shift_range": 0.2, "brightness_range": (0.5, 1.5)}


@pytest.mark.parametrize(("settings", "versions"), FLIPS, ids=str)
def test_flips_double_what_is_kept(folder, settings, versions):
    model = make_model()
    history, weights, runs = trained(folder, settings, 12, None, model)
    assert N < runs <= versions * N
    expected, expected_weights, all_runs = trained(folder, settings, 12, False, model)
    assert all_runs == 12 * N
    assert history == expected
    for one, other in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_views_are_the_first_draws_again(folder):
    model = make_model()
    assert trained(folder, MOVES, 4, None, model)[2] == 4 * N
    plain = trained(folder, MOVES, 2, False, model)
    fixed = {**MOVES, "augment_views": 2}
    history, weights, runs = trained(folder, fixed, 6, None, model)
    assert runs == 2 * N
    assert {name: values[:2] for name, values in history.items()} == plain[0]
    expected, expected_weights, _ = trained(folder, fixed, 6, False, model)
    assert history == expected
    for one, other in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_views_come_in_turn(folder):
    iterator = flow(folder, {**MOVES, "augment_views": 3}, shuffle=False)
    passes = []
    for _ in range(7):
        passes.append([iterator.load(iterator.draw_batch(i)) for i in range(len(iterator))])
        iterator.on_epoch_end()
    for k in range(7):
        for one, other in zip(passes[k], passes[k % 3], strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(passes[0][0], passes[1][0])
    for bad in (0, -1, 1.5, True, "2"):
        with pytest.raises((ValueError, TypeError), match="augment_views"):
            ImageDataGenerator(augment_views=bad)


def test_keep_features_cannot_keep_what_never_comes_again(folder):
    with pytest.raises(ValueError, match="augment_views"):
        trained(folder, MOVES, 1, True, make_model())


def test_validation_is_not_augmented(folder, capfd):
    reset_notes()
    settings = {**MOVES, "validation_split": 0.5}
    plain = flow(folder, {"validation_split": 0.5}, subset="validation")
    ours = flow(folder, settings, subset="validation")
    assert capfd.readouterr().err.count("augment_validation=True") == 1
    flow(folder, settings, subset="validation")
    flow(folder, settings, subset="training")
    assert "augment_validation" not in capfd.readouterr().err
    assert ours.pure and ours.keepable and ours.bytes_rule() is not None
    for _ in range(3):
        x, y = next(ours)
        expected_x, expected_y = next(plain)
        np.testing.assert_array_equal(y, expected_y)
        np.testing.assert_array_equal(x, expected_x)
    keras = flow(folder, {**settings, "augment_validation": True}, subset="validation")
    assert not keras.pure
    first = flow(folder, {"validation_split": 0.5}, subset="validation")
    assert not np.array_equal(next(keras)[0], next(first)[0])
    # The same of arrays.
    x = np.zeros((8, 6, 6, 3))
    generator = ImageDataGenerator(**settings)
    assert generator.flow(x, subset="validation").pure
    assert not generator.flow(x, subset="training").pure
    assert not generator.flow(x).pure


def test_batches_do_not_depend_on_threads(folder, monkeypatch):
    settings = {**MOVES, "shear_range": 10, "zoom_range": 0.2, "horizontal_flip": True}
    before = tlcore.get_num_threads()
    expected = [next(flow(folder, settings, batch_size=4)) for _ in range(1)]
    iterator = flow(folder, settings, batch_size=4)
    expected = [next(iterator) for _ in range(6)]
    read = FilesIterator._read_picture

    def slow(self, j):
        time.sleep(random.random() * 0.01)
        return read(self, j)

    monkeypatch.setattr(FilesIterator, "_read_picture", slow)
    try:
        for threads in (1, 4):
            tlcore.set_num_threads(threads)
            iterator = flow(folder, settings, batch_size=4)
            draws = [iterator.draw_batch(i) for i in range(3)]
            readings = [iterator.prefetch(draw) for draw in draws]
            for reading, draw in zip(reversed(readings), reversed(draws), strict=True):
                reading.result()
                np.testing.assert_array_equal(iterator.load(draw), reading.result())
            iterator = flow(folder, settings, batch_size=4)
            for x, y in expected:
                ours_x, ours_y = next(iterator)
                np.testing.assert_array_equal(ours_x, x)
                np.testing.assert_array_equal(ours_y, y)
    finally:
        tlcore.set_num_threads(before)


def test_the_users_generator_is_left_alone(folder):
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    for seed in (None, 3):
        iterator = flow(folder, MOVES, seed=seed)
        next(iterator)
        iterator[0]
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_a_subclass_draws_and_transforms_in_its_own_way(folder):
    class Own(ImageDataGenerator):
        def get_random_transform(self, img_shape, seed=None):
            drawn = super().get_random_transform(img_shape, seed)
            return {**drawn, "flip_horizontal": True}

        def apply_transform(self, x, transform_parameters):
            return super().apply_transform(x, transform_parameters) + 1

    arguments = {"target_size": (33, 33), "batch_size": 4, "seed": 3, "shuffle": False}
    plain = next(ImageDataGenerator().flow_from_directory(folder, **arguments))[0]
    ours = next(Own().flow_from_directory(folder, **arguments))[0]
    np.testing.assert_array_equal(ours, plain[:, :, ::-1] + 1)
    one, other = (Own(rotation_range=30).flow_from_directory(folder, **arguments) for _ in range(2))
    np.testing.assert_array_equal(next(one)[0], next(other)[0])


def test_own_transforms_are_not_kept(folder):
    class Erasing(ImageDataGenerator):
        def apply_transform(self, x, transform_parameters):
            return super().apply_transform(x, transform_parameters) * 0

    generator = Erasing(rotation_range=20, augment_views=2)
    iterator = generator.flow_from_directory(folder, target_size=(33, 33))
    assert iterator.augments and not iterator.keepable
    assert iterator.keys(iterator.draw_batch(0)) is None
    assert iterator.content_keys(iterator.draw_batch(0)) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda generator: setattr(generator, "rescale", 0.1),
        lambda generator: generator.fit(np.full((2, 33, 33, 3), 99.0)),
        lambda generator: setattr(generator, "samplewise_center", True),
    ],
)
def test_a_generator_that_changes_between_epochs(change):
    x = np.random.RandomState(0).randint(0, 256, (8, 33, 33, 3)).astype("float32")
    y = np.eye(2)[np.arange(8) % 2]
    model = make_model()
    start = model.get_weights()
    losses = []
    for keep in (None, False):
        generator = ImageDataGenerator(rescale=1 / 255, featurewise_center=True)
        generator.fit(x)

        class Change(tlcore.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None, generator=generator):
                change(generator)

        model.set_weights(start)
        flow_of_arrays = generator.flow(x, y, batch_size=4, seed=1)
        fitted = model.fit(
            flow_of_arrays, epochs=3, verbose=0, callbacks=[Change()], keep_features=keep
        )
        losses.append(fitted.history["loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("mean", [[123.68, 116.779, 103.939], 5.0])
def test_a_mean_that_a_program_sets(folder, mean):
    generator = ImageDataGenerator(featurewise_center=True)
    generator.mean = mean
    iterator = generator.flow_from_directory(folder, target_size=(33, 33), shuffle=False)
    plain = ImageDataGenerator().flow_from_directory(folder, target_size=(33, 33), shuffle=False)
    np.testing.assert_allclose(next(iterator)[0], next(plain)[0] - mean, rtol=1e-5, atol=1e-4)
    assert iterator.keepable
    make_model().fit(iterator, verbose=0)


def test_whitening_is_not_kept(folder):
    generator = ImageDataGenerator(zca_whitening=True, featurewise_center=True)
    assert not generator.flow_from_directory(folder, target_size=(8, 8)).keepable


def test_layers_that_flip_read_each_file_once(folder, monkeypatch):
    read = []
    known = FilesIterator._read_picture

    def counted(self, j):
        read.append(j)
        return known(self, j)

    monkeypatch.setattr(FilesIterator, "_read_picture", counted)
    base = tlcore.applications.MobileNetV2((33, 33, 3), 0.35, False, weights=None, pooling="avg")
    base.trainable = False
    model = tlcore.Sequential(
        [layers.RandomFlip("horizontal"), base, layers.Dense(2, activation="softmax")]
    )
    model.compile("sgd", "categorical_crossentropy")
    iterator = flow(folder, {})
    model.fit(iterator, epochs=4, verbose=0)
    assert len(read) == N
    model = tlcore.Sequential(
        [layers.RandomRotation(0.1), base, layers.Dense(2, activation="softmax")]
    )
    model.compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match="only flips can be kept"):
        model.fit(iterator, verbose=0, keep_features=True)


def test_a_file_that_goes_is_missed_at_its_turn(folder):
    trained_batches = []
    for keep in (None, False):
        iterator = flow(folder, {}, shuffle=False, batch_size=4)
        iterator.filepaths[9] += ".gone"
        model = make_model()
        done = []

        class Count(tlcore.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None, done=done):
                done.append(batch)

        with pytest.raises(FileNotFoundError, match="gone"):
            model.fit(iterator, verbose=0, callbacks=[Count()], keep_features=keep)
        trained_batches.append(done)
    assert trained_batches == [[0, 1], [0, 1]]


def test_an_iterator_goes_on_after_an_error(folder):
    iterator = flow(folder, {}, seed=2**32 - 2)
    next(iterator), next(iterator)
    for _ in range(3):
        with pytest.raises(ValueError, match=r"[Ss]eed"):
            next(iterator)
