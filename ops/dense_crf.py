"""Products of the dense CRF's affinity matrix with maps: the points, and the plain reference."""

import torch
from torch import Tensor, nn

from learned_saliency.ops.backends import lattice_products

_GRAY_FIRST = ((1.0, 1.0, 1.0), (1.0, -1.0, 0.0), (1.0, 1.0, -2.0))


def crf_features(images: Tensor, sigma_rgb: float, sigma_xy: float) -> Tensor:
    """Compute the color and place of each pixel in standard deviations, centered.

    Colors are turned (gray axis first), which leaves distances as they are: photographs extend
    along gray, and the lattice wants the longest axis first.
    """
    height, width = images.shape[2:]
    turn = nn.functional.normalize(images.new_tensor(_GRAY_FIRST), dim=1)
    with torch.autocast(images.device.type, enabled=False):
        color = turn @ (images.flatten(2) - 127.5).div_(sigma_rgb)
    rows = torch.arange(height, dtype=images.dtype, device=images.device) - (height - 1) / 2
    columns = torch.arange(width, dtype=images.dtype, device=images.device) - (width - 1) / 2
    place = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).flatten(1) / sigma_xy
    return torch.cat([color, place.expand(len(images), -1, -1)], dim=1)


def exact_products(maps: Tensor, features: Tensor, max_elements: int) -> Tensor:
    """Compute W [1, S_1, ..., S_T], (B, 1 + T, N), by blocks of images and of rows of W."""
    values = torch.cat([torch.ones_like(maps[:, :1]), maps], dim=1)
    group = max(1, max_elements // maps.shape[2] ** 2)
    rows = max(1, max_elements // (group * maps.shape[2]))
    products = torch.empty_like(values)
    for start in range(0, len(maps), group):
        images = slice(start, start + group)
        # -|f_i - f_j|^2 / 2 as one product of (f_i, -|f_i|^2 / 2, 1) and (f_j, 1, -|f_j|^2 / 2)
        points = features[images]
        norms = points.square().sum(1, keepdim=True) / -2
        left = torch.cat([points, norms, torch.ones_like(norms)], dim=1).transpose(1, 2)
        right = torch.cat([points, torch.ones_like(norms), norms], dim=1)
        for block in torch.arange(maps.shape[2]).split(rows):
            part = slice(int(block[0]), int(block[-1]) + 1)
            affinities = (left[:, part] @ right).clamp_(max=0).exp_()  # (b, rows, N)
            products[images, :, part] = values[images] @ affinities.transpose(1, 2)
    return products


#: Ways to compute the products, by name. Each takes maps (B, T, N), features (B, 5, N) and a bound
#: on the numbers held at once, and gives W [1, S_1, ..., S_T] of shape (B, 1 + T, N).
CRF_BACKENDS = {"exact": exact_products, "lattice": lattice_products}
