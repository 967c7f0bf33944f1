"""Pictures as bytes: what Network.run, models and iterators make of them, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from core_networks import random_parameters
from PIL import Image

import tlcore
from tlcore import _core, layers
from tlcore.keras.preprocessing.image import ImageDataGenerator
from tlcore.preprocessing.image._job import PicturesJob

RULES = [(1.0, 1.0, -0.0), (127.5, 1.0, -1.0), (1.0, 1 / 255, -0.0), (255.0, 2.0, 0.25)]


def network(size: int = 33) -> _core.Network:
    graph = _core.mobilenet_v2((size, size, 3), 0.35, False, "avg")
    return _core.Network(graph, [random_parameters(graph)])


def bytes_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("kernels", ["table", "fused", "separate", "onednn"])
@pytest.mark.parametrize("rule", RULES)
def test_bytes_mean_what_floats_say(kernels: str, rule: tuple[float, float, float]) -> None:
    _core.choose_kernels(kernels)
    try:
        one = network()
        x = bytes_of((5, 33, 33, 3))
        meant = np.empty(x.shape, np.float32)
        _core.pixels_to_float(meant, x, *rule)
        divide, scale, offset = rule
        given = one.run(x, divide=divide, scale=scale, offset=offset)
        assert given.tobytes() == one.run(meant).tobytes()
        single = [
            one.run(x[i : i + 1], divide=divide, scale=scale, offset=offset) for i in range(5)
        ]
        assert given.tobytes() == np.concatenate(single).tobytes()
    finally:
        _core.choose_kernels("table")


def test_other_layouts_and_places_are_converted_or_refused() -> None:
    one = network()
    x = bytes_of((4, 33, 33, 3))
    turned = np.asfortranarray(x)
    assert one.run(turned).tobytes() == one.run(x).tobytes() == one.run(x.astype("f4")).tobytes()
    assert one.run(x, 0, 0).tobytes() == x.astype(np.float32).tobytes()
    for wrong in ({"divide": 2.0}, {"scale": 2}, {"offset": 0}):
        with pytest.raises(ValueError, match="tell what bytes mean"):
            one.run(x.astype(np.float32), **wrong)
        with pytest.raises(ValueError, match="tell what bytes mean"):
            one.run(one.run(x, 0, 1).astype(np.uint8), 1, **wrong)
    with pytest.raises(TypeError, match="offset must be a number"):
        one.run(x, offset="1")
    with pytest.raises(ValueError, match="x must have the shape"):
        one.run(x[:, :20])


def test_values_that_are_not_finite_are_refused_where_asked() -> None:
    one = network()
    x = bytes_of((5, 33, 33, 3)).astype(np.float32)
    expected = one.run(x)
    assert one.run(x, finite=True).tobytes() == expected.tobytes()
    for bad in (np.nan, np.inf, -np.inf):
        for row in (0, 4):
            spoiled = x.copy()
            spoiled[row, 32, 32, 2] = bad
            with pytest.raises(ValueError, match="holds NaN or infinity"):
                one.run(spoiled, finite=True)
            with pytest.raises(ValueError, match="holds NaN or infinity"):
                one.run(spoiled[row : row + 1], finite=True)
            with pytest.raises(ValueError, match="holds NaN or infinity"):
                one.run(spoiled, 0, 0, finite=True)
            assert np.isnan(one.run(spoiled)[row]).any() or np.isinf(bad)


def test_models_read_bytes_as_keras_does() -> None:
    """uint8 pictures mean 0 to 255, as after a cast to float32."""
    base = tlcore.applications.MobileNetV2((33, 33, 3), 0.35, False, weights=None, pooling="avg")
    x = bytes_of((3, 33, 33, 3))
    expected = base.predict(x.astype(np.float32), verbose=0)
    for given in (base.predict(x, verbose=0), base.predict_on_batch(x), base(x)):
        assert given.tobytes() == expected.tobytes()


@pytest.mark.parametrize("settings", [{}, {"rescale": 1 / 255}, "mobilenet_v2"])
def test_iterators_hand_bytes_to_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, float] | str
) -> None:
    for i, name in enumerate(("a", "b", "a", "b", "a")):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(bytes_of((40, 36, 3)) // (i + 1)).save(tmp_path / name / f"{i}.png")
    if isinstance(settings, str):
        from tlcore.applications.mobilenet_v2 import preprocess_input

        generator = ImageDataGenerator(preprocessing_function=preprocess_input)
    else:
        generator = ImageDataGenerator(**settings)
    flow = generator.flow_from_directory(
        str(tmp_path), target_size=(33, 33), batch_size=2, shuffle=False
    )
    base = tlcore.applications.MobileNetV2((33, 33, 3), 0.35, False, weights=None, pooling="avg")
    base.trainable = False
    model = tlcore.Sequential([base, layers.Dense(2, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=["acc"])
    floats = np.concatenate([flow[i][0] for i in range(len(flow))])
    assert floats.dtype == np.float32
    expected = model.predict(floats, verbose=0)

    asked: list[bool] = []
    known = PicturesJob.begin

    def begin(self: PicturesJob) -> object:
        asked.append(self._raw)
        return known(self)

    monkeypatch.setattr(PicturesJob, "begin", begin)
    assert model.predict(flow, verbose=0).tobytes() == expected.tobytes()
    assert set(asked) == {True}
    scores = model.evaluate(flow, verbose=0)
    labels = np.eye(2, dtype=np.float32)[flow.classes]
    np.testing.assert_allclose(scores, model.evaluate(floats, labels, batch_size=2, verbose=0))
    # Where everything trains from the input on, floats are made of the bytes.
    source = tlcore.Input((33, 33, 3))
    head = tlcore.Sequential(
        [source, layers.Dense(2), layers.GlobalAveragePooling2D(), layers.Activation("softmax")]
    )
    head.compile("sgd", "categorical_crossentropy")
    head.fit(flow, epochs=1, verbose=0)
    again = head.predict(flow, verbose=0)
    assert again.tobytes() == head.predict(floats, verbose=0).tobytes()
