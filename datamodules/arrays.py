"""Images in NumPy's .npy files, read without any of the code that such files may hold."""

from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.datamodules.opening import ImageError

ARRAY = b"\x93NUMPY"  # what a .npy file begins with
AXES = ("hwc", "chw")  # orders of height, width and channels
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,  # 3.0 is for names of fields alone
}


class ArrayHeader(NamedTuple):
    """Header of an array of pixels.

    Attributes:
        shape: As stored.
        columns_first: Whether the first axis changes fastest.
        dtype: Of its numbers.
        axes: Order of height, width and channels, one of `AXES`; a shape (H, W) is one channel.
    """

    shape: tuple[int, ...]
    columns_first: bool
    dtype: np.dtype
    axes: str

    @property
    def sides(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        if len(self.shape) == 2:
            return *self.shape, 1
        height, width, channels = (self.shape[self.axes.index(axis)] for axis in "hwc")
        return height, width, channels


def read_array_header(file: BinaryIO, axes: str) -> ArrayHeader:
    """Read the header of a .npy file.

    Args:
        file: The file at its beginning; it is left behind the header.
        axes: Order of the axes of an array of three.

    Raises:
        ImageError: If it is none, or no image.
    """
    try:
        header = ArrayHeader(*_READERS[np.lib.format.read_magic(file)](file), axes)
    except (ValueError, KeyError, EOFError, SyntaxError, OverflowError):
        raise ImageError("no .npy file of numbers") from None
    if header.dtype.kind not in "buif" or header.dtype.itemsize > 8:
        raise ImageError(f"a .npy file of {header.dtype}, not of numbers")
    if len(header.shape) not in (2, 3) or 0 in header.shape:
        shape = "x".join(map(str, header.shape)) or "()"
        raise ImageError(f"a .npy file of shape {shape}, no image")
    return header


def read_array(file: BinaryIO, header: ArrayHeader) -> NDArray:
    """Read the numbers behind a header, (H, W, C).

    Raises:
        ImageError: If the file is cut off.
    """
    needed = int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
    content = file.read(needed)
    if len(content) < needed:
        raise ImageError("it is cut off")
    order = "F" if header.columns_first else "C"
    values = np.frombuffer(content, header.dtype).reshape(header.shape, order=order)
    if values.ndim == 2:
        return values[..., None]
    return values.transpose([header.axes.index(axis) for axis in "hwc"])
