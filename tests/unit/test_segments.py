"""Files of features: whatever happened to them, what is taken from them is right."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import children
import numpy as np
import pytest

from tlcore.training import segments
from tlcore.training.segments import HEADER_BYTES, NoRoomError, Store

PRINT = hashlib.sha256(b"weights").digest()
SHAPE = (3, 2)
RECORD = 64 + 4 * 6
PLENTY = 1 << 30


def keys_of(*numbers: int) -> list[bytes]:
    return [hashlib.sha256(b"picture %d" % number).digest() for number in numbers]


def features_of(keys: Sequence[bytes], shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """The right ones: a function of the key."""
    rows = [np.random.RandomState(list(key)).standard_normal(shape) for key in keys]
    return np.array(rows, np.float32).reshape(len(keys), *shape)


def opened(folder: Path, most: int = PLENTY, fingerprint: bytes = PRINT) -> Store:
    store = Store(folder, fingerprint, SHAPE, most)
    store.begin()
    return store


def put(store: Store, *numbers: int) -> None:
    keys = keys_of(*numbers)
    store.add(keys, features_of(keys))


def found_in(store: Store, *numbers: int) -> list[int]:
    """Which of these are found; they must be right, and nothing else may be written."""
    keys = keys_of(*numbers)
    dst = np.full((len(keys), *SHAPE), np.nan, np.float32)
    found = store.take(keys, range(len(keys)), dst)
    right = features_of(keys)
    for row in range(len(keys)):
        if row in found:
            np.testing.assert_array_equal(dst[row], right[row])
        else:
            assert np.isnan(dst[row]).all()
    return [numbers[row] for row in sorted(found)]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.features"))


def test_what_one_appends_another_finds(tmp_path: Path) -> None:
    first = opened(tmp_path)
    put(first, 1, 2, 3)
    assert found_in(first, 3, 9, 1) == [3, 1]
    second = opened(tmp_path)
    assert len(second) == 3
    assert second.missing(keys_of(7, 2)) == [0]
    assert found_in(second, 1, 2, 3, 4) == [1, 2, 3]
    put(second, 4)
    assert found_in(first, 4) == []  # not known before the next call
    first.begin()
    assert found_in(first, 4) == [4]


def test_another_fingerprint_has_features_of_its_own(tmp_path: Path) -> None:
    put(opened(tmp_path), 1, 2)
    other = hashlib.sha256(b"other weights").digest()
    assert found_in(opened(tmp_path, fingerprint=other), 1, 2) == []
    # Not even if somebody moves the files, and mends the header.
    (source,) = files(tmp_path)
    put(opened(tmp_path, fingerprint=other), 3)
    target = tmp_path / other.hex() / source.name
    header = target.read_bytes()[:HEADER_BYTES]
    target.write_bytes(header + source.read_bytes()[HEADER_BYTES:])
    assert found_in(opened(tmp_path, fingerprint=other), 1, 2, 3) == []


def test_nothing_is_appended_twice(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    put(first, 1, 2, 2)
    put(second, 2, 3, 1)
    assert files(tmp_path)[0].stat().st_size == HEADER_BYTES + 3 * RECORD


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, bytes]:
    """A segment with four records, and its content."""
    put(opened(tmp_path), 1, 2, 3, 4)
    (path,) = files(tmp_path)
    return path, path.read_bytes()


def mended(folder: Path, *numbers: int) -> None:
    """What is not found can be appended, and then all is found, by others too."""
    store = opened(folder)
    lost = set(numbers) - set(found_in(store, *numbers))
    put(store, *lost)
    assert found_in(store, *numbers) == list(numbers)
    assert found_in(opened(folder), *numbers) == list(numbers)


def test_every_flipped_byte_loses_its_record_alone(tmp_path: Path, small: Any) -> None:
    path, content = small
    for place in range(len(content)):
        for bit in (0x01, 0xFF):
            damaged = bytearray(content)
            damaged[place] ^= bit
            path.write_bytes(damaged)
            found = found_in(opened(tmp_path), 1, 2, 3, 4)
            if place < HEADER_BYTES:
                assert found == []
            else:
                lost = 1 + (place - HEADER_BYTES) // RECORD
                assert found == [number for number in (1, 2, 3, 4) if number != lost]
        if place % 16 == 0:
            mended(tmp_path, 1, 2, 3, 4)
        for other in files(tmp_path):
            if other != path:
                other.unlink()


def test_a_byte_that_flips_while_it_is_open(tmp_path: Path, small: Any) -> None:
    path, content = small
    store = opened(tmp_path)
    assert found_in(store, 1, 2, 3, 4) == [1, 2, 3, 4]
    damaged = bytearray(content)
    damaged[HEADER_BYTES + RECORD + 70] ^= 4
    path.write_bytes(damaged)
    assert found_in(store, 1, 2, 3, 4) == [1, 3, 4]
    assert store.missing(keys_of(1, 2)) == [1]
    put(store, 2)
    assert found_in(store, 1, 2, 3, 4) == [1, 2, 3, 4]
    assert found_in(opened(tmp_path), 2) == [2]


def test_every_length_it_may_be_cut_to(tmp_path: Path, small: Any) -> None:
    path, content = small
    for length in range(len(content)):
        path.write_bytes(content[:length])
        whole = max(0, (length - HEADER_BYTES) // RECORD)
        assert found_in(opened(tmp_path), 1, 2, 3, 4) == [1, 2, 3, 4][:whole]
        store = opened(tmp_path)
        put(store, 5)  # behind what is whole: the next writer passes over what is torn
        assert found_in(store, 1, 2, 3, 4, 5) == [*[1, 2, 3, 4][:whole], 5]
        assert found_in(opened(tmp_path), 1, 2, 3, 4, 5) == [*[1, 2, 3, 4][:whole], 5]
        if length >= HEADER_BYTES:
            assert path.stat().st_size == HEADER_BYTES + (whole + 1) * RECORD
        for other in files(tmp_path):
            if other != path:
                other.unlink()


def test_cut_short_while_it_is_open(tmp_path: Path, small: Any) -> None:
    path, _ = small
    store = opened(tmp_path)
    os.truncate(path, HEADER_BYTES + 2 * RECORD + 5)
    assert found_in(store, 1, 2, 3, 4) == [1, 2]
    put(store, 3, 6)
    assert found_in(store, 1, 2, 3, 6) == [1, 2, 3, 6]


def test_bytes_that_strangers_wrote(tmp_path: Path, small: Any) -> None:
    path, content = small
    header, records = content[:HEADER_BYTES], content[HEADER_BYTES:]
    huge = b"\xff" * 8
    for hostile in (
        b"",
        huge * 8,
        header[:-16] + huge + huge,
        b"tlcorefe" + (99).to_bytes(8, "little") + header[16:],  # another version
        header[:56] + huge,
        header + records[RECORD:] + b"\0" * 1000,
        header + b"\0" * 10_000,
        header + records[:RECORD] * 50,
        header + records[:64] + records[RECORD + 64 : 2 * RECORD],  # a key with others' values
        np.random.RandomState(0).bytes(5000),
    ):
        path.write_bytes(hostile)
        found_in(opened(tmp_path), 1, 2, 3, 4)
        mended(tmp_path, 1, 2, 3, 4)
        for other in files(tmp_path)[1:]:
            other.unlink()


def test_a_file_without_end_is_not_walked_through(tmp_path: Path, small: Any) -> None:
    path, _ = small
    os.truncate(path, 1 << 40)  # of holes
    store = opened(tmp_path)
    most = (segments.SEGMENT_BYTES - HEADER_BYTES) // RECORD
    assert store._indexed[0][1] == most
    assert found_in(store, 1, 4) == [1, 4]


def test_things_that_are_no_segments(tmp_path: Path) -> None:
    put(opened(tmp_path), 1)
    (path,) = files(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    for make in (
        lambda: path.symlink_to(elsewhere),
        lambda: os.mkfifo(path),
        lambda: path.mkdir(),
        lambda: path.symlink_to(path),
    ):
        make()
        assert found_in(opened(tmp_path), 1) == []
        mended(tmp_path, 1, 2)
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for other in files(tmp_path):
            other.unlink()
    assert elsewhere.stat().st_size == HEADER_BYTES + RECORD


def test_a_store_behind_a_link_is_none(tmp_path: Path) -> None:
    folder, other = tmp_path / "cache", tmp_path / "other"
    folder.mkdir()
    put(opened(other_made(other)), 1)
    (folder / PRINT.hex()).symlink_to(other / PRINT.hex())
    store = opened(folder)
    assert found_in(store, 1) == []
    with pytest.raises(NotADirectoryError):
        put(store, 2)
    assert found_in(opened(other), 1, 2) == [1]


def other_made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("place", ["lock", PRINT.hex()])
def test_a_link_where_files_are_made(tmp_path: Path, place: str) -> None:
    folder, victim = other_made(tmp_path / "cache"), tmp_path / "victim"
    victim.write_bytes(b"precious")
    (folder / place).symlink_to(victim)
    with pytest.raises(OSError):
        put(opened(folder), 1)
    assert victim.read_bytes() == b"precious"


def test_the_last_name_there_is(tmp_path: Path) -> None:
    put(opened(tmp_path), 1)
    (path,) = files(tmp_path)
    (path.parent / ("f" * 16 + ".features")).write_bytes(b"full")
    with pytest.raises(NoRoomError):
        put(opened(tmp_path), 2)
    assert found_in(opened(tmp_path), 1, 2) == [1]


def test_another_file_of_the_same_name(tmp_path: Path) -> None:
    reader = opened(tmp_path)
    put(reader, 1, 2, 3)
    (path,) = files(tmp_path)
    path.rename(tmp_path / "elsewhere")  # still there: its inode is not given to another
    put(opened(tmp_path), 4, 5, 6, 7)
    reader.begin()
    assert found_in(reader, *range(1, 8)) == [4, 5, 6, 7]


# --- a limit of size ------------------------------------------------------------------------------


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


# Eight segments of four records each.
LIMIT = 8 * (HEADER_BYTES + 4 * RECORD)


def test_segments_of_use_longest_ago_go_first(tmp_path: Path) -> None:
    for number in range(8):  # every call fills a segment
        put(opened(tmp_path, LIMIT), *range(4 * number, 4 * number + 4))
    assert len(files(tmp_path)) == 8
    for age, path in enumerate(files(tmp_path)):
        os.utime(path, ns=(10**18 + age, 10**18 + age))
    assert found_in(opened(tmp_path, LIMIT), 0, 1, 9) == [0, 1, 9]  # of use again: 0 and 2
    put(opened(tmp_path, LIMIT), 100)
    store = opened(tmp_path, LIMIT)
    assert found_in(store, *range(32)) == [0, 1, 2, 3, *range(8, 32)]
    for age, path in enumerate(files(tmp_path)):
        os.utime(path, ns=(10**18 - age, 10**18 - age))  # now the last ones
    store = opened(tmp_path, LIMIT)
    put(store, 101, 102, 103, 104)
    assert total(tmp_path) <= LIMIT
    assert found_in(opened(tmp_path, LIMIT), *range(32)) == [0, 1, 2, 3, *range(8, 28)]


def test_stores_share_one_limit(tmp_path: Path) -> None:
    old = hashlib.sha256(b"old weights").digest()
    put(opened(tmp_path, LIMIT, old), *range(20))
    store = opened(tmp_path, LIMIT)
    for number in range(40):
        with contextlib.suppress(NoRoomError):
            put(store, number)
        assert total(tmp_path) <= LIMIT
    assert not (tmp_path / old.hex()).exists()
    assert found_in(store, *range(40)) == list(range(32))  # what is in use is not pushed out
    with pytest.raises(NoRoomError):
        put(store, 50)
    store.begin()
    put(store, 50)
    assert found_in(store, 50) == [50]


def test_nothing_but_segments_is_removed(tmp_path: Path) -> None:
    mine = tmp_path / "0.features"
    beside = tmp_path / PRINT.hex() / "notes.txt"
    beside.parent.mkdir()
    for path in (mine, beside):
        path.write_bytes(b"x" * LIMIT)
    outside = other_made(tmp_path / "outside")
    kept = outside / f"{7:016x}.features"
    kept.write_bytes(b"x" * LIMIT)
    (tmp_path / ("a" * 64)).symlink_to(outside)
    odd = tmp_path / ("b" * 64) / f"{3:016x}.features"
    odd.mkdir(parents=True)
    os.utime(odd, (0, 0))
    for number in range(0, 80, 4):
        put(opened(tmp_path, LIMIT), *range(number, number + 4))
    assert mine.exists() and beside.exists() and kept.exists() and odd.exists()


@pytest.mark.parametrize("most", [0, 1, HEADER_BYTES + RECORD - 1])
def test_a_limit_below_one_record(tmp_path: Path, most: int) -> None:
    with pytest.raises(NoRoomError):
        put(opened(tmp_path, most), 1)
    assert files(tmp_path) == []
    put(opened(tmp_path, HEADER_BYTES + RECORD), 1)
    assert found_in(opened(tmp_path, HEADER_BYTES + RECORD), 1) == [1]


def test_evicted_while_it_is_read(tmp_path: Path) -> None:
    reader = opened(tmp_path, LIMIT)
    put(reader, *range(32))
    for number in range(100, 132, 4):
        put(opened(tmp_path, LIMIT), *range(number, number + 4))
        found_in(reader, *range(32))
    assert found_in(reader, *range(32)) == []
    reader.begin()
    put(reader, 3)
    assert found_in(reader, 3) == [3]


# --- a disk that is full --------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Writes fail with an error once so many bytes are written."""

    def prepare(bytes_left: int, code: int) -> None:
        left, write = [bytes_left], os.write

        def fails(descriptor: int, content: memoryview) -> int:
            part = content[: left[0]]
            if not part:
                raise OSError(code, os.strerror(code))
            written = write(descriptor, part)
            left[0] -= written
            return written

        monkeypatch.setattr(os, "write", fails)

    return prepare


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up(
    tmp_path: Path, failing: Any, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened(tmp_path), 1, 2)
    (path,) = files(tmp_path)
    before = path.read_bytes()
    for left in range(2 * RECORD):
        failing(left, code)
        store = opened(tmp_path)
        with pytest.raises(OSError) as caught:
            put(store, 3, 4)
        assert caught.value.errno == code
        monkeypatch.undo()
        assert path.read_bytes() == before
        assert found_in(store, 1, 2, 3, 4) == [1, 2]
    put(store, 3, 4)
    assert found_in(store, 1, 2, 3, 4) == [1, 2, 3, 4]


