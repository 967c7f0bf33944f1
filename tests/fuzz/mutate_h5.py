"""Thousands of damaged .h5 files: each opens as the same architecture, or is refused.

    python tests/fuzz/mutate_h5.py --count 10000

A file opens with finite weights that predict; and as exactly the model that was saved, unless the
text of its model_config was changed. A refusal is a ValueError of one sentence that names the
file, and leaves a model into which weights were to be read as it was. Part of the files is damaged
byte by byte, part is written anew by h5py with other texts, shapes, types, links and storage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import campaign
import h5_files
import numpy as np

_models: dict[str, Any] = {}
_configs: dict[str, tuple[bytes, Any]] = {}


def prepare() -> None:
    from tlcore.models import load_model

    for name, content in h5_files.originals().items():
        if name in h5_files.OWNERS:
            continue
        with campaign.scratch_file(f"{name}.h5", content) as path:
            model = load_model(path)
            model.predict(_pictures(model), verbose=0)
        _models[name] = model
        _configs[name] = (_config_text(content), _architecture(model))


def _architecture(model: Any) -> Any:
    from tlcore.saving import _config, _order

    return _config.written(model, _order.effective_flags(model))


def _config_text(content: bytes) -> bytes:
    """The model_config as it stands in the file."""
    from tlcore.saving import _hdf5

    text = _hdf5.in_memory("the original", content).text("model_config")
    assert text is not None
    found = text.encode()
    assert content.count(found) == 1
    return found


def _pictures(model: Any) -> Any:
    return np.zeros((1, *(n or 1 for n in model.input_shape[1:])), np.float32)


def trial(path: Path) -> str:
    from tlcore.models import load_model

    _, name, said, _ = path.name.split(".")
    if name in h5_files.OWNERS:
        return _into(_models[h5_files.OWNERS[name]], path)
    try:
        model = load_model(path)
    except ValueError as err:
        _check_refusal(path, err)
        return "refused"
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    text, config = _configs[name]
    if said == "same" and text in path.read_bytes():
        assert _architecture(model) == config, "another architecture"
    if np.prod([n or 1 for n in model.input_shape[1:]]) < 100_000:
        scores = model.predict(_pictures(model), verbose=0)
        assert scores.shape[1:] == model.output_shape[1:]
    return "opened"


def _into(model: Any, path: Path) -> str:
    before = model.get_weights()
    try:
        model.load_weights(path)
    except ValueError as err:
        _check_refusal(path, err)
        after = model.get_weights()
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        return "refused"
    try:
        assert all(np.isfinite(weight).all() for weight in model.get_weights())
    finally:
        model.set_weights(before)
    return "opened"


def _check_refusal(path: Path, err: ValueError) -> None:
    text = str(err)
    assert type(err) is ValueError, repr(err)
    assert text.startswith(str(path)), text
    assert "\n" not in text, text
    assert text.endswith("."), text
    assert len(text) < 2000, text


if __name__ == "__main__":
    h5_files.originals()  # before there are threads
    raise SystemExit(campaign.main(__file__, h5_files.make, suffix=".h5"))
