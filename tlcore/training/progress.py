"""What fit, evaluate and predict show while they run, as Keras 3 shows it.

Where the output is a terminal or a notebook, a bar is drawn in place; where it is a file, one line
an epoch is written. A call shorter than half a second draws no bar.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from enum import Enum

QUIET_SECONDS = 0.5
REFRESH_SECONDS = 0.05
WIDTH = 20
_CODES = ("\x1b[0m", "\x1b[1m", "\x1b[32m", "\x1b[37m")


class Mode(Enum):
    """How a call shows its progress."""

    SILENT = "silent"
    BAR = "bar"
    LINES = "lines"  # Keras's verbose=2
    FILE = "file"  # one line an epoch, without the "Epoch 1/10" line above it


def mode_for(verbose: object) -> Mode:
    """The mode for Keras's `verbose` and for where standard output goes now.

    Raises ValueError unless verbose is 'auto', 0, 1 or 2.
    """
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}.")
    if verbose == 0:
        return Mode.SILENT
    if not is_interactive():
        return Mode.FILE
    return Mode.LINES if verbose == 2 else Mode.BAR


def is_interactive() -> bool:
    """Whether standard output is a terminal or a Jupyter cell, where a line can be redrawn."""
    stream = sys.stdout
    if any(cls.__module__.startswith("ipykernel") for cls in type(stream).__mro__):
        return True
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # no stream (pythonw), or a closed one
        return False


class Screen:
    """Where one call writes. Holds lines back until the call has lasted `quiet` seconds."""

    def __init__(self, quiet: float) -> None:
        self._opens = time.monotonic() + quiet
        self._held: list[str] = []

    @property
    def is_open(self) -> bool:
        """Whether text would be shown now."""
        return time.monotonic() >= self._opens

    def show(self, text: str) -> None:
        """Text that stays: shown now, or as soon as the call has lasted long enough."""
        self._held.append(text)
        if self.is_open:
            self._release()

    def redraw(self, text: str) -> bool:
        """Text that the next drawing replaces: shown now or never. Tells which."""
        if not self.is_open:
            return False
        self._held.append(text)
        self._release()
        return True

    def _release(self) -> None:
        text = "".join(self._held)
        self._held.clear()
        stream = sys.stdout
        if stream is None:
            return
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = stream.encoding or "utf-8"
            plain = text.replace("━", "=").encode(encoding, errors="replace")
            stream.write(plain.decode(encoding))
        stream.flush()


class Progbar:
    """The progress of one epoch. `target` is the number of steps, None if nobody knows."""

    def __init__(self, screen: Screen, mode: Mode, target: int | None, head: str = "") -> None:
        self.target = target
        self._screen = screen
        self._mode = mode
        self._head = head
        self._start = time.time()
        self._after_first: float | None = None
        self._last_drawn = 0.0
        self._drawn_width = 0
        self._line_is_open = False

    def update(self, step: int, logs: Mapping[str, float]) -> None:
        """After step number `step` (from 1): redraw the bar if it is time."""
        now = time.time()
        seconds = self._seconds_a_step(step, now)
        if self._mode is Mode.BAR and now - self._last_drawn >= REFRESH_SECONDS:
            text, width = self._bar(step, now, seconds, logs, last=False)
            self._line_is_open = self._screen.is_open  # also if Ctrl-C comes in the middle
            if self._screen.redraw(text):
                self._drawn_width = width
                self._last_drawn = now

    def finish(self, step: int, logs: Mapping[str, float]) -> None:
        """The last drawing of the epoch, after `step` steps."""
        if self.target is None or step > self.target:
            self.target = step
        now = time.time()
        seconds = self._seconds_a_step(step, now)
        if self._mode is Mode.BAR:
            text, self._drawn_width = self._bar(self.target, now, seconds, logs, last=True)
        else:
            text = (
                f"{self._head}{self._count(self.target)} - {now - self._start:.0f}s - "
                f"{_pace(seconds)}{_values(logs)}\n"
            )
        self._screen.show(text)
        self._line_is_open = False

    def leave(self) -> None:
        """End the line of a bar that will not be finished: what comes next begins a new one."""
        if self._line_is_open:
            self._line_is_open = False
            self._screen.show("\n")

    def _seconds_a_step(self, step: int, now: float) -> float:
        """Mean seconds a step; the first, slow one is left out as soon as there are others."""
        if step <= 0:
            return 0.0
        if self._after_first is not None and step > 1:
            return (now - self._after_first) / (step - 1)
        if step == 1:
            self._after_first = now
        return (now - self._start) / step

    def _count(self, step: int) -> str:
        if not self.target:
            return f"{step:7d}/Unknown"
        return f"{step:{int(math.log10(self.target)) + 1}d}/{self.target}"

    def _bar(
        self, step: int, now: float, seconds: float, logs: Mapping[str, float], *, last: bool
    ) -> tuple[str, int]:
        """The text of the bar and how many columns it takes."""
        if self.target:
            full = min(int(WIDTH * step / self.target), WIDTH)
            green = f"\x1b[32m{'━' * full}\x1b[0m" if full else ""
            bar = f"\x1b[1m{self._count(step)}\x1b[0m {green}\x1b[37m{'━' * (WIDTH - full)}\x1b[0m"
        else:
            bar = self._count(step)
        left = seconds * (self.target - step) if self.target and not last else None
        clock = f"{now - self._start:.0f}s" if left is None else _remaining(left)
        text = f"{bar} \x1b[1m{clock}\x1b[0m {_pace(seconds)}{_values(logs)}"
        width = len(text) - _escapes(text)
        text = "\b" * self._drawn_width + "\r" + text
        text += " " * (self._drawn_width - width)
        return (text + "\n" if last else text), width


def _escapes(text: str) -> int:
    """How many characters of `text` only switch colours."""
    return sum(text.count(code) * len(code) for code in _CODES)


def _remaining(seconds: float) -> str:
    whole = int(seconds)
    if seconds > 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    if seconds > 60:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole}s"


def _pace(seconds: float) -> str:
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.0f}s/step"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.0f}ms/step"
    return f"{seconds * 1e6:.0f}us/step"


def _values(logs: Mapping[str, float]) -> str:
    return "".join(
        f" - {name}: {value:.4f}" if abs(value) > 1e-3 else f" - {name}: {value:.4e}"
        for name, value in logs.items()
    )
