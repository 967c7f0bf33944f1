"""What interrupts a program: Ctrl-C, a kill, a full or read-only disk, pictures that go away.

The random moments are those of tests/soak/interruptions.py, which has a long form.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import children
import numpy as np
import pytest
from soak import interruptions as soak

import tlcore
from tlcore import export, saving, weights
from tlcore.callbacks import Callback, ModelCheckpoint
from tlcore.preprocessing.image import _reading, save_img
from tlcore.saving import _files
from tlcore.training import progress
from tlcore.utils.interrupts import held_back

SAMPLE = {"fit": 8, "predict": 3, "save": 10, "convert": 8, "download": 4, "kills": 4}


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the campaign sets for its whole process is put back."""
    monkeypatch.setattr(progress, "QUIET_SECONDS", progress.QUIET_SECONDS)
    for name in ("TLCORE_WEIGHTS", "KERAS_HOME"):
        monkeypatch.setenv(name, "/nowhere")


@pytest.mark.parametrize("kind", SAMPLE)
def test_at_random_moments(kind: str, tmp_path: Path) -> None:
    outcomes = soak.run(kind, tmp_path, SAMPLE[kind], seed=11)
    assert sum(outcomes.values()) == SAMPLE[kind] * (len(soak.KILLED) if kind == "kills" else 1)


# --- Ctrl-C ---------------------------------------------------------------------------------------


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, even where a shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupts(Callback):
    """Ctrl-C in a chosen hook."""

    def __init__(self, hook: str, at: int = 0) -> None:
        setattr(self, hook, self.strike)
        self.at = at

    def strike(self, number: Any = None, logs: Any = None) -> None:
        if number == self.at or not isinstance(number, int):  # some hooks have logs alone
            signal.raise_signal(signal.SIGINT)


HOOKS = ["on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end"]
HOOKS += ["on_test_begin", "on_test_batch_end", "on_test_end", "on_epoch_end", "on_train_end"]


@pytest.mark.parametrize("hook", HOOKS)
def test_ctrl_c_in_a_hook_of_fit(hook: str, ctrl_c: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    model = soak.model()
    x, y = np.random.RandomState(0).rand(8, 16, 16, 3), np.eye(2)[[0, 1] * 4]
    screen = soak.Terminal()
    with contextlib.redirect_stdout(screen), pytest.raises(KeyboardInterrupt):
        model.fit(
            x, y, batch_size=4, epochs=2, validation_data=(x, y), callbacks=[Interrupts(hook)]
        )
    assert not screen.getvalue() or screen.getvalue().endswith("\n")
    with contextlib.redirect_stdout(screen):
        history = model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y))
        model.compile(optimizer="sgd", loss="categorical_crossentropy")  # no lock is held
    assert history.epoch == [0, 1]
    assert model.history is history


