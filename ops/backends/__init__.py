"""Faster backends for kernels that have a plain reference in `ops`; a backend is one file."""

from learned_saliency.ops.backends.lattice import lattice_products

__all__ = ["lattice_products"]
