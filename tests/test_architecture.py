"""The rules of docs/architecture.md, "Which way knowledge flows", checked on the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "csrc"

# A room may include headers of these rooms, besides the system's.
DOORS = {
    "core": {"core"},
    "dnnl": {"core", "dnnl"},
    "kernels": {"core", "image", "kernels"},
    "image": {"core", "image"},
    "python": {"core", "dnnl", "kernels", "image", "python"},
}
# csrc/image stands on these parts of the core alone.
IMAGE_MAY_USE = {"core/status.h", "core/pool.h", "core/arena.h", "core/cpu.h"}

SOURCES = sorted(path.relative_to(CSRC).as_posix() for path in CSRC.glob("*/*.[ch]"))


def code(source: str) -> str:
    """The file without its comments."""
    text = (CSRC / source).read_text(encoding="utf-8")
    comment_or_literal = r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'"""
    return re.sub(
        comment_or_literal, lambda m: " " if m[0].startswith("/") else m[0], text, flags=re.DOTALL
    )


def included(source: str) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', code(source), re.MULTILINE)


def called(source: str, *functions: str) -> list[str]:
    without_strings = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', code(source))
    return re.findall(rf"\b({'|'.join(functions)})\s*\(", without_strings)


def test_there_are_only_the_known_rooms() -> None:
    assert {source.split("/")[0] for source in SOURCES} == set(DOORS)


@pytest.mark.parametrize("source", SOURCES)
def test_includes_go_through_the_doors(source: str) -> None:
    room = source.split("/")[0]
    for header in included(source):
        if header in ("Python.h",) or header.startswith("numpy/"):
            assert room == "python", f"{source} includes {header}"
        elif re.search(r"(^|/)dnnl[\w.]*\.h(pp)?$", header) and not (CSRC / header).is_file():
            assert room == "dnnl", f"{source} includes {header}"
        elif header.split("/")[0] in DOORS:
            assert header.split("/")[0] in DOORS[room], f"{source} includes {header}"
            if room == "image" and header.startswith("core/"):
                assert header in IMAGE_MAY_USE, f"{source} includes {header}"


@pytest.mark.parametrize("source", SOURCES)
def test_only_arena_and_ballast_allocate(source: str) -> None:
    allocators = ("malloc", "calloc", "realloc", "free", "aligned_alloc", "posix_memalign")
    if source not in ("core/arena.c", "core/ballast.c"):
        assert called(source, *allocators, "mmap", "strdup") == []


@pytest.mark.parametrize("source", SOURCES)
def test_only_the_pool_has_threads_and_locks(source: str) -> None:
    if source != "core/pool.c":
        assert called(source, r"pthread_\w+", "thrd_create", "fork", r"sem_\w+") == []
        assert "#pragma omp" not in code(source)


@pytest.mark.parametrize("source", SOURCES)
def test_the_core_neither_prints_nor_ends_the_process(source: str) -> None:
    talkative = ("printf", "fprintf", "vprintf", "vfprintf", "puts", "fputs", "putchar", "perror")
    assert called(source, *talkative, "exit", "_exit", "abort", "quick_exit") == []


@pytest.mark.parametrize("room", sorted(DOORS))
def test_functions_that_leave_a_file_are_prefixed(room: str) -> None:
    """A definition that is not static is named tl_..., but for the module's one entry point."""
    for path in sorted((CSRC / room).glob("*.c")):
        text = code(path.relative_to(CSRC).as_posix())
        for storage, name in re.findall(r"^(.*)\n(\w+)\([^;{}]*\)\n\{", text, re.MULTILINE):
            if "static" not in storage:
                assert re.match(r"tl_|PyInit__core$", name), f"{path.name}: {name}"


def test_file_names_are_unique() -> None:
    names = [source.split("/")[1] for source in SOURCES if source.endswith(".c")]
    assert len(names) == len(set(names))


def test_the_stub_names_what_the_extension_has() -> None:
    from tlcore import _core

    tree = ast.parse((ROOT / "tlcore" / "_core.pyi").read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    typed_dicts = {
        name
        for name, node in classes.items()
        if any(isinstance(base, ast.Name) and base.id == "TypedDict" for base in node.bases)
    }
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    stubbed = functions | (set(classes) - typed_dicts)
    assert stubbed == {name for name in dir(_core) if not name.startswith("_")}

    for name in set(classes) - typed_dicts:
        members = {node.name for node in classes[name].body if isinstance(node, ast.FunctionDef)}
        real = vars(getattr(_core, name))
        assert {m for m in members if not m.startswith("__")} == {
            m for m in real if not m.startswith("_")
        }
        assert {m for m in members - {"__init__"} if m.startswith("__")} <= set(real)
