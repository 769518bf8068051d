"""Products of the dense CRF on the permutohedral lattice, in time linear in the pixels."""

import torch
from torch import Tensor

from learned_saliency.ops.permutohedral import permutohedral_filter


def lattice_products(maps: Tensor, features: Tensor, max_elements: int) -> Tensor:
    """Compute W [1, S_1, ..., S_T], (B, 1 + T, N).

    Where the maps add up to 1, the last product is the rest of the first and is not filtered.
    """
    tolerance = 8 * torch.finfo(maps.dtype).eps
    complete = bool(((maps.sum(1) - 1).abs() <= tolerance).all())
    values = torch.cat([torch.ones_like(maps[:, :1]), maps[:, :-1] if complete else maps], dim=1)
    products = permutohedral_filter(values, features, max_elements)
    if complete:
        last = products[:, :1] - products[:, 1:].sum(1, keepdim=True)
        products = torch.cat([products, last], dim=1)
    return products
