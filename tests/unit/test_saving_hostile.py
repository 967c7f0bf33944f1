"""Files that are damaged or made to do harm: one sentence each, and no half-built model."""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tlcore.layers import (
    AveragePooling2D,
    Concatenate,
    Dense,
    InputLayer,
    MaxPooling2D,
    SeparableConv2D,
    SpatialDropout2D,
)
from tlcore.models import Model
from tlcore.saving import load_model, load_weights, save_model

GOLDEN = Path(__file__).parents[1] / "golden" / "files"
KERNEL = "model_weights/dense/dense/kernel:0"
Change = Callable[[h5py.File], None]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A model file of tf-keras, to be damaged."""
    return Path(shutil.copy(GOLDEN / "tf_keras_frozen.h5", tmp_path / "m.h5"))


def refused(path: Path, change: Change | None = None) -> str:
    """The sentence with which `path` is refused after `change`."""
    if change is not None:
        with h5py.File(path, "r+") as file:
            change(file)
    with pytest.raises(ValueError) as caught:
        load_model(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.count("\n") == 0
    return text


def replaced(name: str, **how: Any) -> Change:
    """Puts another data set in the place of `name`."""

    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **how)

    return change


def config(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Changes model_config."""

    def in_file(file: h5py.File) -> None:
        description = json.loads(file.attrs["model_config"])
        description = change(description) or description
        file.attrs["model_config"] = json.dumps(description)

    return in_file


def head(**values: Any) -> Change:
    """Changes the configuration of the first dense layer."""
    return config(lambda c: c["config"]["layers"][4]["config"].update(values))


def base(c: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = c["config"]["layers"][1]["config"]
    return found


# --- not an HDF5 file -----------------------------------------------------------------------------


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"m\.h5"):
        load_model(tmp_path / "m.h5")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        load_model(tmp_path)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    for content in (b"", b"some text, not a model", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(content)
        assert "is not a whole HDF5 file" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    assert "is a .keras archive" in refused(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_cut_off(whole: Path, share: float) -> None:
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * share)])
    assert "is not a whole HDF5 file" in refused(whole)


@pytest.mark.parametrize("seed", range(40))
def test_bits_flipped(whole: Path, seed: int) -> None:
    """Whatever is flipped: a ValueError that names the file, or a model with finite weights."""
    random = np.random.RandomState(seed)
    content = bytearray(whole.read_bytes())
    for place in random.randint(0, len(content), 30):
        content[place] ^= 1 << random.randint(8)
    whole.write_bytes(content)
    try:
        model = load_model(whole)
    except ValueError as err:
        assert str(err).startswith(str(whole))
    else:
        assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_heap_that_libhdf5_reads_for_ever(whole: Path) -> None:
    content = bytearray(whole.read_bytes())
    heap = content.index(b"GCOL\x01\0\0\0")
    content[heap + 16 : heap + 32] = bytes(16)
    whole.write_bytes(content)
    assert "a text lies outside its heap" in refused(whole)


def test_superblock_of_odd_sizes(whole: Path) -> None:
    content = bytearray(whole.read_bytes())
    content[13] = 4
    whole.write_bytes(content)
    assert "odd sizes" in refused(whole)


# --- weights --------------------------------------------------------------------------------------


def test_dataset_missing(whole: Path) -> None:
    def change(file: h5py.File) -> None:
        del file[KERNEL]

    assert f"the data set '{KERNEL}' is missing" in refused(whole, change)


