"""Predictions in worker processes equal the parent's, however the workers came to be."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import worker_tasks
from soak import workload

from tlcore.models import Sequential

BATCHES = 4
HANGS = 120  # seconds after which workers are taken for dead


@pytest.fixture(scope="module")
def model() -> Sequential:
    return workload.classifier()


@pytest.fixture(scope="module")
def path(model: Sequential, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "model.h5"
    model.save(path)
    return str(path)


@pytest.fixture(scope="module")
def expected(model: Sequential) -> list[np.ndarray]:
    return [model.predict(workload.pictures(3, seed), verbose=0) for seed in range(BATCHES)]


@pytest.fixture
def forking() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, on purpose
        yield


METHODS = ("fork", "spawn", "forkserver")


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_of_processes(
    method: str, path: str, expected: list[np.ndarray], forking: None
) -> None:
    with multiprocessing.get_context(method).Pool(2) as pool:
        given = pool.starmap_async(
            worker_tasks.predict, [(path, seed) for seed in range(BATCHES)]
        ).get(HANGS)
        histories = pool.map_async(worker_tasks.train, range(2)).get(HANGS)
    assert all(np.array_equal(*pair) for pair in zip(given, expected, strict=True))
    assert histories[0] == histories[1] == worker_tasks.train(0)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_executor_of_processes_that_is_sent_the_model(
    method: str, model: Sequential, expected: list[np.ndarray], forking: None
) -> None:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        given = list(pool.map(worker_tasks.predict_sent, [model] * BATCHES, range(BATCHES)))
    assert all(np.array_equal(*pair) for pair in zip(given, expected, strict=True))


def test_a_model_that_forked_workers_inherit(
    model: Sequential, expected: list[np.ndarray], forking: None
) -> None:
    worker_tasks.inherited = model
    with multiprocessing.get_context("fork").Pool(2) as pool:
        given = pool.map_async(worker_tasks.predict_inherited, range(BATCHES)).get(HANGS)
    assert all(np.array_equal(*pair) for pair in zip(given, expected, strict=True))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(backend: str, model: Sequential, expected: list[np.ndarray]) -> None:
    import joblib

    given = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(worker_tasks.predict_sent)(model, seed) for seed in range(BATCHES)
    )
    if backend == "loky":
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown()  # its workers would outlive this test
    assert all(np.array_equal(*pair) for pair in zip(given, expected, strict=True))


# --- the end of the process -----------------------------------------------------------------------

BEGINNING = """
import os, sys, threading, time, tlcore
sys.path.insert(0, {folder!r})
import worker_tasks
from soak import workload
model = workload.classifier()
x = workload.pictures(8)
model.predict(x, verbose=0)
running = threading.Event()
def forever():
    while True:
        model.predict(x, verbose=0)
        running.set()
def busy(count=4):
    for _ in range(count):
        threading.Thread(target=forever, daemon=True).start()
    running.wait()
"""

ENDINGS = {
    "returns": ("pass", 0),
    "returns while daemon threads predict": ("busy()", 0),
    "sys.exit": ("busy(); sys.exit(3)", 3),
    "raises": ("busy(); raise SystemExit(4)", 4),
    "fails": ("busy(); 1 / 0", 1),
    "os._exit": ("busy(); os._exit(5)", 5),
    "ends in a thread": (
        "busy(); t = threading.Thread(target=model.predict, args=(x,)); t.start(); sys.exit(6)",
        6,
    ),
    "predicts in an exit handler": (
        "import atexit; atexit.register(model.predict, x, verbose=0); busy()",
        0,
    ),
    "predicts in a finalizer": (
        "class Last:\n    def __del__(self, model=model, x=x): model(x)\nsys.last = Last(); busy()",
        0,
    ),
    "reads pictures": (
        "import tempfile; from pathlib import Path\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    workload.picture_folder(Path(folder))\n"
        "    next(workload.flow(folder))\n"
        "busy()",
        0,
    ),
    "as a forked child": (
        "busy(); import warnings; warnings.simplefilter('ignore')\n"
        "pid = os.fork()\n"
        "if pid == 0: model.predict(x, verbose=0); sys.exit(7)\n"
        "os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
        7,
    ),
}


@pytest.mark.parametrize(("ending", "code"), ENDINGS.values(), ids=ENDINGS)
def test_a_process_ends_when_it_should(ending: str, code: int) -> None:
    program = BEGINNING.format(folder=str(Path(__file__).parent)) + ending
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Fatal" not in done.stderr


# --- what the system grants -----------------------------------------------------------------------


def asked(code: str, **options: Any) -> str:
    """What a fresh Python prints that runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


