"""A run on disk, and its parts built of a configuration."""

from learned_saliency.pipeline.runs.build import (
    FIRST_STAGE,
    build_data,
    build_evaluation,
    build_methods,
    build_module,
    build_network,
    build_trainer,
)
from learned_saliency.pipeline.runs.checkpoints import (
    RECORD,
    AtomicCheckpointIO,
    Checkpoint,
    RunRecord,
    beside,
    load_module,
    load_network,
    load_weights,
    read_checkpoint,
    untrained_network,
    write_checkpoint,
)
from learned_saliency.pipeline.runs.facts import checkpoint_facts
from learned_saliency.pipeline.runs.folder import create_folder
from learned_saliency.pipeline.runs.third_party import build_classifier, third_party_network
from learned_saliency.pipeline.runs.unpickle import read_pickle

__all__ = [
    "FIRST_STAGE",
    "RECORD",
    "AtomicCheckpointIO",
    "Checkpoint",
    "RunRecord",
    "beside",
    "build_classifier",
    "build_data",
    "build_evaluation",
    "build_methods",
    "build_module",
    "build_network",
    "build_trainer",
    "checkpoint_facts",
    "create_folder",
    "load_module",
    "load_network",
    "load_weights",
    "read_checkpoint",
    "read_pickle",
    "third_party_network",
    "untrained_network",
    "write_checkpoint",
]
