"""LiteRT with XNNPACK, on the file that TensorFlow's converter wrote."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from protocol import serve, side_by_side
from shared import FOLDER, MANY, THREADS, pictures

many = pictures(MANY)


def open_model(threads: int) -> Interpreter:
    interpreter = Interpreter(model_path=str(FOLDER / "base.tflite"), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def answer(interpreter: Interpreter, picture: np.ndarray) -> np.ndarray:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def singly(interpreter: Interpreter, images: int) -> None:
    for i in range(images):
        answer(interpreter, many[i % MANY, None])


whole = open_model(THREADS)
runners = [partial(singly, open_model(1)) for _ in range(THREADS)]
serve(
    f"LiteRT {version('ai-edge-litert')}",
    {
        f"one at a time, {THREADS} threads": partial(singly, whole),
        f"{THREADS} interpreters x 1 thread": partial(side_by_side, runners),
    },
    np.concatenate([answer(whole, picture[None]) for picture in pictures(4)]),
)
