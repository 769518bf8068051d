"""Strategies by which several processes train and evaluate together."""

from learned_saliency.trainers.strategies.ddp import ExactEvaluationDDP, broadcast_buffers

__all__ = [
    "ExactEvaluationDDP",
    "broadcast_buffers",
]
