"""Layers, models and MobileNetV2 against the real Keras 3 and tf-keras, called side by side."""

from __future__ import annotations

import numpy as np
import pytest
from golden import make_structure

keras = pytest.importorskip("keras", reason="needs the real Keras: run `make parity`")

from tlcore import Input, Model, Sequential, applications, layers  # noqa: E402
from tlcore.applications import mobilenet_v2  # noqa: E402
from tlcore.layers import _arguments as arguments  # noqa: E402
from tlcore.utils import naming  # noqa: E402

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
SIZES = (96, 97, 160, 224, 225)


@pytest.fixture(autouse=True)
def equal_names():
    keras.backend.clear_session()
    naming.reset_uids()


def pair(**options):
    """Keras's and tlcore's MobileNetV2 with equal random weights and batch statistics."""
    theirs = keras.applications.MobileNetV2(weights=None, **options)
    ours = applications.MobileNetV2(weights=None, **options)
    weights = make_structure.random_weights([(w.name, w.shape) for w in ours.weights])
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


def close(value, expected):
    expected = np.asarray(expected)
    assert value.shape == expected.shape
    assert np.abs(value - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_every_alpha_and_size(alpha, size):
    options = {"input_shape": (size, size, 3), "alpha": alpha, "include_top": False}
    ours, theirs = pair(**options)
    assert ours.name == theirs.name
    described = [(layer.name, type(layer).__name__) for layer in theirs.layers]
    assert [(layer.name, type(layer).__name__) for layer in ours.layers] == described
    x = make_structure.pictures((size, size, 3), 1)
    nodes = [node["name"] for node in ours.graph.nodes]
    names = make_structure.BLOCK_ENDS
    ends = keras.Model(theirs.input, [theirs.get_layer(name).output for name in names])
    for name, expected in zip(names, ends(x), strict=True):
        try:
            close(ours.network.run(x, 0, nodes.index(name)), expected)
        except AssertionError as error:
            raise AssertionError(f"first difference at {name}") from error
    close(ours(x), ends(x)[-1])


@pytest.mark.parametrize(
    "options",
    [
        {"input_shape": (40, 67, 3), "include_top": False, "pooling": "avg"},
        {"input_shape": (40, 67, 1), "include_top": False, "pooling": "max"},
        {"input_shape": (96, 96, 3), "classes": 7},
        {"input_shape": (96, 96, 3), "classes": 7, "classifier_activation": None},
        {"input_shape": (96, 96, 3), "classes": 7, "classifier_activation": "sigmoid"},
        {"input_shape": (96, 96, 3), "classes": 7, "classifier_activation": "relu"},
    ],
)
def test_tops_and_poolings(options):
    ours, theirs = pair(alpha=0.35, **options)
    x = make_structure.pictures(options["input_shape"], 3)
    close(ours(x), theirs(x))
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]


