"""The help of a command, read from its configuration and the comments in it.

It imports neither torch nor Lightning, so that it answers at once.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from learned_saliency.pipeline.cli.choices import CONFIG_DIR, FIRST_STAGE_GROUP, used_groups
from learned_saliency.pipeline.cli.comments import read_comments, read_description
from learned_saliency.pipeline.cli.compose import compose_checked

WIDTH = 100
_MEANING = 42  # column where the meaning of a key begins
_CHOICE = 26  # column where the description of a choice begins
_WORDS = """\
Words have the form key=value; lists are [a,b], and null is nothing. GROUP=CHOICE takes another file
of values, whose keys `--help` then shows: model=calm --help. -m runs the command for each of
several values (seed=0,1,2); --cfg job prints the composed configuration and does nothing else."""


class Page(NamedTuple):
    """Words of a command's help beside its configuration.

    Attributes:
        about: What it does, a sentence.
        usage: Words of command lines, without the program.
        more: A paragraph on what it writes or expects.
    """

    about: str
    usage: tuple[str, ...]
    more: str = ""


class _Sources(NamedTuple):
    """Origin of a composed configuration: its files `group/choice`, and the meaning of keys."""

    chosen: set[str]
    meanings: Mapping[str, str]


def format_help(page: Page, called: str, config_name: str, words: Sequence[str]) -> str:
    """Write the help of a command.

    Args:
        page: What is not in the configuration.
        called: How the command is called, ``python train.py``.
        config_name: Its configuration file, without the ending.
        words: Words that choose the configuration that is shown.

    Raises:
        UserError: If a word is wrong.
    """
    config = compose_checked(words, config_name, complete=False)
    sources = _sources(config_name, words)
    parts = [_wrapped(page.about), *([_wrapped(page.more)] if page.more else [])]
    parts += ["Usage\n" + "\n".join(f"  {called} {usage}" for usage in page.usage)]
    parts += [_wrapped(_WORDS)]
    if groups := list(_groups(config_name, sources.chosen)):
        parts += [
            "Groups and their choices; * is the one that is chosen here\n" + "\n".join(groups)
        ]
    keys = "\n".join(_keys(config, sources.meanings))
    parts += ["Keys with the values that they have here, and what they mean\n" + keys]
    return "\n\n".join(parts)


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_on_hyphens=False)


def _sources(config_name: str, words: Sequence[str]) -> _Sources:
    """Look up the files of a configuration; the first that has a key gives its meaning."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        files = loader.compute_defaults_list(config_name, list(words), RunMode.RUN).defaults
        composed = compose(config_name, overrides=list(words), return_hydra_config=True)
    meanings: dict[str, str] = {}
    for file in files:
        path = CONFIG_DIR / f"{file.config_path}.yaml"
        if not path.is_file() or file.package == "hydra":
            continue
        prefix = f"{file.package}." if file.package else ""
        for key, meaning in read_comments(path).items():
            meanings.setdefault(f"{prefix}{key}", meaning)
    choices = composed.hydra.runtime.choices
    chosen = {f"{group}/{name}" for group, name in choices.items()}
    # choices that stand beside each other are not among these
    chosen |= {f.config_path for f in files if f.config_path.rpartition("/")[0] not in choices}
    return _Sources(chosen, meanings)


def _groups(config_name: str, chosen: set[str]) -> Iterator[str]:
    """A block of lines for each group: its choices and what the comment of their file says."""
    for group, names in used_groups(config_name).items():
        if group.partition("/")[0] == "hydra":
            continue
        yield f"  {'first_stage' if group == FIRST_STAGE_GROUP else group}"
        for name in names:
            star = "*" if f"{group}/{name}" in chosen else " "
            about = read_description(CONFIG_DIR / group.partition("@")[0] / f"{name}.yaml")
            yield _columns(f"   {star} {name}", about, _CHOICE)


def _keys(node: DictConfig, meanings: Mapping[str, str], prefix: str = "") -> Iterator[str]:
    """Lines for each key of a node, and below it for the keys of its value."""
    indent = "  " * (prefix.count(".") + 1)
    for key in sorted(node, key=lambda key: _is_group(node, key)):  # single values first
        if str(key).startswith("_"):
            continue  # Hydra's: what is built of the others is told with their parent
        name = f"{prefix}{key}"
        meaning = meanings.get(name, "")
        if _is_group(node, key):
            child = node._get_node(key)
            target = child.get("_target_")
            built = f"[{target}]" if target else ""
            yield _columns(f"{indent}{key}:", f"{meaning} {built}".strip(), _MEANING)
            yield from _keys(child, meanings, f"{name}.")
        else:
            value, reference = _value(node, key)
            of = f"(= {reference})" if reference else "(to be given)" if value == "???" else ""
            yield _columns(f"{indent}{key}: {value}", f"{meaning} {of}".strip(), _MEANING)


def _is_group(node: DictConfig, key: Any) -> bool:
    child = node._get_node(key)
    return isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation()


def _value(node: DictConfig, key: Any) -> tuple[str, str]:
    """The value of a key as one types it, and the key that it is taken from."""
    raw = OmegaConf.to_container(node, resolve=False)[key]
    if raw == "???":
        return "???", ""
    reference = _reference(raw)
    if not reference:
        return _typed(raw), ""
    try:
        found = node[key]
    except OmegaConfBaseException:
        return raw, ""
    if isinstance(found, DictConfig):
        return raw, ""
    found = OmegaConf.to_container(found) if OmegaConf.is_list(found) else found
    return _typed(found), reference


def _reference(raw: Any) -> str:
    """The key that a value refers to, empty where it is more or less than one reference."""
    if not isinstance(raw, str) or not raw.startswith("${") or ":" in raw:
        return ""
    depth, ends = 0, []
    for position, character in enumerate(raw):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "}" and depth == 0:
            ends.append(position)
    return raw[2:-1] if ends == [len(raw) - 1] else ""


def _typed(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_typed, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _columns(left: str, right: str, column: int) -> str:
    """A text, and another one beside it or, where it is long, below it; both in ``WIDTH``."""
    indent = len(left) - len(left.lstrip())
    lines = textwrap.wrap(left, WIDTH, drop_whitespace=False, subsequent_indent=" " * (indent + 2))
    beside = textwrap.wrap(right, WIDTH - column, break_on_hyphens=False)
    if beside and len(lines[-1]) + 2 <= column:
        lines[-1] = f"{lines[-1]:<{column}}{beside.pop(0)}"
    lines += [" " * column + line for line in beside]
    return "\n".join(line.rstrip() for line in lines)
