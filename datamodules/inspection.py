"""Facts about single files of images and masks, for checks of a whole data set."""

import os
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.datamodules.checks import lacks_end
from learned_saliency.datamodules.decoding import (
    AS_STORED,
    COLORS,
    FIRST_LYING,
    Decoding,
    exif_orientation,
    read_picture,
)
from learned_saliency.datamodules.masks import MaskValues, read_parts
from learned_saliency.datamodules.opening import ImageError, ImageSource, PackedImage, opened
from learned_saliency.datamodules.planes import ImageHeader, header_of, read_header, read_image
from learned_saliency.datamodules.similarity import perceptual_hashes, read_gray

_END = 1 << 14  # bytes at either end of a file that its digest is made of
_DIGEST = 16  # bytes


_ENDINGS = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}  # other formats end in their names


class ImageFacts(NamedTuple):
    """Facts about an image or a mask.

    Attributes:
        problem: Reason why it cannot be read; empty where it can. Then the other facts are void.
        width: In pixels, as stored.
        height: Likewise.
        orientation: EXIF orientation, 1 to 8.
        digest: Hexadecimal digest of the content's length, first and last bytes. Equal images have
            the same one; for the reverse see `content_digest`.
        look: Perceptual hash, hexadecimal; empty where none was asked for.
        decoded: Whether it was decoded as a whole because that was asked for.
        marked: Share of a mask's pixels that are object, in [0, 1]; 0 for an image.
        ignored: Share of a mask's pixels that count for nothing, likewise.
        channels: Number of channels of an image's file; 0 for a mask and a palette.
        form: Channels and depth of an image's file, ``"1 channel, 16-bit"``; empty for a mask.
    """

    problem: str = ""
    width: int = 0
    height: int = 0
    orientation: int = 1
    digest: str = ""
    look: str = ""
    decoded: bool = False
    marked: float = 0.0
    ignored: float = 0.0
    channels: int = 0
    form: str = ""

    def size(self, turned: bool) -> tuple[int, int]:
        """Return width and height in pixels: as stored, or ``turned`` as a person sees it."""
        sides = (self.width, self.height)
        return sides[::-1] if turned and self.orientation >= FIRST_LYING else sides


def inspect_image(
    source: ImageSource,
    *,
    decode: bool = False,
    look: bool = False,
    decoding: Decoding = AS_STORED,
) -> ImageFacts:
    """Read the facts about an image: from its header, its end and its size, unless more is asked.

    Args:
        source: The image.
        decode: Whether it is decoded as a whole, which finds damage in the middle of a file.
        look: Whether its perceptual hash is made, for which it is decoded at a reduced size.
        decoding: What the data set declares about its files; another number of channels than 3 is
            read as `read_image` does, so that files that only this can read are images, too.

    Returns:
        The facts. A file that is missing or no image has a ``problem``; one of other channels than
        are declared has none.
    """
    if isinstance(source, PackedImage):  # read once
        try:
            content = source.read_bytes()
        except ImageError as error:
            return ImageFacts(str(error))
        source = source._replace(open=lambda image_id: content)
    try:
        header = (_inspect_colors if decoding.channels == COLORS else _inspect_planes)(
            source, decode, decoding
        )
        content = source.read_bytes() if look or isinstance(source, PackedImage) else None
        digest = _ends_of(source) if content is None else _ends(content)
        shown = _look(source, content, header, decoding) if look else ""
    except ImageError as error:
        return ImageFacts(str(error))
    except OSError as error:
        return ImageFacts(error.strerror or str(error))
    sides = header.width, header.height, header.orientation
    channels = 0 if header.palette else header.channels
    return ImageFacts("", *sides, digest, shown, decode, channels=channels, form=header.form)


def _inspect_colors(source: ImageSource, decode: bool, decoding: Decoding) -> ImageHeader:
    """Read the header of an image that is brought to colors, and what else is to be seen of it."""
    with opened(source) as image:
        header = header_of(image, turned=True)
        if decode or lacks_end(source, image):
            image.load()
    if decode:
        with opened(source) as image:
            image.verify()  # checksums of a PNG, of which its decoder takes no notice
    return header


def _inspect_planes(source: ImageSource, decode: bool, decoding: Decoding) -> ImageHeader:
    """Read the header of an image that keeps its depth; decode it where that is asked for."""
    header = read_header(source, decoding=decoding._replace(exif_orientation=True))
    if decode:
        _planes(source, header, decoding)
    return header


def _planes(source: ImageSource, header: ImageHeader, decoding: Decoding) -> NDArray[Any]:
    """Decode an image of any channels and range, (H, W, C)."""
    channels = COLORS if header.palette else header.channels
    white = decoding.max_value or 1.0  # any: what is shown is stretched
    return read_image(source, decoding=decoding._replace(channels=channels, max_value=white))


def inspect_mask(path: ImageSource, values: MaskValues | None = None) -> ImageFacts:
    """Decode a mask and read the facts about it.

    Args:
        path: The mask.
        values: What the data set declares about its values; see `read_mask`.
    """
    try:
        with opened(path) as image:
            orientation = exif_orientation(image)
        marked, ignored = read_parts(path, AS_STORED, values)
    except ImageError as error:
        return ImageFacts(str(error))
    height, width = marked.shape
    shares = float(marked.mean()), 0.0 if ignored is None else float(ignored.mean())
    return ImageFacts("", width, height, orientation, "", "", True, *shares)


def image_ending(source: ImageSource) -> str:
    """Return how the names of files of an image's kind usually end: "jpg".

    Raises:
        ImageError: If it is missing or no image.
    """
    with opened(source) as image:
        return _ENDINGS.get(image.format, str(image.format).lower())


def content_digest(source: ImageSource) -> str:
    """Compute the digest of the whole content of an image, hexadecimal.

    Raises:
        OSError: If it cannot be read.
        ImageError: Likewise, where it is a part of a larger file.
    """
    digest = blake2b(digest_size=_DIGEST)
    if isinstance(source, PackedImage):
        digest.update(source.read_bytes())
        return digest.hexdigest()
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _ends(content: bytes) -> str:
    first, last = content[:_END], content[_END:][-_END:]
    return _digest(len(content), first + last)


def _ends_of(path: Path) -> str:
    """Compute the digest of a file's ends without reading what lies between."""
    with path.open("rb") as file:
        first = file.read(_END)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(_END, size - _END))
        return _digest(size, first + file.read())


def _digest(size: int, content: bytes) -> str:
    return blake2b(content, digest_size=_DIGEST, person=size.to_bytes(8, "little")).hexdigest()


def _look(source: ImageSource, content: bytes, header: ImageHeader, decoding: Decoding) -> str:
    if decoding.channels != COLORS:
        gray = _planes(source, header, decoding).mean(2, dtype=np.float64)
        low, high = gray.min(), gray.max()
        gray = ((gray - low) * (255 / ((high - low) or 1.0))).astype(np.uint8)
        return perceptual_hashes([gray])[0].tobytes().hex()
    gray = read_gray(content, min(header.width, header.height))
    if gray is None:  # a format that OpenCV does not know
        gray = np.asarray(read_picture(source).convert("L"))
    return perceptual_hashes([gray])[0].tobytes().hex()
