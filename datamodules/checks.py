"""Checks for missing or broken image files, before any training time is spent."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from learned_saliency.datamodules.decoding import AS_STORED, COLORS, Decoding, size_of
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.opening import (
    ImageError,
    ImageSource,
    PackedImage,
    complaint,
    image_source,
    opened,
)
from learned_saliency.datamodules.planes import read_header
from learned_saliency.datamodules.selection import images_of
from learned_saliency.datamodules.textfile import line_error, read_lines

_FILE_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xae\x42\x60\x82"}


def check_inside(
    metadata: SplitMetadata, root: Path, mask_root: Path, further: Sequence[Path] = ()
) -> None:
    """Check that the images and masks of a split lie below their roots.

    Links below a root are followed, wherever they lead: who made them had access to the disk, not
    only to a text file.

    Args:
        metadata: The split.
        root: Folder that image ids are relative to.
        mask_root: Folder that mask paths are relative to.
        further: Folders beside ``root`` in which images and masks may lie, too.

    Raises:
        DataError: If a path leads out of its root. The error names the text file and the line.
    """
    groups = [((root, *further), metadata.files, metadata.folder / "image_ids.txt")]
    for group in (metadata.mask_paths, metadata.ignore_paths):
        paths = [path for image_paths in group or [] for path in image_paths]
        groups.append(((mask_root, *further), paths, metadata.mask_file))
    for places, names, source in groups:
        for name in names:
            if leaves(name, *places):
                message = (
                    f"{name!r} lies outside of {places[0]}; correct it, or allow such paths by "
                    "data.allow_outside_root=true."
                )
                raise line_error(source, _row_of(source, name), message)


def leaves(name: str, root: Path, *further: Path) -> bool:
    """Tell whether a path of a text file, relative to ``root``, leads out of all given folders."""
    if not os.path.isabs(name) and (".." not in name or ".." not in Path(name).parts):
        return False
    path = Path(os.path.realpath(root / name))  # `Path.resolve` raises at links in a circle
    return not any(path.is_relative_to(place.resolve()) for place in (root, *further))


def check_files(
    metadata: SplitMetadata,
    root: Path,
    mask_root: Path,
    *,
    open_files: bool = True,
    decoding: Decoding = AS_STORED,
    opener: Callable[[str], bytes] | None = None,
    mask_opener: Callable[[str], bytes] | None = None,
) -> None:
    """Check that the images and masks of a split are there and readable.

    Existence of files costs one listing of each folder. With ``open_files`` each image's header is
    read too, in threads, its size compared with the metadata's, and a JPEG or PNG that lacks its
    end is decoded in full, which finds interrupted downloads.

    Args:
        metadata: The split.
        root: Folder that image ids are relative to.
        mask_root: Folder that mask paths are relative to.
        open_files: Whether to open every file.
        decoding: What the data set declares about its files.
        opener: Reads an image's bytes by its id, where images are no files.
        mask_opener: Reads a mask's bytes by its path, where masks are no files.

    Raises:
        DataError: If a file is missing or not a readable image, or an image's size is another than
            in ``image_sizes.txt``. The error names the text file and the line that refer to the
            file.
    """
    ids_file = metadata.folder / "image_ids.txt"
    first, _ = images_of(metadata)
    names = [metadata.files[i] for i in first]
    if opener is None:
        _check_exist(root, names, ids_file, "image")
    if open_files:
        images = [image_source(root, name, opener) for name in names]
        sizes = _open_all(images, names, ids_file, "image", decoding)
        if metadata.sizes is not None:
            _check_sizes(metadata, names, metadata.sizes[first], sizes)
    if metadata.mask_paths is None:
        return
    for group in (metadata.mask_paths, metadata.ignore_paths):
        paths = [path for image_paths in group for path in image_paths]
        if mask_opener is None:
            _check_exist(mask_root, paths, metadata.mask_file, "mask")
        if open_files:
            masks = [image_source(mask_root, path, mask_opener) for path in paths]
            plain = decoding._replace(channels=COLORS)
            _open_all(masks, paths, metadata.mask_file, "mask", plain)


def read_sizes(
    paths: Sequence[ImageSource], decoding: Decoding = AS_STORED
) -> tuple[np.ndarray, dict[int, ImageError]]:
    """Read the sizes of images from their headers, in threads; check their channels.

    Args:
        paths: N images.
        decoding: What the data set declares about its files.

    Returns:
        Width and height of each image in pixels, int64 of shape (N, 2), and the errors of those
        that are no readable images of the declared channels, by their indices.
    """
    with ThreadPoolExecutor(max_workers=min(16, 4 * (os.cpu_count() or 1))) as pool:
        found = list(pool.map(lambda path: _read_size(path, decoding), paths))
    broken = {i: result for i, result in enumerate(found) if isinstance(result, ImageError)}
    sizes = [(0, 0) if isinstance(result, ImageError) else result for result in found]
    return np.array(sizes, np.int64).reshape(-1, 2), broken


def _read_size(path: ImageSource, decoding: Decoding) -> tuple[int, int] | ImageError:
    """Read an image's width and height, or return the error why the image cannot be read."""
    try:
        if decoding.channels != COLORS:
            header = read_header(path, decoding=decoding)
            header.check(decoding.channels)
            return header.size(decoding.exif_orientation)
        with opened(path) as image:
            size = size_of(image, decoding)
            if lacks_end(path, image):
                image.load()
        return size
    except ImageError as error:
        return error


