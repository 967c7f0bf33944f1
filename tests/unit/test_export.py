"""`.tflite` files, read back with the bindings of the `tflite` package: another program's parser.

What they compute is compared with LiteRT in tests/parity; here with a few lines of NumPy.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite

from tlcore import lite
from tlcore.applications import MobileNetV2
from tlcore.export import tflite_bytes, write_tflite
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
    ZeroPadding2D,
)
from tlcore.layers._arguments import ACTIVATIONS
from tlcore.models import Model, Sequential

NAMES = {
    value: name for name, value in vars(tflite.BuiltinOperator).items() if not name.startswith("_")
}


def parsed(content: bytes) -> Any:
    assert tflite.Model.ModelBufferHasIdentifier(content, 0)
    return tflite.Model.GetRootAsModel(content, 0)


def operators(model: Any) -> list[tuple[str, Any]]:
    graph = model.Subgraphs(0)
    found = []
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        assert min(code.BuiltinCode(), 127) == code.DeprecatedBuiltinCode()
        assert code.Version() == 1
        found.append((NAMES[code.BuiltinCode()], operator))
    return found


def constant(model: Any, tensor: Any) -> np.ndarray[Any, Any]:
    dtype = {0: np.float32, 2: np.int32}[tensor.Type()]
    raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
    return np.frombuffer(raw.tobytes(), dtype).reshape(tensor.ShapeAsNumpy())


def blog_model() -> Sequential:
    return Sequential(
        [
            MobileNetV2((96, 96, 3), alpha=0.35, include_top=False, weights=None),
            GlobalAveragePooling2D(),
            Dense(64, activation="relu"),
            Dense(3, activation="sigmoid"),
        ]
    )


@pytest.fixture(scope="module")
def blog() -> Any:
    return parsed(tflite_bytes(blog_model()))


def test_operators_of_the_blog_model(blog: Any) -> None:
    assert Counter(name for name, _ in operators(blog)) == {
        "CONV_2D": 35,
        "DEPTHWISE_CONV_2D": 17,
        "ADD": 10,
        "MEAN": 1,
        "FULLY_CONNECTED": 2,
        "LOGISTIC": 1,
    }


@pytest.mark.parametrize("size", [(96, 96), (97, 101), (33, 64)])
def test_no_padding_operators(size: tuple[int, int]) -> None:
    # Keras's padding is TFLite's SAME at even and at odd sizes.
    model = MobileNetV2((*size, 3), alpha=0.35, include_top=False, weights=None)
    assert "PAD" not in Counter(name for name, _ in operators(parsed(tflite_bytes(model))))


def test_container(blog: Any) -> None:
    assert blog.Version() == 3
    assert blog.SubgraphsLength() == 1
    assert blog.Buffers(0).DataLength() == 0
    graph = blog.Subgraphs(0)
    (source,) = graph.InputsAsNumpy()
    (result,) = graph.OutputsAsNumpy()
    tensor = graph.Tensors(source)
    assert tensor.ShapeAsNumpy().tolist() == [1, 96, 96, 3]
    assert tensor.ShapeSignatureAsNumpy().tolist() == [-1, 96, 96, 3]
    assert graph.Tensors(result).ShapeSignatureAsNumpy().tolist() == [-1, 3]
    entry = blog.Metadata(0)
    assert entry.Name() == b"min_runtime_version"
    version = blog.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    assert version == b"1.14.0".ljust(16, b"\0")


def test_constants_are_aligned(blog: Any) -> None:
    for i in range(1, blog.BuffersLength()):
        data = blog.Buffers(i).DataAsNumpy()
        start = data.__array_interface__["data"][0]
        whole = np.frombuffer(blog._tab.Bytes, np.uint8).__array_interface__["data"][0]
        assert (start - whole) % 16 == 0


def test_names_are_unique(blog: Any) -> None:
    graph = blog.Subgraphs(0)
    names = [graph.Tensors(i).Name() for i in range(graph.TensorsLength())]
    assert len(set(names)) == len(names)


def test_every_tensor_is_made_before_it_is_read(blog: Any) -> None:
    graph = blog.Subgraphs(0)
    known = set(graph.InputsAsNumpy().tolist())
    known |= {i for i in range(graph.TensorsLength()) if graph.Tensors(i).Buffer()}
    for _, operator in operators(blog):
        assert set(operator.InputsAsNumpy().tolist()) <= known
        (output,) = operator.OutputsAsNumpy()
        assert output not in known
        known.add(int(output))
    assert set(graph.OutputsAsNumpy().tolist()) <= known


def test_folding_and_layouts() -> None:
    model = Sequential(
        [
            Input((7, 8, 2)),
            Conv2D(4, (3, 2), strides=(2, 1), padding="same", use_bias=False),
            BatchNormalization(),
            ReLU(6.0),
            DepthwiseConv2D(3, use_bias=False),
            BatchNormalization(),
            Flatten(),
            Dense(3),
        ]
    )
    random = np.random.RandomState(0)
    for variable in model.weights:
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    content = parsed(tflite_bytes(model))
    graph = content.Subgraphs(0)
    found = operators(content)
    assert [name for name, _ in found] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "RESHAPE",
        "FULLY_CONNECTED",
    ]

    def weights_of(i: int) -> list[np.ndarray[Any, Any]]:
        inputs = found[i][1].InputsAsNumpy()[1:]
        return [constant(content, graph.Tensors(k)) for k in inputs]

    kernel, gamma, beta, mean, variance = [w.astype(np.float64) for w in model.get_weights()[:5]]
    scale = gamma / np.sqrt(variance + 1e-3)
    weights, bias = weights_of(0)
    assert weights.shape == (4, 3, 2, 2)
    np.testing.assert_allclose(weights, (kernel * scale).transpose(3, 0, 1, 2), rtol=1e-6)
    np.testing.assert_allclose(bias, beta - mean * scale, rtol=1e-5)
    options = tflite.Conv2DOptions()
    options.Init(found[0][1].BuiltinOptions().Bytes, found[0][1].BuiltinOptions().Pos)
    assert (options.StrideH(), options.StrideW()) == (2, 1)
    assert options.Padding() == tflite.Padding.SAME
    assert options.FusedActivationFunction() == tflite.ActivationFunctionType.RELU6
    assert options.DilationHFactor() == options.DilationWFactor() == 1

    assert weights_of(1)[0].shape == (1, 3, 3, 4)
    depthwise = tflite.DepthwiseConv2DOptions()
    depthwise.Init(found[1][1].BuiltinOptions().Bytes, found[1][1].BuiltinOptions().Pos)
    assert depthwise.DepthMultiplier() == 1
    assert depthwise.Padding() == tflite.Padding.VALID
    assert depthwise.FusedActivationFunction() == tflite.ActivationFunctionType.NONE

    assert weights_of(2)[0].tolist() == [-1, 2 * 6 * 4]
    weights, bias = weights_of(3)
    assert np.array_equal(weights, model.layers[-1].get_weights()[0].T)
    assert np.array_equal(bias, model.layers[-1].get_weights()[1])


def names_of(*layers: Any) -> list[str]:
    return [name for name, _ in operators(parsed(tflite_bytes(Sequential(list(layers)))))]


def test_padding_that_is_not_same() -> None:
    layers = [Input((8, 8, 3)), ZeroPadding2D(((1, 1), (0, 1))), Conv2D(2, 3, strides=2)]
    assert names_of(*layers) == ["PAD", "CONV_2D"]
    content = parsed(tflite_bytes(Sequential(layers)))
    _, amounts = operators(content)[0][1].InputsAsNumpy()
    assert constant(content, content.Subgraphs(0).Tensors(amounts)).tolist() == [
        [0, 0],
        [1, 1],
        [0, 1],
        [0, 0],
    ]
    same = [Input((8, 8, 3)), ZeroPadding2D(((0, 1), (0, 1))), Conv2D(2, 3, strides=2)]
    assert names_of(*same) == ["CONV_2D"]
    assert names_of(Input((8, 8, 3)), ZeroPadding2D(1), Flatten()) == ["PAD", "RESHAPE"]


def test_other_layers() -> None:
    # over the channels of a map a dense layer is a convolution of 1 x 1
    assert names_of(Input((4, 4, 3)), Dense(2, activation="softmax")) == ["CONV_2D", "SOFTMAX"]
    assert names_of(Input((4, 4, 3)), GlobalMaxPooling2D(), Dropout(0.5)) == ["REDUCE_MAX"]
    assert names_of(Input((4,)), BatchNormalization()) == ["MUL", "ADD"]
    assert names_of(Input((4,)), ReLU(6.0)) == ["RELU6"]
    assert names_of(Input((4,)), Activation("relu")) == ["RELU"]
    assert names_of(Input((4,)), Activation("linear")) == []


def test_poolings_and_concatenations() -> None:
    layers = [Input((9, 8, 3)), MaxPooling2D((3, 2), (2, 1), "same"), AveragePooling2D(2)]
    content = parsed(tflite_bytes(Sequential(layers)))
    options = tflite.Pool2DOptions()
    facts = []
    for _, operator in operators(content):
        assert operator.BuiltinOptionsType() == tflite.BuiltinOptions.Pool2DOptions
        options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
        facts.append(
            [
                options.Padding(),
                (options.FilterHeight(), options.FilterWidth()),
                (options.StrideH(), options.StrideW()),
                options.FusedActivationFunction(),
            ]
        )
    assert facts == [[0, (3, 2), (2, 1), 0], [1, (2, 2), (2, 2), 0]]
    assert names_of(*layers) == ["MAX_POOL_2D", "AVERAGE_POOL_2D"]

    source = InputLayer((4, 4, 3), name="x")
    model = Model.from_layers(
        None, [source, Concatenate(name="all")], {"all": ["x", "x", "x"]}, ["x"], ["all"]
    )
    ((name, operator),) = operators(parsed(tflite_bytes(model)))
    assert name == "CONCATENATION" and operator.InputsLength() == 3
    joined = tflite.ConcatenationOptions()
    joined.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
    assert joined.Axis() == -1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tanh", "TANH"),
        ("elu", "ELU"),
        ("gelu", "GELU"),
        ("hard_silu", "HARD_SWISH"),
        ("leaky_relu", "LEAKY_RELU"),
        ("exponential", "EXP"),
        ("log_softmax", "LOG_SOFTMAX"),
        ("silu", "LOGISTIC MUL"),
        ("hard_sigmoid", "ADD MUL"),
        ("softsign", "ABS ADD DIV"),
    ],
)
def test_activations(name: str, expected: str) -> None:
    assert names_of(Input((4,)), Activation(name)) == expected.split()
    assert names_of(Input((4,)), Dense(2, activation=name))[1:] == expected.split()


def test_every_activation_has_operators_of_its_own() -> None:
    for name in ACTIVATIONS:
        content = parsed(tflite_bytes(Sequential([Input((4,)), Activation(name)])))
        for code, operator in operators(content):
            if code == "LEAKY_RELU":
                slope = tflite.LeakyReluOptions()
                slope.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
                assert slope.Alpha() == pytest.approx(0.2)
        entry = content.Buffers(content.Metadata(0).Buffer()).DataAsNumpy().tobytes()
        assert (entry.rstrip(b"\0") == b"2.9.0") == (name == "gelu")


def test_an_activation_without_an_operator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from tlcore.export import _plan

    monkeypatch.delitem(_plan._COMPOSED, "mish")
    message = "layer 'scores/activation' has the activation 'mish', for which TensorFlow Lite has"
    with pytest.raises(ValueError, match=message):
        tflite_bytes(Sequential([Input((4,)), Dense(2, activation="mish", name="scores")]))


def test_write_tflite(tmp_path: Path) -> None:
    model = blog_model()
    write_tflite(model, tmp_path / "a.tflite")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tflite"]
    model.class_indices = {"tulip": 2, "daisy": 0, "wild\nrose": 1}
    path = write_tflite(model, tmp_path / "b" / "b.tflite")
    content = path.read_bytes()
    assert content == tflite_bytes(model)
    assert content.startswith((tmp_path / "a.tflite").read_bytes())  # the names stand behind
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt") == b"daisy\nwild rose\ntulip\n"
    assert (tmp_path / "b" / "labels.txt").read_text() == "daisy\nwild rose\ntulip\n"
    with pytest.raises(ValueError, match="input shape is unknown"):
        tflite_bytes(Sequential([Dense(2)]))


def test_converter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = blog_model()
    model.class_indices = {"a": 0, "b": 1, "c": 2}
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    model.save("models/m.h5")
    converter = lite.TFLiteConverter.from_keras_model_file("models/m.h5")
    assert converter.convert() == tflite_bytes(model)
    assert (tmp_path / "models" / "labels.txt").read_text() == "a\nb\nc\n"
    assert "models/labels.txt" in capsys.readouterr().err
    assert not (tmp_path / "labels.txt").exists()
    assert lite.TFLiteConverter.from_keras_model(model).convert() == tflite_bytes(model)
    assert (tmp_path / "labels.txt").read_text() == "a\nb\nc\n"


def test_a_folder_without_room_for_labels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = blog_model()
    model.class_indices = {"a": 0, "b": 1, "c": 2}
    monkeypatch.chdir("/proc")
    assert lite.TFLiteConverter.from_keras_model(model).convert() == tflite_bytes(model)
    assert "labels.txt could not be written" in capsys.readouterr().err


def test_converter_says_what_it_has(tmp_path: Path) -> None:
    converter = lite.TFLiteConverter.from_keras_model(blog_model())
    converter.optimizations = []
    converter.allow_custom_ops = False
    converter.inference_input_type = np.float32
    what = "has from_keras_model, from_keras_model_file and convert, and writes float32 models"
    with pytest.raises(ValueError, match=f"{what}, so optimizations="):
        converter.optimizations = ["DEFAULT"]
    with pytest.raises(ValueError, match=f"{what}, so representative_dataset="):
        converter.representative_dataset = lambda: iter(())
    with pytest.raises(ValueError, match="inference_input_type"):
        converter.inference_input_type = np.int8
    with pytest.raises(AttributeError, match=f"{what}, but not 'target_spec'"):
        converter.target_spec.supported_ops = []
    with pytest.raises(AttributeError, match=f"{what}, but not 'optimisations'"):
        converter.optimisations = []
    with pytest.raises(AttributeError, match="but not 'from_saved_model'"):
        lite.TFLiteConverter.from_saved_model("x")
    with pytest.raises(AttributeError, match="does not have Optimize"):
        _ = lite.Optimize
    with pytest.raises(TypeError, match="model must be a tlcore model, got str"):
        lite.TFLiteConverter.from_keras_model("m.h5")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"m\.h5"):
        lite.TFLiteConverter.from_keras_model_file(tmp_path / "m.h5")
    with pytest.raises(ValueError, match="input_arrays must be None"):
        lite.TFLiteConverter.from_keras_model_file(
            tmp_path / "m.h5",
            input_arrays=["x"],  # type: ignore[arg-type]
        )
