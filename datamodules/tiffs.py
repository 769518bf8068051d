"""TIFF files of several channels at their full depth, by tifffile (extra `large`).

Neither Pillow nor OpenCV read them all: Pillow knows no more than 4 channels, cuts 16 bits to 8 and
takes 2 channels of 8 bits for gray; OpenCV 5 gives the first channel alone of 16-bit files whose
color is declared as gray.
"""

from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.datamodules.opening import ImageError, ImageFormError, check_size

try:
    import tifffile
except ImportError:  # the extra `large`
    tifffile = None

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two have 64-bit offsets
_PALETTE = 3


class TiffImage(NamedTuple):
    """First page of a TIFF file.

    Attributes:
        height: In pixels, as stored.
        width: Likewise.
        channels: Samples of a pixel.
        bits: Bits of a sample; 0 where samples differ.
        dtype: Of its numbers.
        orientation: 1 to 8.
        values: (H, W, C); None where only the header was read.
    """

    height: int
    width: int
    channels: int
    bits: int
    dtype: np.dtype
    orientation: int
    values: NDArray | None


def can_read_tiff() -> bool:
    """Tell whether tifffile is installed."""
    return tifffile is not None


def read_tiff(file: BinaryIO, max_pixels: int, wanted: int | None = None) -> TiffImage:
    """Read the first page of a TIFF file.

    Args:
        file: The file at its beginning.
        max_pixels: Largest accepted number of pixels.
        wanted: Number of channels with which it is decoded; None for the header alone.

    Raises:
        ImageFormError: If tifffile is missing.
        ImageError: If the file is damaged, too large, or has another form than pixels.
    """
    if tifffile is None:
        raise ImageFormError(
            "is a TIFF file of several channels, which are read by tifffile; "
            "pip install 'learned-saliency[large]'"
        )
    with tifffile.TiffFile(file) as opened:
        page = opened.pages.first
        check_size(page.imagewidth, page.imagelength, max_pixels)
        if page.is_tiled:
            check_size(page.tilewidth, page.tilelength, max_pixels)
        if page.dtype is None or page.imagedepth != 1 or page.photometric == _PALETTE:
            raise ImageError("a TIFF file of a palette, of a volume or of unknown numbers")
        orientation = page.tags.valueof(274, 1)
        values = None
        if wanted is not None and wanted == page.samplesperpixel:
            values = page.asarray(maxworkers=1).reshape(page.shape)
            values = values[..., None] if values.ndim == 2 else values
            values = values if page.axes != "SYX" else values.transpose(1, 2, 0)
        bits = page.bitspersample
        return TiffImage(
            page.imagelength,
            page.imagewidth,
            page.samplesperpixel,
            bits if isinstance(bits, int) else 0,
            page.dtype,
            orientation if orientation in range(1, 9) else 1,
            values,
        )
