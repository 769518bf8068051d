"""The command line and its mistakes; imports nothing heavy."""

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
from learned_saliency.pipeline.cli.limit import check_limit
from learned_saliency.pipeline.cli.paths import (
    LIBRARY_WEIGHTS,
    check_classifier,
    check_data,
    check_images,
    check_subject,
    find_checkpoint,
)
from learned_saliency.pipeline.cli.signals import end_on_signals, let_signals_kill
from learned_saliency.pipeline.cli.values import SWEEP_RUNS, listed, values

__all__ = [
    "CONFIG_DIR",
    "LIBRARY_WEIGHTS",
    "SWEEP_RUNS",
    "Command",
    "Page",
    "UserError",
    "check_classifier",
    "check_command_line",
    "check_complete",
    "check_data",
    "check_images",
    "check_limit",
    "check_subject",
    "compose_checked",
    "config_groups",
    "end_on_signals",
    "find_checkpoint",
    "first_sentence",
    "let_signals_kill",
    "listed",
    "nearest",
    "run_command",
    "values",
]