def test_group_missing(whole: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["model_weights/dense"]

    assert "the group 'model_weights/dense' is missing" in refused(whole, change)


def test_name_missing(whole: Path) -> None:
    def change(file: h5py.File) -> None:
        file["model_weights/dense"].attrs["weight_names"] = ["dense/kernel:0"]

    text = refused(whole, change)
    assert "group 'dense' holds 1 weights, and the layer 'dense' of the model has 2" in text
    assert "it lacks 'dense/bias'" in text


def test_shape(whole: Path) -> None:
    text = refused(whole, replaced(KERNEL, data=np.zeros((5, 4), np.float32)))
    assert f"'{KERNEL}' has the shape (5, 4), but 'dense/kernel' of the model has" in text
    assert "(4, 5)" in text


@pytest.mark.parametrize("dtype", ["int32", "S4", "complex64", "bool", h5py.string_dtype()])
def test_dtype(whole: Path, dtype: Any) -> None:
    text = refused(whole, replaced(KERNEL, shape=(4, 5), dtype=dtype))
    assert f"the data set '{KERNEL}'" in text
    assert "weights are float32" in text or "too little" in text


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", ">f8"])
def test_other_floats_are_read(whole: Path, dtype: str) -> None:
    values = np.arange(20, dtype=dtype).reshape(4, 5)
    with h5py.File(whole, "r+") as file:
        replaced(KERNEL, data=values)(file)
    kernel = load_model(whole).get_layer("dense").get_weights()[0]
    assert np.array_equal(kernel, values.astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_not_finite(whole: Path, value: float) -> None:
    values = np.zeros((4, 5))
    values[2, 3] = value
    text = refused(whole, replaced(KERNEL, data=values))
    assert f"the data set '{KERNEL}' holds NaN or infinite values" in text


def test_nothing_changes_in_a_model_that_exists(whole: Path) -> None:
    model = load_model(whole)
    before = model.get_weights()
    with h5py.File(whole, "r+") as file:
        file["model_weights/base/Conv1/kernel:0"][...] = 7
        file["model_weights/dense_1/dense_1/bias:0"][0] = np.nan
    with pytest.raises(ValueError, match="dense_1/bias:0' holds NaN"):
        load_weights(model, whole)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_links(whole: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(whole, tmp_path / "other.h5"))
    for link in (h5py.ExternalLink(str(other), KERNEL), h5py.SoftLink(f"/{KERNEL}x")):

        def change(file: h5py.File, link: Any = link) -> None:
            del file[KERNEL]
            file[KERNEL] = link

        assert "is a link to another place or file" in refused(whole, change)
        shutil.copy(other, whole)


def test_virtual_data_set(whole: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(whole, tmp_path / "other.h5"))
    layout = h5py.VirtualLayout((4, 5), np.float32)
    layout[...] = h5py.VirtualSource(str(other), KERNEL, shape=(4, 5))

    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_virtual_dataset(KERNEL, layout)

    assert "keeps its values in another place or file" in refused(whole, change)


def test_virtual_data_set_of_its_own_file(whole: Path) -> None:
    # HDF5 2.0 ends the process when it reads one.
    layout = h5py.VirtualLayout((4, 5), np.float32)
    layout[...] = h5py.VirtualSource(".", KERNEL, shape=(4, 5))

    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_virtual_dataset(KERNEL, layout)

    assert "keeps its values in another place or file" in refused(whole, change)


def test_a_chunk_that_unpacks_to_too_little(whole: Path) -> None:
    # HDF5 2.0 gives what stands behind it in memory.
    def change(file: h5py.File) -> None:
        replaced(KERNEL, shape=(4, 5), dtype="f4", chunks=(4, 5), compression="gzip")(file)
        file[KERNEL].id.write_direct_chunk((0, 0), zlib.compress(bytes(40)))

    assert "its chunks are not what they should be" in refused(whole, change)


def test_zeros_packed_to_fill_the_memory(whole: Path) -> None:
    how = {"data": np.zeros((5000, 5000), np.float32), "chunks": (1000, 1000)}
    text = refused(whole, replaced(KERNEL, compression="gzip", **how))
    assert "its weights take 100" in text
    assert "was made to fill the memory" in text


def test_external_storage(whole: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(80))
    how = {"shape": (4, 5), "dtype": np.float32, "external": [(str(secret), 0, 80)]}
    text = refused(whole, replaced(KERNEL, **how))
    assert "keeps its values in another place or file" in text


@pytest.mark.parametrize(
    "name", ["../dense_1/dense_1/kernel:0", "/optimizer_weights/x", "a//b", ""]
)
def test_names_that_lead_away(whole: Path, name: str) -> None:
    def change(file: h5py.File) -> None:
        file["model_weights/dense"].attrs["weight_names"] = [name, "dense/bias:0"]

    assert "is no name of a data set" in refused(whole, change)


def test_group_for_data_set_and_the_reverse(whole: Path) -> None:
    def group(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_group(KERNEL)

    assert "is a group where a data set must be" in refused(whole, group)

    def data(file: h5py.File) -> None:
        del file["model_weights/dense"]
        file["model_weights/dense"] = 1.0

    assert "is a data set where a group must be" in refused(whole, data)


def test_claims_of_size(whole: Path) -> None:
    how = {"shape": (1 << 20, 1 << 20), "dtype": np.float32, "chunks": (1024, 1024)}
    text = refused(whole, replaced(KERNEL, compression="gzip", **how))
    assert "the file holds too little for that" in text


@pytest.mark.parametrize(
    "value", [3, [1.5], [[b"a"]], b"\xff\xfe", [b"\xff\xfe"], h5py.Empty("f"), ["a\udc80"]]
)
def test_lists_of_names(whole: Path, value: Any) -> None:
    def change(file: h5py.File) -> None:
        if value == ["a\udc80"]:
            kind = h5py.string_dtype()
            value_in = np.array([b"a\x80"], dtype=kind)
            file["model_weights"].attrs.create("layer_names", value_in, dtype=kind)
        else:
            file["model_weights"].attrs["layer_names"] = value

    refused(whole, change)


# --- model_config ---------------------------------------------------------------------------------


def test_no_model(whole: Path) -> None:
    def change(file: h5py.File) -> None:
        del file.attrs["model_config"]

    assert "holds no model, only weights" in refused(whole, change)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "model_config is not JSON"),
        ("[" * 100_000, "nested too deep"),
        ("[" * 90 + "]" * 90, "nested too deep"),
        ('{"class_name": "Dense", "config": {"units": NaN}}', "NaN is not JSON"),
        ("[]", "something that is no layer"),
        ('{"class_name": "Sequential"}', "without class_name or config"),
        ('{"class_name": "Dense", "config": {"units": 2}}', "a single layer, not a model"),
        ('{"class_name": "Sequential", "config": {"layers": 3}}', "no list of layers"),
        ('{"class_name": "Sequential", "config": {"layers": []}}', "what shape its input has"),
    ],
)
def test_config_texts(whole: Path, text: str, expected: str) -> None:
    def change(file: h5py.File) -> None:
        file.attrs["model_config"] = text

    assert expected in refused(whole, change)


