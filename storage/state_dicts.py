"""State dicts in files of weights: found in any nest, their names brought to those of a network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from learned_saliency.storage.weights import WeightsError

# Parts of names that wrappers of a module or of its layers add.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_PREFIX = re.compile(r"(module|_orig_mod|model|network|net)\.")  # in names that no network explains
_AVERAGED = re.compile(r"ema|average|shadow|swa|teacher", re.IGNORECASE)
# Weights of a training, or counters of a profiler, that are no part of the network.
_BESIDE = re.compile(
    r"(criterion|loss|\w*metrics?|train_\w*|val_\w*|test_\w*|\w*ema|n_averaged)(\..*|_\w*)?"
    r"|(.*\.)?(num_batches_tracked|total_ops|total_params)"
)
_DEPTH = 6  # levels of nests
_SHOWN = 3  # names in a message


class FoundWeights(NamedTuple):
    """Weights found in the content of a file.

    Attributes:
        state: Tensors by name.
        report: What was stripped and left out, part of a sentence; empty where nothing was.
    """

    state: dict[str, Tensor]
    report: str


class _Nest(NamedTuple):
    """Tensors in a dictionary below others, with the keys that lead to it and all other keys."""

    keys: tuple[str, ...]
    tensors: dict[str, Tensor]
    others: list[str]


class _Match(NamedTuple):
    """Names of a nest by the network's names, and what was stripped of the names of the nest."""

    names: dict[str, str]
    prefix: str
    rivals: list[str]


def find_state_dict(content: Any) -> FoundWeights:
    """Find the state dict in what `read_weights` gives, in whatever nest, for a network not known.

    The largest collection of tensors counts, of equally large ones that which is no average of
    others. A prefix of wrappers that all names share is stripped.

    Raises:
        WeightsError: If the content has no tensors by name.
    """
    nests = _nests(content)
    nest = max(nests, key=lambda nest: (len(nest.tensors), not _is_average(nest.keys)))
    names, prefix = {name: name for name in nest.tensors}, ""
    while (found := _PREFIX.match(min(names))) and all(n.startswith(found[0]) for n in names):
        prefix += found[0]
        names = {name.removeprefix(found[0]): full for name, full in names.items()}
    state = {name: nest.tensors[full] for name, full in names.items()}
    return FoundWeights(state, _report(nest, prefix, _aside(content, nest.keys)))


def fit_state_dict(
    content: Any,
    wanted: Mapping[str, Tensor],
    *,
    part: bool = False,
    spelled: Callable[[str], str] = str,
) -> FoundWeights:
    """Find the weights of a network in what `read_weights` gives.

    They may lie in any nest of dictionaries (``state_dict``, ``model``, ``ema``, ...) and below any
    prefix (``module.``, ``backbone.``, ...) that they share, or the network's names may have one.

    Args:
        content: Content of a file.
        wanted: State dict of the network.
        part: Whether the network is a part of the file's, so that other weights may be left over.
        spelled: Form in which names are compared, of the same length as the name.

    Returns:
        Weights by the network's names.

    Raises:
        WeightsError: If there are no tensors by name, or they are not those of the network.
    """
    nests = _nests(content)
    matches = [(_match(nest, list(wanted), spelled), nest) for nest in nests]
    match, nest = max(matches, key=lambda m: (len(m[0].names), not _is_average(m[1].keys)))
    if match.rivals:
        raise WeightsError(
            f"holds the weights of several such networks ({', '.join(match.rivals)}): keep those "
            "of one"
        )
    taken = set(match.names.values())
    left = [name for name in nest.tensors if name not in taken]
    state = {name: nest.tensors[full] for name, full in match.names.items()}
    inside = [name for name in left if name.startswith(match.prefix)]
    surplus = [n for n in inside if not part and not _BESIDE.fullmatch(n[len(match.prefix) :])]
    _check(state, wanted, surplus)
    unread = {name: wanted[name] for name in wanted if name not in state}  # counters of batches
    return FoundWeights(
        state | unread, _report(nest, match.prefix, [*left, *_aside(content, nest.keys)])
    )


