"""Makes structure.json and structure.npz: layers, summaries, configurations and values of Keras.

Run it where Keras 3 and tf-keras are installed:  python tests/golden/make_structure.py
`random_weights` and `pictures` are used by the tests too, so that both sides have equal numbers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

STORED = Path(__file__).with_name("structure.json")
VALUES = Path(__file__).with_name("structure.npz")

SHAPE, ALPHA = (33, 40, 3), 0.35  # an odd and an even size
BLOCK_ENDS = [
    "Conv1_relu",
    "expanded_conv_project_BN",
    *(
        f"block_{i}_{'add' if i in (2, 4, 5, 7, 8, 9, 11, 12, 14, 15) else 'project_BN'}"
        for i in range(1, 17)
    ),
    "out_relu",
]


def random_weights(specs, seed=5):
    """Values for [(name, shape)]: glorot_uniform kernels, batch statistics far from 0 and 1."""
    draw = np.random.RandomState(seed)
    values = []
    for name, shape in specs:
        if name.endswith("kernel"):
            limit = np.sqrt(6 / (np.prod(shape[:-2]) * (shape[-2] + shape[-1])))
            value = draw.uniform(-limit, limit, shape)
        elif name in ("gamma", "moving_variance"):
            value = draw.uniform(0.5, 1.5, shape)
        else:
            value = draw.normal(0, 0.2, shape)
        values.append(value.astype(np.float32))
    return values


def pictures(shape, count=2, seed=6):
    """Pixels from -1 to 1."""
    return np.random.RandomState(seed).uniform(-1, 1, (count, *shape)).astype(np.float32)


def some_layers(layers):
    """One or more of each layer class, with arguments that are not the defaults."""
    return [
        layers.Conv2D(4, 3, name="conv"),
        layers.Conv2D(4, (3, 2), 2, "same", activation="relu", use_bias=False, name="conv_2"),
        layers.DepthwiseConv2D(3, 2, "same", use_bias=False, name="depthwise"),
        layers.DepthwiseConv2D(3, activation="relu", name="depthwise_2"),
        layers.SeparableConv2D(4, 3, name="separable"),
        layers.SeparableConv2D(
            5, (3, 2), 2, "same", activation="relu", use_bias=False, name="separable_2"
        ),
        layers.BatchNormalization(name="bn"),
        layers.BatchNormalization(momentum=0.999, epsilon=1e-4, name="bn_2", trainable=False),
        layers.ReLU(name="relu"),
        layers.ReLU(6.0, name="relu_6"),
        layers.ZeroPadding2D(((0, 1), (2, 3)), name="pad"),
        layers.Add(name="add"),
        layers.Concatenate(name="concatenate"),
        layers.Activation("softmax", name="activation"),
        layers.Activation("silu", name="activation_2"),
        layers.MaxPooling2D(name="max_pooling"),
        layers.MaxPooling2D((3, 2), 1, "same", name="max_pooling_2"),
        layers.AveragePooling2D((2, 2), name="average_pooling"),
        layers.AveragePooling2D(3, (2, 1), "same", name="average_pooling_2"),
        layers.GlobalAveragePooling2D(name="average"),
        layers.GlobalAveragePooling2D(keepdims=True, name="average_2"),
        layers.GlobalMaxPooling2D(name="max"),
        layers.Flatten(name="flatten"),
        layers.Dropout(0.25, name="dropout"),
        layers.SpatialDropout2D(0.25, name="spatial_dropout"),
        layers.Dense(7, name="dense"),
        layers.Dense(3, activation="sigmoid", use_bias=False, name="dense_2", trainable=False),
    ]


def summary_text(model, **options):
    """What `summary` hands to print_fn, without rules between rows and tlcore's own last line."""
    texts = []
    model.summary(print_fn=texts.append, **options)
    return [line for line in texts[0].splitlines() if not line.startswith(("├", " Peak memory"))]


def summaries(Sequential, layers, MobileNetV2):
    """Name -> lines of a summary, for any Keras's or tlcore's classes."""
    base = MobileNetV2(input_shape=SHAPE, alpha=ALPHA, include_top=False, weights=None)
    base.trainable = False
    model = Sequential(
        [
            base,
            layers.GlobalAveragePooling2D(name="pooling"),
            layers.Dense(64, activation="relu", name="hidden"),
            layers.Dense(3, activation="sigmoid", name="scores"),
        ],
        name="blog",
    )
    found = {
        "blog": summary_text(model),
        "blog_expanded": summary_text(model, expand_nested=True, show_trainable=True),
        "base": summary_text(base),
        "wide": summary_text(model, line_length=96, positions=[0.5, 0.7, 1.0]),
    }
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["acc"])
    found["compiled"] = summary_text(model)
    model.fit(pictures(SHAPE), np.zeros((2, 3), np.float32), verbose=0)
    found["trained"] = summary_text(model)
    deferred = Sequential([layers.Dense(3, name="a"), layers.Dropout(0.5, name="b")], name="later")
    found["deferred"] = summary_text(deferred)
    found["empty"] = summary_text(Sequential(name="empty"))
    return found


def configs_of(layers, get_json_type):
    """[class name, configuration] of `some_layers`, as an .h5 file holds them."""
    return [
        [type(layer).__name__, json.loads(json.dumps(layer.get_config(), default=get_json_type))]
        for layer in some_layers(layers)
    ]


def main():
    os.environ["COLUMNS"] = "100"
    import keras
    import tf_keras
    from keras.src.legacy.saving import json_utils
    from tf_keras.src.saving.legacy.saved_model import json_utils as tf_json_utils

    networks = {}
    for shape, alpha, options in (
        ((32, 32, 3), 0.35, {"include_top": False}),
        (SHAPE, 0.5, {"include_top": False, "pooling": "max"}),
        ((97, 96, 3), 1.4, {"include_top": False, "pooling": "avg"}),
        ((96, 96, 1), 1.0, {"classes": 10}),
    ):
        keras.backend.clear_session()
        model = keras.applications.MobileNetV2(shape, alpha, weights=None, **options)
        networks[json.dumps([shape, alpha, options])] = {
            "name": model.name,
            "layers": [
                [layer.name, type(layer).__name__, list(layer.output.shape[1:])]
                for layer in model.layers
            ],
            "weights": [[weight.path.split("/")[0], *weight.shape] for weight in model.weights],
        }
    keras.backend.clear_session()
    stored = {
        "networks": networks,
        "summaries": summaries(keras.Sequential, keras.layers, keras.applications.MobileNetV2),
        "configs": {
            "keras": configs_of(keras.layers, json_utils.get_json_type),
            "tf_keras": configs_of(tf_keras.layers, tf_json_utils.get_json_type),
        },
    }
    text = json.dumps(stored, ensure_ascii=False, separators=(",", ":"))
    STORED.write_text(text.replace('"],', '"],\n') + "\n", encoding="utf-8")

    base = keras.applications.MobileNetV2(SHAPE, ALPHA, include_top=False, weights=None)
    base.set_weights(random_weights([(w.name, tuple(w.shape)) for w in base.weights]))
    ends = keras.Model(base.input, [base.get_layer(name).output for name in BLOCK_ENDS])
    values = {
        name: np.asarray(value).mean((1, 2))
        for name, value in zip(BLOCK_ENDS, ends(pictures(SHAPE)), strict=True)
    }
    np.savez_compressed(VALUES, **values)
    print(f"{STORED.name}: {STORED.stat().st_size} bytes, {VALUES.name}: {VALUES.stat().st_size}")


if __name__ == "__main__":
    main()
