"""The key of a search and its values, given or drawn, and their check."""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli.checks import all_keys, check_values, origin_of
from learned_saliency.pipeline.cli.choices import nearest
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.cli.schema import find_row, shown

_NOT_SEARCHED = ("search", "output_dir", "test", "resume", "classifier")
_DIGITS = 4  # significant ones of a drawn value


class Trials(NamedTuple):
    """Values to try.

    Attributes:
        key: The key by which they are given.
        values: The values, plain and all different, in the order of the table.
    """

    key: str
    values: list[Any]


def read_trials(config: DictConfig) -> Trials:
    """Find the key of a search and its values.

    Args:
        config: The composed configuration, whose ``search`` describes the search.

    Raises:
        UserError: If the key does not exist, or there are no values.
    """
    key = _find_key(config)
    given = config.search.get("values")
    if given is not None:
        values = OmegaConf.to_container(given, resolve=True)
        _check_given(values)
    else:
        values = _draw(config, key)
    return Trials(key, values)


def check_trials(config: DictConfig) -> None:
    """Check each value of a search as if it had been given as a word.

    Raises:
        UserError: If one is not allowed, and as `read_trials` does.
    """
    key, values = read_trials(config)
    copy = config.copy()
    for value in values:
        OmegaConf.update(copy, key, value, merge=False)
        check_values(copy)


def with_value(config: DictConfig, key: str, value: Any) -> DictConfig:
    """Copy a configuration with another value of a key; what refers to the key follows."""
    copy = config.copy()
    OmegaConf.update(copy, key, value, merge=False)
    return copy


def _find_key(config: DictConfig) -> str:
    """Find the key that is searched: the one from which the named key takes its value."""
    key = config.search.key
    if key is None:
        raise UserError(
            "search.key has no value: choose a ready-made search, search=lr, or give "
            "search.key=KEY search.values=[A,B,C]."
        )
    known = list(all_keys(config))
    if key not in known:
        raise UserError(f"search.key={key}: is no key of the configuration{nearest(key, known)}.")
    origin = origin_of(config, key)
    if origin.partition(".")[0] in _NOT_SEARCHED:
        raise UserError(f"search.key={key}: its values cannot be compared; search another key.")
    if isinstance(OmegaConf.select(config, origin), DictConfig):
        raise UserError(f"search.key={key}: is a group of keys; name one of them.")
    return origin


def _check_given(values: list[Any]) -> None:
    """Check that there are values, all different."""
    if not values:
        raise UserError("search.values=[]: holds no value; give some.")
    for place, value in enumerate(values):
        if any(type(other) is type(value) and other == value for other in values[:place]):
            raise UserError(f"search.values: holds {shown(value)} twice; drop one.")
        if isinstance(value, dict):
            raise UserError("search.values: holds a group of keys; give single values.")


def _draw(config: DictConfig, key: str) -> list[Any]:
    """Draw the values, rounded so that they can be typed; those that fall together count once."""
    search = config.search
    for name in ("low", "high", "count"):
        if search[name] is None:
            raise UserError(
                f"search.{name} has no value: give search.values=[A,B,C], or search.low, "
                "search.high and search.count."
            )
    low, high = float(search.low), float(search.high)
    if not low < high:
        raise UserError(f"search.low={shown(search.low)}: has to be below search.high={high:g}.")
    if search.log and low <= 0:
        raise UserError(f"search.low={shown(search.low)}: has to be above 0 with search.log=true.")
    row = find_row(key)
    whole = row is not None and row.type in ("integer", "size")
    generator = random.Random(search.seed)
    values = []
    for _ in range(search.count):
        if search.log:
            value = math.exp(generator.uniform(math.log(low), math.log(high)))
        elif whole:
            value = generator.randint(math.ceil(low), math.floor(high))
        else:
            value = generator.uniform(low, high)
        near = min(max(float(f"{value:.{_DIGITS}g}"), low), high)
        values.append(round(near) if whole else near)
    return list(dict.fromkeys(values))