@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end"])
def test_ctrl_c_leaves_the_last_finished_batch(hook: str, ctrl_c: None, tmp_path: Path) -> None:
    """Its weights, not their averages; and what is saved then trains on as if nothing happened."""
    x, y = np.random.RandomState(0).rand(20, 16, 16, 3), np.eye(2)[[0, 1] * 10]
    done = 3 if hook == "on_train_batch_begin" else 4

    def trained(batches: int) -> tlcore.models.Model:
        tlcore.utils.set_random_seed(1)
        model = soak.model()
        optimizer = tlcore.optimizers.Adam(
            use_ema=True, ema_overwrite_frequency=2, gradient_accumulation_steps=3
        )
        model.compile(optimizer, "categorical_crossentropy")
        for i in range(batches):
            model.train_on_batch(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4])
        return model

    def assert_alike(one: tlcore.models.Model, other: tlcore.models.Model) -> None:
        assert one.optimizer_state()[0] == other.optimizer_state()[0]
        assert one.optimizer is not None and other.optimizer is not None
        assert one.optimizer.iterations == other.optimizer.iterations
        for ours, theirs in zip(
            [*one.get_weights(), *one.optimizer_state()[1]],
            [*other.get_weights(), *other.optimizer_state()[1]],
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)

    model, expected = trained(0), trained(done)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[Interrupts(hook, at=3)])
    assert_alike(model, expected)
    model.save(tmp_path / "m.h5")
    again = saving.load_model(tmp_path / "m.h5")
    for one in (model, again, expected):
        one.fit(x, y, batch_size=4, shuffle=False, verbose=0)
        assert_alike(one, model)


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_bar_that_is_not_finished_ends_its_line(
    verb: str, ctrl_c: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    model = soak.model()
    x, y = np.random.RandomState(0).rand(8, 16, 16, 3), np.eye(2)[[0, 1] * 4]
    arguments = {"x": x, "y": y} if verb == "evaluate" else {"x": x}
    hook = "on_test_batch_begin" if verb == "evaluate" else "on_predict_batch_begin"
    screen = soak.Terminal()
    with contextlib.redirect_stdout(screen), pytest.raises(KeyboardInterrupt):
        getattr(model, verb)(**arguments, batch_size=2, callbacks=[Interrupts(hook, at=2)])
    text = screen.getvalue()
    assert "1/4" in text
    assert text.endswith("\n")
    assert text.count("\n") == 1


def test_a_finished_bar_gets_no_second_line_end() -> None:
    screen = soak.Terminal()
    with contextlib.redirect_stdout(screen):
        bar = progress.Progbar(progress.Screen(0.0), progress.Mode.BAR, 2)
        bar.update(1, {})
        bar.finish(2, {})
        bar.leave()
    assert screen.getvalue().count("\n") == 1


def test_ctrl_c_while_the_crew_starts_leaves_no_thread(
    ctrl_c: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that its pool does not know of would keep the interpreter from ending."""
    _reading.submit(int).result()
    monkeypatch.setattr(_reading, "_crew_size", 0)  # so that the next one is made anew
    start = threading.Thread.start

    def started_and_struck(thread: threading.Thread) -> None:
        start(thread)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", started_and_struck)
        with pytest.raises(KeyboardInterrupt):
            _reading.submit(int)
    mine = [one for one in threading.enumerate() if one.name.startswith("tlcore-pictures")]
    for thread in mine:
        thread.join(30)
        assert not thread.is_alive()
    assert _reading.submit(int, "3").result(30) == 3


def test_ctrl_c_that_was_held_back_comes_at_the_end(ctrl_c: None) -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyError), held_back():
        raise KeyError
    for handler in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGINT, handler)
        with held_back():
            assert signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def elsewhere() -> None:
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    seen: list[object] = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_ctrl_c_during_a_save_is_not_lost(ctrl_c: None, tmp_path: Path) -> None:
    """The callbacks of h5py's weak references swallow what is raised in them."""
    model = soak.model()
    struck = []

    def strike(frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and (code.co_name, code.co_filename) == ("remove", weakref.__file__):
            if not struck:
                signal.raise_signal(signal.SIGINT)
            struck.append(True)

    sys.setprofile(strike)
    try:
        model.save(tmp_path / "m.h5")
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    finally:
        sys.setprofile(None)
    if not struck:
        pytest.skip("this h5py is never in such a callback")
    assert interrupted
    assert list(tmp_path.iterdir()) == []
    model.save(tmp_path / "m.h5")


def test_ctrl_c_in_a_notebook() -> None:
    manager_of = pytest.importorskip("jupyter_client.manager")
    manager, client = manager_of.start_new_kernel(kernel_name="python3")
    try:

        def run(code: str, interrupt: bool = False) -> dict[str, Any]:
            number = client.execute(code, stop_on_error=False)
            if interrupt:
                wait_for_text(client, "ready")
                time.sleep(0.3)
                manager.interrupt_kernel()
            while True:
                reply = client.get_shell_msg(timeout=60)
                if reply["parent_header"]["msg_id"] == number:
                    return reply["content"]

        path = os.pathsep.join(sys.path)
        run(
            f"import sys; sys.path[:0] = {path.split(os.pathsep)!r}\n"
            "import numpy as np\n"
            "from soak.interruptions import model\n"
            "m, x = model(), np.zeros((2, 16, 16, 3), 'float32')\n"
            "many = np.broadcast_to(x[:1], (400_000, 16, 16, 3))"
        )
        done = run("print('ready'); m.predict(many, batch_size=100_000)", interrupt=True)
        assert done["ename"] == "KeyboardInterrupt"
        assert run("assert m.predict(x).shape == (2, 2)")["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def wait_for_text(client: Any, text: str) -> None:
    while True:
        message = client.get_iopub_msg(timeout=60)
        if text in message["content"].get("text", ""):
            return


# --- leftovers of killed processes ----------------------------------------------------------------


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has written nowhere yet."""
    monkeypatch.setattr(_files, "_swept", set())


def leftover(folder: Path, digits: str = "0123456789abcdef", age: float = 100) -> Path:
    path = folder / f".tlcore-{digits}.tmp"
    path.write_bytes(b"half of it")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_what_a_killed_process_left_is_removed_once(tmp_path: Path, swept: None) -> None:
    left = leftover(tmp_path)
    _files.write_file(tmp_path / "x", b"1")
    assert not left.exists()
    left = leftover(tmp_path)
    _files.write_file(tmp_path / "x", b"2")
    assert left.exists()  # the folder is not listed for every file


def test_nothing_else_is_removed(tmp_path: Path, swept: None) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"3")
    os.utime(elsewhere, (0, 0))
    link = tmp_path / ".tlcore-00000000000000ff.tmp"
    link.symlink_to(elsewhere)
    folder = tmp_path / ".tlcore-00000000000000fe.tmp"
    folder.mkdir()
    os.utime(folder, (0, 0))
    pipe = tmp_path / ".tlcore-00000000000000fd.tmp"
    os.mkfifo(pipe)
    os.utime(pipe, (0, 0))
    kept = [
        *(leftover(tmp_path, digits) for digits in ("0", "0123456789ABCDEF", "0123456789abcdef0")),
        leftover(tmp_path, "0123456789abcde0", age=10),  # perhaps of a process that still writes
        *(elsewhere, link, folder, pipe),
    ]
    _files.write_file(tmp_path / "x", b"1")
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "x"])


def test_what_another_process_is_writing_is_not_removed(tmp_path: Path, swept: None) -> None:
    """However long that takes: it has a lock."""
    program = (
        "import os, sys, time; from tlcore.saving import _files\n"
        "def parts():\n"
        "    yield b'1'\n"
        "    print('writing', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    yield b'2'\n"
        "_files.write_file(sys.argv[1], parts())\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "slow")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=children.uncounted(),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"writing\n"
    (beside,) = tmp_path.iterdir()
    os.utime(beside, (0, 0))
    _files.write_file(tmp_path / "x", b"1")
    assert beside.exists()
    child.communicate(b"\n", timeout=60)
    assert child.returncode == 0
    assert (tmp_path / "slow").read_bytes() == b"12"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slow", "x"]


def test_a_file_is_not_locked_once_it_is_there(tmp_path: Path) -> None:
    """Not even by a child that was forked in the middle: h5py could not open it to write."""
    pids: list[int] = []
    gate = os.pipe()

    def parts() -> Iterator[bytes]:
        yield b"1"
        pids.append(os.fork())
        if not pids[0]:
            os.read(gate[0], 1)
            os._exit(0)
        yield b"2"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        _files.write_file(tmp_path / "x", parts())  # type: ignore[arg-type]
    try:
        with open(tmp_path / "x", "rb") as file:
            assert _files._lock(file.fileno(), 2)  # LOCK_EX
    finally:
        os.write(gate[1], b"1")
        os.waitpid(pids[0], 0)
        for end in gate:
            os.close(end)


# --- full and read-only disks ---------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system in memory."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount")
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def large() -> Any:
    return soak.model(60_000)


def checkpoint(folder: Path) -> None:
    x, y = np.zeros((2, 16, 16, 3)), np.eye(2)
    large().fit(x, y, verbose=0, callbacks=[ModelCheckpoint(folder / "a.h5")])


def download(folder: Path) -> None:
    name = weights.imagenet_path(0.35, 96, False)
    assert name.parent == folder


PIXELS = np.random.RandomState(0).randint(0, 256, (600, 600, 3))
WRITERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "save": ("a.h5", lambda folder: large().save(folder / "a.h5")),
    "weights": ("a.weights.h5", lambda folder: large().save_weights(folder / "a.weights.h5")),
    "checkpoint": ("a.h5", checkpoint),
    "tflite": ("a.tflite", lambda folder: export.write_tflite(large(), folder / "a.tflite")),
    "picture": ("a.bmp", lambda folder: save_img(folder / "a.bmp", PIXELS)),
    "dataset": ("", lambda folder: tlcore.datasets.draw_sports(folder / "d", (1, 1, 7))),
    "download": (soak.NAME, download),
}


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What Keras's server would send."""
    path = tmp_path_factory.mktemp("weights") / soak.NAME
    base = tlcore.applications.MobileNetV2((96, 96, 3), alpha=0.35, include_top=False, weights=None)
    base.save_weights(path)
    return path.read_bytes()


@pytest.fixture
def server(tmp_path: Path, weights_file: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The weights come from here, into a folder `disk`."""
    with soak.server(weights_file, 0.0) as address:
        monkeypatch.setattr(weights, "_WEIGHTS_URL", address)
        monkeypatch.setattr(weights, "_cache", lambda: tmp_path / "disk")
        yield


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk(what: str, tmp_path: Path, server: None) -> None:
    name, write = WRITERS[what]
    with mounted(tmp_path / "disk", "size=160k") as disk:
        (disk / "mine").write_bytes(bytes(50_000))
        if name and what != "download":
            (disk / name).write_bytes(b"what was there before")
        with pytest.raises(OSError, match=r"No space left on device") as error:
            write(disk)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
        assert (disk / "mine").read_bytes() == bytes(50_000)
        if name and what != "download":
            assert (disk / name).read_bytes() == b"what was there before"
        assert not [path for path in disk.rglob("*") if soak.LEFTOVER.fullmatch(path.name)]
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        write(disk)


@pytest.mark.parametrize("what", WRITERS)
def test_a_read_only_disk(what: str, tmp_path: Path, server: None) -> None:
    name, write = WRITERS[what]
    with mounted(tmp_path / "disk", "size=20m") as disk:
        if name and what != "download":
            (disk / name).write_bytes(b"what was there before")
        before = sorted(disk.rglob("*"))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(OSError, match=r"(?i)read-only") as error:
            write(disk)
        assert name in str(error.value)
        del error
        gc.collect()  # what was left open would warn
        assert sorted(disk.rglob("*")) == before
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        write(disk)


def test_a_device_that_is_full() -> None:
    model = soak.model()
    with pytest.raises(OSError, match=r"it is not a regular file: '/dev/full'"):
        export.write_tflite(model, "/dev/full")
    assert os.path.exists("/dev/full")
    with (
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(OSError, match="No space left"),
    ):
        save_img(full, PIXELS, file_format="png")


FOREIGN = """
import os, sys
import numpy as np
from PIL import Image
import tlcore
from soak import interruptions as soak

folder = sys.argv[1]
model = soak.model()
flow = soak.flow(folder)
model.fit(flow, verbose=0)  # all that is imported late, and features that are kept
model.save(folder + "/../m.h5")
os.setegid(65534)
os.seteuid(65534)
try:
    {action}
except PermissionError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize(
    ("action", "names"),
    [
        ("model.save(folder + '/m.h5')", "m.h5"),
        ("next(flow)", "No permission to read picture"),
        ("model.fit(flow, verbose=0)", "No permission to read picture"),
        ("soak.flow(folder + '/a')", "a"),
    ],
    ids=["save", "batch", "fit", "folder"],
)
def test_without_permission(action: str, names: str, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    soak.draw(folder, 8)
    for path in (folder / "a", folder / "b"):
        path.chmod(0o700)
    for path in (folder, *tmp_path.parents[:2], tmp_path):
        path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN.format(action=action), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=children.uncounted(),
    )
    assert done.returncode == 0, done.stderr
    assert str(folder) in done.stdout, done.stdout
    assert names in done.stdout
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]


# --- pictures that change under a fit -------------------------------------------------------------


def vanish(path: Path) -> None:
    path.unlink()


def garbage(path: Path) -> None:
    path.write_bytes(b"no picture at all" * 50)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def bomb(path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
    import picture_files

    path.write_bytes(picture_files.png(30_000, 30_000, bytes(1000)))


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def class_gone(path: Path) -> None:
    shutil.rmtree(path.parent)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


class Harms(Callback):
    """Does something to a picture after the first batch of the second epoch."""

    def __init__(self, harm: Callable[[Path], None], path: Path) -> None:
        self.harm, self.harmed, self.epoch = harm, path, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch) == (1, 0):
            self.harm(self.harmed)


@pytest.mark.parametrize("keep", [None, False], ids=["kept", "read each time"])
@pytest.mark.parametrize(
    "harm", [vanish, garbage, half, emptied, bomb, folder_in_its_place, class_gone, pipe]
)
def test_a_picture_that_changes_under_a_fit(
    harm: Callable[[Path], None], keep: bool | None, tmp_path: Path
) -> None:
    soak.draw(tmp_path / "pictures", 16)
    shutil.copytree(tmp_path / "pictures", tmp_path / "copy")
    model = soak.model()
    path = tmp_path / "pictures" / "b" / "3.jpg"
    saver = ModelCheckpoint(tmp_path / "m.h5")
    with pytest.raises((OSError, ValueError)) as error:
        model.fit(
            soak.flow(tmp_path / "pictures"),
            epochs=4,
            verbose=0,
            keep_features=keep,
            callbacks=[saver, Harms(harm, path)],
        )
    text = str(error.value)
    assert "\n" not in text
    assert str(path.parent if harm is class_gone else path) in text
    # What was saved is whole, and the model goes on with pictures that are.
    assert tlcore.models.load_model(tmp_path / "m.h5").predict(np.zeros((1, 16, 16, 3))).shape
    shutil.rmtree(tmp_path / "pictures")
    shutil.copytree(tmp_path / "copy", tmp_path / "pictures")
    history = model.fit(soak.flow(tmp_path / "pictures"), epochs=2, verbose=0, keep_features=keep)
    assert np.isfinite(history.history["loss"]).all()


def test_errors_of_the_disk_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in `put` the disk fails, with whatever is in its way."""
    path = tmp_path / "x"
    _files.write_file(path, b"old")

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for name in ("fsync", "fchmod", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fails)
            with pytest.raises(OSError, match=r"cannot write the file: Input/output error: '.*x'"):
                _files.write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="closed"):
        save_img(closed(), PIXELS, file_format="png")


def closed() -> io.BytesIO:
    stream = io.BytesIO()
    stream.close()
    return stream
