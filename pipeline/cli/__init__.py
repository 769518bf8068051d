"""The command line and its mistakes."""

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

__all__ = [
    "CONFIG_DIR",
    "Command",
    "UserError",
    "check_command_line",
    "check_complete",
    "compose_checked",
    "config_groups",
    "first_sentence",
    "nearest",
    "run_command",
]
