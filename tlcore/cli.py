"""The command line: `python -m tlcore run program.py` and `python -m tlcore demo`."""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import tlcore


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the process's exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command == "run":
        return _run(chosen.program, chosen.arguments)
    if chosen.command == "demo":
        from tlcore.demo import demo

        demo(chosen.folder)
        return 0
    parser.print_help()
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tlcore", description="Transfer learning on CPUs, in Keras's words."
    )
    parser.add_argument("--version", action="version", version=f"tlcore {tlcore.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")

    run = commands.add_parser(
        "run",
        help="run an unmodified program; its keras and tensorflow are tlcore",
        description="Run a Python program that was written for Keras: its imports of keras and "
        "tensorflow reach tlcore.",
    )
    run.add_argument("program", type=Path, help="the program's file")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="what the program is given")

    demo = commands.add_parser(
        "demo",
        help="draw pictures of three sports and learn to tell them apart",
        description="Draw 270 pictures, train a classifier on them as the blog post does, and "
        "write the model as .h5 and .tflite. Needs no download.",
    )
    demo.add_argument(
        "folder", nargs="?", type=Path, default=Path("demo"), help="where to write (default: demo)"
    )
    return parser


def _run(program: Path, arguments: list[str]) -> int:
    """Run `program` as __main__ under the aliases, as `python program` would."""
    if not program.is_file():
        print(f"tlcore: there is no program {program}", file=sys.stderr)
        return 2
    tlcore.install_aliases()
    sys.argv = [str(program), *arguments]
    sys.path[0] = str(program.resolve().parent)
    runpy.run_path(str(program), run_name="__main__")
    return 0