def test_the_stored_summaries_are_still_those_of_keras(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    theirs = make_structure.summaries(
        keras.Sequential, keras.layers, keras.applications.MobileNetV2
    )
    ours = make_structure.summaries(Sequential, layers, applications.MobileNetV2)
    assert ours == theirs


@pytest.mark.parametrize("module", ["keras", "tf_keras"])
def test_keras_reads_our_configurations(module):
    theirs = pytest.importorskip(module)
    expected = make_structure.some_layers(theirs.layers)
    for layer, twin in zip(make_structure.some_layers(layers), expected, strict=True):
        read = type(twin).from_config(layer.get_config())
        same = read.get_config()
        for key, value in twin.get_config().items():
            found = same[key]
            if isinstance(value, (list, tuple)):
                value, found = list(value), list(found)
            assert found == value or str(found) == str(value), (layer.name, key)


def test_small_layers_compute_what_keras_computes():
    x = np.random.RandomState(0).randn(2, 7, 6, 3).astype(np.float32)

    def stack(module, sequential):
        return sequential(
            [
                module.InputLayer((7, 6, 3)),
                module.Conv2D(4, (3, 2), 2, "same", activation="relu"),
                module.ZeroPadding2D(((0, 1), (2, 3))),
                module.DepthwiseConv2D(3, padding="same", activation="sigmoid"),
                module.BatchNormalization(epsilon=1e-2),
                module.ReLU(6.0),
                module.Conv2D(5, 1),
                module.Flatten(),
                module.Dense(6, activation="relu"),
                module.Dropout(0.5),
                module.Activation("softmax"),
            ]
        )

    ours, theirs = stack(layers, Sequential), stack(keras.layers, keras.Sequential)
    weights = make_structure.random_weights([(w.name, w.shape) for w in ours.weights])
    ours.set_weights(weights)
    theirs.set_weights(weights)
    close(ours(x), theirs(x))


def both(make, shape, x):
    """Predictions of a Sequential of make(layers), here and in Keras, with equal weights."""
    ours = Sequential([layers.InputLayer(shape), *make(layers)])
    theirs = keras.Sequential([keras.layers.InputLayer(shape), *make(keras.layers)])
    assert [w.path.split("/")[-1] for w in theirs.weights] == [w.name for w in ours.weights]
    weights = make_structure.random_weights([(w.name, w.shape) for w in ours.weights])
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours(x), np.asarray(theirs(x))


@pytest.mark.parametrize("name", [*arguments.ACTIVATIONS, "swish", "hard_swish"])
def test_every_activation(name):
    x = np.concatenate(
        [np.linspace(-12, 12, 481), [-3.0, 3.0, 0.0, -0.0, 6.0, -80.0, 80.0]]
    ).astype(np.float32)[:, None]
    if name.endswith("softmax"):
        x = x[:480].reshape(60, 8)
    value, expected = both(lambda kind: [kind.Activation(name)], x.shape[1:], x)
    np.testing.assert_allclose(value, expected, atol=1e-5, rtol=1e-5)
    weighted, expected = both(
        lambda kind: [kind.Dense(4, activation=name)], x.shape[1:], np.clip(x, -12, 12)
    )
    np.testing.assert_allclose(weighted, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["MaxPooling2D", "AveragePooling2D"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("size", "pool", "strides"),
    [((7, 6), 2, None), ((7, 9), (3, 2), 1), ((8, 5), 3, (2, 3)), ((5, 4), 1, 2), ((4, 4), 4, 3)],
)
def test_poolings(kind, padding, size, pool, strides):
    x = np.random.RandomState(0).randn(2, *size, 5).astype(np.float32)
    value, expected = both(
        lambda module: [getattr(module, kind)(pool, strides, padding)], x.shape[1:], x
    )
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, atol=1e-6)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"strides": 2, "padding": "same", "use_bias": False},
        {"strides": (2, 2), "activation": "gelu"},
    ],
)
def test_separable_convolutions(how):
    x = np.random.RandomState(0).randn(2, 9, 8, 3).astype(np.float32)
    value, expected = both(
        lambda module: [
            module.SeparableConv2D(6, (3, 3), **how),
            module.SpatialDropout2D(0.5),
            module.BatchNormalization(),
            module.Activation("mish"),
        ],
        x.shape[1:],
        x,
    )
    close(value, expected)


@pytest.mark.parametrize(("shape", "axis"), [((5, 4, 3), -1), ((5, 4, 3), 3), ((6,), 1)])
def test_concatenations(shape, axis):
    x = np.random.RandomState(0).randn(2, *shape).astype(np.float32)
    source = keras.Input(shape)
    parts = [keras.layers.Dense(n, activation="tanh")(source) for n in (2, 5, 1)]
    theirs = keras.Model(source, keras.layers.Concatenate(axis)([*parts, source, parts[0]]))
    made = [layers.InputLayer(shape, name="x")]
    made += [layers.Dense(n, activation="tanh", name=f"d{n}") for n in (2, 5, 1)]
    made.append(layers.Concatenate(axis, name="all"))
    inbound = {f"d{n}": ["x"] for n in (2, 5, 1)}
    inbound["all"] = ["d2", "d5", "d1", "x", "d2"]
    ours = Model.from_layers(None, made, inbound, ["x"], ["all"])
    ours.set_weights(theirs.get_weights())
    close(ours(x), theirs(x))


def test_preprocess_and_decode(monkeypatch):
    theirs = keras.applications.mobilenet_v2
    pixels = np.random.RandomState(0).randint(0, 256, (2, 5, 4, 3)).astype(np.uint8)
    for dtype in (np.uint8, np.int64, np.float32, np.float64, np.float16):
        ours = mobilenet_v2.preprocess_input(pixels.astype(dtype))
        expected = theirs.preprocess_input(pixels.astype(dtype))
        assert ours.dtype == expected.dtype and np.array_equal(ours, expected)

    from keras.src.applications import imagenet_utils

    from tlcore import weights as store

    index = {str(i): [f"n{i}", f"thing_{i}"] for i in range(1000)}
    monkeypatch.setattr(imagenet_utils, "CLASS_INDEX", index)
    monkeypatch.setattr(store, "class_index", lambda: index)
    scores = np.random.RandomState(1).rand(3, 1000).astype(np.float32)
    for top in (1, 5):
        assert mobilenet_v2.decode_predictions(scores, top) == theirs.decode_predictions(
            scores, top
        )


