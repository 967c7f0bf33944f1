"""`.tflite` files run by LiteRT: the same predictions for every model that tlcore can hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tlcore.applications import MobileNetV2
from tlcore.export import tflite_bytes
from tlcore.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    InputLayer,
    MaxPooling2D,
    ReLU,
    SeparableConv2D,
    SpatialDropout2D,
    ZeroPadding2D,
)
from tlcore.layers._arguments import ACTIVATIONS
from tlcore.lite import TFLiteConverter
from tlcore.models import Functional, Model, Sequential


def base(size: Any = 64, alpha: float = 0.35, **how: Any) -> Any:
    shape = (size, size, 3) if isinstance(size, int) else size
    return MobileNetV2(shape, alpha=alpha, weights=None, **{"include_top": False, **how})


def randomize(model: Any) -> None:
    random = np.random.RandomState(0)
    for variable in model.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(random.uniform(-0.3, 0.3, variable.shape))


def litert(content: bytes, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Predictions one by one, which must equal those of the resized batch."""
    interpreter = Interpreter(model_content=content)
    source = interpreter.get_input_details()[0]
    result = interpreter.get_output_details()[0]["index"]
    interpreter.allocate_tensors()
    found = []
    for one in x:
        interpreter.set_tensor(source["index"], one[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(result)[0])
    interpreter.resize_tensor_input(source["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], x)
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(result), found, atol=1e-5)
    return np.stack(found)


def branches() -> Functional:
    layers = [
        InputLayer((11, 9, 3), name="x"),
        SeparableConv2D(6, 3, 2, "same", activation="silu", name="a"),
        MaxPooling2D(2, 2, "same", name="b"),
        AveragePooling2D((3, 2), 2, "same", name="c"),
        Concatenate(name="all"),
        SpatialDropout2D(0.5, name="drop"),
        MaxPooling2D((2, 3), name="smaller"),
        AveragePooling2D((1, 1), (2, 1), name="thinner"),
        Flatten(name="flat"),
        Concatenate(name="twice"),
        Dense(3, name="scores"),
    ]
    inbound = {
        "a": ["x"],
        "b": ["x"],
        "c": ["x"],
        "all": ["a", "b", "c", "a"],
        "drop": ["all"],
        "smaller": ["drop"],
        "thinner": ["smaller"],
        "flat": ["thinner"],
        "twice": ["flat", "flat"],
        "scores": ["twice"],
    }
    return Model.from_layers(None, layers, inbound, ["x"], ["scores"])


def symbolic() -> Functional:
    """A base in inference mode, a layer that is called twice, and an Add of tensors."""
    x = Input((64, 64, 3))
    y = GlobalAveragePooling2D()(base()(x, training=False))
    shared = Dense(1280, activation="relu")
    return Model(x, Dense(3, activation="softmax")(Dropout(0.2)(shared(shared(y)) + y)))


MODELS: dict[str, Callable[[], Any]] = {
    "branches": branches,
    "symbolic": symbolic,
    **{
        f"activation_{name}": lambda name=name: Sequential(
            [Input((5, 4, 6)), Activation(name), Conv2D(3, 2, activation=name), Activation(name)]
        )
        for name in ACTIVATIONS
    },
    "blog": lambda: Sequential(
        [
            base(224, 1.0),
            GlobalAveragePooling2D(),
            Dense(64, activation="relu"),
            Dense(3, activation="sigmoid"),
        ]
    ),
    **{f"alpha_{a}": lambda a=a: base(96, a, pooling="avg") for a in (0.5, 0.75, 1.0, 1.3, 1.4)},
    **{
        f"size_{size}": lambda size=size: base(size, include_top=True, classes=5)
        for size in (32, 33, 97, 160, 225, (70, 101, 3))
    },
    "logits": lambda: base(include_top=True, classes=5, classifier_activation=None),
    "maps": base,
    "pooling_max": lambda: base(pooling="max"),
    "dense_on_maps": lambda: Sequential([base(), Dense(5, activation="softmax")]),
    "flatten": lambda: Sequential(
        [base(), Dense(4, activation="relu"), Flatten(), Dropout(0.3), Dense(3)]
    ),
    "odd_layers": lambda: Sequential(
        [
            Input((31, 40, 3)),
            ZeroPadding2D(((2, 0), (1, 3))),
            Conv2D(8, 3, strides=2, activation="relu"),
            BatchNormalization(),
            ReLU(6.0),
            DepthwiseConv2D(5, strides=2, padding="same"),
            Activation("sigmoid"),
            BatchNormalization(),
            GlobalMaxPooling2D(),
            Dense(4, activation="softmax"),
        ]
    ),
    "same_with_stride_3": lambda: Sequential(
        [Input((17, 20, 3)), Conv2D(4, (2, 5), strides=3, padding="same"), Flatten()]
    ),
    "vectors": lambda: Sequential(
        [Input((20,)), BatchNormalization(), Dense(4, activation="softmax"), BatchNormalization()]
    ),
    "padding_alone": lambda: Sequential(
        [Input((9, 9, 3)), ZeroPadding2D(1), GlobalAveragePooling2D(keepdims=True)]
    ),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_predictions(make: Callable[[], Any]) -> None:
    model = make()
    randomize(model)
    x = np.random.RandomState(4).uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(litert(tflite_bytes(model), x), model(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_far_out(name: str) -> None:
    """Nothing overflows on the way, and rounding stays rounding."""
    model = Sequential([Input((8,)), Activation(name)])
    x = np.linspace(-60, 60, 160, dtype=np.float32).reshape(20, 8)
    np.testing.assert_allclose(litert(tflite_bytes(model), x), model(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.35, 1.0])
def test_real_weights_and_photos(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, alpha: float
) -> None:
    monkeypatch.setenv("TLCORE_WEIGHTS", str(shared_data / "weights"))
    features = MobileNetV2((224, 224, 3), alpha=alpha, include_top=False)
    model = Sequential([features, GlobalAveragePooling2D()])
    with np.load(shared_data / "golden" / "numpy_reference.npz") as golden:
        x = golden["imagenet20_uint8"][:5].astype(np.float32) / 127.5 - 1
        expected = golden[f"imagenet20_pooled_{str(alpha).replace('.', '_')}"][:5]
    model.save(tmp_path / "m.h5")
    content = TFLiteConverter.from_keras_model_file(tmp_path / "m.h5").convert()
    found = litert(content, x)
    np.testing.assert_allclose(found, model(x), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)
