"""The dense CRF's products on the permutohedral lattice: linear in the number of pixels."""

import torch
from torch import Tensor

from learned_saliency.ops.permutohedral import permutohedral_filter


def lattice_products(maps: Tensor, features: Tensor, max_elements: int) -> Tensor:
    """W [1, S_1, ..., S_T], shape (B, 1 + T, N); the last map comes from the others' sum if 1."""
    tolerance = 8 * torch.finfo(maps.dtype).eps
    complete = bool(((maps.sum(1) - 1).abs() <= tolerance).all())
    values = torch.cat([torch.ones_like(maps[:, :1]), maps[:, :-1] if complete else maps], dim=1)
    products = permutohedral_filter(values, features, max_elements)
    if complete:
        last = products[:, :1] - products[:, 1:].sum(1, keepdim=True)
        products = torch.cat([products, last], dim=1)
    return products
