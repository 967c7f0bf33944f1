"""h5py beside forks: its one lock must not be closed for ever in the child of one."""

from __future__ import annotations

import functools
import os


@functools.cache
def open_in_children() -> None:
    """Let forks wait until no thread is inside h5py, as h5py itself does it from 3.14 on.

    Call it before h5py is used. Its lock may be taken again by its holder.
    """
    from h5py import version
    from h5py._objects import phil

    if version.version_tuple[:2] < (3, 14):
        os.register_at_fork(
            before=phil.acquire, after_in_parent=phil.release, after_in_child=phil.release
        )