def test_config_of_another_type(whole: Path) -> None:
    def change(file: h5py.File) -> None:
        file.attrs["model_config"] = np.arange(3)

    assert "its attribute 'model_config' is not a text" in refused(whole, change)


@pytest.mark.parametrize("class_name", ["Lambda", "LSTM", "TFOpLambda", "os.system"])
def test_layers_that_are_not_there(whole: Path, class_name: str) -> None:
    def change(c: dict[str, Any]) -> None:
        c["config"]["layers"][4].update(class_name=class_name)

    text = refused(whole, config(change))
    assert class_name in text
    assert "dense" in text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"units": 1 << 40}, "units=1.09951e+12"),
        ({"units": 1 << 23}, "weights, and the file holds values for"),
        ({"units": 6}, "'model_weights/dense/dense/kernel:0' has the shape (4, 5)"),
        ({"units": -1}, "units"),
        ({"units": "many"}, "units"),
        ({"units": None}, "units"),
        ({"activation": "swash"}, "activation"),
        ({"kernel_regularizer": {"class_name": "L2"}}, "kernel_regularizer"),
        ({"what": 1}, "what"),
        ({"dtype": "float16"}, "float16"),
        ({"name": 3}, "name"),
        ({"name": "dense_1"}, "dense_1"),
    ],
)
def test_layer_configs(whole: Path, values: dict[str, Any], expected: str) -> None:
    text = refused(whole, head(**values))
    assert expected in text
    assert "dense" in text or "Dense" in text or "file holds" in text


