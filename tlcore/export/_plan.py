"""Lowered list -> the tensors, constants and operators of a TFLite graph.

Layouts (schema.fbs and the operators' reference kernels): activations NHWC, CONV_2D weights OHWI,
DEPTHWISE_CONV_2D weights 1HWC, FULLY_CONNECTED weights (out, in), PAD an int32 (4, 2) constant,
MEAN and REDUCE_MAX int32 axes. Operators are of version 1, which every runtime has, but for those
that resize pictures: whoever knows version 1 alone would take pixels by their corners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tlcore._core import Step

Shape = tuple[int, ...]


class Code(IntEnum):
    """BuiltinOperator."""

    ADD = 0
    AVERAGE_POOL_2D = 1
    CONCATENATION = 2
    CONV_2D = 3
    DEPTHWISE_CONV_2D = 4
    FULLY_CONNECTED = 9
    LOGISTIC = 14
    MAX_POOL_2D = 17
    MUL = 18
    RELU = 19
    RELU6 = 21
    RESHAPE = 22
    RESIZE_BILINEAR = 23
    SOFTMAX = 25
    TANH = 28
    PAD = 34
    MEAN = 40
    DIV = 42
    STRIDED_SLICE = 45
    EXP = 47
    LOG_SOFTMAX = 50
    MINIMUM = 57
    NEG = 59
    PADV2 = 60
    LOG = 73
    REDUCE_MAX = 82
    RESIZE_NEAREST_NEIGHBOR = 97
    LEAKY_RELU = 98
    ABS = 101
    ELU = 111
    HARD_SWISH = 117
    GELU = 150


# Versions of operators other than 1.
VERSIONS = {Code.RESIZE_BILINEAR: 3, Code.RESIZE_NEAREST_NEIGHBOR: 3}

# First TensorFlow Lite that has this version of an operator (runtime_version.cc); all others 1.5.
FIRST_RUNTIME = {
    Code.STRIDED_SLICE: (1, 6),
    Code.MEAN: (1, 6),
    Code.DIV: (1, 6),
    Code.EXP: (1, 7),
    Code.NEG: (1, 9),
    Code.PADV2: (1, 9),
    Code.REDUCE_MAX: (1, 11),
    Code.ABS: (1, 13),
    Code.LOGISTIC: (1, 14),
    Code.TANH: (1, 14),
    Code.LOG_SOFTMAX: (1, 14),
    Code.MINIMUM: (1, 14),
    Code.LOG: (1, 14),
    Code.LEAKY_RELU: (1, 14),  # 1.13.1
    Code.ELU: (1, 14),
    Code.HARD_SWISH: (1, 15),
    Code.RESIZE_BILINEAR: (2, 2),
    Code.RESIZE_NEAREST_NEIGHBOR: (2, 3),
    Code.GELU: (2, 9),
}

_FUSED = {"linear": 0, "relu": 1, "relu6": 3}  # ActivationFunctionType
_RELU6 = _FUSED["relu6"]
# Activations that are one operator, with its options.
_ALONE: dict[str, tuple[Code, dict[str, Any]]] = {
    "relu": (Code.RELU, {}),
    "relu6": (Code.RELU6, {}),
    "sigmoid": (Code.LOGISTIC, {}),
    "softmax": (Code.SOFTMAX, {"beta": 1.0}),
    "tanh": (Code.TANH, {}),
    "elu": (Code.ELU, {}),
    "gelu": (Code.GELU, {"approximate": False}),
    "hard_silu": (Code.HARD_SWISH, {}),
    "leaky_relu": (Code.LEAKY_RELU, {"alpha": 0.2}),
    "exponential": (Code.EXP, {}),
    "log_softmax": (Code.LOG_SOFTMAX, {}),
}
SAME, VALID = 0, 1  # Padding


@dataclass(frozen=True)
class Tensor:
    """A value or a constant. Shapes of values are those of one image."""

    name: str
    shape: Shape
    constant: NDArray[Any] | None = None


@dataclass(frozen=True)
class Operator:
    """One operator; `options` are the fields of its options table."""

    code: Code
    inputs: tuple[int, ...]
    output: int
    options: dict[str, Any]


@dataclass
class Plan:
    """A graph: tensor 0 is the input, `output` the output."""

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    output: int = 0

    def value(self, name: str, shape: Sequence[int]) -> int:
        """A new value."""
        self.tensors.append(Tensor(name, tuple(shape)))
        return len(self.tensors) - 1

    def constant(self, name: str, array: NDArray[Any]) -> int:
        """A new constant."""
        array = np.ascontiguousarray(array)
        self.tensors.append(Tensor(name, array.shape, array))
        return len(self.tensors) - 1

    def add(
        self, code: Code, inputs: Sequence[int], name: str, shape: Sequence[int], **options: Any
    ) -> int:
        """A new operator; the tensor that it makes."""
        output = self.value(name, shape)
        self.operators.append(Operator(code, tuple(inputs), output, options))
        return output


def planned(name: str, shape: Sequence[int], steps: Sequence[Step]) -> Plan:
    """The TFLite graph of a lowered list whose input is called `name`."""
    plan = Plan()
    source = plan.value(name, shape)
    made: list[int] = []
    for step in steps:
        inputs = [source if i < 0 else made[i] for i in step["inputs"]]
        made.append(_step(plan, step, inputs))
    plan.output = made[-1] if made else source
    return plan


def _step(plan: Plan, step: Step, inputs: list[int]) -> int:
    """Add the operators of one step; the tensor with its value."""
    op, name, shape = step["op"], step["name"], step["output_shape"]
    fused = step["activation"]
    if op in ("conv2d", "depthwise_conv2d", "dense", "affine"):
        # A residual comes between the bias and the activation.
        inner = "linear" if len(inputs) > 1 or fused not in _FUSED else fused
        value = _weighted(plan, step, inputs[0], _FUSED[inner])
        if len(inputs) > 1:
            inner = fused if fused in _FUSED else "linear"
            value = plan.add(
                Code.ADD, (value, inputs[1]), f"{name}/add", shape, activation=_FUSED[inner]
            )
        return value if inner == fused else _activation(plan, value, fused, name, shape)
    if op == "add":
        inner = fused if fused in _FUSED else "linear"
        value = plan.add(Code.ADD, inputs, name, shape, activation=_FUSED[inner])
        return value if inner == fused else _activation(plan, value, fused, name, shape)
    if op == "activation":
        return _activation(plan, inputs[0], fused, name, shape)
    if op == "zero_padding2d":
        return _pad(plan, inputs[0], step, name, shape)
    if op == "concatenate":
        return plan.add(Code.CONCATENATION, inputs, name, shape, axis=-1)
    if op in ("max_pooling2d", "average_pooling2d"):
        code = Code.MAX_POOL_2D if op == "max_pooling2d" else Code.AVERAGE_POOL_2D
        padding = _same_or_valid(step)
        assert padding is not None  # a pooling has no other
        window, strides = step["window"], step["strides"]
        return plan.add(code, inputs, name, shape, padding=padding, strides=strides, window=window)
    if op in ("global_average_pooling2d", "global_max_pooling2d"):
        code = Code.MEAN if op == "global_average_pooling2d" else Code.REDUCE_MAX
        axes = plan.constant(f"{name}/axes", np.array([1, 2], np.int32))
        return plan.add(code, (inputs[0], axes), name, shape, keep_dims=len(shape) == 3)
    if op == "flatten":
        wanted = np.array([-1, *shape], np.int32)
        target = plan.constant(f"{name}/shape", wanted)
        return plan.add(Code.RESHAPE, (inputs[0], target), name, shape, new_shape=wanted)
    if op == "rescaling":
        return _rescaled(plan, inputs[0], step)
    if op == "crop":
        return _cut_out(plan, inputs[0], step, name, shape)
    if op == "resizing":
        return _resized(plan, inputs[0], step)
    raise ValueError(f"the step {name!r} is a {op!r}, which tlcore cannot write as .tflite.")


def _weighted(plan: Plan, step: Step, value: int, activation: int) -> int:
    """A convolution, dense layer or scaling, with its bias."""
    op, name, shape = step["op"], step["name"], step["output_shape"]
    kernel, bias = step["kernel"], step["bias"]
    assert kernel is not None
    if bias is None:  # without one, FULLY_CONNECTED would need version 6
        bias = np.zeros(shape[-1], np.float32)
    offset = plan.constant(f"{name}/bias", bias)
    if op == "affine":
        scale = plan.constant(f"{name}/scale", kernel)
        value = plan.add(Code.MUL, (value, scale), f"{name}/scaled", shape, activation=0)
        return plan.add(Code.ADD, (value, offset), name, shape, activation=activation)
    if op == "dense" and len(shape) == 1:
        weights = plan.constant(f"{name}/weights", kernel.T)
        return plan.add(
            Code.FULLY_CONNECTED, (value, weights, offset), name, shape, activation=activation
        )
    if op == "dense":  # over the channels of a map: a convolution of 1 x 1
        kernel = kernel[None, None]
    if op == "depthwise_conv2d":
        code, array = Code.DEPTHWISE_CONV_2D, kernel[..., 0][None]
    else:
        code, array = Code.CONV_2D, kernel.transpose(3, 0, 1, 2)
    padding = _same_or_valid(step)
    if padding is None:
        value = _pad(plan, value, step, f"{name}/pad", _padded(step))
        padding = VALID
    weights = plan.constant(f"{name}/weights", array)
    return plan.add(
        code,
        (value, weights, offset),
        name,
        shape,
        padding=padding,
        strides=step["strides"],
        activation=activation,
    )


def _same_or_valid(step: Step) -> int | None:
    """Padding that TFLite computes by itself and that equals the step's; None if there is none."""
    if step["op"] == "dense" or step["padding"] == ((0, 0), (0, 0)):
        return VALID
    for size, window, stride, given in zip(
        step["input_shape"][:2], step["window"], step["strides"], step["padding"], strict=True
    ):
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + window - size, 0)
        if given != (total // 2, total - total // 2):
            return None
    return SAME


def _padded(step: Step) -> Shape:
    height, width, channels = step["input_shape"]
    (top, bottom), (left, right) = step["padding"]
    return (height + top + bottom, width + left + right, channels)


def _pad(plan: Plan, value: int, step: Step, name: str, shape: Sequence[int]) -> int:
    amounts = np.array([(0, 0), *step["padding"], (0, 0)], np.int32)
    return plan.add(Code.PAD, (value, plan.constant(f"{name}/paddings", amounts)), name, shape)


def _rescaled(plan: Plan, value: int, step: Step) -> int:
    name, shape = step["name"], step["output_shape"]
    scale, offset = (
        plan.constant(f"{name}/{which}", np.array(step["attributes"][which], np.float32))
        for which in ("scale", "offset")
    )
    value = plan.add(Code.MUL, (value, scale), f"{name}/scaled", shape, activation=0)
    return plan.add(Code.ADD, (value, offset), name, shape, activation=0)


def _cut_out(plan: Plan, value: int, step: Step, name: str, shape: Sequence[int]) -> int:
    """The part of each picture that the step takes; batch and channels are masked."""
    top, left, height, width = step["attributes"]["region"]
    corners = ((0, top, left, 0), (0, top + height, left + width, 0), (1, 1, 1, 1))
    given = [
        plan.constant(f"{name}/{which}", np.array(corner, np.int32))
        for which, corner in zip(("begin", "end", "strides"), corners, strict=True)
    ]
    return plan.add(Code.STRIDED_SLICE, (value, *given), name, shape, mask=0b1001)


def _framed(plan: Plan, value: int, step: Step, name: str, shape: Sequence[int]) -> int:
    """Each picture with a border of the fill value."""
    top, left, height, width = step["attributes"]["region"]
    rows, cols = step["input_shape"][:2]
    amounts = [(0, 0), (-top, height - rows + top), (-left, width - cols + left), (0, 0)]
    paddings = plan.constant(f"{name}/paddings", np.array(amounts, np.int32))
    fill = step["attributes"]["fill_value"]
    if fill == 0:
        return plan.add(Code.PAD, (value, paddings), name, shape)
    constant = plan.constant(f"{name}/fill_value", np.array(fill, np.float32))
    return plan.add(Code.PADV2, (value, paddings, constant), name, shape)


def _resized(plan: Plan, value: int, step: Step) -> int:
    name, shape, how = step["name"], step["output_shape"], step["attributes"]
    codes = {"bilinear": Code.RESIZE_BILINEAR, "nearest": Code.RESIZE_NEAREST_NEIGHBOR}
    code = codes.get(how["interpolation"])
    if code is None or (how["antialias"] and code is Code.RESIZE_BILINEAR):
        kind = f"interpolation={how['interpolation']!r}" + how["antialias"] * " and antialias=True"
        raise ValueError(
            f"the layer {name!r} has {kind}, for which TensorFlow Lite has no operator: a .tflite "
            "file can hold 'bilinear' without antialias, and 'nearest'."
        )
    top, left, height, width = how["region"]
    channels = step["input_shape"][2]
    if top < 0 or left < 0:
        value = _framed(plan, value, step, f"{name}/framed", (height, width, channels))
    elif (height, width) != step["input_shape"][:2]:
        value = _cut_out(plan, value, step, f"{name}/cut", (height, width, channels))
    size = plan.constant(f"{name}/size", np.array(shape[:2], np.int32))
    return plan.add(code, (value, size), name, shape)


def _activation(plan: Plan, value: int, function: str, name: str, shape: Sequence[int]) -> int:
    """An activation as one operator of its own, or as several."""
    if function == "linear":
        return value
    taken = {tensor.name for tensor in plan.tensors}
    name = f"{name}/{function}" if name in taken else name
    if function in _ALONE:
        code, options = _ALONE[function]
        return plan.add(code, (value,), name, shape, **options)
    if function in _COMPOSED:
        return _COMPOSED[function](_Formula(plan, name, shape), value)
    raise ValueError(
        f"the layer {name!r} has the activation {function!r}, for which TensorFlow Lite has no "
        "operator: a .tflite file cannot hold it."
    )


class _Formula:
    """Operators, one after the other, whose values all have one shape; the last is `name`."""

    def __init__(self, plan: Plan, name: str, shape: Sequence[int]) -> None:
        self.plan, self.name, self.shape = plan, name, shape
        self.count = 0

    def add(self, code: Code, *inputs: int | float, last: bool = False, **options: Any) -> int:
        """One operator; a float among `inputs` becomes a constant."""
        given = [
            self.plan.constant(f"{self._next()}/constant", np.array([x], np.float32))
            if isinstance(x, float)
            else x
            for x in inputs
        ]
        name = self.name if last else self._next()
        return self.plan.add(code, given, name, self.shape, **{"activation": 0, **options})

    def _next(self) -> str:
        self.count += 1
        return f"{self.name}/{self.count}"


def _silu(f: _Formula, x: int) -> int:
    return f.add(Code.MUL, x, f.add(Code.LOGISTIC, x), last=True)


def _hard_sigmoid(f: _Formula, x: int) -> int:
    shifted = f.add(Code.ADD, x, 3.0, activation=_RELU6)
    return f.add(Code.MUL, shifted, 1 / 6, last=True)


def _softsign(f: _Formula, x: int) -> int:
    size = f.add(Code.ADD, f.add(Code.ABS, x), 1.0)
    return f.add(Code.DIV, x, size, last=True)


def _selu(f: _Formula, x: int) -> int:
    scale, alpha = 1.0507009873554805, 1.6732632423543772  # arXiv:1706.02515
    below = f.add(Code.ELU, f.add(Code.MINIMUM, x, 0.0))
    above = f.add(Code.MUL, f.add(Code.RELU, x), scale)
    return f.add(Code.ADD, above, f.add(Code.MUL, below, scale * alpha), last=True)


def _softplus(f: _Formula, x: int, last: bool = True) -> int:
    """relu(x) + log(1 + exp(-|x|)), which does not overflow."""
    small = f.add(Code.EXP, f.add(Code.NEG, f.add(Code.ABS, x)))
    rest = f.add(Code.LOG, f.add(Code.ADD, small, 1.0))
    return f.add(Code.ADD, f.add(Code.RELU, x), rest, last=last)


def _mish(f: _Formula, x: int) -> int:
    return f.add(Code.MUL, x, f.add(Code.TANH, _softplus(f, x, last=False)), last=True)


# Activations that are several operators.
_COMPOSED: dict[str, Callable[[_Formula, int], int]] = {
    "silu": _silu,
    "hard_sigmoid": _hard_sigmoid,
    "softsign": _softsign,
    "selu": _selu,
    "softplus": _softplus,
    "mish": _mish,
}
