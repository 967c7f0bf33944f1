"""Which of many pictures cannot be read: the crew reads them all, and keeps none by itself."""

from __future__ import annotations

import errno
from collections.abc import Callable
from concurrent.futures import Future

from tlcore import _core
from tlcore.preprocessing.image._reading import submit

# The machine's fault, not the picture's.
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def is_shortage(error: BaseException) -> bool:
    """Whether a picture could not be read for want of memory or of files that may be open."""
    causes = error, error.__cause__
    return any(isinstance(one, OSError) and one.errno in _SHORTAGES for one in causes)


def unreadable_pictures(read: Callable[[int], object], n: int) -> dict[int, str]:
    """Why `read(j)` raises, for those of `range(n)` for which it does, in order.

    Raises what is no fault of a picture: no memory, no more files that may be open.
    """
    check = _Check(read, n)
    parts: list[Future[None]] = []
    try:
        for _ in range(min(n, _core.get_num_threads())):
            parts.append(submit(check.work))
        for part in parts:
            part.result()
    finally:  # a Ctrl-C, or what another thread met
        check.stopped = True
        for part in parts:
            part.cancel()
    return dict(sorted(check.reasons.items()))


class _Check:
    """Pictures that threads take one after another."""

    def __init__(self, read: Callable[[int], object], n: int) -> None:
        self._read = read
        self._left = iter(range(n))
        self.reasons: dict[int, str] = {}
        self.stopped = False

    def work(self) -> None:
        for j in self._left:
            if self.stopped:
                return
            try:
                self._read(j)
            except (OSError, ValueError) as error:
                if is_shortage(error):
                    self.stopped = True
                    raise
                self.reasons[j] = str(error)
            except BaseException:
                self.stopped = True
                raise
