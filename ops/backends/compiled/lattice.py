"""Splat, blur and slice of one image on the permutohedral lattice, two channels at a time.

The numbers are those of `ops.permutohedral` to the last bit: every sum runs in the same order.
"""

import numpy as np

from learned_saliency.ops.backends.compiled.jit import jit

_CORNERS = 6
_AXIS_BITS = 3
_FRACTIONS = 2.0**28
_BLOCK = 1024  # numbers that are worked on together; a few such blocks fit into the first cache


@jit
def filter_image(
    values: np.ndarray,
    coordinates: np.ndarray,
    shift: np.ndarray,
    strides: np.ndarray,
    scale: np.floating,
    weights: np.ndarray,
    vertices: np.ndarray,
    lattice: np.ndarray,
) -> None:
    """Filter the channels of one image in place.

    Two channels lie side by side in the lattice, so that the sums of one need not wait for those of
    the other. A last channel alone is taken twice.

    Args:
        values: Values to sum, shape (C, N), float32 or float64; replaced by the filtered ones.
        coordinates: Points in the basis of the lattice, shape (5, N).
        shift: What moves them into the image's box, shape (5,).
        strides: Distances of neighboring vertices along the five axes, int32, shape (5,).
        scale: Factor on the result, of the type of ``values``.
        weights: Room for the weights of the points' vertices, shape (6, N).
        vertices: Room for their addresses, int32, shape (6, N).
        lattice: Room for two channels of the box and of all that the blur reaches before and behind
            it, flat: twice the number of vertices plus 8 times the sum of ``strides``.
    """
    reach = 4 * strides.sum()  # five axes and their diagonal, twice as there are two channels
    _find_simplices(coordinates, shift, strides, weights, vertices)
    for first in range(0, len(values), 2):
        pair = values[first], values[min(first + 1, len(values) - 1)]
        lattice[:] = 0
        _splat(pair, weights, vertices, lattice[reach:])
        _blur(lattice, 2 * strides.astype(np.int64))
        _slice(pair, weights, vertices, lattice, scale)


@jit
def _find_simplices(
    coordinates: np.ndarray,
    shift: np.ndarray,
    strides: np.ndarray,
    weights: np.ndarray,
    vertices: np.ndarray,
) -> None:
    """Compute weights and addresses of every point's vertices, see `permutohedral._simplices`."""
    s0, s1, s2, s3, s4 = strides
    x0, x1, x2, x3, x4 = coordinates
    for n in range(coordinates.shape[1]):
        g0, c0 = _code(x0[n] + shift[0], 0)
        g1, c1 = _code(x1[n] + shift[1], 1)
        g2, c2 = _code(x2[n] + shift[2], 2)
        g3, c3 = _code(x3[n] + shift[3], 3)
        g4, c4 = _code(x4[n] + shift[4], 4)
        vertex = g0 * s0 + g1 * s1 + g2 * s2 + g3 * s3 + g4 * s4
        c0, c1 = max(c0, c1), min(c0, c1)
        c3, c4 = max(c3, c4), min(c3, c4)
        c2, c4 = max(c2, c4), min(c2, c4)
        c2, c3 = max(c2, c3), min(c2, c3)
        c1, c4 = max(c1, c4), min(c1, c4)
        c0, c3 = max(c0, c3), min(c0, c3)
        c0, c2 = max(c0, c2), min(c0, c2)
        c1, c3 = max(c1, c3), min(c1, c3)
        c1, c2 = max(c1, c2), min(c1, c2)
        height = weights.dtype.type(1)
        k = 0
        for code in (c0, c1, c2, c3, c4):
            lower = weights.dtype.type(code >> _AXIS_BITS) * weights.dtype.type(1 / _FRACTIONS)
            weights[k, n] = height - lower
            vertices[k, n] = vertex
            vertex += strides[code & (2**_AXIS_BITS - 1)]
            height = lower
            k += 1
        weights[k, n] = height
        vertices[k, n] = vertex


@jit
def _code(coordinate: np.floating, axis: int) -> tuple[np.int32, np.int32]:
    """Split a coordinate into the grid point below and its fraction, packed with the axis."""
    grid = np.floor(coordinate)
    fraction = np.int32((coordinate - grid) * type(coordinate)(_FRACTIONS))
    return np.int32(grid), np.int32(fraction << _AXIS_BITS | axis)


@jit
def _splat(
    pair: tuple[np.ndarray, np.ndarray],
    weights: np.ndarray,
    vertices: np.ndarray,
    lattice: np.ndarray,
) -> None:
    """Spread two channels over the vertices, first the points' first vertices, and so on."""
    first, second = pair
    for k in range(_CORNERS):
        for n in range(len(first)):
            address = 2 * vertices[k, n]
            lattice[address] += weights[k, n] * first[n]
            lattice[address + 1] += weights[k, n] * second[n]


@jit
def _blur(lattice: np.ndarray, strides: np.ndarray) -> None:
    """Add the next vertex along the axes and the diagonal, and all over again."""
    s0, s1, s2, s3, s4 = strides
    length = len(lattice)
    for _ in range(2):
        length -= s0
        _add_far(lattice, s0, length)
        length -= s1
        _add_far(lattice, s1, length)
        length -= s2 + s3 + s4
        _add_near(lattice, s2, s3, s4, length)
        length -= strides.sum()
        _add_far(lattice, strides.sum(), length)


@jit
def _add_far(lattice: np.ndarray, step: int, length: int) -> None:
    """Add to each number the one a step ahead, with blocks of at most a step.

    Slices that do not overlap are what the compiler needs to know to add several numbers at once.
    """
    size = min(step, _BLOCK)
    for start in range(0, length, size):
        count = min(size, length - start)
        here = lattice[start : start + count]
        ahead = lattice[start + step : start + step + count]
        for i in range(count):
            here[i] += ahead[i]


@jit
def _add_near(lattice: np.ndarray, s2: int, s3: int, s4: int, length: int) -> None:
    """Do it for three steps in turn, in which a block stays in the first cache."""
    once, twice = np.empty((2, _BLOCK + s3 + s4), lattice.dtype)
    for start in range(0, length, _BLOCK):
        count = min(_BLOCK, length - start)
        reach = count + s3 + s4
        here, ahead = lattice[start : start + reach], lattice[start + s2 : start + s2 + reach]
        for i in range(reach):
            once[i] = here[i] + ahead[i]
        ahead = once[s3:reach]
        for i in range(count + s4):
            twice[i] = once[i] + ahead[i]
        ahead = twice[s4 : count + s4]
        for i in range(count):
            here[i] = twice[i] + ahead[i]


@jit
def _slice(
    pair: tuple[np.ndarray, np.ndarray],
    weights: np.ndarray,
    vertices: np.ndarray,
    lattice: np.ndarray,
    scale: np.floating,
) -> None:
    """Read two channels back from the vertices."""
    first, second = pair
    for n in range(len(first)):
        one = two = weights.dtype.type(0)
        for k in range(_CORNERS):
            address = 2 * vertices[k, n]
            weight = weights[k, n] * scale
            one += lattice[address] * weight
            two += lattice[address + 1] * weight
        first[n] = one
        second[n] = two
