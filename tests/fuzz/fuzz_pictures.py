"""atheris on load_img:  python tests/fuzz/fuzz_pictures.py -max_total_time=60 [corpus folder]

Begins with the small pictures of picture_files.py. Any exception but OSError and ValueError with
one sentence is a finding, as are a second a file and a gigabyte.
"""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import picture_files

with atheris.instrument_imports(include=["PIL", "tlcore.preprocessing"]):
    from PIL import (
        BmpImagePlugin,  # noqa: F401
        GifImagePlugin,  # noqa: F401
        JpegImagePlugin,  # noqa: F401
        PngImagePlugin,  # noqa: F401
        PpmImagePlugin,  # noqa: F401
        TiffImagePlugin,  # noqa: F401
        WebPImagePlugin,  # noqa: F401
    )

    from tlcore.preprocessing.image import img_to_array, load_img


def read(data: bytes) -> None:
    if not data:
        return
    chosen = data[-1]
    mode = ("rgb", "grayscale", "rgba", "rgb")[chosen % 4]
    size = (None, (8, 9), (1, 30), (64, 64))[chosen // 4 % 4]
    content = data
    if data.startswith(b"\x89PNG") and chosen % 3:
        content = picture_files.repaired(".png", data)
    try:
        img = load_img(io.BytesIO(content), mode, size, "bilinear")
    except (OSError, ValueError) as err:
        assert "\n" not in str(err), err
        assert "<in memory>" in str(err), err
        return
    x = img_to_array(img)
    assert x.shape == (img.size[1], img.size[0], {"rgb": 3, "rgba": 4, "grayscale": 1}[mode])


def main() -> None:
    warnings.simplefilter("ignore", UserWarning)  # of damaged Exif data
    warnings.simplefilter("error", RuntimeWarning)  # of bombs
    with tempfile.TemporaryDirectory() as corpus:
        for k, (extension, content) in enumerate(picture_files.originals()):
            if len(content) < 20_000:
                (Path(corpus) / f"{k}{extension}").write_bytes(content)
        limits = ["-max_len=20000", "-timeout=10", "-rss_limit_mb=1500"]
        atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], corpus], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
