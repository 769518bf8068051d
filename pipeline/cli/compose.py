"""Reads the command line as Hydra does, and says in one line what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
)

from learned_saliency.pipeline.cli.checks import check_values
from learned_saliency.pipeline.cli.choices import (
    CONFIG_DIR,
    FIRST_STAGE_GROUP,
    nearest,
    used_groups,
)
from learned_saliency.pipeline.cli.errors import UserError, first_sentence
from learned_saliency.pipeline.cli.resolvers import register
from learned_saliency.pipeline.cli.values import values
from learned_saliency.pipeline.cli.words import MULTIRUN

CONFIG_NAME = "config"
_MAY_LACK = {"backbone", "trainer", "logger", "attribution", "studies"}  # keys, but not the group
# Arguments of an optimizer, which others do not have: AdamW has no momentum.
_OF_OPTIMIZERS = re.compile(r"model\.(\w+\.)*\w*optimizer\.(?!_)\w+")
_LAUNCHER = "hydra/launcher"  # group of Hydra's
_SHOWN = 80
_INNER = re.compile(r"\$\{[\w.]+\.\$\{([\w.]+)\}\}")  # a reference whose end another key names
_MAX_TOLD = 40  # choices of a group that a sentence lists
_MAX_SWEPT = 1000  # values of one word of a sweep, each of which is checked

register()


def check_command_line(
    arguments: Sequence[str],
    name: str = CONFIG_NAME,
    complete: bool = True,
    check: Callable[[DictConfig], None] | None = None,
) -> DictConfig:
    """Compose the configuration once, to find mistakes before anything else happens.

    Args:
        arguments: The command line without the program's name; Hydra's own flags are passed over.
        name: The configuration file, without its ending.
        complete: Whether all values must be there, instead of some coming from a checkpoint.
        check: Looks further at each composed configuration, of which a sweep has several.

    Returns:
        The configuration with Hydra's own part; of a sweep, the first one.

    Raises:
        UserError: If a word is not ``key=value``, a key or choice does not exist (with the nearest
            that do), a value has another type or is out of range, or a mandatory one is missing.
    """
    words = [w for w in arguments if not w.startswith("-") and ("=" in w or w.startswith("~"))]
    stray = [word for word in arguments if "=" not in word and not word.startswith(("-", "~"))]
    flags = {"--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd", "--package"}
    flags |= {"--cfg", "-c", "--info", "-i"}
    if stray and not flags & set(arguments):
        raise UserError(f"'{stray[0]}' is not understood: words have the form key=value.")
    parsed = _parsed(words)
    _check_words(parsed, name, several=bool(MULTIRUN & set(arguments)))
    found = []
    for overrides in _without_sweeps(parsed):
        composed = _compose(overrides, name)
        found.append(composed)
        config = _without_hydra(composed)
        _check_deletions(parsed)
        check_values(config, lambda: _defaults(overrides, name))  # noqa: B023  used at once
        if complete:
            check_complete(config)
        if check is not None:
            check(config)
    return found[0]


def compose_checked(
    overrides: Sequence[str], name: str = CONFIG_NAME, complete: bool = True
) -> DictConfig:
    """Compose the configuration of ``overrides``; see `check_command_line` for what it raises."""
    config = _without_hydra(_compose(overrides, name))
    if complete:
        check_complete(config)
    return config


def _compose(overrides: Sequence[str], name: str) -> DictConfig:
    """Compose a configuration with Hydra's own part; within a command by the Hydra that runs it."""
    running = GlobalHydra.instance().is_initialized()
    with nullcontext() if running else initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        try:
            return compose(name, overrides=list(overrides), return_hydra_config=True)
        except OverrideParseException as error:
            raise UserError(f"'{error.override}' is not understood: write key=value.") from None
        except Exception as error:  # Hydra and OmegaConf raise anything at odd words
            raise UserError(_explain(overrides, name) or _one_line(error)) from None


def _without_hydra(composed: DictConfig) -> DictConfig:
    """Copy a configuration without Hydra's own part."""
    config = composed.copy()
    with open_dict(config):
        del config["hydra"]
    return config


def check_complete(config: DictConfig) -> None:
    """Check that every value is given and every reference leads somewhere.

    Raises:
        UserError: Naming the first key that is missing or points to nothing.
    """
    try:
        missing = sorted(_missing_keys(config))
        if missing:
            raise UserError(f"{missing[0]} has no value: give it as {missing[0]}=...")
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        if not isinstance(error, InterpolationKeyError | InterpolationToMissingValueError):
            raise UserError(f"{error.full_key}: {_first_line(error)}.") from None
        reference = str(error).split("'")[1] if "'" in str(error) else str(error)
        parent, _, name = reference.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        choices = [str(key) for key in node] if isinstance(node, DictConfig) else []
        subject = _named_by(config, error.full_key) or error.full_key
        raise UserError(
            f"{subject} refers to '{reference}', which does not exist{nearest(name, choices)}."
        ) from None


