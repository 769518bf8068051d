"""Post-hoc methods by the names that the configuration has for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.resources import files
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from learned_saliency.attribution import PostHocMethod

_MEMBERS = "methods"  # option of a method: the methods whose maps it averages, by their names


def named_methods(
    methods: Sequence[str | PostHocMethod] | Mapping[str, Any],
    target: str | None = None,
) -> dict[str, PostHocMethod]:
    """Build methods of names, options and objects.

    Args:
        methods: Names in ``configs/attribution/all.yaml`` and methods themselves, whose titles are
            the names of their classes; or a mapping of titles to methods, or of names to their
            options.
        target: Score of the class that methods given by their names explain, where their own
            options say nothing else; None for the logit.

    Returns:
        The methods by their titles.

    Raises:
        ValueError: If there is no method, a name does not exist, two have the same title, or
            options are refused.
        TypeError: If something is no method.
    """
    if isinstance(methods, str | PostHocMethod):
        methods = [methods]
    if not isinstance(methods, Mapping):
        titles = [m if isinstance(m, str) else type(m).__name__ for m in methods]
        if len(set(titles)) < len(titles):
            raise ValueError(f"methods: {titles} has a title twice; name them by a mapping")
        methods = dict(zip(titles, methods, strict=True))
    if not methods:
        raise ValueError("methods: name at least one")
    return {title: _built(title, value, target) for title, value in methods.items()}


def _built(title: str, value: Any, target: str | None) -> PostHocMethod:
    if callable(value):
        return value
    if not (value is None or isinstance(value, str | Mapping)):
        raise TypeError(f"methods: {title} is no method but {type(value).__name__}")
    name, options = (value, {}) if isinstance(value, str) else (title, value or {})
    text = files("learned_saliency.configs").joinpath("attribution", "all.yaml").read_text("utf-8")
    known = OmegaConf.create({"attribution": OmegaConf.create(text), "data": {"class_names": None}})
    if name not in known.attribution:
        close = get_close_matches(name, known.attribution, 1)
        nearest = f"; the nearest is {close[0]}" if close else ""
        raise ValueError(
            f"methods: no method is named {name!r}{nearest}; there are "
            f"{', '.join(known.attribution)}"
        )
    chosen, options = known.attribution[name], dict(options)
    members = options.pop(_MEMBERS, chosen.pop(_MEMBERS, None))
    if members is not None:
        members = {_MEMBERS: list(named_methods(members, target).values())}
    try:
        targets = {} if target is None else {"target": target}
        return instantiate(chosen, **targets | options | (members or {}))
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, TypeError):
            reason = str(cause).rpartition("__init__() ")[2]
            raise ValueError(
                f"methods: {name}: its options do not fit ({reason}); give others, or the method "
                "itself, made in Python"
            ) from None
        raise ValueError(f"methods: {name}: {cause}") from None
