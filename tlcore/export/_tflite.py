"""A planned graph as a FlatBuffer: TensorFlow Lite's schema.fbs, version 3.

Tables are written field by field with the field numbers of the schema, which never change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.export._plan import FIRST_RUNTIME, VERSIONS, Code, Operator, Plan, Tensor

if TYPE_CHECKING:
    import flatbuffers

Field = tuple[int, str, Any]  # number, kind, value

_SCHEMA_VERSION = 3
_FLOAT32, _INT32 = 0, 2  # TensorType
_ALIGNMENT = 16  # of constants: runtimes map the file and compute on it


def serialized(plan: Plan) -> bytes:
    """The bytes of a `.tflite` file. ValueError above the format's 2 GB."""
    import flatbuffers
    from flatbuffers.builder import BuilderSizeError

    constants = sum(t.constant.nbytes for t in plan.tensors if t.constant is not None)
    builder = flatbuffers.Builder(constants + 1024 * (len(plan.tensors) + 8))
    try:
        builder.Finish(_model(builder, plan), file_identifier=b"TFL3")
    except BuilderSizeError as err:
        raise ValueError(
            f"The model has {constants} bytes of weights, and a .tflite file ends at 2 GB."
        ) from err
    return bytes(builder.Output())


# --- the schema's tables --------------------------------------------------------------------------


def _model(b: flatbuffers.Builder, plan: Plan) -> int:
    from tlcore import __version__

    codes = sorted({operator.code for operator in plan.operators})
    contents: list[bytes] = [b""]  # buffer 0 is the empty one, of all that is computed
    homes = []
    for tensor in plan.tensors:
        homes.append(0 if tensor.constant is None else len(contents))
        if tensor.constant is not None:
            dtype = tensor.constant.dtype.newbyteorder("<")
            contents.append(tensor.constant.astype(dtype).tobytes())
    oldest = max([(1, 5), *(FIRST_RUNTIME.get(code, (1, 5)) for code in codes)])
    runtime = f"{oldest[0]}.{oldest[1]}.0".encode().ljust(16, b"\0")
    contents.append(runtime)

    buffers = _tables(b, contents, _buffer)
    subgraph = _subgraph(b, plan, homes, codes)
    return _table(
        b,
        (0, "Uint32", _SCHEMA_VERSION),
        (1, "Table", _tables(b, codes, _operator_code)),
        (2, "Table", _vector(b, [subgraph])),
        (3, "Table", b.CreateString(f"tlcore {__version__}")),
        (4, "Table", buffers),
        (6, "Table", _vector(b, [_metadata(b, "min_runtime_version", len(contents) - 1)])),
    )


def _buffer(b: flatbuffers.Builder, content: bytes) -> int:
    if not content:
        return _table(b)
    b.Prep(_ALIGNMENT, len(content))
    return _table(b, (0, "Table", b.CreateByteVector(content)))


def _metadata(b: flatbuffers.Builder, name: str, buffer: int) -> int:
    return _table(b, (0, "Table", b.CreateString(name)), (1, "Uint32", buffer))


def _operator_code(b: flatbuffers.Builder, code: Code) -> int:
    # readers of before 2020 know only the byte in front, where 127 says that it is too small
    version = VERSIONS.get(code, 1)
    number = int(code)
    return _table(b, (0, "Int8", min(number, 127)), (2, "Int32", version), (3, "Int32", number))


def _subgraph(
    b: flatbuffers.Builder, plan: Plan, homes: Sequence[int], codes: Sequence[Code]
) -> int:
    tensors = _tables(b, list(zip(plan.tensors, homes, strict=True)), _tensor)
    operators = _tables(b, [(codes, operator) for operator in plan.operators], _operator)
    return _table(
        b,
        (0, "Table", tensors),
        (1, "Table", _ints(b, [0])),
        (2, "Table", _ints(b, [plan.output])),
        (3, "Table", operators),
        (4, "Table", b.CreateString("main")),
    )


def _tensor(b: flatbuffers.Builder, item: tuple[Tensor, int]) -> int:
    tensor, buffer = item
    if tensor.constant is None:  # one image; -1 says that the batch may be resized
        shape, signature = [1, *tensor.shape], _ints(b, [-1, *tensor.shape])
        kind = _FLOAT32
    else:
        shape, signature = list(tensor.shape), None
        kind = _FLOAT32 if tensor.constant.dtype == np.float32 else _INT32
    return _table(
        b,
        (0, "Table", _ints(b, shape)),
        (1, "Int8", kind),
        (2, "Uint32", buffer),
        (3, "Table", b.CreateString(tensor.name)),
        (7, "Table", signature),
    )