COUNT = "import tlcore; print(tlcore.get_num_threads())"


def test_affinity_is_obeyed() -> None:
    cpu = min(os.sched_getaffinity(0))
    assert asked(f"import os; os.sched_setaffinity(0, [{cpu}])\n{COUNT}") == "1"


def test_a_forked_worker_obeys_its_own_affinity_unless_told_otherwise(forking: None) -> None:
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("this process may use one CPU only")
    code = (
        "import os, sys, tlcore, warnings; warnings.simplefilter('ignore')\n"
        "before = tlcore.get_num_threads()\n"
        "{told}\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        f"    os.sched_setaffinity(0, [{min(cpus)}])\n"
        "    print(before, tlcore.get_num_threads(), flush=True); os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
    )
    before, within = asked(code.format(told="pass")).split()
    assert int(before) > 1 and within == "1"
    assert asked(code.format(told="tlcore.set_num_threads(2)")).split()[1] == "2"


def group_of(version: int) -> Path:
    """A fresh control group of this version, below the root, to put a process into."""
    root = Path("/sys/fs/cgroup/cpu" if version == 1 else "/sys/fs/cgroup")
    needed = root / ("cpu.cfs_period_us" if version == 1 else "cgroup.subtree_control")
    if not needed.exists():
        pytest.skip(f"no control groups of version {version} for CPUs at {root}")
    if version == 2 and "cpu" not in needed.read_text().split():
        pytest.skip(f"{root} does not pass the controller cpu on")
    group = root / f"tlcore-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group may be made below {root}: {error}")
    return group


@pytest.mark.parametrize("version", [1, 2])
def test_quotas_of_control_groups_are_obeyed(version: int) -> None:
    group = group_of(version)
    inner = group / "inner"
    try:
        inner.mkdir()
        if version == 1:
            (group / "cpu.cfs_quota_us").write_text("100000")  # of a period of 100,000: one CPU
        else:
            (group / "cgroup.subtree_control").write_text("+cpu")
            (group / "cpu.max").write_text("100000 100000")
        enter = f"open({str(inner / 'cgroup.procs')!r}, 'w').write('0')\n"
        assert asked(enter + COUNT) == "1"
    finally:
        for made in (inner, group):
            if made.exists():
                made.rmdir()


NOBODY = 65534
REFUSED = """
import os, resource, tlcore
import worker_tasks
from soak import workload
model = workload.classifier(compiled=False)
x = workload.pictures(8)
tlcore.set_num_threads(4)
if os.getuid() == 0:
    os.setresuid({nobody}, {nobody}, {nobody})  # no limit holds root
tasks = len(os.listdir("/proc/self/task"))
resource.setrlimit(resource.RLIMIT_NPROC, ({limit}, {limit}))
try:
    model.predict(x, verbose=0)
except OSError as error:
    print(error)
else:
    print("threads", len(os.listdir("/proc/self/task")) - tasks)
"""


def test_a_refused_thread_is_a_clear_error() -> None:
    said = asked(REFUSED.format(nobody=NOBODY, limit=0), env=with_tests())
    assert said.startswith("the system refused to start a thread (error 11)")


def test_fewer_threads_than_wanted_work() -> None:
    if os.getuid() != 0 or processes_of(NOBODY):
        pytest.skip("needs root, and a user without other processes")
    said = asked(REFUSED.format(nobody=NOBODY, limit="tasks + 2"), env=with_tests())
    assert said == "threads 2"


def processes_of(user: int) -> int:
    return sum(1 for p in Path("/proc").iterdir() if p.name.isdigit() and p.stat().st_uid == user)


def with_tests() -> dict[str, str]:
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    # OpenBLAS has threads of its own, which would count
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
