"""Strategies by which several processes train and evaluate together."""

from learned_saliency.trainers.strategies.ddp import ExactEvaluationDDP, broadcast_buffers
from learned_saliency.trainers.strategies.fsdp import ShardedTrunkDDP, SharedTrunk
from learned_saliency.trainers.strategies.lifeline import LIFELINE
from learned_saliency.trainers.strategies.processes import Place, gathered, meet, place

__all__ = [
    "LIFELINE",
    "ExactEvaluationDDP",
    "Place",
    "ShardedTrunkDDP",
    "SharedTrunk",
    "broadcast_buffers",
    "gathered",
    "meet",
    "place",
]