def test_to_categorical():
    from tlcore.utils import to_categorical

    for labels, classes in (([0, 2, 1], None), ([[0], [1]], 4), ([[0, 1], [2, 0]], 3)):
        ours, theirs = to_categorical(labels, classes), keras.utils.to_categorical(labels, classes)
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


# --- models from symbolic tensors -----------------------------------------------------------------


def guide(module, inputs, model, application):
    """The model of Keras's guide to transfer learning."""
    base = application(input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None)
    x = inputs((32, 32, 3))
    y = base(x, training=False)
    y = module.GlobalAveragePooling2D()(y)
    return model(x, module.Dense(3, activation="softmax")(module.Dropout(0.2)(y)))


def wired(module, inputs, model, application):
    """Branches, a layer that is called twice, and a model inside that is called twice."""
    x = inputs((6, 6, 3), name="x")
    inner_x = inputs((6, 6, 4))
    inner = module.BatchNormalization()(module.Conv2D(4, 3, padding="same")(inner_x))
    inner = model(inner_x, inner, name="inner")
    shared = module.Conv2D(4, 1, activation="relu", name="shared")
    a = module.Conv2D(4, 3, padding="same", name="a")(x)
    b = shared(inner(a))
    c = module.Add()([shared(inner(b)), a])
    y = module.Concatenate()([c, module.MaxPooling2D(3, 1, "same")(b), a])
    return model(x, module.Dense(3)(module.GlobalAveragePooling2D()(y)), name="wired")


def part(module, inputs, model, application):
    """A part of a model with a head."""
    base = application(input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None)
    y = module.GlobalMaxPooling2D()(base.get_layer("block_6_expand_relu").output)
    return model(inputs=base.input, outputs=module.Dense(2)(y))


def lines(model, **options):
    """The summary's."""
    texts: list[str] = []
    model.summary(print_fn=lambda text, *_: texts.append(text), **options)
    return texts[0].rstrip().splitlines()


@pytest.mark.parametrize("make", [guide, wired, part])
def test_models_from_symbolic_tensors(make, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    ours = make(layers, Input, Model, applications.MobileNetV2)
    theirs = make(keras.layers, keras.Input, keras.Model, keras.applications.MobileNetV2)
    described = [(layer.name, type(layer).__name__) for layer in theirs.layers]
    assert [(layer.name, type(layer).__name__) for layer in ours.layers] == described
    assert ours.name == theirs.name
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    weights = make_structure.random_weights([(w.name, w.shape) for w in ours.weights])
    ours.set_weights(weights)
    theirs.set_weights(weights)
    x = make_structure.pictures(ours.input_shape[1:], 2)
    close(ours(x), theirs(x))
    for options in ({}, {"show_trainable": True}, {"line_length": 120}):
        mine, expected = lines(ours, **options), lines(theirs, **options)
        assert [line for line in mine if "Peak memory" not in line] == expected


def test_trainable_of_models_inside():
    def lists(model):
        return [
            [w.shape for w in model.trainable_weights],
            [w.shape for w in model.non_trainable_weights],
        ]

    ours = guide(layers, Input, Model, applications.MobileNetV2)
    theirs = guide(keras.layers, keras.Input, keras.Model, keras.applications.MobileNetV2)

    def steps(model):
        base = model.layers[1]
        yield lists(model)
        base.trainable = False
        yield lists(model)
        for layer in base.layers[-20:]:
            layer.trainable = True
        yield lists(model)
        yield lists(base)
        base.trainable = True
        base.get_layer("Conv1").trainable = False
        yield lists(model)
        model.trainable = False
        yield [*lists(model), *lists(base)]
        model.trainable = True
        yield [*lists(model), *lists(base)]

    for number, (mine, expected) in enumerate(zip(steps(ours), steps(theirs), strict=True)):
        for one, other in zip(mine, expected, strict=True):
            assert sorted(one) == sorted(tuple(shape) for shape in other), number
