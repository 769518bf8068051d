"""The command line and its mistakes; imports nothing heavy."""

from learned_saliency.pipeline.cli.checks import check_values, origin_of
from learned_saliency.pipeline.cli.compose import (
    CONFIG_DIR,
    check_command_line,
    check_complete,
    compose_checked,
    config_groups,
    nearest,
)
from learned_saliency.pipeline.cli.entry import Command, run_command
from learned_saliency.pipeline.cli.errors import UserError, first_sentence
from learned_saliency.pipeline.cli.help import Page
from learned_saliency.pipeline.cli.paths import (
    LIBRARY_WEIGHTS,
    check_class_names,
    check_classifier,
    check_data,
    check_folder,
    check_images,
    check_subject,
    find_checkpoint,
)
from learned_saliency.pipeline.cli.signals import end_on_signals, let_signals_kill
from learned_saliency.pipeline.cli.values import SWEEP_RUNS, listed, values
from learned_saliency.pipeline.cli.words import hydra_words

__all__ = [
    "CONFIG_DIR",
    "LIBRARY_WEIGHTS",
    "SWEEP_RUNS",
    "Command",
    "Page",
    "UserError",
    "check_class_names",
    "check_classifier",
    "check_command_line",
    "check_complete",
    "check_data",
    "check_folder",
    "check_images",
    "check_subject",
    "check_values",
    "compose_checked",
    "config_groups",
    "end_on_signals",
    "find_checkpoint",
    "first_sentence",
    "hydra_words",
    "let_signals_kill",
    "listed",
    "nearest",
    "origin_of",
    "run_command",
    "values",
]
