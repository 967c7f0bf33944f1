"""Sub-interpreters are refused in our words, whoever makes them and whatever comes first."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import children
import pytest

# How each version of Python runs code in another interpreter; `code` is what runs there.
LEGACY = "import _testcapi; sys.exit(_testcapi.run_in_subinterp(code))"
if sys.version_info >= (3, 13):
    MAKERS = {
        "legacy": LEGACY,
        "isolated": "import _interpreters as i; i.exec(i.create('isolated'), code)",
        "shared": "import _interpreters as i; i.exec(i.create('legacy'), code)",
    }
else:
    MAKERS = {
        "legacy": LEGACY,
        "isolated": "import _xxsubinterpreters as i; i.run_string(i.create(), code)",
        "shared": "import _xxsubinterpreters as i; i.run_string(i.create(isolated=False), code)",
    }

STATEMENTS = {
    "package": "import tlcore",
    "name": "from tlcore import Sequential",
    "submodule": "import tlcore.models",
    "core": "import tlcore._core",
    "aliases": "from tlcore.keras.models import load_model",
}


def run_in_another(maker: str, statement: str, before: str = "") -> str:
    inside = f"""
        import sys
        try:
            {statement}
        except ImportError as error:
            print(type(error).__name__, error)
        else:
            print("imported")
        sys.stdout.flush()
    """
    code = f"import sys\n{before}\ncode = {textwrap.dedent(inside)!r}\n{MAKERS[maker]}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=children.uncounted(),
    )
    if "No module named '_testcapi'" in done.stderr:
        pytest.skip("this Python has no _testcapi, which makes old-style sub-interpreters")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_they_are_refused(maker: str, statement: str) -> None:
    said = run_in_another(maker, statement)
    assert said.startswith("ImportError tlcore cannot be used in a sub-interpreter")


@pytest.mark.parametrize("maker", MAKERS)
def test_they_are_refused_where_the_main_interpreter_uses_tlcore(maker: str) -> None:
    said = run_in_another(maker, "import tlcore", "import tlcore; tlcore.Sequential")
    assert said.startswith("ImportError tlcore cannot be used in a sub-interpreter")


@pytest.mark.parametrize("maker", ["legacy", "shared"])
def test_the_extension_refuses_without_the_package(maker: str) -> None:
    """Python refuses it in an isolated interpreter; in the others we do, before NumPy."""
    from tlcore import _core

    statement = (
        "import importlib.util as u; "
        f"s = u.spec_from_file_location('tlcore._core', {_core.__file__!r}); "
        "s.loader.exec_module(u.module_from_spec(s))"
    )
    said = run_in_another(maker, statement)
    assert said.startswith("ImportError tlcore cannot be used in a sub-interpreter")
