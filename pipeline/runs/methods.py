"""Post-hoc methods of a run, built from its configuration."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from learned_saliency.attribution import PostHocMethod, Start
from learned_saliency.pipeline.cli import UserError, is_library_network, nearest
from learned_saliency.pipeline.runs.checkpoints import load_module, read_checkpoint
from learned_saliency.pipeline.runs.class_names import class_number
from learned_saliency.pipeline.runs.targets import has_function, target_word, with_target
from learned_saliency.trainers import FIGURES, NATIVE

_RUN = "checkpoint"  # option of a method: the run whose trained parts it is built with
_CLASSES = "classes"  # option of a method: classes by name or number
_MEMBERS = "methods"  # option of a method: the methods whose maps it averages, by their names
_NEEDS = {
    "boxes": "the boxes of the split",
    "masks": "the masks of the split",
    "method": "a method, methods=[gradcam], for it explains altered images",
}
_START = "start"  # option of a method: the method from whose channel weights it starts


def build_evaluation(
    config: DictConfig, class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Build the options of a `SaliencyModule` for its test, from ``methods`` and ``evaluate``.

    Where ``target`` names a function there are no classes, whose probability faithfulness metrics
    watch: they are left out.

    Args:
        config: The configuration.
        class_names: See `build_methods`.

    Raises:
        UserError: If a method or a metric does not exist, or predicted classes are to be explained
            of images that are tested with each of their classes.
    """
    wanted = config.evaluate
    for name in wanted.faithfulness:
        if name not in FIGURES:
            _refuse("evaluate.faithfulness", "metric", str(name), list(FIGURES))
    task = (config.get("data") or {}).get("task", "multiclass")
    if wanted.explained == "predicted" and task == "multilabel" and not has_function(config):
        raise UserError(
            "evaluate.explained=predicted: an image of data.task=multilabel is tested once with "
            "each of its classes, whose map is explained; leave it at label."
        )
    return {
        "methods": build_methods(config, class_names),
        "faithfulness": [] if has_function(config) else list(wanted.faithfulness),
        "mask_color": wanted.mask_color,
        "explained": wanted.explained,
    }


def check_measurements(names: Iterable[str], available: Collection[str]) -> None:
    """Check that what is there suffices for the metrics of ``evaluate.faithfulness``.

    Args:
        names: Keys of ``trainers.FIGURES``.
        available: Some of ``"boxes"`` and ``"masks"``, of the split, and ``"method"``.

    Raises:
        UserError: If a metric needs more.
    """
    for name in names:
        for need in sorted(FIGURES[name].needs - set(available)):
            raise UserError(
                f"evaluate.faithfulness: '{name}' needs {_NEEDS[need]}, which is missing here; "
                "leave the metric out."
            )


def method_names(config: DictConfig) -> list[str]:
    """List the names in ``methods``, which is a list or a single name; each once."""
    given = config.methods
    return list(dict.fromkeys([given] if isinstance(given, str) else map(str, given or [])))


def method_members(config: DictConfig, name: str) -> list[str]:
    """List the names of the methods whose maps a method averages; none for all other methods."""
    given = config.attribution[name].get(_MEMBERS) or []
    return [given] if isinstance(given, str) else list(map(str, given))


def build_methods(
    config: DictConfig, class_names: Sequence[str] | None = None
) -> dict[str, PostHocMethod]:
    """Build the post-hoc methods that ``methods`` names, with options from ``attribution``.

    A method with the key ``checkpoint`` is built with the trained parts of that run, by default of
    the one that is explained; one with the key ``start`` begins where the method of that name ends.
    All explain the word in ``target``.

    Args:
        config: Configuration with ``methods``, ``attribution`` and what their options refer to.
        class_names: Names of the network's classes, by which options may name classes; None where
            they are not known, and options give numbers.

    Raises:
        UserError: If a name is not in ``attribution``, a run has no such parts, a method gives
            nothing to start from, cannot explain the target, or a class does not exist.
    """
    target = target_word(config)
    names = [name for name in method_names(config) if name != NATIVE]
    if not names and config.get("target") is not None:
        raise UserError(
            f"target={config.target}: is what post-hoc methods explain, and methods names none: "
            "the model's own map stays what was trained. Add one, or leave it out."
        )
    for name in names:
        if name not in config.attribution:
            _refuse("methods", "method", name, [NATIVE, *config.attribution])
    return {name: build_method(config, name, target, class_names) for name in names}