def lacks_end(source: ImageSource, image: Image.Image) -> bool:
    """Tell whether an opened image lacks the end that its format has, so that it may be cut off."""
    end = _FILE_ENDS.get(image.format)
    return end is not None and end not in _tail(source)


def _tail(path: ImageSource) -> bytes:
    """Read the last bytes of an image."""
    if isinstance(path, PackedImage):
        return path.read_bytes()[-64:]
    with path.open("rb") as file:
        file.seek(-min(64, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return file.read()


def _check_exist(root: Path, names: Sequence[str], source: Path, what: str) -> None:
    listings: dict[str, set[str]] = {}
    missing = []
    for i, name in enumerate(names):
        folder, _, file = name.rpartition("/")
        if folder not in listings:
            place = root / folder
            listings[folder] = set(os.listdir(place)) if os.path.isdir(place) else set()
        # the second check is for file systems that know a file by more than one spelling
        if file not in listings[folder] and not os.path.isfile(root / name):
            missing.append(i)
    if missing:
        name = names[missing[0]]
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        message = f"the {what} {root / name} does not exist{more}; restore it or correct the path."
        raise line_error(source, _row_of(source, name), message)


def _open_all(
    images: Sequence[ImageSource],
    names: Sequence[str],
    source: Path,
    what: str,
    decoding: Decoding,
) -> np.ndarray:
    sizes, broken = read_sizes(images, decoding)
    for i, error in broken.items():
        message = f"the {what} {images[i]} {complaint(error)}."
        raise line_error(source, _row_of(source, names[i]), message)
    return sizes


def _check_sizes(
    metadata: SplitMetadata, names: Sequence[str], told: np.ndarray, sizes: np.ndarray
) -> None:
    wrong = (sizes != told).any(1)
    if wrong.any():
        first, source = int(wrong.argmax()), metadata.folder / "image_sizes.txt"
        name = names[first]
        said, found = ("{}x{}".format(*size[first]) for size in (told, sizes))
        message = f"{name} is {found} pixels large, not {said}; correct the line or the image."
        raise line_error(source, _row_of(source, name), message)


def _row_of(source: Path, name: str) -> int:
    """Find the first row of a text file that has a field ``name``."""
    lines = [line.strip() for line in read_lines(source) if line.strip()]
    return next(i for i, line in enumerate(lines) if f",{name}," in f",{line},")