def test_a_new_segment_that_cannot_be_written(tmp_path: Path, failing: Any) -> None:
    failing(HEADER_BYTES + 3, errno.ENOSPC)
    with pytest.raises(OSError):
        put(opened(tmp_path), 1)
    assert files(tmp_path) == []


def test_what_cannot_even_be_taken_back(
    tmp_path: Path, failing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened(tmp_path), 1)

    def refuses(descriptor: int, length: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    failing(RECORD + 20, errno.EIO)
    monkeypatch.setattr(os, "ftruncate", refuses)
    store = opened(tmp_path)
    with pytest.raises(OSError):
        put(store, 2, 3)
    monkeypatch.undo()
    assert found_in(opened(tmp_path), 1, 2, 3) == [1, 2]
    mended(tmp_path, 1, 2, 3)


def test_a_limit_of_the_system(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the kernel writes what fits and refuses the rest."""
    put(opened(tmp_path), 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HEADER_BYTES + 2 * RECORD + 7, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            put(opened(tmp_path), 2, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(tmp_path)[0].stat().st_size == HEADER_BYTES + RECORD
    mended(tmp_path, 1, 2, 3)


def test_ctrl_c_in_the_middle_of_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(opened(tmp_path), 1)
    write = os.write

    def interrupted(descriptor: int, content: memoryview) -> int:
        write(descriptor, content[:9])
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    store = opened(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        put(store, 2)
    monkeypatch.undo()
    assert files(tmp_path)[0].stat().st_size == HEADER_BYTES + RECORD
    put(store, 2)  # no lock is left
    assert found_in(store, 1, 2) == [1, 2]


# --- others at the same time ----------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from test_segments import *

folder, first, last, step, most = Path(sys.argv[1]), *map(int, sys.argv[2:])
store = opened(folder, most)
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, last, step):
    some = range(number, min(number + step, last))
    lost = set(some) - set(found_in(store, *some))
    try:
        put(store, *lost)
    except NoRoomError:
        store.begin()
    found_in(store, *range(max(first, number - 30), number + step))
"""


def writers(folder: Path, *arguments: Sequence[int]) -> None:
    """Processes that write at the same time; each must end well."""
    env = children.uncounted()
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), env["PYTHONPATH"]])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), *map(str, one)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        for one in arguments
    ]
    for one in started:
        assert one.stdout is not None and one.stdin is not None
        assert one.stdout.readline() == "ready\n", one.communicate()[1]
    for one in started:
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in started:
        _, said = one.communicate()
        assert one.returncode == 0, said


