"""``train.py``: a model is trained stage by stage and tested."""

from learned_saliency.pipeline.training.command import COMMAND
from learned_saliency.pipeline.training.fit import train
from learned_saliency.pipeline.training.resume import resumed_config

__all__ = [
    "COMMAND",
    "resumed_config",
    "train",
]
