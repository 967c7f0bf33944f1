"""The verbs of a model: fit, evaluate, predict and their older forms.

Who does what:
    Trainer        what users call; epochs, callbacks, validation
    Compiling      `compile`, and what the verbs share                          (compiling.py)
    Compiled       what `compile` settled, and the core's trainer for it        (compiled.py)
    Source         batches out of whatever x is                                 (data.py)
    Prefix         pictures -> values at the cut, kept where that is safe       (loop.py)
    Means          loss and metrics of an epoch                                 (loop.py)
    _core.Trainer  loss, gradients and update of the part behind the cut        (C)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tlcore.callbacks import Callback, CallbackList, History
from tlcore.layers.normalization import BatchNormalization
from tlcore.training._checks import note_idle_workers, whole
from tlcore.training.arguments import (
    check_class_weight,
    check_steps,
    is_due,
    note_ignored_batch_size,
    one_batch,
    planned_steps,
    prepare_targets,
    split,
    steps_of_one_pass,
    validation_source,
)
from tlcore.training.compiled import Compiled
from tlcore.training.compiling import Compiling
from tlcore.training.data import (
    ArraySource,
    Batch,
    GeneratorSource,
    Source,
    Stream,
    make_source,
)
from tlcore.training.leaks import note_leaks
from tlcore.training.loop import Means, Prefix, walk
from tlcore.utils.notes import note

# Pictures that predict hands to the network at once where nobody waits for a batch in between:
# enough that the crew seldom pauses, and their values at the cut take little memory.
_WIDE_BATCH = 256

# Fewer rows give a batch norm statistics that tell little of the next batch.
_ROWS_FOR_STATISTICS = 16
# A share of what moving statistics began with that is noticed in predictions: it adds up from
# layer to layer.
_YOUNG = 0.002

if TYPE_CHECKING:
    from tlcore import _core
    from tlcore.models import Model

FloatArray: TypeAlias = NDArray[np.float32]
Callbacks: TypeAlias = "Callback | Sequence[Callback] | CallbackList | None"
Scores: TypeAlias = "float | list[float] | dict[str, float]"


class Trainer(Compiling):
    """What a model can do besides being a graph of layers.

    Attributes:
        history: the History of the last `fit`.
        stop_training: a callback sets it to end `fit` after the batch or epoch that runs.
        stop_evaluating, stop_predicting: the same for `evaluate` and `predict`.
    """

    # --- fit ----------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Callbacks = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
        keep_features: bool | None = None,
    ) -> History:
        """Train what is trainable; what comes before it is computed once a picture.

        Args:
            x: float or uint8 (n, height, width, channels) with `y`, or a source of batches: an
                iterator of `ImageDataGenerator`, a Keras Sequence, a Python generator.
            y: targets (n,) or (n, classes); left out when x holds them.
            steps_per_epoch: batches an epoch; beyond the length of x they come from its next pass.
            validation_data: (x, y), (x, y, sample_weight) or a source of batches. A note says so if
                pictures in it are equal to pictures for training.
            validation_steps: batches of validation, at most one pass.
            keep_features: None keeps the values in front of the trained part for as long as a
                picture is sure to be the same whenever it comes; False never does, True always
                does, for sources that can be asked by index. The results are the same.

        The other arguments are Keras's. `max_queue_size`, `workers` and `use_multiprocessing` have
        no effect: pictures are always decoded ahead in threads.

        One thread at a time trains a model: meanwhile `fit`, `train_on_batch`, `compile` and
        changes of its layers are refused, also to callbacks. Everything else is allowed:
        predictions, `evaluate` and `save` see the weights between two steps, `set_weights` and
        `load_weights` count from the next step on, and `trainable` from the next `compile`. Models
        that share a frozen base may be trained at the same time.

        Returns:
            The History; `history` maps 'loss', the metrics and their 'val_' twins to one value an
            epoch.

        Raises:
            ValueError: an argument, shape or value that does not fit.
            MemoryError: a batch needs more memory than there is; said before training starts, with
                the largest batch that fits.
            RuntimeError: the model is not compiled, or is being trained already.

        Source: keras/src/backend/tensorflow/trainer.py, fit.
        """
        compiled = self._compiled_for("fit")
        note_idle_workers(workers, use_multiprocessing)
        epochs = whole("fit", "epochs", epochs, 0)
        initial_epoch = whole("fit", "initial_epoch", initial_epoch, 0)
        steps_per_epoch = check_steps("steps_per_epoch", steps_per_epoch)
        validation_steps = check_steps("validation_steps", validation_steps)
        is_due(0, validation_freq)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split(x, y, sample_weight, validation_split)
        source = make_source(
            x, y, sample_weight, batch_size=batch_size, steps=steps_per_epoch, shuffle=shuffle
        )
        note_ignored_batch_size(source, batch_size)
        validation: Source | None = None
        if validation_data is not None:
            validation = validation_source(validation_data, validation_batch_size or batch_size)

        claim = threading.Lock()
        with claim:
            self._claim("fit", claim)
            self._settle_for(compiled, source)
            self._accept(source, validation)
            if validation is not None:
                note_leaks(source, validation)
            trainer = compiled.trainer
            class_weight = check_class_weight(class_weight, compiled.outputs)
            steps = steps_per_epoch or source.num_batches
            repeats = epochs - initial_epoch > 1 or (
                source.num_batches is not None and (steps or 0) > source.num_batches
            )
            with (
                self._keeping(compiled, source, keep_features, arrays=repeats) as prefix,
                self._keeping(
                    compiled, validation, keep_features, arrays=epochs - initial_epoch > 1
                ) as validation_prefix,
                ExitStack() as stack,
            ):
                if keep_features is not False:
                    self._say_keeping(compiled, source)
                if source.batch_size is not None:  # otherwise it shows with the first batch
                    self._prepare_for(compiled, source.batch_size)
                if steps is not None:
                    self._note_young_statistics(compiled, steps * (epochs - initial_epoch))
                if validation is not None:  # said now, not in the middle of a progress bar
                    steps_of_one_pass(validation, validation_steps, "validation_steps")
                listeners = _listeners(callbacks, self._model, verbose, epochs, steps, history=True)
                stack.enter_context(listeners)
                self.stop_training = False
                listeners.on_train_begin()
                stream = Stream(source)
                validation_stream = None if validation is None else Stream(validation)
                logs: dict[str, float] = {}
                for epoch in range(initial_epoch, epochs):
                    listeners.on_epoch_begin(epoch)
                    means = self._train_epoch(
                        compiled, trainer, prefix, stream, steps, class_weight, listeners
                    )
                    if means.images == 0:
                        if epoch == initial_epoch:
                            raise ValueError("The generator gave no batch.")
                        note(f"the generator gave no more batches, fit ends after {epoch} epochs.")
                        break
                    logs = means.logs()
                    if validation_stream is not None and is_due(epoch, validation_freq):
                        if not isinstance(validation, GeneratorSource):
                            validation_stream = Stream(validation_stream.source)
                        tested = self._test(
                            compiled,
                            trainer,
                            validation_prefix,
                            validation_stream,
                            validation_steps,
                            listeners,
                            name="validation_steps",
                        )
                        if tested.images == 0:
                            note("the validation generator gave no more batches.")
                        else:
                            logs |= {f"val_{name}": v for name, v in tested.logs().items()}
                    listeners.on_epoch_end(epoch, logs)
                    if self.stop_training:
                        break
                if epochs > 0 and compiled.keeps_averages:
                    self._apply_averages(trainer, prefix)
                listeners.on_train_end(logs)
        assert listeners.history is not None
        return listeners.history

    def _apply_averages(self, trainer: _core.Trainer, prefix: Prefix) -> None:
        """What Keras's `finalize_variable_values` does at the end of `fit`."""
        before = prefix.stamp()
        with self._between_steps:
            trainer.apply_averages()
        prefix.absorb_step(before)

    def _train_epoch(
        self,
        compiled: Compiled,
        trainer: _core.Trainer,
        prefix: Prefix,
        stream: Stream,
        steps: int | None,
        class_weight: Mapping[int, float] | None,
        listeners: CallbackList,
    ) -> Means:
        means = self._means(compiled)
        done = 0
        for batch in walk(stream, steps, prefix, across=steps is not None):
            listeners.on_train_batch_begin(done)
            self._train_batch(compiled, trainer, prefix, batch, class_weight, means)
            listeners.on_train_batch_end(done, means.logs())
            done += 1
            if self.stop_training:
                break
        if steps is not None and 0 < done < steps and not self.stop_training:
            note(
                f"the generator ran out of data after {done} of {steps} steps, and fit ends with "
                "this epoch."
            )
            self.stop_training = True
        return means

    def _train_batch(
        self,
        compiled: Compiled,
        trainer: _core.Trainer,
        prefix: Prefix,
        batch: Batch,
        class_weight: Mapping[int, float] | None,
        means: Means,
    ) -> None:
        targets, weights = prepare_targets(
            compiled.checked_loss, compiled.outputs, batch, class_weight
        )
        self._prepare_for(compiled, batch.size)
        features = prefix.features(batch)
        before = prefix.stamp()
        with self._between_steps:
            loss, outputs = trainer.train_batch(
                features, targets, weights, **compiled.optimizer.step_settings()
            )
        prefix.absorb_step(before)
        compiled.optimizer.count_batches(trainer.iterations)
        means.update(loss, targets, outputs)
        self._last_metrics = means.all_metrics

    @staticmethod
    def _prepare_for(compiled: Compiled, rows: int) -> None:
        """Before the first batch: is there memory for it, and is it large enough?"""
        compiled.check_places()
        compiled.check_memory(rows)
        if compiled.said_small_batch:
            return
        compiled.said_small_batch = True  # or nothing is to be said; a last batch may be smaller
        norms = compiled.norms_that_train
        if rows < _ROWS_FOR_STATISTICS and norms:
            note(
                f"{len(norms)} batch normalizations ({norms[0]!r}, ...) train on batches of "
                f"{rows}, fewer than {_ROWS_FOR_STATISTICS}: their statistics are noisy, and "
                "validation suffers. Freeze them (layer.trainable = False on each "
                "BatchNormalization), or take larger batches.",
                key=object(),
            )

    def _note_young_statistics(self, compiled: Compiled, steps: int) -> None:
        """Moving statistics that begin at 0 and 1 need many steps to forget that."""
        names = set(compiled.norms_that_train)
        young = [
            leaf
            for leaf in self._model._leaves()
            if leaf.name in names
            and isinstance(leaf, BatchNormalization)
            and leaf.momentum**steps > _YOUNG
            and not leaf.weights[2].numpy().any()
            and (leaf.weights[3].numpy() == 1).all()
        ]
        if young:
            note(
                f"{len(young)} batch normalizations ({young[0].name!r}, ...) begin with moving "
                f"statistics of 0 and 1 and keep {young[0].momentum:g} of them at each step: after "
                f"{steps} steps {young[0].momentum ** steps:.0%} of that is left, and validation "
                "and predict use it. Train longer, or set layer.momentum = 0.9 on each "
                "BatchNormalization before compile().",
                key=object(),
            )

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Scores:
        """One step on this batch. Returns its loss and metrics, as they were before the step.

        Raises as `fit`. Source: keras/src/backend/tensorflow/trainer.py, train_on_batch.
        """
        compiled = self._compiled_for("train_on_batch")
        batch = one_batch(x, y, sample_weight)
        claim = threading.Lock()
        with claim:
            self._claim("train_on_batch", claim)
            self._settle_for(compiled, batch)
            means = self._means(compiled)
            self._train_batch(
                compiled,
                compiled.trainer,
                self._prefix(compiled, None),
                batch,
                check_class_weight(class_weight, compiled.outputs),
                means,
            )
        return means.logs() if return_dict else means.listed()

    def fit_generator(
        self,
        generator: Any,
        steps_per_epoch: int | None = None,
        epochs: int = 1,
        verbose: str | int = 1,
        callbacks: Callbacks = None,
        validation_data: Any = None,
        validation_steps: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        class_weight: Mapping[int, float] | None = None,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
        shuffle: bool = True,
        initial_epoch: int = 0,
        keep_features: bool | None = None,
    ) -> History:
        """`fit` as Keras 2.3 called it for generators.

        `max_queue_size`, `workers` and `use_multiprocessing` have no effect, as in `fit`. `shuffle`
        has none either: the generator decides on the order.
        """
        return self.fit(
            generator,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_data=validation_data,
            class_weight=class_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_freq=validation_freq,
            workers=workers,
            use_multiprocessing=use_multiprocessing,
            keep_features=keep_features,
        )

    # --- evaluate -----------------------------------------------------------------------------

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Callbacks = None,
        return_dict: bool = False,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
        keep_features: bool | None = None,
    ) -> Scores:
        """Loss and metrics on data, at most one pass of it. Arguments as in `fit`.

        Returns:
            The loss, or [loss, metric, ...] in the order of `metrics_names`; with `return_dict` a
            dict, which for binary_crossentropy over several outputs holds 'binary_acc' beside
            'acc'.

        Raises:
            ValueError: an argument, shape or value that does not fit.
            RuntimeError: the model is not compiled.

        Source: keras/src/backend/tensorflow/trainer.py, evaluate.
        """
        compiled = self._compiled_for("evaluate")
        note_idle_workers(workers, use_multiprocessing)
        steps = check_steps("steps", steps)
        source = make_source(x, y, sample_weight, batch_size=batch_size, steps=steps)
        note_ignored_batch_size(source, batch_size)
        self._settle_for(compiled, source)
        self._accept(None, source)
        listeners = _listeners(callbacks, self._model, verbose, 1, planned_steps(source, steps))
        scorer = compiled.trainer
        keeping = self._keeping(compiled, source, keep_features, arrays=False)
        with keeping as prefix, listeners:
            means = self._test(
                compiled, scorer, prefix, Stream(source), steps, listeners, name="steps"
            )
        if means.images == 0:
            raise ValueError("The generator gave no batch.")
        return means.logs() if return_dict else means.listed()

    def _test(
        self,
        compiled: Compiled,
        scorer: _core.Trainer,
        prefix: Prefix,
        stream: Stream,
        steps: int | None,
        listeners: CallbackList,
        name: str,
    ) -> Means:
        means = self._means(compiled)
        self.stop_evaluating = False
        listeners.on_test_begin()
        walked = walk(stream, steps_of_one_pass(stream.source, steps, name), prefix, across=False)
        for done, batch in enumerate(walked):
            listeners.on_test_batch_begin(done)
            self._test_batch(compiled, scorer, prefix, batch, means)
            listeners.on_test_batch_end(done, means.logs())
            if self.stop_evaluating:
                break
        listeners.on_test_end(means.logs())
        return means

    def _test_batch(
        self,
        compiled: Compiled,
        scorer: _core.Trainer,
        prefix: Prefix,
        batch: Batch,
        means: Means,
    ) -> None:
        targets, weights = prepare_targets(compiled.checked_loss, compiled.outputs, batch, None)
        loss, outputs = scorer.evaluate_batch(prefix.features(batch), targets, weights)
        means.update(loss, targets, outputs)
        self._last_metrics = means.all_metrics

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Scores:
        """Loss and metrics of one batch. Raises as `evaluate`."""
        compiled = self._compiled_for("test_on_batch")
        batch = one_batch(x, y, sample_weight)
        self._settle_for(compiled, batch)
        means = self._means(compiled)
        self._test_batch(compiled, compiled.trainer, self._prefix(compiled, None), batch, means)
        return means.logs() if return_dict else means.listed()

    def evaluate_generator(
        self,
        generator: Any,
        steps: int | None = None,
        callbacks: Callbacks = None,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
        verbose: str | int = 0,
    ) -> Scores:
        """`evaluate` as Keras 2.3 called it for generators; see `fit_generator`."""
        return self.evaluate(
            generator,
            steps=steps,
            callbacks=callbacks,
            verbose=verbose,
            workers=workers,
            use_multiprocessing=use_multiprocessing,
        )

    # --- predict ------------------------------------------------------------------------------

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Callbacks = None,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
        keep_features: bool | None = None,
    ) -> FloatArray:
        """The model's outputs, float32 (n, ...), for data as in `fit`, at most one pass of it.

        `max_queue_size`, `workers` and `use_multiprocessing` have no effect, as in `fit`.

        Any number of threads may call it at once, also while another one trains the model, saves
        it or sets weights: each picture's outputs come from one set of weights. The model need not
        be compiled.

        Raises:
            ValueError: an argument, shape or value that does not fit.

        Source: keras/src/backend/tensorflow/trainer.py, predict.
        """
        steps = check_steps("steps", steps)
        note_idle_workers(workers, use_multiprocessing)
        source = make_source(x, batch_size=batch_size, steps=steps)
        note_ignored_batch_size(source, batch_size)
        compiled = self._settle_to_predict(source)
        self._accept(None, source)
        if isinstance(source, ArraySource) and not callbacks and verbose == 0 and steps is None:
            source.widen(_WIDE_BATCH)
        listeners = _listeners(callbacks, self._model, verbose, 1, planned_steps(source, steps))
        outputs: list[FloatArray] = []
        self.stop_predicting = False
        keeping = self._keeping(compiled, source, keep_features, arrays=False)
        with keeping as prefix, listeners:
            listeners.on_predict_begin()
            walked = walk(
                Stream(source), steps_of_one_pass(source, steps, "steps"), prefix, across=False
            )
            for done, batch in enumerate(walked):
                listeners.on_predict_batch_begin(done)
                outputs.append(prefix.outputs(batch))
                listeners.on_predict_batch_end(done, {"outputs": outputs[-1]})
                if self.stop_predicting:
                    break
            listeners.on_predict_end()
        if not outputs:
            raise ValueError("The generator gave no batch.")
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def predict_on_batch(self, x: Any) -> FloatArray:
        """The model's outputs for one batch. Raises as `predict`."""
        batch = one_batch(x, None, None)
        compiled = self._settle_to_predict(batch)
        return self._prefix(compiled, None).outputs(batch)

    def predict_generator(
        self,
        generator: Any,
        steps: int | None = None,
        callbacks: Callbacks = None,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
        verbose: str | int = 0,
    ) -> FloatArray:
        """`predict` as Keras 2.3 called it for generators; see `fit_generator`."""
        return self.predict(
            generator,
            steps=steps,
            callbacks=callbacks,
            verbose=verbose,
            workers=workers,
            use_multiprocessing=use_multiprocessing,
        )

    def predict_image(
        self, path: str | os.PathLike[str], top: int | None = None
    ) -> dict[str, float]:
        """Class names and scores of one picture file, best first; `top` limits how many.

        The file is read as the pictures of the training were (`reader`); names are those of
        `class_indices`. A single output counts for the second class, its rest for the first.

        Raises:
            ValueError: the model has no class names or no reader, or `top` is not at least 1.
            OSError: the file is missing or cannot be read as a picture.
        """
        from tlcore.training.pictures import label_scores, read_picture

        model = self._model
        if top is not None:
            top = whole("predict_image", "top", top, 1)
        if not model.class_indices:
            raise ValueError(
                "predict_image needs model.class_indices, which fit takes from a generator of "
                "flow_from_directory; it is not set."
            )
        if not model.reader:
            raise ValueError(
                "predict_image needs model.reader, which tells how pictures are read; fit takes it "
                "from a generator whose preprocessing_function is None or tlcore's own, and it is "
                "not set: prepare the picture yourself and call predict."
            )
        picture = read_picture(path, model.reader, model.input_shape[1:])
        scores = self.predict_on_batch(picture[np.newaxis])[0]
        return label_scores(scores, model.class_indices, top)


def _listeners(
    callbacks: Callbacks,
    model: Model,
    verbose: str | int,
    epochs: int,
    steps: int | None,
    history: bool = False,
) -> CallbackList:
    if isinstance(callbacks, CallbackList):
        if history and callbacks.history is None:
            callbacks.append(History())
            callbacks.set_model(model)
        return callbacks
    return CallbackList(
        callbacks,
        add_history=history,
        add_progbar=verbose != 0,
        model=model,
        verbose=verbose,
        epochs=epochs,
        steps=steps,
    )
