"""Cost of a computation in floating-point operations."""

from learned_saliency.pipeline.evaluation.studies.measuring import CountFlops

__all__ = ["CountFlops"]
