"""Gaussian filtering on the permutohedral lattice (Adams, Baek and Davis 2010).

Departures from the published lattice. The box keeps all vertices, so that the blur does not stop at
vertices that no point touches. The lattice is finer by ``STRETCH``. ``GAIN``, the one constant,
restores the scale of the Gaussian; it is calibrated on photographs. On those the cosine of the
dense CRF loss's gradient to the exact one is 0.998 in the mean, instead of 0.995, and the published
factor of about 0.55 is gone.
"""

import math

import torch
from torch import Tensor

STRETCH = 0.92
"""Lattice constant relative to the published one; it makes up for the blur of splat and slice."""

GAIN = 118.5
"""Factor on the filter's output that gives it the scale of the true Gaussian."""

_DIMENSIONS = 5

LATTICE_SCALE = GAIN / 4 ** (_DIMENSIONS + 1)
"""Factor on sums whose blur is [1 2 1] instead of [1 2 1] / 4 along each direction."""

_AXIS_BITS = 3
_FRACTION_BITS = 28
_MAX_CELLS = 2**28


def permutohedral_filter(values: Tensor, features: Tensor, max_cells: int = 2**20) -> Tensor:
    """Sum values over all points with the weights ``exp(-|f_i - f_j|^2 / 2)``, approximately.

    Every point lies in one simplex of the lattice. Its value is spread over the simplex's six
    vertices by barycentric weights (splat), the vertices are blurred with [1 2 1] / 4 along each
    of the six lattice directions (blur), and every point reads its own vertices back (slice). The
    cost is linear in the number of points plus the number of cells of the features' bounding box.

    In the basis of five of the six directions the vertices are the integer grid, the simplices
    are those of sorted fractional parts, and the sixth direction is (1, 1, 1, 1, 1). A vertex is
    therefore addressed directly in the bounding box, without a hash table, and a neighbor is a
    constant step away. As the three stages are P', A'A and P for two matrices P and A, the
    operator is symmetric and positive semidefinite up to rounding.

    Args:
        values: Values to sum, shape (B, C, N), any range, float32 or float64.
        features: Positions in units of the Gaussian's standard deviation, shape (B, 5, N). The five
            axes should come in descending order of extent, which keeps the bounding box small.
        max_cells: Largest number of lattice values, and of vertices of points, to hold at once,
            above 0. Images are filtered in groups of this total size, and one by one where an
            image alone is larger.

    Returns:
        Filtered values, shape (B, C, N). They differ by some percent from the true sum (the point
        itself included), and by more where few points have close features. Not differentiable.

    Raises:
        ValueError: If the shapes do not fit, a feature is not finite, or the box of an image
            exceeds 2^28 lattice values (the standard deviations are too small).
    """
    if values.ndim != 3 or features.shape != (values.shape[0], _DIMENSIONS, values.shape[2]):
        raise ValueError(
            f"expected values (B, C, N) and features (B, {_DIMENSIONS}, N), "
            f"got {tuple(values.shape)} and {tuple(features.shape)}"
        )
    if max_cells < 1:
        raise ValueError(f"max_cells must be at least 1, got {max_cells}")
    if values.numel() == 0:
        return torch.zeros_like(values)
    with torch.no_grad(), torch.autocast(values.device.type, enabled=False):
        coordinates = lattice_coordinates(features)
        shift, boxes = lattice_boxes(coordinates)
        coordinates = coordinates + shift[:, :, None]
        cells = values.shape[1] * math.prod(boxes.amax(0).tolist())
        corners = (_DIMENSIONS + 1) * values.shape[2]
        group = max(1, min(max_cells, _MAX_CELLS) // max(cells, corners))
        parts = zip(values.split(group), coordinates.split(group), boxes.split(group), strict=True)
        return torch.cat([_filter_group(*part) for part in parts])


def lattice_coordinates(features: Tensor) -> Tensor:
    """Express points (B, 5, N) in the basis of five of the six shortest lattice vectors.

    The published scaling, which makes the blur and two interpolations a Gaussian of about unit
    variance, gives these vectors the squared length 5/4 and the inner products -1/4.
    """
    gram = 1.5 * torch.eye(_DIMENSIONS, dtype=torch.float64) - 0.25
    basis = (STRETCH * torch.linalg.cholesky(gram).T).to(features)  # columns of an upper triangle
    return basis.inverse() @ features


def lattice_boxes(coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Find the smallest box of the grid for the points (B, 5, N) of each image.

    A kernel around a vertex is higher than one amid a simplex. Where a box leaves room, its lower
    corner moves to where a point alone is filtered to nearly itself, for the sake of flat images.

    Args:
        coordinates: Points on the axes of the grid.

    Returns:
        What moves the points into the box with its lower corner at 0, (B, 5), and the numbers of
        its vertices along the axes, those that the blur reaches included, (B, 5) int64.

    Raises:
        ValueError: If a coordinate is not finite.
    """
    low, high = coordinates.amin(2), coordinates.amax(2)  # faster than aminmax
    cells = (high - low).floor() + 1
    if not cells.isfinite().all():
        raise ValueError("features must be finite, got NaN or infinity")
    room = cells - (high - low)
    share = torch.arange(_DIMENSIONS, 0, -1, device=low.device).to(low) / 8
    # Vertices close the last cell, and the blur reaches two further.
    return room * share - low, cells.long() + 3


def lattice_strides(box: list[int], channels: int) -> tuple[int, list[int]]:
    """Count the vertices of a box, and those between neighbors along each axis.

    Raises:
        ValueError: If ``channels`` values at each vertex are too many.
    """
    cells = math.prod(box)
    if channels * cells > _MAX_CELLS:
        raise ValueError(
            f"the lattice would need {channels * cells:.1e} values for one image, at most "
            f"{_MAX_CELLS:.1e} are allowed: use larger standard deviations or an exact sum"
        )
    return cells, [math.prod(box[axis + 1 :]) for axis in range(len(box))]


def _filter_group(values: Tensor, coordinates: Tensor, boxes: Tensor) -> Tensor:
    """Splat, blur and slice images (b, C, N) that share one box; coordinates are (b, 5, N)."""
    images, channels, _ = values.shape
    box = boxes.amax(0).tolist()
    cells, strides = lattice_strides(box, channels)
    steps = [*strides, sum(strides)]
    reach = sum(steps)
    weights, vertices = _simplices(coordinates, strides, cells)
    values = values.transpose(0, 1).reshape(channels, -1)  # (C, b N)
    lattice = values.new_zeros(channels * images * cells + 2 * reach)
    rows = lattice[reach:-reach].view(channels, -1)
    for row, channel in zip(rows, values, strict=True):
        row.index_add_(0, vertices, (weights * channel).flatten())
    rows = _blur(lattice, steps).view(channels, -1)
    weights = weights * LATTICE_SCALE
    sums = [row.index_select(0, vertices).view_as(weights).mul_(weights).sum(0) for row in rows]
    return torch.stack(sums).view(channels, images, -1).transpose(0, 1)


def _simplices(coordinates: Tensor, strides: list[int], cells: int) -> tuple[Tensor, Tensor]:
    """Compute weights (6, b N) and lattice addresses (6 b N,) of every point's vertices.

    From the grid point below, the path to the opposite corner takes the axes in descending order
    of the fractional parts; the barycentric weights are the differences of consecutive parts.
    Fraction and axis are packed into one integer so that a sorting network of minima and maxima
    orders both.
    """
    images = coordinates.shape[0]
    coordinates = coordinates.transpose(0, 1)  # (5, b, N)
    grid = coordinates.floor()
    codes = (coordinates - grid).mul_(2**_FRACTION_BITS).to(torch.int32).mul_(2**_AXIS_BITS)
    order = [code | axis for axis, code in enumerate(codes)]
    for end in range(_DIMENSIONS - 1, 0, -1):
        for i in range(end):
            high, low = torch.maximum(order[i], order[i + 1]), torch.minimum(order[i], order[i + 1])
            order[i], order[i + 1] = high, low

    weights = coordinates.new_empty(_DIMENSIONS + 1, *coordinates.shape[1:])
    weights[0] = 1
    vertices = codes.new_empty(weights.shape)
    vertices[0] = torch.arange(images, dtype=torch.int32, device=codes.device)[:, None] * cells
    for axis, stride in enumerate(strides):
        vertices[0] += grid[axis].to(torch.int32).mul_(stride)
    steps = torch.tensor(strides, dtype=torch.int32, device=codes.device)
    for k, code in enumerate(order):
        weights[k + 1] = (code >> _AXIS_BITS).to(weights.dtype).mul_(2.0**-_FRACTION_BITS)
        weights[k] -= weights[k + 1]
        step = steps.index_select(0, code.bitwise_and_(2**_AXIS_BITS - 1).flatten())
        torch.add(vertices[k], step.view(code.shape), out=vertices[k + 1])
    return weights.flatten(1), vertices.flatten()


def _blur(lattice: Tensor, steps: list[int]) -> Tensor:
    """Blur a flat lattice with [1 2 1] along all steps; it shrinks by their sum at either end.

    [1 2 1] is [1 1] applied twice, so that two buffers and additions suffice.
    """
    length, other = lattice.numel(), torch.empty_like(lattice)
    for step in (*steps, *steps):
        length -= step
        torch.add(lattice[:length], lattice[step : length + step], out=other[:length])
        lattice, other = other, lattice
    return lattice[:length]