def _operator(b: flatbuffers.Builder, item: tuple[Sequence[Code], Operator]) -> int:
    codes, operator = item
    kind, fields = _options(b, operator)
    return _table(
        b,
        (0, "Uint32", codes.index(operator.code)),
        (1, "Table", _ints(b, operator.inputs)),
        (2, "Table", _ints(b, [operator.output])),
        (3, "Uint8", kind),
        (4, "Table", _table(b, *fields) if kind else None),
    )


def _options(b: flatbuffers.Builder, operator: Operator) -> tuple[int, list[Field]]:
    """BuiltinOptions of an operator: which table, and its fields."""
    given = operator.options
    if operator.code in (Code.CONV_2D, Code.DEPTHWISE_CONV_2D):
        height, width = given["strides"]
        fields: list[Field] = [
            (0, "Int8", given["padding"]),
            (1, "Int32", width),
            (2, "Int32", height),
        ]
        if operator.code is Code.CONV_2D:
            return 1, [*fields, (3, "Int8", given["activation"])]
        return 2, [*fields, (3, "Int32", 1), (4, "Int8", given["activation"])]
    if operator.code in (Code.MAX_POOL_2D, Code.AVERAGE_POOL_2D):
        (height, width), (rows, cols) = given["strides"], given["window"]
        return 5, [
            (0, "Int8", given["padding"]),
            (1, "Int32", width),
            (2, "Int32", height),
            (3, "Int32", cols),
            (4, "Int32", rows),
        ]
    if operator.code is Code.CONCATENATION:
        return 10, [(0, "Int32", given["axis"])]
    if operator.code is Code.LEAKY_RELU:
        return 75, [(0, "Float32", given["alpha"])]
    if operator.code is Code.GELU:
        return 116, [(0, "Bool", given["approximate"])]
    if operator.code is Code.DIV:
        return 29, [(0, "Int8", given["activation"])]
    if operator.code is Code.FULLY_CONNECTED:
        return 8, [(0, "Int8", given["activation"])]
    if operator.code is Code.SOFTMAX:
        return 9, [(0, "Float32", given["beta"])]
    if operator.code is Code.ADD:
        return 11, [(0, "Int8", given["activation"])]
    if operator.code is Code.RESHAPE:
        return 17, [(0, "Table", _ints(b, given["new_shape"]))]
    if operator.code is Code.MUL:
        return 21, [(0, "Int8", given["activation"])]
    if operator.code is Code.PAD:
        return 22, []
    if operator.code is Code.PADV2:
        return 43, []
    if operator.code is Code.STRIDED_SLICE:
        return 32, [(0, "Int32", given["mask"]), (1, "Int32", given["mask"])]
    if operator.code is Code.RESIZE_BILINEAR:
        return 15, [(2, "Bool", False), (3, "Bool", True)]  # corners, centres of pixels
    if operator.code is Code.RESIZE_NEAREST_NEIGHBOR:
        return 74, [(0, "Bool", False), (1, "Bool", True)]
    if operator.code in (Code.MEAN, Code.REDUCE_MAX):
        return 27, [(0, "Bool", given["keep_dims"])]
    return 0, []


# --- FlatBuffers ----------------------------------------------------------------------------------


def _table(b: flatbuffers.Builder, *fields: Field) -> int:
    """A table; fields of value None or of the default 0 are left out."""
    b.StartObject(max((number for number, _, _ in fields), default=0) + 1)
    for number, kind, value in fields:
        if value is None:
            continue
        if kind == "Table":
            b.PrependUOffsetTRelativeSlot(number, value, 0)
        else:
            getattr(b, f"Prepend{kind}Slot")(number, value, 0)
    return int(b.EndObject())


def _tables(b: flatbuffers.Builder, items: Sequence[Any], make: Callable[..., int]) -> int:
    return _vector(b, [make(b, item) for item in items])


def _vector(b: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _ints(b: flatbuffers.Builder, values: Sequence[int]) -> int:
    return int(b.CreateNumpyVector(np.asarray(values, np.int32)))