def _named_by(config: DictConfig, key: str) -> str | None:
    """Find the key, with its value, that names what another key refers to: ${a.${NAMED_BY}}."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    child = node._get_node(name) if isinstance(node, DictConfig) else None
    inner = _INNER.search(str(child._value())) if child is not None else None
    return f"{inner[1]}={OmegaConf.select(config, inner[1])}" if inner else None


def _missing_keys(node: DictConfig, prefix: str = "") -> list[str]:
    """List the keys without a value; those that refer to such a key are not among them."""
    found = []
    for key in node:
        child = node._get_node(key)
        if child._is_missing() and not child._is_interpolation():
            found.append(f"{prefix}{key}")
        elif (
            isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation()
        ):
            found += _missing_keys(child, f"{prefix}{key}.")
    return found


def _defaults(words: Sequence[str], name: str) -> DictConfig:
    """Compose the configuration with the words that choose files, without those that set values."""
    groups = used_groups(name)
    parsed = OverridesParser.create().parse_overrides(list(words))
    chosen = [each.input_line or "" for each in parsed if _key(each) in groups]
    return compose_checked(chosen, name, complete=False)


def _parsed(words: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(list(words))
    except OverrideParseException as error:
        word = str(error.override)[:_SHOWN]
        raise UserError(f"'{word}' is not understood: write key=value.") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise UserError(f"the command line is not understood: {first_sentence(error)}.") from None


def _check_words(parsed: Sequence[Override], name: str, several: bool) -> None:
    """Check what Hydra would pass over, or tell at length, before anything is composed.

    Args:
        parsed: The words.
        name: The configuration file, without its ending.
        several: Whether a word may have several values, for a sweep.

    Raises:
        UserError: If a group has no such choice, or a word has several values outside a sweep.
    """
    groups = used_groups(name)
    for override in parsed:
        key, word = _key(override), override.input_line
        if override.is_sweep_override():
            if not several:
                raise UserError(
                    f"{word}: has several values, which need -m; a list is {key}=[a,b,...]."
                )
        elif key in groups and not override.is_delete():
            _check_choice(override, groups[key])


def _key(override: Override) -> str:
    """Give the key of a word, or its group with the package where it has one."""
    package = f"@{override.package}" if override.package else ""
    return f"{override.key_or_group}{package}"


def _check_deletions(parsed: Sequence[Override]) -> None:
    """Check that words take away arguments of parts alone, not what every run needs."""
    for override in parsed:
        key = override.key_or_group
        group, _, rest = key.partition(".")
        is_argument = (rest and group in _MAY_LACK) or _OF_OPTIMIZERS.fullmatch(key)
        if override.is_delete() and not is_argument:
            raise UserError(f"{override.input_line}: a run needs this key; give it a value.")


def _check_choice(override: Override, known: list[str]) -> None:
    """Check that a group has the choices that a word names."""
    key, value = _key(override), override.value()
    group = "first_stage" if key == FIRST_STAGE_GROUP else key
    for choice in values(["null"] if value is None else value):
        if choice not in known:
            close = nearest(choice, known)
            there = f"there are: {', '.join(known)}"
            if len(known) > _MAX_TOLD:
                there = f"--help lists all {len(known)}"
            raise UserError(f"{group}={choice} is no choice of '{group}'{close}; {there}.")


def _without_sweeps(parsed: Sequence[Override]) -> Iterator[list[str]]:
    """The words with the first value of each sweep, then once for each other value."""
    options = [_options(override) for override in parsed]
    first = [found[0] for found in options]
    yield first
    for position, found in enumerate(options):
        for value in found[1:]:
            yield [*first[:position], value, *first[position + 1 :]]


def _options(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.input_line or ""]
    key = override.get_key_element()
    swept = list(islice(override.sweep_string_iterator(), _MAX_SWEPT + 1))
    if len(swept) > _MAX_SWEPT:
        raise UserError(f"{override.input_line}: sweeps over more than {_MAX_SWEPT} values.")
    return [f"{key}={value}" for value in swept]


def _explain(overrides: Iterable[str], config_name: str) -> str | None:
    """Find the override at fault: a choice that a group lacks, or a key that does not exist.

    Raises:
        UserError: If it is a choice.
    """
    groups = used_groups(config_name)
    good: list[str] = []
    assigned: list[Override] = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        name = _key(override)
        if name == _LAUNCHER:
            _check_launcher(override)
        elif name not in groups:
            assigned.append(override)
            continue
        elif not override.is_delete():
            _check_choice(override, groups[name])
        good.append(override.input_line or "")
    try:
        config = compose(config_name, overrides=good)
    except Exception as error:  # which the caller tells
        if f"override '{FIRST_STAGE_GROUP}'" in str(error):
            return "first_stage=...: this model is built on no classifier; leave it out."
        return None
    keys = list(_dotted(OmegaConf.to_container(config)))
    for override in assigned:
        name = override.key_or_group
        if not (override.is_add() or override.is_force_add()) and name not in keys:
            close = _unchosen(name, keys, groups) or nearest(name, [*keys, *groups])
            return f"{name} is no key of the configuration{close}."
    return None


def _check_launcher(override: Override) -> None:
    """Check that the launcher of a sweep or search is installed.

    Raises:
        UserError: If it is not.
    """
    known = GlobalHydra.instance().config_loader().get_group_options(_LAUNCHER)
    if override.value() not in known:
        raise UserError(
            f"{override.input_line}: is not installed; there are: {', '.join(known)}; those of "
            "submitit come with pip install 'learned-saliency[cluster]'."
        )


def _unchosen(key: str, keys: Sequence[str], groups: dict[str, list[str]]) -> str:
    """Say with which choice an option comes, where choices of a group stand beside each other."""
    group, _, rest = key.partition(".")
    choice = rest.partition(".")[0]
    if choice in groups.get(group, []) and f"{group}.{choice}" not in keys:
        return f": it comes with {group}=[{choice}]"
    return ""


def _dotted(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _dotted(value, f"{prefix}{key}.")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
