"""What every verb of a model stands on: the settings of `compile`, and how features are kept."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tlcore import losses, optimizers
from tlcore.callbacks import History
from tlcore.metrics import Metric, name_of
from tlcore.training._checks import real
from tlcore.training.arguments import check_picture_shape, check_shape, note_value_range
from tlcore.training.compiled import Compiled, OptimizerState, metric_list
from tlcore.training.data import ArraySource, Batch, GeneratorSource, IteratorSource, Source
from tlcore.training.features_on_disk import (
    FeaturesOnDisk,
    KeepFeatures,
    folder_of,
    folder_of_environment,
    most_bytes,
)
from tlcore.training.fingerprint import fingerprint
from tlcore.training.kept_features import KeptFeatures
from tlcore.training.loop import Change, Means, Prefix
from tlcore.utils.locks import new_lock
from tlcore.utils.notes import note

if TYPE_CHECKING:
    from tlcore.layers import Variable
    from tlcore.models import Model

FloatArray: TypeAlias = NDArray[np.float32]

_claiming = new_lock()


class _Claim(NamedTuple):
    """Who may change what a model knows: the call of this name, as long as `held` is locked."""

    verb: str
    held: threading.Lock
    process: int


class Compiling:
    """`compile` and what it settles; the verbs that use it are in `Trainer`."""

    def __init__(self) -> None:
        self.history: History | None = None
        self.stop_training = False
        self.stop_evaluating = False
        self.stop_predicting = False
        self._compiled: Compiled | None = None
        self._inference: Compiled | None = None  # in place of `_compiled` where nothing trains
        self._kept = KeptFeatures()
        self._on_disk: tuple[Hashable, FeaturesOnDisk] | None = None
        self._last_metrics: list[Metric] = []
        self._claimed: _Claim | None = None
        self._between_steps = new_lock()
        self._said_keeping: set[Path | None] = set()

    # --- compile ------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: str | Mapping[str, Any] | optimizers.Optimizer = "rmsprop",
        loss: str | Mapping[str, Any] | losses.Loss | None = None,
        loss_weights: None = None,
        metrics: Sequence[Any] | None = None,
        weighted_metrics: None = None,
        run_eagerly: bool | None = False,
        steps_per_execution: int | None = 1,
        jit_compile: bool | str | None = "auto",
        auto_scale_loss: bool = True,
        *,
        lr: float | None = None,
    ) -> None:
        """Settle how the model trains. What is trainable now stays so until the next `compile`.

        Args:
            optimizer: 'sgd', 'adam', or an object of `tlcore.optimizers`.
            loss: 'binary_crossentropy', 'categorical_crossentropy',
                'sparse_categorical_crossentropy', or an object of `tlcore.losses`; None for a
                model that only predicts.
            metrics: a list of 'acc' or 'accuracy' (what that means follows from the shapes, as in
                Keras 3), names of `tlcore.metrics` and their objects.
            lr: the learning rate, as old programs pass it; it is applied.

        `jit_compile` and `auto_scale_loss` have no effect; other arguments must keep their
        defaults.

        Raises:
            ValueError: something that tlcore does not have.
            RuntimeError: the model is being trained.

        Source: keras/src/trainers/trainer.py, compile.
        """
        for name, value, off in (
            ("loss_weights", loss_weights, None),
            ("weighted_metrics", weighted_metrics, None),
            ("run_eagerly", run_eagerly, False),
            ("steps_per_execution", steps_per_execution, 1),
        ):
            if value and value != off:
                raise ValueError(f"compile() does not support {name}={value!r}.")
        compiled = Compiled(
            optimizers.get(optimizer),
            None if loss is None else losses.get(loss),
            metric_list(metrics),
        )
        if lr is not None:
            compiled.optimizer.learning_rate = real("compile", "lr", lr, 0.0)
            note(
                f"compile(lr={lr}) is applied: {type(compiled.optimizer).__name__} trains with "
                f"learning_rate={lr}; Keras takes it from the optimizer, as in "
                f"Adam(learning_rate={lr}).",
                key="compile lr",
            )
        self._install(compiled)

    def _install(self, compiled: Compiled) -> None:
        claim = threading.Lock()
        with claim:
            self._claim("compile", claim)
            compiled.inherit(self._compiled)
            if self._model.built:
                compiled.settle(self._model)
            self._compiled = compiled
            self._last_metrics = []
            self.stop_training = False

    @property
    def compiled(self) -> bool:
        """Whether `compile` has been called."""
        return self._compiled is not None

    @property
    def optimizer(self) -> optimizers.Optimizer | None:
        """The optimizer; its `learning_rate` may be set at any time."""
        return None if self._compiled is None else self._compiled.optimizer

    @property
    def loss(self) -> losses.Loss | None:
        """The loss; None before `compile`."""
        return None if self._compiled is None else self._compiled.loss

    @property
    def metrics(self) -> list[Metric]:
        """The metrics, once data has shown what 'acc' means; empty before."""
        return list(self._last_metrics)

    @property
    def metrics_names(self) -> list[str]:
        """Names of what `evaluate` returns."""
        if self._compiled is None:
            return []
        return ["loss", *(name_of(one) for one in self._compiled.metrics)]

    @property
    def prefix_runs(self) -> int:
        """Pictures that have been carried through the network from its input so far."""
        return self._model.network.prefix_runs if self._model.built else 0

    def training_memory(self, batch_size: int) -> int | None:
        """Bytes at the peak of training with batches of `batch_size` pictures.

        Weights, the frozen part's executors, values, gradients and the optimizer's moments; None
        for a model that is not compiled with a loss or has nothing to train.
        """
        compiled = self._compiled
        if compiled is None or compiled.loss is None or not self._model.built:
            return None
        compiled.settle(self._model)
        if not any(compiled.flags):
            return None
        return compiled.training_memory(batch_size)

    def compile_config(self) -> dict[str, Any] | None:
        """What a file keeps of `compile`, in the words of every Keras; None if not compiled."""
        return None if self._compiled is None else self._compiled.get_config()

    def compile_from_config(self, config: Mapping[str, Any], seed: int | None = None) -> None:
        """Compile as a file says that tlcore, Keras 3 or tf-keras wrote; `seed` is dropout's.

        Raises ValueError for a loss, metric or optimizer that tlcore does not have.
        """
        self._install(Compiled.from_config(config, seed))

    @property
    def dropout_seed(self) -> int | None:
        """What dropout draws from, with the count of batches; None before `compile`."""
        return None if self._compiled is None else self._compiled.seed

    def optimizer_state(self) -> tuple[int, list[FloatArray]]:
        """Batches trained, and the optimizer's arrays (m0, v0, m1, ...; for SGD momentum0, ...).

        Behind the moments of a weight stand its sum of gradients, where they are accumulated, and
        its moving average, where one is kept. (0, []) before the first batch.
        """
        if self._compiled is None:
            return 0, []
        batches, slots = self._compiled.listed_state()
        return batches, list(slots)

    def set_optimizer_state(self, iterations: int, slots: Sequence[Any]) -> None:
        """Put back what `optimizer_state` returned for a model with the same trained weights.

        Raises ValueError if the model is not compiled or the arrays do not fit.
        """
        compiled = self._settled("set_optimizer_state")
        claim = threading.Lock()
        with claim:
            self._claim("set_optimizer_state", claim)
            compiled.trainer.set_state(iterations, slots)
            compiled.optimizer.count_batches(iterations)

    def restore_optimizer(self, state: OptimizerState) -> None:
        """Give the optimizer of a model that has just been compiled what a file kept of it."""
        self._settled("restore_optimizer").restore(state)

    def snapshot(self) -> tuple[dict[Variable, FloatArray], OptimizerState]:
        """Copies of all weights, and the optimizer's state, as they are between two steps."""
        weights = self._model.weights
        with self._between_steps:
            values = self._model.get_weights()
            state = OptimizerState(0, {}) if self._compiled is None else self._compiled.state()
            return dict(zip(weights, values, strict=True)), state

    # --- what the verbs share -----------------------------------------------------------------

    @property
    def _model(self) -> Model:
        return cast("Model", self)

    def _claim(self, verb: str, held: threading.Lock) -> None:
        """Only one call at a time may change what the model knows; the others are told so.

            claim = threading.Lock()
            with claim:
                self._claim("fit", claim)

        The claim ends with that `with`, whatever ends it: no Ctrl-C can fall in between. In a
        forked child the parent's claims do not count.
        """
        with _claiming:
            other = self._claimed
            if other is not None and other.held.locked() and other.process == os.getpid():
                raise RuntimeError(
                    f"{verb}() cannot run now: the model {self._model.name!r} is being trained or "
                    f"changed by {other.verb}(), in another thread or around this call."
                )
            self._claimed = _Claim(verb, held, os.getpid())

    def _compiled_for(self, verb: str) -> Compiled:
        if self._compiled is None:
            raise RuntimeError(f"Call compile() before {verb}().")
        return self._compiled

    def _settled(self, verb: str) -> Compiled:
        compiled = self._compiled_for(verb)
        compiled.settle(self._model)
        return compiled

    def _settle_for(self, compiled: Compiled, data: Source | Batch) -> None:
        """Build the model if its input shape was unknown until now; check that a loss is there."""
        self._build_from(data)
        compiled.settle(self._model)
        _ = compiled.checked_loss

    def _build_from(self, data: Source | Batch) -> None:
        if not self._model.built:
            shape = data.picture_shape() if isinstance(data, Source) else data.read(None).shape[1:]
            self._model.build((None, *shape))

    def _settle_to_predict(self, data: Source | Batch) -> Compiled:
        """The settings of `compile`, or without them those of a frozen model."""
        self._build_from(data)
        compiled = self._compiled
        if compiled is not None and compiled.network in (None, self._model.network):
            compiled.settle(self._model)
            return compiled
        inference = self._inference
        if inference is None or inference.network is not self._model.network:
            inference = self._inference = Compiled.for_inference(self._model)
        return inference

    def _means(self, compiled: Compiled) -> Means:
        return Means(compiled.checked_loss, compiled.metrics, compiled.outputs)

    def _prefix(
        self,
        compiled: Compiled,
        kept: KeptFeatures | None,
        disk: FeaturesOnDisk | None = None,
        *,
        training: bool = False,
    ) -> Prefix:
        cut = compiled.cut
        parameters = compiled.parameters_until(cut)
        return Prefix(
            self._model.network,
            cut,
            compiled.nodes[cut],
            compiled.input_shape,
            {block: compiled.trains_in(block) for block in parameters},
            kept,
            disk,
            [Change(compiled.nodes[i]["inputs"][0], i) for i in compiled.changes if training],
            compiled.seed,
        )

    def _disk(self, compiled: Compiled, folder: Path) -> FeaturesOnDisk:
        """What the folder holds for the layers in front of the cut; the last one if it fits."""
        cut, nodes = compiled.cut, compiled.nodes
        which = (folder, most_bytes(), id(nodes), cut)  # of nodes that `disk` holds on to
        if self._on_disk is None or self._on_disk[0] != which:
            tensors = self._model._tensors()
            disk = FeaturesOnDisk(
                folder,
                which[1],
                tuple(nodes[cut]["output_shape"]),
                lambda: fingerprint(nodes, cut, tensors),
            )
            self._on_disk = which, disk
        return self._on_disk[1]

    @contextlib.contextmanager
    def _keeping(
        self,
        compiled: Compiled,
        source: Source | None,
        keep_features: KeepFeatures,
        *,
        arrays: bool,
        training: bool = False,
    ) -> Iterator[Prefix]:
        """The prefix for a source; `arrays` tells whether rows of arrays will come again.

        What `training` changes at random comes another way each time and is not kept, but for
        flips.
        """
        folder = folder_of(keep_features)
        if folder is not None:
            keep_features, arrays = None, True
        scope: object | None = None
        cut = compiled.cut
        worth = bool(compiled.parameters_until(cut))
        if training and compiled.changes:
            if keep_features is True and worth and not compiled.only_flips:
                raise ValueError(
                    "keep_features=True needs pictures that come again, and layers in front of "
                    "the frozen ones change them anew each time; only flips can be kept."
                )
            worth = worth and compiled.only_flips
        if source is not None and worth and keep_features is not False:
            if isinstance(source, GeneratorSource) and (keep_features or folder):
                raise ValueError(
                    f"keep_features={keep_features or str(folder)!r} needs data that can be asked "
                    "for by index, got a Python generator."
                )
            if isinstance(source, IteratorSource) and source.iterator.keepable:
                lasting = source.iterator.keys(np.arange(1)) is not None
                scope = Source.ALWAYS if lasting else object()
            elif keep_features and isinstance(source, IteratorSource) and source.iterator.augments:
                raise ValueError(
                    "keep_features=True needs pictures that come again, and this generator "
                    "transforms them anew each time: ImageDataGenerator(augment_views=K) fixes K "
                    "views of each picture."
                )
            elif keep_features or (isinstance(source, ArraySource) and arrays):
                scope = object()
        if source is not None:
            source.scope = scope
            source.changes = training and bool(compiled.changes)
        disk: FeaturesOnDisk | None = None
        lasts = scope is not None and not (training and compiled.changes)
        if lasts and keep_features is None and _has_contents(source):
            folder = folder or folder_of_environment()
            disk = None if folder is None else self._disk(compiled, folder)
        elif folder is not None and source is not None:
            note(_nothing_kept(folder, source, bool(compiled.parameters_until(cut))))
        self._kept.begin(None if scope is None else compiled.prefix)
        try:
            kept = None if scope is None else self._kept
            prefix = self._prefix(compiled, kept, disk, training=training)
            if disk is not None:
                disk.begin(prefix.stamp)
            yield prefix
        finally:
            if scope is not None and scope is not Source.ALWAYS:
                self._kept.forget(scope)

    def _say_keeping(self, compiled: Compiled, source: Source, disk: FeaturesOnDisk | None) -> None:
        folder = None if disk is None else disk.folder
        if folder in self._said_keeping or not compiled.parameters_until(compiled.cut):
            return
        transformed = isinstance(source, IteratorSource) and source.iterator.augments
        if source.scope is None:
            if transformed or compiled.changes:
                self._said_keeping.add(folder)
                self._say_not_keeping(compiled)
            return
        self._said_keeping.add(folder)
        node = compiled.nodes[compiled.cut]
        numbers = int(np.prod(node["output_shape"]))
        once = source.iterator.what_comes_again if isinstance(source, IteratorSource) else "picture"
        if compiled.changes:
            once += " and way it is flipped"
        where = ""
        if disk is not None:
            where = f", also in the folder {str(folder)!r}, which has those of {disk.found}"
        note(
            f"fit runs the frozen layers, up to {node['name']!r}, once a {once} and keeps their "
            f"{numbers} numbers{where}; the results are the same (keep_features=False turns it "
            "off).",
            key=object(),
        )

    @staticmethod
    def _say_not_keeping(compiled: Compiled) -> None:
        why = "the generator transforms it anew; ImageDataGenerator(augment_views=K) fixes K views"
        why += " of each picture, which go through them once"
        if compiled.changes:
            why = "layers in front of them change it at random"
        note(
            f"every epoch carries each picture through the frozen layers again: {why}.",
            key=object(),
        )

    def _accept(self, source: Source | None, other: Source | None) -> None:
        """Compare iterators with the model; `source`, of `fit`, also teaches it its classes."""
        model = self._model
        for one in (source, other):
            if isinstance(one, ArraySource):
                check_shape(one.x.shape, model.input_shape[1:])
            if isinstance(one, IteratorSource):
                check_picture_shape(one, model.input_shape[1:])
                note_value_range(one.iterator, model.input_range)
        if isinstance(source, IteratorSource):
            classes = source.iterator.class_indices
            if classes:
                model.class_indices = dict(classes)
                # None where the pictures are made by code that cannot be told in data
                reader = source.iterator.reader
                model.reader = dict(reader) if reader else None
            if isinstance(other, IteratorSource):
                theirs = other.iterator.class_indices
                if classes and theirs and dict(theirs) != dict(classes):
                    raise ValueError(
                        f"validation_data has the classes {list(theirs)}, but the training data "
                        f"has {list(classes)}; pass classes={list(classes)} to both generators."
                    )


def _has_contents(source: Source | None) -> bool:
    """Whether it can be told for good what the pictures are; no picture is looked at."""
    if isinstance(source, IteratorSource):
        return source.iterator.content_keys(np.arange(0)) is not None
    return isinstance(source, ArraySource)


def _nothing_kept(folder: Path, source: Source, worth: bool) -> str:
    """Why a folder was named in vain."""
    kind = type(source.iterator).__name__ if isinstance(source, IteratorSource) else "this data"
    reason = (
        f"the pictures of {kind} may be others in another pass, or layers change them"
        if worth
        else "no weights lie in front of a part that trains"
    )
    return f"nothing is kept in the folder {str(folder)!r}: {reason}."
