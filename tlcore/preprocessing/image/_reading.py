"""Batches read ahead: a shared crew of threads decodes, a bounded queue decides how far ahead.

The crew only decodes. What a batch still needs afterwards (a user's own function, which may be
neither thread-safe nor free of randomness) runs in the thread that asks for the result.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from tlcore.utils.locks import new_lock, new_rlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Bytes of batches that may be begun and not yet asked for; one batch always may.
READ_AHEAD_BYTES = 128 * 2**20

_crew: ThreadPoolExecutor | None = None
_crew_size = 0
_crew_lock = new_lock()


def submit(function: Callable[..., Any], *args: Any) -> Future[Any]:
    """Run `function` in the crew: as many threads as `tlcore.get_num_threads()` says now."""
    global _crew, _crew_size
    from tlcore import _core

    size = _core.get_num_threads()
    with _crew_lock:
        if _crew is None or size != _crew_size:
            if _crew is not None:
                # What it was given before is still done.
                _crew.shutdown(wait=False)
            _crew, _crew_size = ThreadPoolExecutor(size, "tlcore-pictures"), size
        try:
            return _crew.submit(function, *args)
        except BaseException:
            # Ctrl-C in the middle: a thread may run that the crew does not know, and that nobody
            # would end at exit. All end now, when they have done what they were given.
            _crew.shutdown(wait=False)
            _crew = None
            raise


def _forget_crew() -> None:
    """A forked child has none of its parent's threads."""
    global _crew
    _crew = None


os.register_at_fork(after_in_child=_forget_crew)


class Job(Protocol):
    """How one batch is read."""

    nbytes: int

    def begin(self) -> list[Future[Any]]:
        """Hand the work to the crew."""

    def stop(self) -> None:
        """Let the crew begin nothing more."""

    def finish(self) -> NDArray[Any]:
        """Make the batch of what the crew has done."""


class Reading:
    """A batch on its way; `result()` waits for it, or raises what went wrong with it."""

    def __init__(self, job: Job, ahead: ReadAhead) -> None:
        self._job = job
        self._ahead = ahead
        self._parts: list[Future[Any]] | None = None
        self._ended: list[Future[Any]] = []
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._value: NDArray[Any] | None = None
        self._error: BaseException | None = None
        self._process = os.getpid()
        self._lock = new_lock()
        self.nbytes = job.nbytes

    def begin(self) -> list[Future[Any]]:
        with self._lock:
            if self._parts is None:
                ended: list[Future[Any]] = []
                wake: SimpleQueue[None] = SimpleQueue()

                def tell(part: Future[Any]) -> None:
                    ended.append(part)
                    wake.put(None)

                parts = self._job.begin()
                for part in parts:
                    part.add_done_callback(tell)
                self._ended, self._wake, self._parts = ended, wake, parts
            return self._parts

    def _wait(self, parts: list[Future[Any]]) -> None:
        """Until all have ended. Not for their results: a Ctrl-C in a wait for a future can leave
        its lock taken, and the crew with it, or come out as another error."""
        while len(self._ended) < len(parts):
            self._wake.get()

    def done(self) -> bool:
        """Whether `result()` would return without waiting for a picture."""
        return (
            self._value is not None
            or self._error is not None
            or (self._parts is not None and all(part.done() for part in self._parts))
        )

    def cancel(self) -> None:
        """Give the batch up: pictures that no thread has taken yet are not read."""
        if self._value is None and self._error is None:
            self.fail(CancelledError("this batch was cancelled"))

    def result(self) -> NDArray[Any]:
        """The batch. Raises what the first bad picture of the batch raised."""
        if self._error is not None:
            raise self._error
        if self._value is not None:
            return self._value
        if self._process != os.getpid():
            # A forked child has none of the threads that were at work on it.
            self._process, self._parts = os.getpid(), None
        try:
            parts = self.begin()
            self._wait(parts)
            for part in parts:
                part.result()
            value = self._job.finish()
        except Exception as error:
            self.fail(error)
            raise
        self._value, self._parts = value, []
        self._ahead.leave(self)
        return value

    def fail(self, error: BaseException) -> None:
        """Give the batch up, for this reason."""
        self._error = error
        self._job.stop()
        if self._process == os.getpid():  # a lost thread may have held the lock of a part
            for part in self._parts or []:
                part.cancel()
        self._ahead.leave(self)


class ReadAhead:
    """Begins batches in the order they were asked for, as far ahead as the memory limit lets it."""

    def __init__(self, limit: int = READ_AHEAD_BYTES) -> None:
        self._limit = limit
        # Weak: a batch that nobody waits for any more gives its place back by itself.
        self._waiting: deque[weakref.ref[Reading]] = deque()
        # No WeakSet: the interpreter swallows a Ctrl-C that falls into its callbacks.
        self._begun: list[weakref.ref[Reading]] = []
        self._lock = new_rlock()

    def enter(self, job: Job) -> Reading:
        reading = Reading(job, self)
        with self._lock:
            self._waiting.append(weakref.ref(reading))
            self._pump()
        return reading

    def leave(self, reading: Reading) -> None:
        with self._lock:
            self._begun = [one for one in self._begun if one() not in (None, reading)]
            self._pump()

    def _pump(self) -> None:
        while self._waiting:
            reading = self._waiting[0]()
            if reading is None or reading.done():
                self._waiting.popleft()
                continue
            begun = [one for one in (ref() for ref in self._begun) if one is not None]
            if begun and sum(one.nbytes for one in begun) + reading.nbytes > self._limit:
                return
            self._begun = [weakref.ref(one) for one in (*begun, reading)]
            self._waiting.popleft()
            try:
                reading.begin()
            except Exception as error:  # said by its own `result`, to whoever asks for it
                reading.fail(error)
