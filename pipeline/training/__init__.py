"""Job of ``train.py``: a model is trained stage by stage and tested."""

from learned_saliency.pipeline.training.best import chosen_values
from learned_saliency.pipeline.training.command import run
from learned_saliency.pipeline.training.fit import TrainingResult, train
from learned_saliency.pipeline.training.plan import Plan, make_plan
from learned_saliency.pipeline.training.resume import resumed_config
from learned_saliency.pipeline.training.selection import ground_truth
from learned_saliency.pipeline.training.sweep import join_runs

__all__ = [
    "Plan",
    "TrainingResult",
    "chosen_values",
    "ground_truth",
    "join_runs",
    "make_plan",
    "resumed_config",
    "run",
    "train",
]
