"""Perceptual hashes of images, and groups of images that look alike."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

NEAR = 24  # bits of 256 by which the hashes of near duplicates differ at most
_SIDE = 64  # pixels of the picture that is hashed
_LOWEST = 16  # frequencies in each direction whose signs are the hash
_WORDS = _LOWEST * _LOWEST // 64
_BLOCK = 1 << 15  # hashes that are compared at a time, so that they stay in the cache
_TIFF = (b"II*\0", b"MM\0*")
_FLAT = 1.0  # levels; a picture that varies less shows nothing
# Reductions at which OpenCV decodes a JPEG at a fraction of the cost, the strongest first.
_REDUCTIONS = (
    (8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
    (4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
    (2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
)
# Bits in an order that spreads low and high frequencies over the bands that are compared.
_ORDER = np.random.default_rng(0).permutation(_LOWEST * _LOWEST)

Hashes = NDArray[np.uint64]  # (N, 4); all zero for pictures that show nothing


def read_gray(data: bytes, shorter_side: int) -> NDArray[np.uint8] | None:
    """Decode an image file as a small gray picture, fast: JPEGs at a fraction of their size.

    Args:
        data: Content of the file.
        shorter_side: Shorter side of the image in pixels, as its header says.

    Returns:
        uint8 (h, w) of the pixels as stored, with sides of at least 64 pixels where the image has
        them; None where OpenCV does not decode the file, and for TIFFs, of which it prints the tags
        that it does not know.
    """
    if data[:4] in _TIFF:
        return None
    possible = (flag for factor, flag in _REDUCTIONS if shorter_side >= factor * _SIDE)
    flag = next(possible, cv2.IMREAD_GRAYSCALE)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None


def perceptual_hashes(images: Iterable[NDArray[np.uint8]]) -> Hashes:
    """Hash images by what they show: the signs of their 16 x 16 lowest frequencies.

    Brightness and contrast do not change a hash; resizing and compression change few of its bits.

    Args:
        images: Gray images (H, W) of any size, 0..255.

    Returns:
        uint64 (N, 4). A hash is zero where the image shows nothing but one color.
    """
    hashes = [_hash(image) for image in images]
    return np.array(hashes, np.uint64).reshape(-1, _WORDS)


def _hash(image: NDArray[np.uint8]) -> Hashes:
    picture = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if picture.std() < _FLAT:
        return np.zeros(_WORDS, np.uint64)
    bits = cv2.dct(picture)[:_LOWEST, :_LOWEST].ravel() > 0
    bits[0] = True  # the mean, which is no part of what is seen
    return np.packbits(bits[_ORDER]).view(np.uint64)


def near_duplicate_groups(hashes: Hashes, distance: int = NEAR) -> NDArray[np.int64]:
    """Group images whose hashes differ by a few bits at most, directly or through others.

    All such pairs are found: the bits are cut into ``distance`` + 1 bands, one of which must agree,
    and only hashes that share a band are compared. By default, a million images take about two
    minutes.

    Args:
        hashes: uint64 (N, 4), of `perceptual_hashes`.
        distance: Number of bits, of 256, by which near duplicates differ at most, 0 to 255.

    Returns:
        Numbers of the groups, int64 (N,), counted from 0 in the order of their first images. An
        image that resembles no other, or shows nothing, is a group of its own.

    Raises:
        ValueError: If ``hashes`` has another shape, or ``distance`` is out of range.
    """
    if hashes.ndim != 2 or hashes.shape[1] != _WORDS:
        raise ValueError(f"expected hashes of shape (N, {_WORDS}), got {hashes.shape}")
    if not 0 <= distance < 64 * _WORDS:
        raise ValueError(f"expected a distance from 0 to {64 * _WORDS - 1}, got {distance}")
    shown = np.flatnonzero(hashes.any(1))
    different, which = np.unique(hashes[shown], axis=0, return_inverse=True)
    roots = _join_near(different, distance)[which.ravel()]
    first = np.full(len(different), len(hashes))
    np.minimum.at(first, roots, shown)
    groups = np.arange(len(hashes))  # by their first images
    groups[shown] = first[roots]
    return np.unique(groups, return_inverse=True)[1].ravel()


def _join_near(hashes: Hashes, distance: int) -> NDArray[np.int64]:
    """Give different hashes (N, 4) the number of one of those that they are joined with, (N,)."""
    parents = np.arange(len(hashes))
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    for band in np.array_split(np.arange(bits.shape[1]), distance + 1):
        keys = np.packbits(bits[:, band], axis=1)
        order = np.lexsort(keys.T)
        changes = np.flatnonzero(np.diff(keys[order], axis=0).any(1)) + 1
        ends = [*changes.tolist(), len(order)]
        begin = previous = longest = 0
        for end in ends:  # a block holds whole runs of hashes that share the band
            longest, previous = max(longest, end - previous), end
            if end - begin >= _BLOCK or end == len(order):
                _join_block(hashes, order[begin:end], longest, distance, parents)
                begin, longest = end, 0
    return _roots(parents, np.arange(len(parents)))


def _join_block(
    hashes: Hashes,
    rows: NDArray[np.int64],
    reach: int,
    distance: int,
    parents: NDArray[np.int64],
) -> None:
    """Join the hashes of ``rows`` that are near and less than ``reach`` places apart."""
    first, *others = np.ascontiguousarray(hashes[rows].T)
    for apart in range(1, min(reach, len(rows))):
        differing = np.bitwise_count(first[apart:] ^ first[:-apart])
        left = np.flatnonzero(differing <= distance)
        total = differing[left].astype(np.int64)
        for word in others:
            total += np.bitwise_count(word[left + apart] ^ word[left])
        left = left[total <= distance]
        pairs = np.stack([rows[left], rows[left + apart]])
        roots = _roots(parents, pairs)
        for a, b in pairs[:, roots[0] != roots[1]].T.tolist():
            a, b = (int(root) for root in _roots(parents, np.array([a, b])))
            parents[max(a, b)] = min(a, b)


def _roots(parents: NDArray[np.int64], members: NDArray[np.int64]) -> NDArray[np.int64]:
    """Follow members to the roots of the trees that ``parents`` describes."""
    found = parents[members]
    while not np.array_equal(above := parents[found], found):
        found = above
    parents[members] = found  # shorter ways for the next ones
    return found
