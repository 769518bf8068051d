"""At least float32 where maps and losses are made, whatever precision the networks run in.

Under autocast a network gives numbers of 8 (bfloat16) or 11 (float16) significant bits. On CUDA
autocast itself takes softmax, sums and norms in float32. On CPUs it leaves all of them in bfloat16,
cross-entropy excepted, and products of matrices are in half precision on both. Explicit widening
makes both alike; it also keeps sums over the pixels of an image, 50,176 at 224 x 224, below
float16's largest number, 65,504.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def widen(numbers: Tensor) -> Tensor:
    """Convert half-precision numbers, of any shape, to float32; leave others as they are."""
    if not numbers.is_floating_point():
        return numbers
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def full_precision(device: torch.device) -> AbstractContextManager:
    """Switch autocast off, so that products of matrices have the precision of what is given.

    Without autocast this changes nothing and leaves no trace in an exported graph.

    Args:
        device: Where the numbers lie.
    """
    if not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
