"""The parts of an epoch: pictures to features, batches in order, means of what they gave."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count, product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tlcore import _core, losses, metrics
from tlcore.training.arguments import as_pictures, check_finite, check_pictures
from tlcore.training.data import Array, Batch, Rule, Stream
from tlcore.training.features_on_disk import FeaturesOnDisk
from tlcore.training.kept_features import KeptFeatures, flipped_key
from tlcore.utils.notes import note

FloatArray: TypeAlias = NDArray[np.float32]
Stamp: TypeAlias = tuple[int, ...]


# How often a batch is carried anew because weights were set meanwhile, before it goes through the
# network in one call, which costs the features that were kept.
_TRIES = 3


class Change(NamedTuple):
    """A node that changes pictures at random while training, and the node that feeds it."""

    source: int
    node: int


class Prefix:
    """Carries pictures from the input to the cut, each only once where its features are kept."""

    def __init__(
        self,
        network: _core.Network,
        cut: int,
        node: _core.Node,
        input_shape: tuple[int, ...],
        parameters: Mapping[_core.Parameters, bool],
        kept: KeptFeatures | None,
        disk: FeaturesOnDisk | None = None,
        changes: Sequence[Change] = (),
        seed: int = 0,
    ) -> None:
        self._network = network
        self._cut = cut
        self._shape = tuple(node["output_shape"])
        self._input_shape = input_shape
        self._parameters = parameters
        self._kept = kept
        self._changes = changes
        self._seed = seed
        self.disk = disk

    def stamp(self) -> Stamp:
        """Which cut and which weights features belong to."""
        return (self._cut, *(block.version for block in self._parameters))

    def absorb_step(self, before: Stamp) -> None:
        """A training step has run since `before`: it changed no weight of the prefix.

        Its parameters may share a block with trained ones, whose version every step raises by 1.
        If more has changed, another thread has set weights.
        """
        cut, *versions = before
        steps = zip(versions, self._parameters.values(), strict=True)
        after = (cut, *(version + trains for version, trains in steps))
        if self._kept is not None and after != before and after == self.stamp():
            self._kept.restamp(before, after)
            if self.disk is not None:
                self.disk.restamp(before, after)

    def begin(self, batch: Batch) -> None:
        """Start reading the pictures that `features` will need."""
        if self._changes and self._kept is not None and batch.keys is not None:
            self._kept.renew(self.stamp())
            batch.begin(self._rows_to_flip(batch.keys))
            return
        if self._kept is None or batch.keys is None:
            batch.begin(None)
        else:
            stamp = self.stamp()
            self._kept.renew(stamp)
            rows = self._kept.missing(batch.keys)
            if rows and self.disk is not None:
                # What cannot be read is missed when it is read, not while it is looked up.
                with suppress(OSError, ValueError):
                    rows = self.disk.missing(stamp, batch, rows)
            batch.begin(rows)

    def features(self, batch: Batch) -> FloatArray:
        """(n, ...) values at the cut."""
        if self._kept is None or batch.keys is None:
            return self._to_node(batch, None, self._cut)
        stamp = self.stamp()
        self._kept.renew(stamp)
        features = np.empty((batch.size, *self._shape), np.float32)
        missing = self._kept.take(stamp, batch.keys, features)
        if missing and self.disk is not None:
            missing = self._take_from_disk(stamp, batch, batch.keys, missing, features)
        if missing:
            fresh = self._to_node(batch, missing, self._cut)
            features[missing] = fresh
            if self.stamp() == stamp:  # nobody set weights meanwhile
                self._kept.add(stamp, [batch.keys[row] for row in missing], fresh)
                if self.disk is not None:
                    self.disk.add(stamp, batch, missing, fresh)
        return features

    def training_features(self, batch: Batch, count: int) -> FloatArray:
        """The values at the cut for the `count`-th batch of a training: of changed pictures.

        They are kept only where all changes are flips, for each way that a picture is flipped.
        """
        if not self._changes:
            return self.features(batch)
        draws = [
            self._network.draw(change.node, self._seed, count, batch.size)
            for change in self._changes
        ]
        if self._kept is None or batch.keys is None:
            return self._changed(batch, None, draws)
        keys = [
            flipped_key(key, flips)
            for key, *flips in zip(batch.keys, *(drawn[:, 0] != 0 for drawn in draws), strict=True)
        ]
        features = np.empty((batch.size, *self._shape), np.float32)
        stamp = self.stamp()
        self._kept.renew(stamp)
        rows = self._kept.take(stamp, keys, features)
        if rows:
            features[rows] = self._changed(batch, rows, draws)
            if self.stamp() == stamp:
                self._kept.add(stamp, [keys[row] for row in rows], features[rows])
        return features

    def _changed(
        self, batch: Batch, rows: Sequence[int] | None, draws: Sequence[FloatArray]
    ) -> FloatArray:
        """The values at the cut of these rows (None: all), changed as was drawn."""
        values = self._to_node(batch, rows, self._changes[0].source)
        stops = [*(change.source for change in self._changes[1:]), self._cut]
        for (_, node), drawn, stop in zip(self._changes, draws, stops, strict=True):
            values = self._network.change(values, node, drawn if rows is None else drawn[rows])
            if stop > node:
                values = self._network.run(values, node, stop)
        return values

    def _rows_to_flip(self, keys: Sequence[Hashable]) -> list[int]:
        """The rows of which some way to be flipped is not kept."""
        assert self._kept is not None
        rows: set[int] = set()
        for flips in product((False, True), repeat=len(self._changes)):
            rows.update(self._kept.missing([flipped_key(key, flips) for key in keys]))
        return sorted(rows)

    def _take_from_disk(
        self,
        stamp: Stamp,
        batch: Batch,
        keys: Sequence[Hashable],
        rows: list[int],
        features: FloatArray,
    ) -> list[int]:
        """Fill in what the disk has of `rows`, into the memory too; the rows still missing."""
        assert self._kept is not None and self.disk is not None
        found = self.disk.take(stamp, batch, rows, features)
        self._kept.add(stamp, [keys[row] for row in found], features[found])
        has = set(found)
        return [row for row in rows if row not in has]

    def outputs(self, batch: Batch) -> FloatArray:
        """What the network gives for a batch: each picture's numbers come from one set of weights.

        Weights may be set between the way to the cut and the rest; the batch is then done again.
        """
        if self._cut == 0:
            return self._run(batch.read(None), -1, batch.rule)
        for _ in range(_TRIES):
            before = self.stamp()
            outputs = self._network.run(self.features(batch), self._cut)
            if self.stamp() == before:
                return outputs
        return self._run(batch.read(None), -1, batch.rule)

    def _to_node(self, batch: Batch, rows: Sequence[int] | None, node: int) -> FloatArray:
        """The values at this node of these rows (None: all), computed."""
        x, rule = batch.read(rows), batch.rule
        if node > 0:
            return self._run(x, node, rule)
        pictures = check_pictures(x, self._input_shape)
        if rule is None:
            return pictures.astype(np.float32, copy=False)
        meant = np.empty(pictures.shape, np.float32)
        _core.pixels_to_float(meant, pictures, *rule)
        return meant

    def _run(self, x: Any, stop: int, rule: Rule | None) -> FloatArray:
        """Node `stop` for pictures, or for bytes that mean pictures by `rule`."""
        pictures = as_pictures(x, self._input_shape)
        divide, scale, offset = rule or (1.0, 1.0, -0.0)
        try:
            if pictures.dtype != np.uint8:
                return self._network.run(pictures, 0, stop, finite=True)
            return self._network.run(pictures, 0, stop, divide=divide, scale=scale, offset=offset)
        except ValueError:
            check_finite(pictures)  # which says where
            raise


def walk(stream: Stream, steps: int | None, prefix: Prefix, *, across: bool) -> Iterator[Batch]:
    """Up to `steps` batches, None: to the end of the pass; `across`: on into the next pass.

    Where it helps, the batch after the one that is handed out is being read meanwhile.
    """
    draw = stream.draw_across if across else stream.draw
    ahead: Batch | None = None
    try:
        for step in count():
            if steps is not None and step >= steps:
                return
            batch, ahead = ahead or draw(), None
            if batch is None:
                return
            if stream.source.reads_ahead and steps is not None:
                if step == 0:
                    prefix.begin(batch)
                if step + 1 < steps:
                    ahead = draw()
                    if ahead is not None:
                        prefix.begin(ahead)
            yield batch
    finally:
        if ahead is not None:
            ahead.cancel()


class Means:
    """Loss and metrics of an epoch so far, weighed by the number of images of each batch."""

    def __init__(
        self, loss: losses.Loss, identifiers: Sequence[metrics.Identifier], outputs: int
    ) -> None:
        self._loss = loss
        self._identifiers = identifiers
        self._outputs = outputs
        self._total = 0.0
        self.images = 0
        self.metrics: list[metrics.Metric] = []
        self._beside: list[metrics.Metric] = []
        self._say_which_is_which()

    def update(self, loss: float, targets: Array, outputs: FloatArray) -> None:
        """Add a batch."""
        if not self.images:
            self._resolve(targets.shape)
        self._total += loss * len(targets)
        self.images += len(targets)
        for metric in self.all_metrics:
            metric.update_state(targets, outputs)

    def logs(self) -> dict[str, float]:
        """What callbacks and the history see, in Keras 3's (alphabetical) order."""
        logs = {metric.name: metric.result() for metric in self.all_metrics}
        logs["loss"] = self._total / self.images if self.images else 0.0
        return dict(sorted(logs.items()))

    @property
    def all_metrics(self) -> list[metrics.Metric]:
        """Those asked for and those that stand beside them."""
        return [*self.metrics, *self._beside]

    def listed(self) -> float | list[float]:
        """What `evaluate` returns: the loss and the metrics that were asked for."""
        values = [self.logs()["loss"], *(metric.result() for metric in self.metrics)]
        return values[0] if len(values) == 1 else values

    def _resolve(self, target_shape: tuple[int, ...]) -> None:
        self.metrics = [
            metrics.resolve(identifier, target_shape, self._outputs)
            for identifier in self._identifiers
        ]
        self._beside = [metrics.BinaryAccuracy(name=name) for name in self._names_beside()]

    def _names_beside(self) -> list[str]:
        """Names of the binary accuracies that nobody asked for but that must not be missing."""
        if not isinstance(self._loss, losses.BinaryCrossentropy) or self._outputs < 2:
            return []
        names = [metrics.name_of(identifier) for identifier in self._identifiers]
        beside = [f"binary_{name}" for name in names if name.lower() in metrics.AUTO_NAMES]
        return [name for name in beside if name not in names]

    def _say_which_is_which(self) -> None:
        # Said before the epoch: in the middle of it the line would land in the progress bar.
        for beside in self._names_beside():
            name = beside.removeprefix("binary_")
            note(
                f"{name} counts the pictures whose largest output is the right one, as in Keras "
                f"3; {beside} counts each of the {self._outputs} outputs by itself, which Keras "
                f"up to 2.3 called {name}.",
                key=("two accuracies", name),
            )