@pytest.fixture
def pooled(tmp_path: Path) -> Path:
    """A file of the layers that networks of one's own are made of."""
    layers = [
        InputLayer((8, 8, 3), name="x"),
        SeparableConv2D(4, 3, activation="hard_sigmoid", name="separable"),
        MaxPooling2D(name="pool"),
        AveragePooling2D(3, 1, "same", name="average"),
        Concatenate(name="all"),
        SpatialDropout2D(0.5, name="drop"),
        Dense(2, name="scores"),
    ]
    inbound = {
        "separable": ["x"],
        "pool": ["separable"],
        "average": ["pool"],
        "all": ["pool", "average"],
        "drop": ["all"],
        "scores": ["drop"],
    }
    Model.from_layers(None, layers, inbound, ["x"], ["scores"]).save(tmp_path / "p.h5")
    load_model(tmp_path / "p.h5")
    return tmp_path / "p.h5"


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("pool", {"pool_size": [1 << 30, 2]}, "pool_size=1.07374e+09"),
        ("pool", {"pool_size": [1 << 20, 2]}, "pool_size and strides from 1 to 65536"),
        ("pool", {"pool_size": [40, 40]}, "larger than its input"),
        ("pool", {"pool_size": [2, 2, 2]}, "pool_size must be"),
        ("pool", {"strides": [0, 1]}, "strides must be"),
        ("pool", {"padding": "causal"}, "padding must be one of"),
        ("average", {"strides": 7}, "in the last axis alone"),
        ("all", {"axis": 1}, "axis must be the last one"),
        ("all", {"axis": [3]}, "axis must be the last one"),
        ("all", {"axis": 1e9}, "axis=1e+09"),
        ("drop", {"rate": 1}, "rate must be"),
        ("separable", {"depth_multiplier": 2}, "depth_multiplier must be 1"),
        ("separable", {"kernel_size": [1 << 24, 1 << 24]}, "kernel_size and strides from 1"),
        ("separable", {"filters": 1 << 23}, "weights, and the file holds values for"),
        ("separable", {"filters": 5}, "has the shape"),
        ("separable", {"use_bias": False}, "separable"),
        ("separable", {"pointwise_regularizer": "l2"}, "pointwise_regularizer must be None"),
    ],
)
def test_configs_of_poolings_and_the_like(
    pooled: Path, name: str, values: dict[str, Any], expected: str
) -> None:
    def change(c: dict[str, Any]) -> None:
        (layer,) = [one for one in c["config"]["layers"] if one["name"] == name]
        layer["config"].update(values)

    assert expected in refused(pooled, config(change))


def test_concatenates_of_any_number(pooled: Path) -> None:
    def feeds(count: int) -> Change:
        def change(c: dict[str, Any]) -> None:
            (layer,) = [one for one in c["config"]["layers"] if one["name"] == "all"]
            layer["inbound_nodes"] = [[["pool", 0, 0, {}]] * count]

        return config(change)

    for count in (1, 9, 1000):
        assert f"takes two to 8 inputs, got {count}" in refused(pooled, feeds(count))


@pytest.mark.parametrize("version", ["2.15.0", "2.4.0-tf", "1.2", "0.3.1", "", "x", "9" * 5000])
def test_the_hard_sigmoid_of_before_keras_3(pooled: Path, version: str) -> None:
    def change(file: h5py.File) -> None:
        del file.attrs["tlcore_version"]
        file.attrs["keras_version"] = version

    assert "layer 'separable' has the hard_sigmoid of Keras" in refused(pooled, change)


