"""OpenVINO in float32 (its silent default may be bfloat16), on TensorFlow's .tflite file."""

from __future__ import annotations

import numpy as np
import openvino
from protocol import serve
from shared import FOLDER, MANY, THREADS, pictures

core = openvino.Core()
FLOAT = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": THREADS}
model = core.read_model(FOLDER / "base.tflite")
model.reshape([1, 224, 224, 3])
latency = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", **FLOAT})
throughput = core.compile_model(
    model, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": THREADS, **FLOAT}
)
many = pictures(MANY)
request = latency.create_infer_request()
queue = openvino.AsyncInferQueue(throughput, 2 * THREADS)


def singly(images: int) -> None:
    for i in range(images):
        request.infer({0: many[i % MANY, None]}, share_inputs=True, share_outputs=True)


def streams(images: int) -> None:
    for i in range(images):
        queue.start_async({0: many[i % MANY, None]}, share_inputs=True)
    queue.wait_all()


serve(
    f"OpenVINO {openvino.__version__.split('-')[0]}",
    {f"one at a time, {THREADS} threads": singly, f"{THREADS} streams": streams},
    np.concatenate([np.array(request.infer({0: p[None]})[0]) for p in pictures(4)]),
)
