"""Training against the real Keras: the stored answers are still its answers, and the blog's head
on real photos ends where Keras ends."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from golden import make_training as golden

import tlcore
from tlcore import layers
from tlcore.models import Sequential
from tlcore.preprocessing.image import ImageDataGenerator

SIZE = 224
STEPS = 13
EPOCHS = 10


def test_stored_answers_are_those_of_this_keras() -> None:
    stored = np.load(Path(golden.__file__).with_name("training.npz"))
    answers = golden.answers()
    assert list(answers) == stored.files
    for name, values in answers.items():
        np.testing.assert_allclose(values, stored[name], rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.fixture(scope="module")
def flowers(shared_data: Path) -> tuple[list, tuple[np.ndarray, np.ndarray]]:
    """The blog's 13 batches an epoch, which go round the 217 photos, and its validation data."""
    generator = ImageDataGenerator(rescale=1 / 255, validation_split=0.2)
    parts = [
        generator.flow_from_directory(
            shared_data / "photos" / "flowers",
            target_size=(SIZE, SIZE),
            subset=subset,
            seed=37,
            shuffle=subset == "training",
        )
        for subset in ("training", "validation")
    ]
    train, validation = parts
    batches = [next(train) for _ in range(STEPS)]
    x, y = zip(*(validation[i] for i in range(len(validation))), strict=True)
    return batches, (np.concatenate(x), np.concatenate(y))


def test_the_blogs_head_ends_where_keras_ends(
    flowers: tuple[list, tuple[np.ndarray, np.ndarray]],
    shared_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches, (x, y) = flowers
    weights = shared_data / "weights"
    monkeypatch.setenv("TLCORE_WEIGHTS", str(weights))
    file = weights / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    random = np.random.RandomState(0)
    start = [
        random.uniform(-0.06, 0.06, (1280, 64)),
        np.zeros(64),
        random.uniform(-0.3, 0.3, (64, 3)),
        np.zeros(3),
    ]

    theirs_base = keras.applications.MobileNetV2(
        input_shape=(SIZE, SIZE, 3), include_top=False, weights=str(file), pooling="avg"
    )

    def by_keras(features: list[np.ndarray], held_back: np.ndarray) -> np.ndarray:
        """What Keras's head, trained on these features, says of those held back."""
        head = keras.Sequential(
            [
                keras.Input((1280,)),
                keras.layers.Dense(64, activation="relu"),
                keras.layers.Dense(3, activation="sigmoid"),
            ]
        )
        head.set_weights(start)
        head.compile(keras.optimizers.Adam(0.005), "binary_crossentropy")
        for _ in range(EPOCHS):
            for kept, (_, targets) in zip(features, batches, strict=True):
                head.train_on_batch(kept, targets)
        return np.asarray(head.predict(held_back, verbose=0))

    class Batches:
        def __len__(self) -> int:
            return STEPS

        def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
            return batches[i]

    base = tlcore.applications.MobileNetV2(
        input_shape=(SIZE, SIZE, 3), include_top=False, weights="imagenet"
    )
    base.trainable = False
    ours = Sequential(
        [
            base,
            layers.GlobalAveragePooling2D(),
            layers.Dense(64, activation="relu"),
            layers.Dense(3, activation="sigmoid"),
        ]
    )
    for layer, place in ((ours.layers[2], 0), (ours.layers[3], 2)):
        layer.set_weights(start[place : place + 2])
    ours.compile(lr=0.005, loss="binary_crossentropy", optimizer="adam", metrics=["acc"])
    ours.fit(Batches(), epochs=EPOCHS, verbose=0, keep_features=True)
    outputs = ours.predict(x, verbose=0)

    ours_pooled = tlcore.applications.MobileNetV2(
        input_shape=(SIZE, SIZE, 3), include_top=False, weights="imagenet", pooling="avg"
    )
    pictures = [*(images for images, _ in batches), x]
    our_features = [ours_pooled.predict(images, verbose=0) for images in pictures]
    their_features = [theirs_base.predict(images, verbose=0) for images in pictures]
    for our, their in zip(our_features, their_features, strict=True):
        np.testing.assert_allclose(our, their, atol=1e-5 * their.max())

    # The same features: the same end.
    np.testing.assert_allclose(outputs, by_keras(our_features[:-1], our_features[-1]), atol=2e-5)
    # Each its own, which differ by rounding: training has kinks, and one ReLU of one picture may
    # fall on the other side of its own. (Keras's features moved half-way to tlcore's, 1e-5 at
    # most, move Keras's outputs by 2e-3; a quarter of the way, by 1e-6.)
    expected = by_keras(their_features[:-1], their_features[-1])
    np.testing.assert_allclose(outputs, expected, atol=5e-3)
    agree = (outputs.argmax(1) == expected.argmax(1)).sum()
    assert agree >= len(y) - 1