def test_input_of_absurd_size(whole: Path) -> None:
    def change(c: dict[str, Any]) -> None:
        c["config"]["layers"] = [
            {
                "class_name": "InputLayer",
                "config": {"name": "x", "batch_input_shape": [None, 1 << 20, 1 << 20, 3]},
            },
            {"class_name": "Flatten", "config": {"name": "f"}},
            c["config"]["layers"][4],
        ]

    assert "weights, and the file holds values for" in refused(whole, config(change))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda b: b.update(input_layers=[["picture", 0, 0], ["Conv1", 0, 0]]), "2 inputs"),
        (lambda b: b.update(output_layers=[]), "what its output is"),
        (lambda b: b.update(output_layers=["nowhere", 0, 0]), "what its output is"),
        (lambda b: b["layers"][2].update(inbound_nodes=[[["x", 0, 0, {}]]]), "bn_Conv1"),
        (lambda b: b["layers"][1].update(inbound_nodes=[[["bn_Conv1", 0, 0, {}]]]), "Conv1"),
        (lambda b: b["layers"][1].update(inbound_nodes=[]), "Conv1"),
        (lambda b: b["layers"][1].update(inbound_nodes=5), "no list"),
        (lambda b: b["layers"][1].update(inbound_nodes=[[[1]]]), "tlcore cannot read"),
        (lambda b: b["layers"][1].update(inbound_nodes=[[["picture", 0, 1, {}]]]), "output 1"),
        (
            lambda b: b["layers"][1].update(inbound_nodes=[[["picture", 0, 0, {}]]] * 2),
            "used 2 times",
        ),
        (
            lambda b: b["layers"][2].update(inbound_nodes=[[["Conv1", 0, 0, {"training": True}]]]),
            "training=True",
        ),
        (lambda b: b["layers"][1].update(name="bn_Conv1"), "bn_Conv1"),
        (lambda b: b["layers"].pop(), "what its output is"),
        (lambda b: b.update(layers=b["layers"] * 1000), "layer"),
    ],
)
def test_graphs(whole: Path, change: Callable[[dict[str, Any]], Any], expected: str) -> None:
    def in_base(c: dict[str, Any]) -> None:
        change(base(c))

    assert expected in refused(whole, config(in_base))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([[["picture", 1, 0, {}]]], None),  # the number of an only call says nothing
        ([[["picture", -1, 0, {}]]], "takes call -1"),
        ([[["picture", "0", 0, {}]]], "takes call '0'"),
        ([[["picture", 1e9, 0, {}]]], "takes call"),
        ([[["picture", 0, 0, {"training": 0}]]], "training=0"),
        ([[["picture", 0, 0, {"mask": 1}]]], "mask=1"),
        ([[["picture", 0, 0, 3]]], "is called with 3"),
        ([[]], "is called with nothing"),
        ([{"args": [], "kwargs": {}}], "is called with nothing"),
        ([[["picture", 0, 0, {}], ["picture", 0, 0, {}]]], "Conv1"),
        ([[["picture", 0, 0, {}]]] * 3000, "used 3000 times"),
    ],
)
def test_calls(whole: Path, nodes: Any, expected: str | None) -> None:
    def change(c: dict[str, Any]) -> None:
        base(c)["layers"][1]["inbound_nodes"] = nodes

    if expected is None:
        with h5py.File(whole, "r+") as file:
            config(change)(file)
        load_model(whole)
    else:
        assert expected in refused(whole, config(change))


def shared(calls: int) -> dict[str, Any]:
    """A model that calls a ReLU this many times, one behind the other."""
    nodes = [[["x", 0, 0, {}]], *([["r", i, 0, {}]] for i in range(calls - 1))]
    source = {"class_name": "InputLayer", "name": "x", "inbound_nodes": []}
    source["config"] = {"name": "x", "batch_input_shape": [None, 2]}
    relu = {"class_name": "ReLU", "name": "r", "config": {"name": "r"}, "inbound_nodes": nodes}
    return {
        "class_name": "Functional",
        "config": {
            "name": "m0",
            "layers": [source, relu],
            "input_layers": ["x", 0, 0],
            "output_layers": ["r", calls - 1, 0],
        },
    }


def test_calls_of_a_layer_have_an_end(whole: Path) -> None:
    assert "calls 4001 layers" in refused(whole, config(lambda c: shared(4000)))
    assert "takes call 7 of 'r', which has 7" in refused(
        whole,
        config(lambda c: [m := shared(7), m["config"].update(output_layers=["r", 7, 0])][0]),
    )


def test_models_that_call_each_other_again_and_again(whole: Path) -> None:
    def change(c: dict[str, Any]) -> dict[str, Any]:
        inner = shared(30)
        for depth in range(1, 7):  # 30 ** 7 calls in a file of a few kilobytes
            outer = shared(30)
            name = f"m{depth}"
            outer["config"]["name"] = name
            held = {**inner, "name": "r", "inbound_nodes": []}
            held["inbound_nodes"] = [[["x", 0, 0, {}]], *([["r", i, 0, {}]] for i in range(1, 30))]
            outer["config"]["layers"][1] = held
            outer["config"]["output_layers"] = ["r", 30, 0]
            inner = outer
        return inner

    text = refused(whole, config(change))
    assert "layers and" in text and "models inside, and the most is" in text


def test_a_name_as_long_as_the_file_makes_no_error_of_that_length(whole: Path) -> None:
    text = refused(whole, head(name="x" * 1_000_000))
    assert len(text) < 1200
    assert "name must be a text" in text


