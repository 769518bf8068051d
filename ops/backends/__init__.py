"""Faster ways to compute what `ops` has a plain reference for; a backend is one file."""

from learned_saliency.ops.backends.lattice import lattice_products

__all__ = ["lattice_products"]
