"""The command line and its mistakes; imports nothing heavy."""

from learned_saliency.pipeline.cli.checks import check_values, origin_of
from learned_saliency.pipeline.cli.choices import (
    CONFIG_DIR,
    FIRST_STAGE_GROUP,
    PUBLISHED,
    chosen_experiment,
    config_groups,
    module_paths,
    nearest,
)
from learned_saliency.pipeline.cli.compose import (
    check_command_line,
    check_complete,
    compose_checked,
)
from learned_saliency.pipeline.cli.entry import Command, run_command
from learned_saliency.pipeline.cli.errors import UserError, first_sentence, printable
from learned_saliency.pipeline.cli.help import Page
from learned_saliency.pipeline.cli.hub import hush_requests, is_on_hub
from learned_saliency.pipeline.cli.paths import (
    CLASS_FILES,
    HUB_FACTS,
    HUB_WEIGHTS,
    LIBRARIES,
    LIBRARY_WEIGHTS,
    RECORD_FILE,
    ResumePoint,
    check_class_names,
    check_classifier,
    check_data,
    check_file,
    check_folder,
    check_image_folder,
    check_images,
    check_new_file,
    check_subject,
    find_checkpoint,
    find_resume_point,
    has_network,
    is_library_network,
    is_network,
    is_own_code,
)
from learned_saliency.pipeline.cli.schema import GROUP_FILES
from learned_saliency.pipeline.cli.searches import Trials, check_trials, read_trials, with_value
from learned_saliency.pipeline.cli.signals import ENDING, await_killing, end_on_signals, was_warned
from learned_saliency.pipeline.cli.surroundings import surroundings_error
from learned_saliency.pipeline.cli.values import BASIC_LAUNCHER, SWEEP_RUNS, listed, values
from learned_saliency.pipeline.cli.words import hydra_words, list_places, named_keys

__all__ = [
    "BASIC_LAUNCHER",
    "CLASS_FILES",
    "CONFIG_DIR",
    "ENDING",
    "FIRST_STAGE_GROUP",
    "GROUP_FILES",
    "HUB_FACTS",
    "HUB_WEIGHTS",
    "LIBRARIES",
    "LIBRARY_WEIGHTS",
    "PUBLISHED",
    "RECORD_FILE",
    "SWEEP_RUNS",
    "Command",
    "Page",
    "ResumePoint",
    "Trials",
    "UserError",
    "await_killing",
    "check_class_names",
    "check_classifier",
    "check_command_line",
    "check_complete",
    "check_data",
    "check_file",
    "check_folder",
    "check_image_folder",
    "check_images",
    "check_new_file",
    "check_subject",
    "check_trials",
    "check_values",
    "chosen_experiment",
    "compose_checked",
    "config_groups",
    "end_on_signals",
    "find_checkpoint",
    "find_resume_point",
    "first_sentence",
    "has_network",
    "hush_requests",
    "hydra_words",
    "is_library_network",
    "is_network",
    "is_on_hub",
    "is_own_code",
    "list_places",
    "listed",
    "module_paths",
    "named_keys",
    "nearest",
    "origin_of",
    "printable",
    "read_trials",
    "run_command",
    "surroundings_error",
    "values",
    "was_warned",
    "with_value",
]