def _nests(content: Any) -> list[_Nest]:
    """List the dictionaries with tensors by name; raise WeightsError if there are none."""
    found = list(_search(content, ()))
    if not found:
        raise WeightsError("holds no state dict (names and tensors)")
    return found


def _search(content: Any, keys: tuple[str, ...]) -> Iterator[_Nest]:
    if not isinstance(content, Mapping) or len(keys) > _DEPTH:
        return
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors:
        yield _Nest(keys, tensors, [str(key) for key in content if key not in tensors])
    for key, value in content.items():
        if isinstance(key, str):
            yield from _search(value, (*keys, key))


def _is_average(names: Sequence[str]) -> bool:
    return any(_AVERAGED.search(name) for name in names)


def _match(nest: _Nest, wanted: list[str], spelled: Callable[[str], str]) -> _Match:
    """Find the prefix below which a nest has most of the wanted names.

    Wrappers' parts are taken out of the names where that helps, and the network's own names may
    lose what they share.
    """
    shared = _shared_prefix(wanted)
    best = _Match({}, "", [])
    for clean in (str, _without_wrappers):
        for stripped in {"": None, shared: None}:
            ours = {spelled(clean(name.removeprefix(stripped))): name for name in wanted}
            found = _below_prefixes({clean(name): name for name in nest.tensors}, ours, spelled)
            if len(found.names) > len(best.names):
                best = found
    return best


def _below_prefixes(
    theirs: Mapping[str, str], ours: Mapping[str, str], spelled: Callable[[str], str]
) -> _Match:
    below: dict[str, dict[str, str]] = {}
    for name, full in theirs.items():
        for start in [0, *(i + 1 for i, letter in enumerate(name) if letter == ".")]:
            if own := ours.get(spelled(name[start:])):
                below.setdefault(name[:start], {})[own] = full
    most = max(map(len, below.values()), default=0)
    prefixes = [prefix for prefix, names in below.items() if len(names) == most]
    if "" in prefixes or not prefixes:
        return _Match(below.get("", {}), "", [])
    plain = [prefix for prefix in prefixes if not _is_average([prefix])] or prefixes
    return _Match(below[plain[0]], plain[0], plain if len(plain) > 1 else [])


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _shared_prefix(names: Sequence[str]) -> str:
    """Find what all names have in common, up to a dot; nothing for a single name."""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return first[: first.rfind(".", 0, same) + 1]


def _check(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], surplus: list[str]) -> None:
    """Check that weights are those of a network: names and shapes."""
    missing = [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")]
    wrong = [n for n in state if state[n].shape != wanted[n].shape]
    if not missing and not wrong and not surplus:
        return
    classes = {(*s.shape[:1], *w.shape[:1]) for s, w in ((state[n], wanted[n]) for n in wrong)}
    inputs_agree = all(
        state[n].ndim == wanted[n].ndim and state[n].shape[1:] == wanted[n].shape[1:] for n in wrong
    )
    if not missing and not surplus and len(classes) == 1 and inputs_agree and len(wrong) <= 4:
        theirs, ours = classes.pop()
        raise WeightsError(
            f"for {theirs} classes, but the network has {ours} ({', '.join(wrong)}): give the "
            f"number of classes of the weights, {theirs}"
        )
    shapes = [f"{n} {tuple(state[n].shape)} for {tuple(wanted[n].shape)}" for n in wrong]
    parts = {"missing": missing, "left over": surplus, "of another shape": shapes}
    told = [f"{len(names)} are {what} ({_some(names)})" for what, names in parts.items() if names]
    raise WeightsError(
        f"of another network: of its {len(wanted)} weights {len(state) - len(wrong)} are there; "
        f"{'; '.join(told)}"
    )


def _aside(content: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """List the keys beside those that lead to a nest, from the outermost."""
    found = []
    for key in keys:
        found += [str(other) for other in content if other != key]
        content = content[key]
    return found


def _report(nest: _Nest, prefix: str, left: list[str]) -> str:
    parts = [f"taken from '{'.'.join(nest.keys)}'"] if nest.keys else []
    parts += [f"the prefix '{prefix}' was stripped"] if prefix else []
    out = [*left, *nest.others]
    parts += [f"left out: {_some(list(dict.fromkeys(out)))}"] if out else []
    return "; ".join(parts)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
