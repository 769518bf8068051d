"""Growth of the regions and holes of all level sets of a map, the nodes of its component trees.

Plain loops in arrays that they are given: numba compiles these in a fraction of the time that it
takes for numpy's functions. What several functions share:

- ``shift``: the pixel x y has the position (y + 1) << shift | (x + 1) among P = (H + 2) << shift.
- ``seen``, uint8 (P,): bits 1, 0 and 2 say that the position, the one before and the one behind
  have been reached.
- ``labels``, int32 (P,): node that each position reached belongs to. Node 0 is the outside.
- ``following``, int32 (P,): next position in a node's list of pixels, 0 behind the last.
- ``nodes``, int32 (N, `COLUMNS`), and ``parents``, int32 (N,): nodes, and which node each has
  become part of, itself if none. ``parents[0]`` is 0.
- ``shape``: H and W. ``truth``: true boxes and their areas, int64 (n, 5).
- ``every``, float64 (8, 256): best IoU of any contour. Row k, column l holds for the levels l to
  l + 2 ** k - 1, so that two entries serve any range of levels.
- ``largest``, int64 (8, 256, 5): likewise rank and box, in positions, of the largest region.
"""

import numpy as np

from learned_saliency.ops.backends.compiled.jit import jit

# Columns of a node: its box, the value at which it began, twice its area, its first pixel in
# reading order, the first and the last pixel of its list.
_X0, _Y0, _X1, _Y1, _BORN, _AREA, _START, _HEAD, _TAIL = range(9)
COLUMNS = 9
OUTSIDE = 0


def _rings() -> np.ndarray:
    """Compute what follows from which of a pixel's neighbors are there, int64 (512, 3).

    Bits 0 1 2 of a row's index are the neighbors above, 3 and 5 those beside, 6 7 8 those below.

    Returns:
        One neighbor out of each 8-connected part, its bit plus 1, four bits each; likewise for
        4-connected parts; twice the area that the pixel adds to its region. The polygon through the
        centers of border pixels covers a square between four pixels wholly if all four belong to
        the region, half of it if three do.
    """
    squares = [(0, 1, 3), (1, 2, 5), (3, 6, 7), (5, 7, 8)]  # with the pixel itself
    rings = np.zeros((512, 3), np.int64)
    for ring in range(512):
        there = [bit for bit in range(9) if ring >> bit & 1 and bit != 4]
        rings[ring, 0] = _representatives(there, 2, there)
        rings[ring, 1] = _representatives(there, 1, [1, 3, 5, 7])
        rings[ring, 2] = sum(len({*square} & {*there}) >= 2 for square in squares)
    return rings


