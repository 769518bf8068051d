"""The check of a configuration's values, before any work."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.cli.schema import Row, find_row, row_of_default, rows, shown

_REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")


class _Leaf(NamedTuple):
    """A key and its plain value; the row is None where no file has one."""

    key: str
    value: Any
    row: Row | None


def check_values(config: DictConfig, defaults: Callable[[], DictConfig] | None = None) -> None:
    """Check type and range of every value of a configuration; see `schema`.

    Values that are missing, or refer to something that is missing, are passed over.

    Args:
        config: The composed configuration.
        defaults: Composes it without the words that set values, for keys that have no row; without
            it these keys are passed over.

    Raises:
        UserError: If a value is not allowed; the message names the key that it was given by, and
            says what is expected.
    """
    unknown = []
    for leaf in _leaves(config):
        if leaf.row is None:
            unknown.append(leaf)
        elif leaf.row.refused:
            raise _refused(leaf)
        elif not leaf.row.allows(leaf.value):
            raise _refusal(config, leaf.key, leaf.value, leaf.row)
    if unknown and defaults is not None:
        _check_by_defaults(config, unknown, defaults())


def _check_by_defaults(config: DictConfig, leaves: list[_Leaf], defaults: DictConfig) -> None:
    """Check that values have the type of the defaults that the YAML files give to their keys."""
    known = {}
    for key in all_keys(defaults):
        try:
            known[key] = _plain(OmegaConf.select(defaults, key))
        except OmegaConfBaseException:
            known[key] = None
    for key, value, _ in leaves:
        if key in known:
            row = row_of_default(known[key])
            if not row.allows(value):
                raise _refusal(config, key, value, row)
        elif "." not in key:
            raise UserError(f"{key} is no key of the configuration, so that it would do nothing.")


def _leaves(node: DictConfig, prefix: str = "") -> Iterator[_Leaf]:
    """Yield the values of a node; groups of keys that have a row of their own come first."""
    for name in node:
        key, child = f"{prefix}{name}", node._get_node(name)
        row = find_row(key)
        try:
            value = node[name] if not OmegaConf.is_missing(node, name) else _MISSING
            plain = _plain(value) if row is not None or not _is_group(value) else None
            if row is not None and row.type == "duration" and _is_group(value):
                plain = OmegaConf.to_container(value, resolve=True)
        except OmegaConfBaseException:
            continue
        if value is _MISSING:
            continue
        if row is not None or not _is_group(value):
            yield _Leaf(key, plain, row)
        inner = row is None or row.type in ("group", "text_or_group", "any")
        if _is_group(value) and inner and not child._is_interpolation():
            yield from _leaves(value, f"{key}.")


_MISSING = object()


def _is_group(value: Any) -> bool:
    return isinstance(value, DictConfig)


def all_keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a node, of groups and of values, without following references."""
    for name in node:
        child = node._get_node(name)
        yield f"{prefix}{name}"
        opaque = child._is_none() or child._is_interpolation() or child._is_missing()
        if isinstance(child, DictConfig) and not opaque:
            yield from all_keys(child, f"{prefix}{name}.")


def _plain(value: Any) -> Any:
    if isinstance(value, DictConfig):
        return dict.fromkeys(map(str, value)) if not value._is_none() else None
    if isinstance(value, ListConfig):
        return OmegaConf.to_container(value, resolve=True)
    return value


def _refused(leaf: _Leaf) -> UserError:
    """Say why a key is not taken, with the nearest keys of its group that are."""
    group, _, name = leaf.key.rpartition(".")
    given = [key for key, row in rows().items() if not row.refused and "*" not in key]
    names = [key.rpartition(".")[2] for key in given if key.startswith(f"{group}.")]
    close = difflib.get_close_matches(name, names) if leaf.key not in rows() else []
    nearest = f"; the nearest: {', '.join(f'{group}.{each}' for each in close)}" if close else ""
    return UserError(
        f"{leaf.key}={_text(leaf.value)} is refused: {leaf.row and leaf.row.refused}{nearest}."
    )


def _refusal(config: DictConfig, key: str, value: Any, row: Row) -> UserError:
    """Say what is expected of a key, or of the key that its value is taken from."""
    origin = origin_of(config, key)
    own = find_row(origin)
    if own is not None and not own.allows(value):
        row, of = own, ""
    else:
        of = "" if origin == key else f" for {key}"
    close = ""
    if row.choices and isinstance(value, str):
        found = difflib.get_close_matches(value, row.choices, n=1)
        close = f"; the nearest: {found[0]}" if found else ""
    return UserError(f"{origin}={_text(value)}: expected {row.expected()}{of}{close}.")


def _text(value: Any) -> str:
    return "{...}" if isinstance(value, dict) else shown(value)


def origin_of(config: DictConfig, key: str) -> str:
    """Follow the references of a key to the key that holds the value, by which a user gives it."""
    while True:
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        child = node._get_node(name) if isinstance(node, DictConfig) else None
        if child is None or not child._is_interpolation():
            return key
        found = _REFERENCE.fullmatch(str(child._value()))
        if found is None:
            return key
        dots, rest = found.groups()
        above = key.split(".")[: -len(dots)] if dots else []
        key = ".".join([*above, rest])
