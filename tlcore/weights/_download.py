"""Downloads: into a file beside the target, checked, and only then under the target's name."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlcore.training.progress import is_interactive
from tlcore.utils.interrupts import held_back

# No file that is asked for has a tenth of it: a server that sends on must not fill the disk.
_MOST_BYTES = 1 << 28


class _Bar:
    """A line that counts, as pooch drives it: it sets `total` and calls update, reset, close.

    Drawn in a terminal or a notebook only, at most ten times a second.
    """

    def __init__(self, name: str) -> None:
        self.total = 0
        self._name = name
        self._done = 0
        self._drawn = 0.0
        self._shown = is_interactive()

    def update(self, count: int) -> None:
        """Another `count` bytes have come."""
        self._done += count
        if max(self._done, self.total) > _MOST_BYTES:
            raise OSError(f"the server sends more than {_MOST_BYTES} bytes")
        if self._shown and (time.monotonic() - self._drawn > 0.1 or self._done == self.total):
            self._drawn = time.monotonic()
            print(
                f"\r{self._name}  {self._done / 1e6:.1f} of {self.total / 1e6:.1f} MB",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def reset(self) -> None:
        """Start again; pooch calls it before it fills the line up."""
        self._done = 0

    def close(self) -> None:
        """Leave the line as it is."""
        if self._shown and self._drawn:
            print(file=sys.stderr)


def download(url: str, target: Path, known_hash: str | None, check: Callable[[Path], None]) -> Path:
    """Fetch `url` as the file `target`, which appears only when `check` has accepted it.

    Raises:
        OSError: no connection, no such file there, another hash, or what came is not the file.
    """
    import pooch
    from requests.exceptions import RequestException

    print(f"tlcore: downloading {url} to {target.parent}", file=sys.stderr)
    beside = target.parent / f".tlcore-{secrets.token_hex(8)}.tmp"
    logger = pooch.get_logger()
    level = logger.level
    bar = _Bar(target.name)
    answers: list[Any] = []

    def keep(answer: Any, *_: Any, **__: Any) -> None:
        answers.append(answer)

    fetch: Any = pooch.HTTPDownloader(progressbar=bar, timeout=30, hooks={"response": keep})
    try:
        logger.setLevel("WARNING")  # it would tell the temporary name
        target.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(url, known_hash, fname=beside.name, path=beside.parent, downloader=fetch)
        with held_back():
            check(beside)
        beside.replace(target)
    except RequestException as err:
        raise OSError(_reason(err)) from err
    except ValueError as err:  # another hash, or refused by `check`
        raise OSError(f"what came is not the file: {err}") from err
    finally:
        for answer in answers:  # pooch leaves one open that it has not read to its end
            answer.close()
        logger.setLevel(level)
        bar.close()
        beside.unlink(missing_ok=True)
    return target


def _reason(err: Exception) -> str:
    """A few words for what can be a page of nested exceptions."""
    response = getattr(err, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    kinds = [kind.__name__ for kind in type(err).__mro__]
    if "Timeout" in kinds:
        return "the server did not answer in time"
    return "no connection" if "ConnectionError" in kinds else type(err).__name__
