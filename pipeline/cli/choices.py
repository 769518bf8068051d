"""Groups of the configuration, their choices, and the words nearest to a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from learned_saliency import configs
from learned_saliency.pipeline.cli.schema import FOLDER

CONFIG_DIR = Path(configs.__file__).resolve().parent
PUBLISHED = CONFIG_DIR / "papers"  # tables of the papers, no choices
FIRST_STAGE_GROUP = "model@model.first_stage"  # group of the classifier that a model is built on


def config_groups() -> dict[str, list[str]]:
    """Configuration groups and their choices, in alphabetical order."""
    groups: dict[str, list[str]] = {}
    for file in sorted(CONFIG_DIR.glob("**/*.yaml")):
        if file.parent in (FOLDER, PUBLISHED):
            continue  # types and ranges of values, and the papers' figures: no choices
        group = file.parent.relative_to(CONFIG_DIR).as_posix()
        groups.setdefault(group, []).append(file.stem)
    del groups["."]  # what a command begins with
    return groups


def used_groups(config_name: str) -> dict[str, list[str]]:
    """The groups that a configuration file has in its list of defaults, and their choices."""
    used: set[str] = set()
    for entry in OmegaConf.load(CONFIG_DIR / f"{config_name}.yaml").defaults:
        if not isinstance(entry, str):
            used |= {str(key).split()[-1] for key in entry}
        elif (CONFIG_DIR / f"{entry}.yaml").is_file() and "/" not in entry:
            used |= set(used_groups(entry))
    found = {name: choices for name, choices in config_groups().items() if name in used}
    return found | ({FIRST_STAGE_GROUP: _classifiers(found["model"])} if "model" in found else {})


def _classifiers(models: Sequence[str]) -> list[str]:
    """Choose the models that are built on no other one."""
    files = {name: OmegaConf.load(CONFIG_DIR / "model" / f"{name}.yaml") for name in models}
    return [name for name, file in files.items() if "first_stage" not in file]


def module_paths() -> dict[str, str]:
    """Dotted paths of the modules that train the models, their own or inherited, by model."""
    files = {
        name: OmegaConf.load(CONFIG_DIR / "model" / f"{name}.yaml")
        for name in config_groups()["model"]
    }
    paths = {}
    for name, file in files.items():
        while OmegaConf.select(file, "module._target_") is None:
            file = files[next(parent for parent in file.defaults if parent in files)]
        paths[name] = str(file.module._target_)
    return paths


def chosen_experiment() -> str | None:
    """Return the experiment that the command line of this process has chosen, if any."""
    if not HydraConfig.initialized():
        return None
    return HydraConfig.get().runtime.choices.get("experiment")


def nearest(word: str, choices: Sequence[str], at_least: int = 0) -> str:
    """Choices that resemble the word, as part of a sentence; by their last names where dotted.

    Args:
        word: The word.
        choices: The choices.
        at_least: Number of choices to name even where none resembles the word.
    """
    found = difflib.get_close_matches(word, choices, n=3, cutoff=0.6)
    if not found:
        last = word.rpartition(".")[2]
        found = [c for c in choices if c.rpartition(".")[2] == last][:3]
    if not found and at_least:
        found = difflib.get_close_matches(word, choices, n=at_least, cutoff=0.0)
    return f"; the nearest: {', '.join(found)}" if found else ""