def test_layers_in_any_order(whole: Path) -> None:
    expected = load_model(whole).get_weights()

    def change(c: dict[str, Any]) -> None:
        base(c)["layers"].reverse()

    with h5py.File(whole, "r+") as file:
        config(change)(file)
    found = load_model(whole).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_ring_of_layers(whole: Path) -> None:
    def change(c: dict[str, Any]) -> None:
        first = base(c)["layers"][1]
        first["inbound_nodes"] = [[[base(c)["layers"][3]["name"], 0, 0, {}]]]

    assert "is not fed by the input" in refused(whole, config(change))


def test_models_in_models_in_models(whole: Path) -> None:
    def change(c: dict[str, Any]) -> dict[str, Any]:
        for i in range(12):
            c = {"class_name": "Sequential", "config": {"name": f"s{i}", "layers": [c]}}
        return c

    text = refused(whole, config(change))
    assert "models inside each other" in text or "nested too deep" in text


# --- the rest of the file -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tlcore_class_indices", '{"a": 0, "b": 0}'),
        ("tlcore_class_indices", '{"a": "x"}'),
        ("tlcore_class_indices", "[1]"),
        ("tlcore_class_indices", "{"),
        ("tlcore_reader", '{"target_size": [1]}'),
        ("tlcore_reader", "3"),
        ("tlcore_input_range", "[0]"),
        ("tlcore_input_range", '["a", "b"]'),
        ("tlcore_trainable", '{"dense": 3}'),
        ("training_config", "{"),
    ],
)
def test_extras(whole: Path, key: str, value: str) -> None:
    def change(file: h5py.File) -> None:
        file.attrs[key] = value

    assert key in refused(whole, change)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"loss": "mse", "optimizer_config": {"class_name": "Adam", "config": {}}}',
        '{"loss": "mse", "optimizer_config": {"class_name": "RMSprop", "config": {}}}',
        '{"loss": {"class_name": 3}, "metrics": 5}',
    ],
)
def test_what_cannot_be_compiled(
    whole: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(whole, "r+") as file:
        file.attrs["training_config"] = text
    assert not load_model(whole).compiled
    assert "opens without being compiled" in capsys.readouterr().err


def test_optimizer_state_that_does_not_fit(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(whole, "r+") as file:
        group = file["optimizer_weights"]
        group.attrs["weight_names"] = list(group.attrs["weight_names"])[:-1]
    assert load_model(whole).optimizer_state() == (0, [])
    assert "starts anew" in capsys.readouterr().err


def test_optimizer_state_that_is_damaged(whole: Path) -> None:
    def change(file: h5py.File) -> None:
        group = file["optimizer_weights"]
        group[group.attrs["weight_names"][1]][...] = np.nan

    assert "holds NaN" in refused(whole, change)


@pytest.mark.parametrize("name", ["keras.weights.h5", "tf_keras.weights.h5"])
def test_weights_by_number(tmp_path: Path, name: str) -> None:
    model = load_model(GOLDEN / "keras_frozen.h5", compile=False)
    path = Path(shutil.copy(GOLDEN / name, tmp_path / "x.weights.h5"))
    before = model.get_weights()

    def fails(change: Change, text: str) -> None:
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(ValueError, match=text):
            load_weights(model, path)
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
        shutil.copy(GOLDEN / name, path)

    def without(file: h5py.File) -> None:
        del file["layers/dense_1/vars/1"]

    def more(file: h5py.File) -> None:
        file.create_group("layers/dense_2/vars")

    def nan(file: h5py.File) -> None:
        file["layers/functional/layers/conv2d/vars/0"][0] = np.nan

    fails(without, "holds 1 weights, and the layer 'dense_1' of the model has 2")
    fails(more, "it holds layers/dense_2, which the model 'sequential.*' lacks")
    fails(nan, "layers/functional/layers/conv2d/vars/0' holds NaN")
    with pytest.raises(ValueError, match="by_name is not possible"):
        load_weights(model, path, by_name=True)


def test_custom_objects(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="custom_objects must be None"):
        load_model(tmp_path / "x.h5", custom_objects={"f": print})  # type: ignore[arg-type]


def test_a_model_that_went_wrong_can_be_saved(tmp_path: Path) -> None:
    # Refusing would lose a run; the file is refused when it is opened.
    model = load_model(GOLDEN / "keras_frozen.h5")
    bias = model.get_layer("dense_1").weights[1]
    bias.assign([np.nan, 0, 0])
    save_model(model, tmp_path / "m.h5")
    assert "holds NaN" in refused(tmp_path / "m.h5")
