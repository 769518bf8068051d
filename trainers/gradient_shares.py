"""Parts that the terms of a loss have in its gradient."""

from collections.abc import Mapping

import torch
from torch import Tensor

_HALF_SCALE = 2.0**12  # keeps small gradients of float16 scores from becoming 0


def gradient_norms(terms: Mapping[str, Tensor], scores: Tensor) -> Tensor:
    """Compute how strongly each term of a loss pulls at the foreground scores of a batch.

    The pull is the sum of absolute values over pixels, because all pixels share the decoder's
    weights, in whose gradient many small pulls add up: the Euclidean norm would leave next to
    nothing of a term that reaches every pixel beside one that reaches a few.

    The graph stays for the training's own backward pass, whose gradients are left alone; nothing
    below ``scores`` is computed.

    Args:
        terms: T scalars that depend on ``scores``, by name.
        scores: Decoder output before the softmax, (B, 1 + F, H, W); channel 0 is background.

    Returns:
        Norms (L1) over the batch of the gradients at channels 1 to F, float32 (T,).
    """
    scale = _HALF_SCALE if scores.dtype == torch.float16 else 1.0
    norms = []
    for term in terms.values():
        (gradient,) = torch.autograd.grad(
            term, scores, torch.full_like(term, scale), retain_graph=True
        )
        norms.append(gradient[:, 1:].float().abs().sum() / scale)
    return torch.stack(norms)


def norm_shares(norms: Tensor) -> Tensor:
    """Divide norms (T,) by their sum; all 0 where every norm is 0."""
    return norms / norms.sum().clamp(min=torch.finfo(norms.dtype).tiny)