@pytest.mark.parametrize("start", [0, 75, 150])  # the same pictures, half of them, others
def test_two_processes_at_once(tmp_path: Path, start: int) -> None:
    writers(tmp_path, (0, 150, 3, PLENTY), (start, start + 150, 2, PLENTY))
    numbers = range(start + 150)
    assert found_in(opened(tmp_path), *numbers) == list(numbers)
    assert total(tmp_path) == HEADER_BYTES + len(numbers) * RECORD  # nothing twice, nothing torn


def test_two_processes_that_push_each_other_out(tmp_path: Path) -> None:
    writers(tmp_path, (0, 200, 2, LIMIT), (100, 300, 3, LIMIT))
    assert total(tmp_path) <= LIMIT
    found_in(opened(tmp_path), *range(300))


def test_threads_share_a_store(tmp_path: Path) -> None:
    store = opened(tmp_path)
    failed: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for number in range(start, start + 40):
                put(store, number)
                found_in(store, *range(start, number + 1))
        except BaseException as err:
            failed.append(err)

    threads = [threading.Thread(target=work, args=(20 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert found_in(opened(tmp_path), *range(100)) == list(range(100))
    assert total(tmp_path) == HEADER_BYTES + 100 * RECORD


@pytest.fixture
def child() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Runs something in a forked child, which must end well within a minute."""

    def run(work: Callable[[], None]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, on purpose
            process = os.fork()
        if process == 0:
            code = 1
            try:
                signal.alarm(60)
                work()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(process, 0)[1] == 0

    yield run


def test_forked_while_another_thread_writes(
    tmp_path: Path, child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    put(store, 1)
    writing, forked, write = threading.Event(), threading.Event(), os.write

    def waits(descriptor: int, content: memoryview) -> int:
        writing.set()
        assert forked.wait(60)
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", waits)
    thread = threading.Thread(target=put, args=(store, 2))
    thread.start()
    assert writing.wait(60)
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(segments, "LOCK_SECONDS", 0.05)

    def work() -> None:  # the parent holds both locks now
        assert found_in(store, 1) == [1]
        assert segments._locks_held == set()
        with pytest.raises(TimeoutError):
            put(store, 3)

    child(work)
    forked.set()
    thread.join()
    child(lambda: put(store, 4))
    put(store, 5)
    assert found_in(opened(tmp_path), 1, 2, 3, 4, 5) == [1, 2, 4, 5]


def test_a_lock_that_nobody_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "LOCK_SECONDS", 0.05)
    put(opened(tmp_path), 1)
    with segments._locked(tmp_path), pytest.raises(TimeoutError, match="keeps it locked"):
        put(opened(tmp_path), 2)
    put(opened(tmp_path), 3)
    assert found_in(opened(tmp_path), 1, 2, 3) == [1, 3]


def test_a_lock_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    put(opened(tmp_path), 1)
    with segments._opened(tmp_path / "lock", os.O_RDWR) as old:
        assert segments._is_still(old, tmp_path / "lock")
        (tmp_path / "lock").unlink()
        assert not segments._is_still(old, tmp_path / "lock")
        with segments._locked(tmp_path):  # makes another
            assert not segments._is_still(old, tmp_path / "lock")
    for path in files(tmp_path):
        path.unlink()
    (tmp_path / PRINT.hex()).rmdir()
    put(opened(tmp_path), 2)
    assert found_in(opened(tmp_path), 1, 2) == [2]


def test_a_lock_that_is_removed_while_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, removed = fcntl.flock, []

    def late(descriptor: int, kind: int) -> None:
        flock(descriptor, kind)
        if not removed:
            removed.append(descriptor)
            (tmp_path / "lock").unlink()

    monkeypatch.setattr(fcntl, "flock", late)
    monkeypatch.setattr(segments, "LOCK_SECONDS", 0.05)
    with segments._locked(tmp_path), pytest.raises(TimeoutError), segments._locked(tmp_path):
        pass
    assert removed


def test_descriptors_are_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        store = opened(tmp_path, LIMIT)
        with contextlib.suppress(NoRoomError):
            put(store, *range(number, number + 7))
        found_in(store, *range(40))
    assert len(os.listdir("/proc/self/fd")) == before


def test_whatever_is_done_to_the_files(tmp_path: Path) -> None:
    """A sample of damage of all kinds, between writers; tests/fuzz has more for readers."""
    random = Random(3)
    store = opened(tmp_path, 2 * LIMIT)
    for turn in range(400):
        some = random.sample(range(60), random.randrange(1, 9))
        lost = set(some) - set(found_in(store, *some))
        with contextlib.suppress(NoRoomError):
            put(store, *lost)
        all_files = files(tmp_path)
        path = random.choice(all_files) if all_files else None
        if path is not None and random.random() < 0.5:
            content = bytearray(path.read_bytes())
            place = random.randrange(len(content)) if content else 0
            kind = random.randrange(5)
            if kind == 0 and content:
                content[place] ^= 1 << random.randrange(8)
            elif kind == 1:
                del content[place:]
            elif kind == 2:
                content[place:place] = bytes(random.randrange(1, 200))
            elif kind == 3:
                path.unlink()
            else:
                other = random.choice(all_files).read_bytes()
                content[place : place + 90] = other[place : place + 90]
            if kind != 3:
                path.write_bytes(content)
        if turn % 7 == 0:
            store = opened(tmp_path, 2 * LIMIT)
        elif turn % 5 == 0:
            store.begin()
    assert total(tmp_path) > 0
