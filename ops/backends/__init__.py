"""Faster backends for kernels that have a plain reference in `ops`; a backend is one file."""

from learned_saliency.ops.backends.lattice import lattice_products
from learned_saliency.ops.backends.seeds import SeedNumbers, label_images, seed_loops

__all__ = ["SeedNumbers", "label_images", "lattice_products", "seed_loops"]
