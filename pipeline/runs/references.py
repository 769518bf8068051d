"""Configurations whose keys still refer to each other, as a file may hold them."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

# ${oc.env:HOME}, also within another reference or with a name that is one: any ":" after "${"
_RESOLVER = re.compile(r"\$\{.*:", re.DOTALL)


def with_references(config: DictConfig) -> dict[str, Any]:
    """Return a configuration's plain values; values that refer to other keys stay references.

    So a key that is changed later changes the values that depend on it: ``recipe.epochs`` changes
    the epochs of the model. References to the machine or the clock (``${oc.env:...}``,
    ``${now:...}``) are resolved.
    """
    return _plain(config)


def _plain(node: Any) -> Any:
    if isinstance(node, DictConfig):
        return {key: _value(node, key) for key in node}
    return [_value(node, index) for index in range(len(node))]


def _value(parent: DictConfig | ListConfig, key: Any) -> Any:
    if OmegaConf.is_interpolation(parent, key):
        raw = OmegaConf.to_container(parent, resolve=False)[key]
        if not _RESOLVER.search(raw):
            return raw
        found = parent[key]
        resolves = OmegaConf.is_config(found)
        return OmegaConf.to_container(found, resolve=True) if resolves else found
    child = parent._get_node(key)
    return _plain(child) if OmegaConf.is_config(child) and not child._is_none() else parent[key]


def asks_the_machine(node: Any) -> bool:
    """Return whether plain values refer to anything but keys of their own configuration."""
    if isinstance(node, dict):
        return any(asks_the_machine(value) for value in node.values())
    if isinstance(node, list):
        return any(asks_the_machine(value) for value in node)
    return isinstance(node, str) and _RESOLVER.search(node) is not None