def build_method(
    config: DictConfig,
    name: str,
    target: str = "logit",
    class_names: Sequence[str] | None = None,
) -> PostHocMethod:
    """Build a post-hoc method by its name, see `build_methods`.

    Args:
        config: See `build_methods`, as for the errors.
        name: A key of ``attribution``.
        target: Word of what it explains.
        class_names: See `build_methods`.
    """
    options = with_target(config, name, config.attribution[name], target)
    if options.get(_CLASSES) is not None:
        return _build_of_classes(name, options, class_names)
    if _MEMBERS in options:
        return _build_of_members(config, name, options, target, class_names)
    if _RUN not in options and options.get(_START) is None:
        return instantiate(options)
    options = OmegaConf.to_container(options, resolve=True)
    parts = {}
    if _RUN in options:
        parts |= _trained_parts(config, name, options.pop(_RUN))
    if options.get(_START) is not None:
        parts[_START] = _build_start(config, name, options.pop(_START))
    return instantiate(options, _partial_=True)(**parts)


def _build_of_classes(
    name: str, options: DictConfig, class_names: Sequence[str] | None
) -> PostHocMethod:
    """Build a method that is about certain classes, named or numbered in its options."""
    key = f"attribution.{name}.{_CLASSES}"
    given = options[_CLASSES]
    words = [given] if isinstance(given, str | int) else list(given)
    if class_names is None:
        unknown = [word for word in words if isinstance(word, str) and not word.isdecimal()]
        if unknown:
            raise UserError(
                f"{key}: '{unknown[0]}' is no number, and the names of the classes are not known "
                "here: give numbers."
            )
        numbers = [int(word) for word in words]
    else:
        numbers = [class_number(word, class_names, key) for word in words]
    try:
        return instantiate(options, classes=numbers)
    except InstantiationException as error:
        if not isinstance(error.__cause__, ValueError):
            raise
        raise UserError(f"attribution.{name}: {error.__cause__}.") from None


def _build_of_members(
    config: DictConfig,
    name: str,
    options: DictConfig,
    target: str,
    class_names: Sequence[str] | None,
) -> PostHocMethod:
    """Build a method that averages the maps of others, which its options name."""
    known = [other for other, own in config.attribution.items() if _MEMBERS not in own]
    members = method_members(config, name)
    for member in members:
        if member not in known:
            _refuse(f"attribution.{name}.{_MEMBERS}", "method", member, known)
    methods = [build_method(config, member, target, class_names) for member in members]
    plain = OmegaConf.to_container(options, resolve=True)
    del plain[_MEMBERS]
    try:
        return instantiate(plain, _partial_=True)(methods)
    except ValueError as error:
        raise UserError(f"attribution.{name}: {error}.") from None


def _build_start(config: DictConfig, name: str, start: str) -> Start:
    """Build the method from whose channel weights another one starts."""
    key = f"attribution.{name}.{_START}"
    if start not in config.attribution or start == name:
        _refuse(key, "method", start, [other for other in config.attribution if other != name])
    method = build_method(config, start)
    if not isinstance(method, Start):
        raise UserError(f"{key}={start}: gives nothing to start from; amortized does.")
    return method


def _trained_parts(config: DictConfig, name: str, path: str | None) -> dict[str, Any]:
    """Load the trained parts of a method from a run."""
    key = f"attribution.{name}.{_RUN}"
    word = config.get("classifier")
    is_run = word is not None and os.path.exists(os.path.expanduser(word))
    path = path or config.get("checkpoint") or (word if is_run else None)
    if path is None:
        raise UserError(f"{key} has no value: name a run whose trained network gives the maps.")
    own_code = word is not None and not is_run and not is_library_network(word)
    checkpoint = read_checkpoint(path, "best.ckpt", word if own_code else None)
    parts = load_module(checkpoint).map_parts
    if not parts:
        raise UserError(
            f"{key}: {checkpoint.path} holds a '{checkpoint.model.name}' model, whose map is no "
            "network on a classifier's features; name a run of model=amortized."
        )
    return parts


def _refuse(key: str, kind: str, name: str, known: list[str]) -> NoReturn:
    raise UserError(
        f"{key}: no {kind} is named '{name}'{nearest(name, known)}; there are: {', '.join(known)}."
    )
