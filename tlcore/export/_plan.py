"""Lowered list -> the tensors, constants and operators of a TFLite graph.

Layouts (schema.fbs and the operators' reference kernels): activations NHWC, CONV_2D weights OHWI,
DEPTHWISE_CONV_2D weights 1HWC, FULLY_CONNECTED weights (out, in), PAD an int32 (4, 2) constant,
MEAN and REDUCE_MAX int32 axes. All operators are of version 1, which every runtime has.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    CONV_2D = 3
    DEPTHWISE_CONV_2D = 4
    FULLY_CONNECTED = 9
    LOGISTIC = 14
    MUL = 18
    RELU = 19
    RELU6 = 21
    RESHAPE = 22
    SOFTMAX = 25
    PAD = 34
    MEAN = 40
    REDUCE_MAX = 82


# First TensorFlow Lite that has version 1 of an operator; all others 1.5.
FIRST_RUNTIME = {Code.MEAN: (1, 6), Code.REDUCE_MAX: (1, 11), Code.LOGISTIC: (1, 14)}

_FUSED = {"linear": 0, "relu": 1, "relu6": 3}  # ActivationFunctionType
_ALONE = {
    "relu": Code.RELU,
    "relu6": Code.RELU6,
    "sigmoid": Code.LOGISTIC,
    "softmax": Code.SOFTMAX,
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
    if op in ("global_average_pooling2d", "global_max_pooling2d"):
        code = Code.MEAN if op == "global_average_pooling2d" else Code.REDUCE_MAX
        axes = plan.constant(f"{name}/axes", np.array([1, 2], np.int32))
        return plan.add(code, (inputs[0], axes), name, shape, keep_dims=len(shape) == 3)
    if op == "flatten":
        wanted = np.array([-1, *shape], np.int32)
        target = plan.constant(f"{name}/shape", wanted)
        return plan.add(Code.RESHAPE, (inputs[0], target), name, shape, new_shape=wanted)
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
    kernel = step["kernel"]
    assert kernel is not None
    for size, window, stride, given in zip(
        step["input_shape"], kernel.shape, step["strides"], step["padding"], strict=False
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


def _activation(plan: Plan, value: int, function: str, name: str, shape: Sequence[int]) -> int:
    """An activation as an operator of its own."""
    options = {"beta": 1.0} if function == "softmax" else {}
    if function == "linear":
        return value
    taken = {tensor.name for tensor in plan.tensors}
    name = f"{name}/{function}" if name in taken else name
    return plan.add(_ALONE[function], (value,), name, shape, **options)
