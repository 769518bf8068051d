"""The key ``target``: the score that post-hoc methods explain, a word or a function by its name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from learned_saliency.attribution import TARGETS, Outputs, PostHocMethod
from learned_saliency.pipeline.cli import UserError, first_sentence, nearest

_DEFAULT = "logit"
_SAME = ("target", "selector")  # options of a method that mean what the key ``target`` means


def has_function(config: DictConfig) -> bool:
    """Tell whether ``target`` names a function, whose scores take the place of classes."""
    return ":" in str(config.get("target") or "")


def target_word(config: DictConfig) -> str:
    """Return the word of `TARGETS` that methods explain: ``target``, or the logit.

    Raises:
        UserError: If ``target`` is neither such a word nor ``MODULE:FUNCTION``.
    """
    word = str(config.get("target") or _DEFAULT)
    if has_function(config):
        return _DEFAULT  # the function's scores as they are
    if word not in TARGETS:
        raise UserError(
            f"target={word}: is none of {', '.join(TARGETS)}{nearest(word, list(TARGETS))}, and "
            "no MODULE:FUNCTION."
        )
    return word


def target_function(config: DictConfig) -> Outputs | None:
    """Import the function that ``target`` names; None where it names none.

    The function gets what the network returns, see ``outputs`` of `attribution.split`. A class is
    called without arguments, and gives it.

    Raises:
        UserError: If it cannot be imported, or is no function.
    """
    if not has_function(config):
        return None
    module, _, name = str(config.target).partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
        found = found() if isinstance(found, type) else found
    except Exception as error:  # the module's own
        reason = f"{first_sentence(error)} ({type(error).__name__})"
        raise UserError(f"target={config.target}: {reason}.") from None
    if not callable(found):
        raise UserError(f"target={config.target}: is {type(found).__name__}, not a function.")
    return found


def with_target(config: DictConfig, name: str, options: DictConfig, target: str) -> DictConfig:
    """Return the options of a method that explains the given target.

    Args:
        config: The configuration, with its key ``target``.
        name: Name of the method.
        options: Its options in ``attribution``.
        target: A word of `TARGETS`.

    Raises:
        UserError: If the method cannot explain it, or has an option that says another thing.
    """
    for key in _SAME:
        own = options.get(key)
        if own is not None and config.get("target") is not None and own != target:
            raise UserError(
                f"attribution.{name}.{key}={own} and target={config.target} differ: give one."
            )
    if config.get("target") is None or any(options.get(key) is not None for key in _SAME):
        return options  # a method has its own default
    options = options.copy()  # which still refers to the rest of the configuration
    OmegaConf.set_struct(options, False)
    explaining = options.method if isinstance(options.get("method"), DictConfig) else options
    method = get_class(explaining._target_)
    if target not in method.allowed_targets:
        raise UserError(
            f"target={target}: '{name}' explains the {' or '.join(method.allowed_targets)} alone; "
            "leave it out of methods."
        )
    explaining["target"] = target
    return options


def target_record(
    config: DictConfig, methods: Mapping[str, PostHocMethod]
) -> dict[str, str | dict[str, str]]:
    """Record what the maps of post-hoc methods explain, for a file beside them.

    Returns:
        ``target``: the word or ``MODULE:FUNCTION``, or the word of each method where they differ;
        nothing without such methods.
    """
    if not methods:
        return {}
    if has_function(config):
        return {"target": str(config.target)}
    words = {name: _explained(method) for name, method in methods.items()}
    alike = len(set(words.values())) == 1
    return {"target": next(iter(words.values())) if alike else words}


def _explained(method: Any) -> str:
    """Return the word of what a method explains; any function of one's own may be a method."""
    return getattr(method, "target", _DEFAULT)