def _representatives(there: list[int], reach: int, wanted: list[int]) -> int:
    """Choose a neighbor out of each part, its squared distances up to ``reach``; see `_rings`."""
    left, chosen = [*there], 0
    while left:
        part = [left.pop(0)]
        for a in part:
            near = [b for b in left if (a // 3 - b // 3) ** 2 + (a % 3 - b % 3) ** 2 <= reach]
            left = [b for b in left if b not in near]
            part += near
        found = [bit for bit in part if bit in wanted]
        if found:
            chosen = chosen << 4 | found[0] + 1
    return chosen


_RINGS = _rings()
# Greatest power of two in a number of levels.
_SPANS = np.array([max(levels.bit_length() - 1, 0) for levels in range(257)])


@jit
def sort(image, shift, order, ends):
    """Order the pixels of a map by value.

    Args:
        image: Map (H, W), uint8.
        shift: The pixel x y has the position (y + 1) << shift | (x + 1).
        order: Takes the positions by ascending value, int32 (H W,).
        ends: Takes where each value begins in ``order`` and the last ends, int64 (257,).
    """
    height, width = image.shape
    for value in range(257):
        ends[value] = 0
    for y in range(height):
        for x in range(width):
            ends[image[y, x]] += 1
    begin = 0
    for value in range(257):
        count = ends[value]
        ends[value] = begin
        begin += count
    for y in range(height):
        for x in range(width):
            value = image[y, x]
            order[ends[value]] = (y + 1) << shift | (x + 1)
            ends[value] += 1
    for value in range(256, 0, -1):
        ends[value] = ends[value - 1]
    ends[0] = 0


@jit
def _find(parents, node):
    """Find a node's root and shorten the way to it."""
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = np.int64(parents[node])
    return node


@jit
def _measure(nodes, node, hole, span, low, other, shape, truth, every):
    """Raise the best IoU of two ranges of levels by that of a node's box.

    Nothing is divided for a box that is too small or too large for a true box.
    """
    x0, x1 = nodes[node, _X0] - 1 - hole, min(nodes[node, _X1] + hole, shape[1] - 1)
    y0, y1 = nodes[node, _Y0] - 1 - hole, min(nodes[node, _Y1] + hole, shape[0] - 1)
    area = (x1 - x0 + 1) * (y1 - y0 + 1)
    best = min(every[span, low], every[span, other])
    for i in range(len(truth)):
        width = min(x1, truth[i, 2]) - max(x0, truth[i, 0]) + 1
        height = min(y1, truth[i, 3]) - max(y0, truth[i, 1]) + 1
        less, more = min(area, truth[i, 4]), max(area, truth[i, 4])
        # The product may be rounded up.
        if width > 0 and height > 0 and less >= best * more * (1 - 1e-9):
            shared = width * height
            best = max(best, shared / (less + more - shared))
    every[span, low] = max(every[span, low], best)
    every[span, other] = max(every[span, other], best)


@jit
def _rank(nodes, node, direction, span, low, largest):
    """Enter a region's box into a range of levels where no larger one is."""
    key = (np.int64(nodes[node, _AREA]) << 32) + direction * nodes[node, _START]
    if key > largest[span, low, 0]:
        largest[span, low, 0] = key
        for i in range(4):
            largest[span, low, 1 + i] = nodes[node, i]


@jit
def _settle(nodes, node, value, hole, measured, direction, shape, truth, every, largest):
    """Measure a node for the levels between ``value`` and the one at which it began; begin anew."""
    born = np.int64(nodes[node, _BORN])
    nodes[node, _BORN] = value
    low, high = min(value, born), max(value, born)
    span = _SPANS[high - low]
    other = high - (1 << span)
    if measured:
        _measure(nodes, node, hole, span, low, other, shape, truth, every)
    if direction:
        _rank(nodes, node, direction, span, low, largest)
        _rank(nodes, node, direction, span, other, largest)


@jit
def _begin(nodes, node, value, p, x, y):
    """Make a node of one pixel."""
    nodes[node, _X0] = nodes[node, _X1] = x
    nodes[node, _Y0] = nodes[node, _Y1] = y
    nodes[node, _BORN], nodes[node, _AREA] = value, 0
    nodes[node, _START] = nodes[node, _HEAD] = nodes[node, _TAIL] = p


@jit
def _extend(nodes, node, x0, y0, x1, y1, start, area):
    """Extend a node; most stores are spared, because loads soon after them would have to wait."""
    if x0 < nodes[node, _X0]:
        nodes[node, _X0] = x0
    if y0 < nodes[node, _Y0]:
        nodes[node, _Y0] = y0
    if x1 > nodes[node, _X1]:
        nodes[node, _X1] = x1
    if y1 > nodes[node, _Y1]:
        nodes[node, _Y1] = y1
    if start < nodes[node, _START]:
        nodes[node, _START] = start
    nodes[node, _AREA] += area


@jit
def _merge(nodes, node, lost, following):
    """Give a node the pixels of another."""
    x0, y0, x1, y1 = nodes[lost, _X0], nodes[lost, _Y0], nodes[lost, _X1], nodes[lost, _Y1]
    _extend(nodes, node, x0, y0, x1, y1, nodes[lost, _START], nodes[lost, _AREA])
    following[nodes[lost, _TAIL]] = nodes[node, _HEAD]
    nodes[node, _HEAD] = nodes[lost, _HEAD]


@jit
def _drain(position, following, filled, done):
    """Append a list's positions to those that the outside has taken."""
    while position:
        filled[done] = position
        done += 1
        position = following[position]
    return done


@jit
def _unite(nodes, a, b, parents, following, filled, done):
    """Make one node of two, or give one of them to the outside if that is the other."""
    root, lost = min(a, b), max(a, b)
    parents[lost] = root
    if root:
        _merge(nodes, root, lost, following)
    else:
        done = _drain(np.int64(nodes[lost, _HEAD]), following, filled, done)
    return root, done


@jit
def grow(order, ends, shift, hole, measured, direction, shape, truth, memory, taken, results):
    """Grow the regions of a map from the highest value down, or its holes from the lowest up.

    A region or hole that stays as it is over several levels is one node. It is measured when it
    changes, for the levels that lie behind it. See `tree_ious`.
    """
    seen, labels, following, nodes, parents = memory
    stride = 1 << shift
    count, done, none = np.int64(1), np.int64(0), np.int64(-1)  # literals compile on their own
    for step in range(256):
        value = step if hole else 255 - step
        for i in range(ends[value], ends[value + 1]):
            p = np.int64(order[i])
            ring = seen[p - stride] | seen[p] << 3 | seen[p + stride] << 6
            seen[p - 1] |= 4
            seen[p] |= 2
            seen[p + 1] |= 1
            root = none
            neighbors = _RINGS[ring, hole]
            while neighbors:
                k = (neighbors & 15) - 1
                neighbors >>= 4
                other = _find(parents, np.int64(labels[p + (k // 3 - 1) * stride + k % 3 - 1]))
                if other == root:
                    continue
                if other and nodes[other, _BORN] != value:
                    _settle(nodes, other, value, hole, measured, direction, shape, truth, *results)
                if root < 0:
                    root = other
                else:
                    root, done = _unite(nodes, root, other, parents, following, taken[0], done)
            x, y = p & (stride - 1), p >> shift
            if root < 0:
                root, count = count, count + 1
                parents[root], following[p] = root, 0
                _begin(nodes, root, value, p, x, y)
            elif root:
                _extend(nodes, root, x, y, x, y, p, _RINGS[ring, 2])
                following[p], nodes[root, _HEAD] = nodes[root, _HEAD], p
            else:
                taken[0][done] = p
                done += 1
            labels[p] = root
        if hole:
            taken[1][step + 1] = done
    for root in range(1, count):
        if parents[root] == root and nodes[root, _BORN] != value:
            _settle(nodes, root, value, hole, measured, direction, shape, truth, *results)


@jit
def spread(every, largest):
    """Hand what holds for ranges of levels down to single levels, the first row; see `grow`."""
    for k in range(7, 0, -1):
        half = 1 << (k - 1)
        for low in range(257 - 2 * half):
            for first in range(low, low + half + 1, half):
                every[k - 1, first] = max(every[k - 1, first], every[k, low])
                if largest[k, low, 0] > largest[k - 1, first, 0]:
                    for i in range(5):
                        largest[k - 1, first, i] = largest[k, low, i]
