"""ONNX Runtime, on the folded list of steps written as an ONNX model."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from protocol import serve, side_by_side
from shared import MANY, THREADS, pictures, steps


def model() -> bytes:
    nodes, constants = [], [numpy_helper.from_array(np.float32(v), n) for v, n in LIMITS]
    for i, step in enumerate(steps()):
        source, *rest = ("x" if j < 0 else f"v{j}" for j in step["inputs"])
        (top, bottom), (left, right) = step["padding"]
        if step["op"] == "add":
            nodes.append(helper.make_node("Add", [source, *rest], [f"v{i}"]))
            continue
        depthwise = step["op"] == "depthwise_conv2d"
        if not depthwise and step["op"] != "conv2d":
            raise ValueError(f"no ONNX node for {step['op']}")
        kernel = step["kernel"].transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        constants += [
            numpy_helper.from_array(np.ascontiguousarray(kernel), f"k{i}"),
            numpy_helper.from_array(step["bias"], f"b{i}"),
        ]
        tail = [f"c{i}"] * (bool(rest) or step["activation"] == "relu6")
        nodes.append(
            helper.make_node(
                "Conv",
                [source, f"k{i}", f"b{i}"],
                tail or [f"v{i}"],
                group=len(kernel) if depthwise else 1,
                strides=step["strides"],
                pads=[top, left, bottom, right],
            )
        )
        if rest:
            nodes.append(helper.make_node("Add", [*tail, *rest], [f"v{i}"]))
        elif tail:
            nodes.append(helper.make_node("Clip", [*tail, "zero", "six"], [f"v{i}"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 224, 224])
    y = helper.make_tensor_value_info(f"v{i}", TensorProto.FLOAT, ["n", None, None, None])
    graph = helper.make_graph(nodes, "base", [x], [y], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return made.SerializeToString()


LIMITS = ((0, "zero"), (6, "six"))
DATA = model()


def open_model(threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(DATA, options, providers=["CPUExecutionProvider"])


def channels_first(count: int) -> np.ndarray:
    return np.ascontiguousarray(pictures(count).transpose(0, 3, 1, 2))


many = channels_first(MANY)


def singly(session: onnxruntime.InferenceSession, images: int) -> None:
    for i in range(images):
        session.run(None, {"x": many[i % MANY, None]})


whole = open_model(THREADS)
runners = [partial(singly, open_model(1)) for _ in range(THREADS)]
serve(
    f"ONNX Runtime {onnxruntime.__version__}",
    {
        f"one at a time, {THREADS} threads": partial(singly, whole),
        f"{THREADS} sessions x 1 thread": partial(side_by_side, runners),
    },
    whole.run(None, {"x": channels_first(4)})[0].transpose(0, 2, 3, 1),
)
