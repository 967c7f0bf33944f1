"""What the C core offers to Python. Private: users see it through the facade."""

import os
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float32]

class BackendError(RuntimeError):
    """A oneDNN call failed; the message names the call and its status."""

class ParameterSpec(TypedDict):
    name: str
    shape: tuple[int, ...]
    trainable: bool

Activation = Literal[
    "linear",
    "relu",
    "relu6",
    "sigmoid",
    "softmax",
    "tanh",
    "elu",
    "selu",
    "softplus",
    "softsign",
    "silu",
    "gelu",
    "hard_sigmoid",
    "hard_silu",
    "leaky_relu",
    "exponential",
    "mish",
    "log_softmax",
]

class Node(TypedDict):
    """One node of a graph. Shapes are those of one image, without the batch axis."""

    op: str
    name: str
    inputs: tuple[int, ...]
    output_shape: tuple[int, ...]
    attributes: dict[str, Any]
    inference: bool  # called with training=False
    parameters: tuple[ParameterSpec, ...]

class Step(TypedDict):
    """One step of a lowered list, as inference runs it and export writes it.

    `inputs` are indices into the list, -1 is the value at `start`. `kernel` and `bias` are
    float32 with batch norm folded in: HWIO, (h, w, channels, 1) for depthwise, (in, out) for
    dense. `window` is the size of a convolution's kernel or of a pooling, (1, 1) elsewhere.
    `padding` is ((top, bottom), (left, right)). `attributes` tell what a rescaling multiplies with
    and adds, and what a crop or a resizing takes of the picture, (top, left, height, width), and
    how. A second input is a residual that is added after
    the bias; a concatenate puts all its inputs together along the last axis.
    """

    op: Literal[
        "conv2d",
        "depthwise_conv2d",
        "dense",
        "affine",
        "add",
        "activation",
        "zero_padding2d",
        "global_average_pooling2d",
        "global_max_pooling2d",
        "flatten",
        "concatenate",
        "max_pooling2d",
        "average_pooling2d",
        "rescaling",
        "crop",
        "resizing",
    ]
    name: str
    inputs: tuple[int, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    kernel: FloatArray | None
    bias: FloatArray | None
    window: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    activation: Activation
    attributes: dict[str, Any]

class Graph:
    """Nodes in topological order. Node 0 is the input; the last node is the output."""

    def __init__(self, input_shape: Sequence[int], name: str = "input") -> None: ...
    def add(
        self,
        op: str,
        name: str,
        inputs: Sequence[int],
        *,
        inference: bool = False,
        **attributes: Any,
    ) -> int:
        """Append a node and return its index.

        With `inference`, batch norm uses its stored statistics and dropout passes values through
        also while training.

        conv2d(filters, kernel_size, strides=(1, 1), padding="valid"|"same", use_bias=True)
        depthwise_conv2d(kernel_size, strides=(1, 1), padding="valid"|"same", use_bias=True)
        batch_normalization(epsilon=1e-3, momentum=0.99)
        relu(max_value=None)            activation(function=one of Activation)
        add()                           zero_padding2d(padding=((t, b), (l, r)))
        concatenate(), of 2 to 8 inputs along the last axis
        max_pooling2d(pool_size, strides, padding="valid"|"same")   average_pooling2d(the same)
        global_average_pooling2d(keepdims=False)   global_max_pooling2d(keepdims=False)
        flatten()                       dense(units, use_bias=True)
        dropout(rate)                   spatial_dropout2d(rate)
        rescaling(scale, offset), each 1 number or one a channel
        resizing(size, interpolation, antialias=False, crop_to_aspect_ratio=False,
                 pad_to_aspect_ratio=False, fill_value=0)
        center_crop(size)               random_crop(size, seed=None)
        random_flip(horizontal=False, vertical=False, seed=None)
        random_rotation(factor, fill_mode, interpolation, fill_value=0, seed=None)
        random_zoom, random_translation(the same and width_factor)
        random_contrast, random_brightness(factor, value_range, seed=None)

        ValueError: an unknown op, a repeated name, a bad attribute, shapes that do not fit.
        """
    def extend(self, other: Graph, input: int, inference: bool = False) -> int:
        """Append a copy of `other`, its input replaced by node `input`; the index of its output.

        `inference` sets the flag of every copied node; otherwise each keeps its own.
        """
    @property
    def nodes(self) -> list[Node]: ...
    def __len__(self) -> int: ...

def mobilenet_v2(
    input_shape: Sequence[int] = (224, 224, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    pooling: Literal["avg", "max"] | None = None,
    classes: int = 1000,
    classifier_activation: Literal["softmax", "sigmoid", "relu"] | None = "softmax",
) -> Graph: ...

class Parameters:
    """A fixed arena of named float32 tensors, shared by every network that uses it."""

    def __init__(self, specs: Sequence[tuple[str, Sequence[int]]]) -> None: ...
    def __len__(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def get(self, index: int) -> FloatArray: ...
    def set(self, values: Sequence[tuple[int, ArrayLike]]) -> None:
        """Copy values in, all or none; waits for running predictions; raises the version once."""
    def glorot_uniform(self, index: int, seed: int) -> None:
        """Draw tensor `index` from glorot_uniform (Keras's fans), from `seed` alone."""

def get_tensors(tensors: Sequence[tuple[Parameters, int]]) -> list[FloatArray]:
    """Copies of tensors of any blocks, all as they were at one moment."""

def set_tensors(values: Sequence[tuple[Parameters, int, ArrayLike]]) -> None:
    """Copy values into tensors of any blocks, all or none.

    No prediction and no `get_tensors` sees some of them changed and others not.
    """

class Network:
    """A graph bound to the parameters of its nodes, in node order.

    The tensors of `parameters` are taken block after block. With `picks`, one index for each of
    the graph's tensors, the i-th is `picks[i]` of the block `parameters[i]`.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Sequence[Parameters],
        picks: Sequence[int] | None = None,
    ) -> None: ...
    @property
    def prefix_runs(self) -> int:
        """Images that have been carried through the network from its input so far."""
    def run(
        self,
        x: ArrayLike,
        start: int = 0,
        stop: int = -1,
        *,
        divide: float = 1,
        scale: float = 1,
        offset: float = 0,
        finite: bool = False,
    ) -> FloatArray:
        """Value of node `stop` for a batch of values of node `start` (n, *shape) -> (n, *shape).

        Any number of threads may call it at once. A long batch runs in slices: weights that are
        set meanwhile count from the next slice on.

        An array of uint8 is read as it is, without a copy as floats, where `start` is the input:
        a byte means (byte / divide) * scale + offset, each operation rounded to float32, bit for
        bit what pixels_to_float makes of it. With other input the three are a ValueError.
        With `finite`, values of `start` that hold NaN or infinity are a ValueError.
        """
    def draw(self, node: int, seed: int, batch: int, rows: int) -> FloatArray:
        """What the random layer `node` draws for each picture of a batch: float32 (rows, 8).

        The draws follow from the layer's own seed, or `seed` if it has none, the count of the
        batch and the row. A flip: 1 or 0. A rotation, zoom or translation: a0 a1 a2 b0 b1 b2 c0 c1
        of Keras's `affine_transform`. Contrast: the factor. Brightness: what is added. A crop:
        top and left. Zeros fill the row.

        ValueError: the node is no such layer, or runs in inference mode.
        """
    def change(self, x: ArrayLike, node: int, numbers: ArrayLike) -> FloatArray:
        """Values of the random layer `node` for a batch of its inputs, given what was drawn.

        ValueError: the node is no such layer, or the shapes do not fit.
        """
    def cut(self, trainable: Sequence[bool]) -> int:
        """The node after which training starts, given one flag for each parameter tensor.

        The last node whose value depends on neither a trainable parameter nor randomness, but for
        random changes of pictures, moved past every parameter-free node that it can be; never past
        the logits.
        """
    def lowered(self, start: int = 0, stop: int = -1) -> list[Step]: ...
    def memory(self, start: int = 0, stop: int = -1) -> dict[str, int]:
        """Bytes: `parameters`, `packed` weights, `executor` (one a thread)."""

class Trainer:
    """Loss, gradients and optimizer for the nodes after `start`.

    loss: "binary_crossentropy", "categorical_crossentropy" or "sparse_categorical_crossentropy".
    A sigmoid or softmax output that matches the loss is trained from its logits.
    optimizer: {"name": "sgd", "momentum": 0.0, "nesterov": False} or
    {"name": "adam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}; both also take
    "gradient_accumulation_steps" (0 and 1: none), "use_ema", "ema_momentum" (0.99) and
    "ema_overwrite_frequency" (0: never), with Keras 3's numbers.
    multipliers: of the learning rate, one for each parameter tensor; None: all 1.
    momentums: of batch norms, one for each parameter tensor; None: those of the graph.
    """

    def __init__(
        self,
        network: Network,
        start: int,
        trainable: Sequence[bool],
        loss: str,
        from_logits: bool,
        optimizer: dict[str, Any],
        seed: int,
        multipliers: Sequence[float] | None = None,
        momentums: Sequence[float] | None = None,
    ) -> None: ...
    def train_batch(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        learning_rate: float = 0.001,
        momentum: float | None = None,
    ) -> tuple[float, FloatArray]:
        """One step. Returns the loss before it and the outputs (with dropout applied).

        `momentum`: SGD's from now on; None leaves it. ValueError where the trainer was made with 0
        and it is above.
        """
    def evaluate_batch(
        self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, FloatArray]:
        """Loss and outputs in inference mode; nothing changes."""
    def gradients(
        self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, list[FloatArray | None]]:
        """Loss and gradients of a training step that is not taken; None where nothing trains."""
    def memory(self, rows: int) -> int:
        """Bytes that training takes, beside weights and slots, for batches of so many rows."""
    def profile(self) -> list[tuple[str, float, float]]:
        """(name, forward, backward): seconds that each unit took in all steps, per thread."""
    @property
    def iterations(self) -> int:
        """Batches trained so far, also those whose gradients are still being accumulated."""
    def apply_averages(self) -> None:
        """The weights become their moving averages, if the optimizer keeps any."""
    def get_state(self) -> tuple[int, list[FloatArray]]:
        """Iterations and the optimizer's arrays, those of one tensor together.

        They are m and v, or momentum if there is one; then the sum of gradients with
        accumulation; then the average with EMA.
        """
    def set_state(self, iterations: int, slots: Sequence[ArrayLike]) -> None: ...

class LogisticRegression(TypedDict):
    """What `logistic_regression` found; float64."""

    weights: NDArray[np.float64]  # (width, outputs)
    bias: NDArray[np.float64]  # (outputs,)
    probabilities: NDArray[np.float64]  # (rows, outputs), of rows of weight 0 too
    value: float  # what was minimised
    loss: float  # without the penalty
    iterations: int
    converged: bool

def logistic_regression(
    features: ArrayLike,
    labels: ArrayLike,
    outputs: int,
    l2: float,
    *,
    sample_weight: ArrayLike | None = None,
    start: ArrayLike | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
) -> LogisticRegression:
    """The minimum of: mean cross-entropy, weighed by `sample_weight`, + l2 / 2 * |weights|^2.

    features (rows, width) float32; labels (rows,) integers below `outputs`, or 0 and 1 for the
    sigmoid of one output; rows of weight 0 are not learned from; start (width + 1, outputs):
    weights, then bias. scikit-learn's LogisticRegression(C=1 / (l2 * rows)). In double; the
    result depends neither on the number of threads nor on time. ValueError, TypeError: an
    argument that does not fit.
    """

def pixels_to_float(
    dst: FloatArray, src: NDArray[np.uint8], divide: float, scale: float, offset: float
) -> None:
    """dst = (src / divide) * scale + offset, each in float32, in this order.

    src may be one picture (height, width, at most 4 channels) with gaps between its pixels.
    """

def read_file(path: str | bytes | os.PathLike[str], limit: int) -> tuple[bytes | None, int, int]:
    """All bytes of a regular file, None if they are more than `limit`; size and mtime in ns.

    OSError: it cannot be read, or (EINVAL) is no regular file.
    """

def pixels_pick(
    dst: NDArray[np.uint8],
    src: NDArray[np.uint8],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
) -> None:
    """dst[i, j] = src[rows[i], cols[j]], pictures (height, width, channels); src may have gaps.

    ValueError: what does not fit, by name.
    """

def pixels_pack(dst: NDArray[np.uint8], src: NDArray[np.uint8]) -> None:
    """dst = src, whose pixels may lie as in pixels_to_float."""

def arrow_pixels(
    schema: object, array: object, height: int, width: int, channels: int
) -> NDArray[np.uint8]:
    """A view (height, width, channels) of the pixels in what `__arrow_c_array__` returned.

    A pixel has one byte or four there, of which the first `channels` are shown. Not writeable; it
    keeps the memory alive. ValueError if that is not what the capsules hold.
    """

def transform_picture(
    dst: NDArray[Any],
    src: NDArray[Any],
    *,
    matrix: Sequence[float] | None = None,
    order: int = 1,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    channel_shift: float | None = None,
    flip_rows: bool = False,
    flip_cols: bool = False,
    brightness: float | None = None,
    stretch: bool = False,
    divide: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
    rescale: float | None = None,
    samplewise_center: bool = False,
    samplewise_std: bool = False,
    mean: ArrayLike | None = None,
    divisor: ArrayLike | None = None,
    shared: bool = False,
) -> None:
    """dst = one picture src (height, width, channels), after all that is asked for, in this order.

    matrix: pixel (i, j) is src's at row m[0] i + m[1] j + m[2], column m[3] i + m[4] j + m[5];
    order 0 or 1, fill_mode and cval as scipy has them. channel_shift: added, within src's range.
    flips. brightness: factor, through uint8; stretch: to 0..255 first. divide, scale, offset,
    rescale: ((x / divide) * scale + offset) * rescale. The picture's own mean and deviation.
    mean, divisor: float32, one a channel, (x - mean) / divisor. shared: on the crew.

    src is uint8 or float32 and dst float32; or both float64, or both uint8, where src is moved and
    flipped, or flipped, and no more. Neither may overlap the other. Values that are not finite
    come out as some number or other.

    ValueError, TypeError: what does not fit, by name; nothing was written.
    """

def choose_kernels(name: Literal["table", "fused", "separate", "onednn"]) -> None:
    """Testing and benchmarks: who runs the blocks of programs made from now on.

    "table": what benchmarks/bench_layers.py measured; "fused" and "separate": own kernels, by
    blocks or step by step; "onednn": no own convolutions.
    """

def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...

class Config(TypedDict):
    onednn: str  # version
    onednn_isa: str  # what oneDNN uses
    cpu_isa: str  # the CPU's best of "baseline", "sse41", "avx2", "avx512"
    used_isa: str  # the same under the limit of TLCORE_MAX_CPU_ISA
    kernels: str  # what choose_kernels chose
    cpus: int  # that affinity and cgroup quota leave to the process

def config() -> Config: ...
def fail_allocation(n: int) -> None:
    """Testing: let the n-th allocation of the core from now on fail (0 is the next, -1 none)."""
