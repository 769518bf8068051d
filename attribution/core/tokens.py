"""Grid of the tokens of a vision transformer."""

import math

from torch import Tensor


def to_grid(
    tokens: Tensor, size: tuple[int, int], prefix_tokens: int | None = None
) -> tuple[Tensor | None, Tensor]:
    """Split tokens into prefix tokens and a grid, which has the image's proportions.

    Args:
        tokens: Shape (B, N, K).
        size: Height and width of the image, in pixels.
        prefix_tokens: Number P of tokens before the grid (class, distillation, registers); by
            default the smallest of 0, 1, 2 that leaves a grid.

    Returns:
        The tokens before the grid (B, P, K), None if P is 0; and the grid (B, K, h, w).

    Raises:
        ValueError: If the tokens after the prefix form no grid.
    """
    height, width = size
    for prefix in range(3) if prefix_tokens is None else [prefix_tokens]:
        count = max(tokens.shape[1] - prefix, 0)
        rows = round(math.sqrt(count * height / width))
        columns = round(math.sqrt(count * width / height))
        if count and rows * columns == count:
            grid = tokens[:, prefix:].transpose(1, 2).unflatten(2, (rows, columns))
            return (tokens[:, :prefix] if prefix else None), grid
    raise ValueError(
        f"{tokens.shape[1]} tokens of a {height}x{width} image are no grid with "
        f"{'0 to 2' if prefix_tokens is None else prefix_tokens} tokens before it"
    )
