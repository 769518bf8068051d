"""Images with a square that tells the class, and a classifier that looks at it alone."""

import torch

SHAPE = (12, 12)


def square():
    """Give the pixels of the square, bool (12, 12)."""
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[3:7, 4:8] = True
    return inside


def images(count):
    """Make images (B, 3, 12, 12) with the value 1 in the square, 0.5 elsewhere."""
    return torch.full((count, 3, *SHAPE), 0.5).masked_fill(square(), 1.0)


def evidence(count):
    """Make maps (B, 12, 12) that are 1 in the square and 0 elsewhere."""
    return square().float().expand(count, *SHAPE).clone()


def looks_at_the_square(given):
    """Give logits (R, 2): class 0 the more, the more of the square is shown."""
    shown = given.float()[:, :, square()].mean((1, 2))
    return torch.stack([8 * shown - 4, torch.zeros_like(shown)], dim=1)
