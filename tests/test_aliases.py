"""Programs written for Keras reach tlcore: `import keras` and `import tensorflow` as they stand.

Each case runs in a process of its own, because aliases are a property of a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd or tempfile.gettempdir(),  # not here: the installed package is what counts
    )


def passes(program: str) -> None:
    done = run("-W", "error", "-c", textwrap.dedent(program))
    assert done.returncode == 0, done.stderr


def test_names_of_the_blog_program_reach_tlcore() -> None:
    passes("""
        import tlcore
        tlcore.install_aliases()
        import keras
        import tensorflow as tf
        from keras.preprocessing import image
        from tensorflow.keras.preprocessing.image import ImageDataGenerator
        from tensorflow.keras.applications.mobilenet_v2 import preprocess_input
        assert image.load_img is tlcore.preprocessing.image.load_img
        assert ImageDataGenerator is tlcore.preprocessing.image.ImageDataGenerator
        assert tf.keras.applications.MobileNetV2 is tlcore.applications.MobileNetV2
        assert keras.layers.Dense is tf.keras.layers.Dense is tlcore.layers.Dense
        assert tf.keras.Sequential is keras.models.Sequential is tlcore.Sequential
        assert tf.lite.TFLiteConverter is tlcore.lite.TFLiteConverter
        assert tf.keras.models.save_model is tlcore.models.save_model
        assert preprocess_input is tlcore.applications.mobilenet_v2.preprocess_input
    """)


def test_modules_have_specs_of_their_own() -> None:
    passes("""
        import importlib.util, tlcore
        tlcore.install_aliases()
        import tensorflow.keras.layers as layers
        assert layers.__name__ == layers.__spec__.name == "tensorflow.keras.layers"
        assert importlib.util.find_spec("keras").origin == "tlcore"
        assert importlib.import_module("keras.preprocessing.image").load_img
        assert "Dense" in dir(layers)
        importlib.reload(layers)
        from keras.layers import *
        assert Dense is tlcore.layers.Dense
    """)


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("from tensorflow import data", "tf.data"),
        ("import tensorflow.data", "tf.data"),
        ("import tensorflow.compat.v1 as tf1", "tf.compat"),
        ("from keras.layers import LSTM", "keras.layers.LSTM"),
        ("from tensorflow.keras.layers import LSTM", "tf.keras.layers.LSTM"),
        ("import keras._aliases", "keras._aliases"),
        ("import tensorflow as tf; tf.data", "tf.data"),
        ("import keras; keras.layers.LSTM", "keras.layers.LSTM"),
        ("import tensorflow as tf; tf.keras.layers.LSTM", "tf.keras.layers.LSTM"),
    ],
)
def test_a_missing_name_says_so(statement: str, missing: str) -> None:
    error = "AttributeError" if ";" in statement else "ImportError"
    passes(f"""
        import tlcore
        tlcore.install_aliases()
        try:
            {statement}
        except {error} as error:
            assert str(error) == "tlcore does not have {missing}", error
        else:
            raise SystemExit("no error")
    """)


def test_refused_when_the_real_ones_are_imported() -> None:
    passes("""
        import sys, types, tlcore
        sys.modules["tensorflow"] = types.ModuleType("tensorflow")
        try:
            tlcore.install_aliases()
        except RuntimeError as error:
            assert "the real tensorflow is already imported" in str(error)
        else:
            raise SystemExit("not refused")
        assert "keras" not in sys.modules
    """)


def test_removable(tmp_path: Path) -> None:
    (tmp_path / "keras.py").write_text("real = True\n")
    done = run(
        "-c",
        "import tlcore, sys; before = list(sys.meta_path); tlcore.install_aliases()\n"
        "tlcore.install_aliases(); import keras.layers; assert not hasattr(keras, 'real')\n"
        "tlcore.uninstall_aliases(); tlcore.uninstall_aliases(); import keras\n"
        "assert keras.real and sys.meta_path == before",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_tlcore_keras_needs_no_alias() -> None:
    passes("""
        import sys
        from tlcore.keras.preprocessing import image
        from tlcore.keras.applications.mobilenet_v2 import MobileNetV2
        from tlcore import keras
        import tlcore
        assert image.img_to_array is tlcore.preprocessing.image.img_to_array
        assert keras.optimizers.Adam is tlcore.optimizers.Adam
        assert keras.Model is tlcore.Model
        assert "keras" not in sys.modules
    """)


def test_run_is_like_python(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("value = 7\n")
    (tmp_path / "program.py").write_text(
        "import sys, keras, beside\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv[1:], beside.value, keras.__spec__.origin, __file__)\n"
        "    sys.exit(3)\n"
    )
    program = os.path.join(tmp_path.name, "program.py")
    done = run("-m", "tlcore", "run", program, "--epochs", "2", cwd=tmp_path.parent)
    assert done.returncode == 3, done.stderr
    assert done.stdout == f"['--epochs', '2'] 7 tlcore {program}\n"


def test_run_names_a_missing_program() -> None:
    done = run("-m", "tlcore", "run", "nowhere.py")
    assert done.returncode == 2
    assert done.stderr == "tlcore: there is no program nowhere.py\n"


def test_version() -> None:
    import tlcore

    assert run("-m", "tlcore", "--version").stdout == f"tlcore {tlcore.__version__}\n"


def test_ipython_extension() -> None:
    pytest.importorskip("IPython")
    done = run(
        *("-m", "IPython", "--no-banner", "--quick", "-c"),
        "%load_ext tlcore\nimport keras\nprint(keras.__spec__.origin)\n"
        "%unload_ext tlcore\nimport importlib.util\n"
        "print(getattr(importlib.util.find_spec('keras'), 'origin', None) != 'tlcore')",
    )
    assert done.stdout.split() == ["tlcore", "True"], done.stdout + done.stderr
