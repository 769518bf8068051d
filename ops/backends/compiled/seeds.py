"""Pseudo-labels of one map, drawn as `losses.SeedSampler` describes it."""

import numpy as np

from learned_saliency.ops.backends.compiled.jit import jit

_LEVELS = 256


@jit
def label_image(
    saliency: np.ndarray,
    labels: np.ndarray,
    lowest: int,
    erosion: int,
    dilation: int,
    start: int,
    foreground: np.ndarray,
    background: np.ndarray,
    ignore: int,
) -> None:
    """Draw the pixels of one map and label the squares around them.

    Args:
        saliency: Map of shape (H, W) in [0, 1], float32 or float64.
        labels: Room for its labels, int64, shape (H, W).
        lowest: Number of pixels that may be background.
        erosion: Side of the square that erodes the foreground, odd, or 0.
        dilation: Side of the square around a drawn pixel, odd.
        start: Random number; settles which of several equal pixels belong to the background.
        foreground: Random number of each pixel to draw from the foreground, shape (N,).
        background: The same for the background.
        ignore: Label of all other pixels.
    """
    labels[:] = ignore
    flat, height = saliency.reshape(-1), saliency.shape[0]
    levels = np.empty(len(flat), np.uint8)
    counts = _quantize(flat, levels)
    threshold = _otsu(counts)
    if threshold < 0:
        return
    above = (levels > max(threshold, 1)).astype(np.uint8)
    region = _erode(above.reshape(saliency.shape), erosion).reshape(-1)
    if not region.any():
        region = above
    _stamp(labels, _draw(region, foreground, height), dilation, 1, ignore)
    if lowest:
        region = _lowest(flat, levels, counts, lowest, start)
        _stamp(labels, _draw(region, background, height), dilation, 0, ignore)


@jit
def _quantize(flat: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Truncate a map to 8 bits; return the number of pixels of each level, int64."""
    scale = flat.dtype.type(255)
    for i in range(len(flat)):
        levels[i] = np.uint8(scale * flat[i])
    counts = np.zeros((4, _LEVELS), np.int64)  # neighbors, often equal, do not wait for each other
    for i in range(len(flat)):
        counts[i & 3, levels[i]] += 1
    return counts.sum(axis=0)


@jit
def _otsu(counts: np.ndarray) -> int:
    """Find the threshold of a histogram; see `ops.otsu_threshold`, whose roundings these are."""
    size, mass = counts.sum(), (counts * np.arange(_LEVELS)).sum()
    size1 = mass1 = 0
    best, threshold = -1.0, -1
    for level in range(_LEVELS - 1):
        size1 += counts[level]
        mass1 += counts[level] * level
        size2 = size - size1
        if size1 > 0 and size2 > 0:
            gap = np.float64(mass1) / np.float64(size1) - np.float64(mass - mass1) / size2
            variance = np.float64(np.float32(size1) * np.float32(size2)) * (gap * gap)
            if variance > best:
                best, threshold = variance, level
    return threshold


@jit
def _erode(mask: np.ndarray, side: int) -> np.ndarray:
    """Erode a mask of zeros and ones by a square; outside the image is one.

    A window of n pixels is the product of two smaller ones. In the flat image with a border a
    window begins at its first pixel, so that one that starts in a row's pixels stays in the row.
    """
    if side < 2:
        return mask
    height, width = mask.shape
    radius = side // 2
    pitch = width + 2 * radius
    bordered = np.ones((height + 2 * radius, pitch), np.uint8)
    bordered[radius : radius + height, radius : radius + width] = mask
    here, other = bordered.reshape(-1), np.empty(bordered.size, np.uint8)
    length = len(here)
    for step in (1, pitch):
        covered = 1
        while covered < side:
            shift = min(covered, side - covered)
            length -= shift * step
            ahead = here[shift * step : shift * step + length]
            source, target = here[:length], other[:length]
            for i in range(length):
                target[i] = source[i] & ahead[i]
            here, other = other, here
            covered += shift
    return here[: height * pitch].copy().reshape(height, pitch)[:, :width].copy()


@jit
def _lowest(
    flat: np.ndarray, levels: np.ndarray, counts: np.ndarray, number: int, start: int
) -> np.ndarray:
    """Mark the lowest pixels, and of those with the last value a run from a random one on."""
    level, below = 0, 0
    while below + counts[level] < number:
        below += counts[level]
        level += 1
    mask = (levels < level).astype(np.uint8)
    places = np.empty(counts[level], np.int64)  # pixels with the last level
    found = 0
    for i in range(len(flat)):
        if levels[i] == level:
            places[found] = i
            found += 1
    last = _select(flat[places], number - below - 1)
    tied = places  # overwritten from the front
    ties, needed = 0, number - below
    for place in places:
        if flat[place] < last:
            mask[place] = 1
            needed -= 1
        elif flat[place] == last:
            tied[ties] = place
            ties += 1
    first = start % ties
    for i in range(first, first + needed):
        mask[tied[i % ties]] = 1
    return mask


@jit
def _select(values: np.ndarray, rank: int) -> float:
    """Find the value of a rank, from 0, without sorting (C. A. R. Hoare); reorders the values."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return values[rank]


@jit
def _draw(region: np.ndarray, random: np.ndarray, height: int) -> np.ndarray:
    """Draw different pixels of a flat region, as many as it has at most; -1 for those missing."""
    width = len(region) // height
    ends = _row_ends(region, height)
    ranks = np.full(len(random), -1, np.int64)
    pixels = ranks.copy()
    for drawn in range(len(random)):
        top = ends[-1] - len(random) + drawn
        if top < 0:
            continue
        rank = random[drawn] % (top + 1)
        if (ranks[:drawn] == rank).any():
            rank = top
        ranks[drawn] = rank
        row = np.searchsorted(ends, rank, side="right")
        before = ends[row - 1] if row else 0
        pixel = row * width - 1
        while before <= rank:
            pixel += 1
            before += region[pixel]
        pixels[drawn] = pixel
    return pixels


@jit
def _row_ends(region: np.ndarray, height: int) -> np.ndarray:
    """Count a region's pixels up to the end of each row."""
    width = len(region) // height
    ends = np.empty(height, np.int64)
    total = 0
    for y in range(height):
        row = region[y * width : (y + 1) * width]
        pixels = np.int32(0)
        for x in range(width):
            pixels += np.int32(row[x])
        total += pixels
        ends[y] = total
    return ends


@jit
def _stamp(labels: np.ndarray, pixels: np.ndarray, side: int, label: int, ignore: int) -> None:
    """Label squares around pixels; a place that has another label already loses it."""
    both = ignore + 1
    height, width = labels.shape
    for turn in range(2):
        for pixel in pixels:
            if pixel < 0:
                continue
            y, x = pixel // width, pixel % width
            for row in range(max(0, y - side // 2), min(height, y + side // 2 + 1)):
                for column in range(max(0, x - side // 2), min(width, x + side // 2 + 1)):
                    present = labels[row, column]
                    if turn == 0 and present == ignore:
                        labels[row, column] = label
                    elif turn == 0 and present != label:
                        labels[row, column] = both
                    elif turn == 1 and present == both:
                        labels[row, column] = ignore
