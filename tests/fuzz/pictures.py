"""Small pictures in every raster format and mode that Pillow writes, and what spoils them."""

import io
from functools import cache

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.generators import changed_bytes

MODES = (
    *(
        "1",
        "L",
        "LA",
        "La",
        "P",
        "PA",
        "RGB",
        "RGBA",
        "RGBa",
        "RGBX",
        "CMYK",
        "YCbCr",
        "LAB",
        "HSV",
    ),
    *("I", "I;16", "I;16B", "F"),
)
SIZES = ((1, 1), (5, 4), (3, 17), (33, 16), (200, 1))
OPTIONS = {
    "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}, {"big_tiff": True}),
    "PNG": ({}, {"transparency": 0}, {"bits": 2}, {"compress_level": 0}),
    "GIF": ({}, {"transparency": 1}, {"save_all": True}),
    "JPEG": ({}, {"progressive": True}, {"quality": 1}),
    "WEBP": ({}, {"lossless": True}, {"save_all": True}),
    "TGA": ({}, {"compression": "tga_rle"}),
}
_NO_RASTER = ("PDF",)  # writes only; EPS stays, to be refused


@cache
def formats() -> dict[str, tuple[str, ...]]:
    """Formats that this build of Pillow writes, and the modes that it takes for each."""
    Image.init()
    names = sorted(set(Image.SAVE) - set(_NO_RASTER))
    taken = {name: tuple(m for m in MODES if written(name, m, (5, 4), 0)) for name in names}
    return {name: modes for name, modes in taken.items() if modes}


@cache
def written(name: str, mode: str, size: tuple[int, int], option: int, turned: int = 0) -> bytes:
    """Return a picture as a file's content; nothing where Pillow does not write it."""
    width, height = size
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    try:
        if mode == "F":
            picture = Image.fromarray(levels[..., 0].astype(np.float32) / 255)
        elif mode.startswith("I"):
            picture = Image.fromarray(levels[..., 0].astype(np.int32) * 257).convert(mode)
        elif mode in ("La", "RGBa"):
            picture = (
                Image.fromarray(levels).convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
            )
        elif mode in ("LAB", "RGBX", "HSV", "PA"):
            bands = {"LAB": 3, "RGBX": 4, "HSV": 3, "PA": 2}[mode]
            picture = Image.frombytes(mode, size, levels[..., :bands].tobytes())
        else:
            picture = Image.fromarray(levels).convert(mode)
        options = dict(OPTIONS.get(name, ({},))[option])
        if options.get("save_all"):
            options["append_images"] = [picture.transpose(Image.Transpose.ROTATE_180)]
        if turned:
            options["exif"] = Image.Exif()
            options["exif"][0x0112] = turned
        file = io.BytesIO()
        picture.save(file, name, **options)
        return file.getvalue()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        return b""


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    """Content of a picture's file, whole or spoilt; sometimes of no picture at all."""
    if not draw(st.integers(0, 15)):
        return draw(st.binary(max_size=200))
    name = draw(st.sampled_from(sorted(formats())))
    mode, size = draw(st.sampled_from(formats()[name])), draw(st.sampled_from(SIZES))
    option = draw(st.integers(0, len(OPTIONS.get(name, ({},))) - 1))
    turned = draw(st.integers(0, 9)) if name in ("JPEG", "TIFF", "PNG", "WEBP", "AVIF") else 0
    return draw(changed_bytes(written(name, mode, size, option, turned)))


def endings() -> st.SearchStrategy[str]:
    """Endings of file names, which need not be those of the content."""
    return st.sampled_from([".png", ".jpg", ".tif", ".eps", ".gif", ".tga", ".bin", ""])
