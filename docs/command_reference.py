"""The page of commands, written from the YAML files of the configuration and their comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

import yaml

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
COMMANDS = {
    "train": "config",
    "search": "search",
    "evaluate": "evaluate",
    "predict": "predict",
    "export": "export",
    "convert": "convert",
    "data": "doctor",
    "shard": "shard",
    "guard": "guard",
    "compare": "compare",
    "reproduce": "reproduce",
    "verify": "verify",
}
_SCRIPTS = {"train", "evaluate", "predict", "export", "convert"}
#: Groups in the order of the page; `recipe` and `hydra` are read by others and chosen by no word.
GROUPS = (
    "data",
    "backbone",
    "model",
    "trainer",
    "logger",
    "attribution",
    "studies",
    "search",
    "experiment",
    "recipe",
)
_INTERNAL = {"_target_", "_partial_", "_convert_", "defaults", "hydra"}
_LINE = re.compile(r"(?P<indent> *)(?P<key>[\w?-]+): *(?P<value>.*)")
_ANCHOR = re.compile(r"(?:([&*])(\w+) ?)?(.*)")
_COMMENT = re.compile(r"(?:^|\s+)#\s?(.*)$")


class Key(NamedTuple):
    """A key of a configuration file.

    Attributes:
        name: With dots, from the file's top.
        default: Its value as it stands in the file; empty for a key that holds others.
        meaning: The comment beside it and those that belong to it.
    """

    name: str
    default: str
    meaning: str


def command_reference() -> str:
    """All commands with their keys, then all groups with their choices and keys, as Markdown."""
    parts = [_command(command, CONFIGS / f"{file}.yaml") for command, file in COMMANDS.items()]
    parts += ["## Groups", *map(_group, GROUPS)]
    return "\n\n".join(parts)


def _command(command: str, path: Path) -> str:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    called = f"python {command}.py" if command in _SCRIPTS else f"learned-saliency {command}"
    usage = config.get("hydra", {}).get("help", {}).get("header", called)
    return f"## {command}\n\n{header(path)}\n\n```text\n{usage.strip()}\n```\n\n{_table(path)}"


def _group(group: str) -> str:
    parts = [f"### {group}"]
    for path in sorted((CONFIGS / group).glob("*.yaml")):
        inner = f"{header(path)}\n\n{_table(path)}".strip()
        indented = "\n".join(f"    {line}".rstrip() for line in inner.split("\n"))
        parts.append(f'??? note "{group}={path.stem}"\n\n{indented}')
    return "\n\n".join(parts)


def header(path: Path) -> str:
    """The comment at the top of a file as a paragraph; of a package directive nothing is told."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# "))
    return _html(" ".join(lines))


def keys(path: Path) -> list[Key]:
    """The keys of a file in its order, with their comments."""
    found: list[Key] = []
    parents: list[tuple[int, str]] = []
    pending: list[str] = []  # comments on lines of their own, for the key below
    skipped: int | None = None  # indentation of a block that is left out
    anchors: dict[str, str] = {}
    body = path.read_text(encoding="utf-8").splitlines()
    for line in body[_header_length(body) :]:
        if not line.strip() and pending and found:  # about what stands above
            found[-1] = found[-1]._replace(meaning=" ".join([found[-1].meaning, *pending]))
            pending = []
        indent = len(line) - len(line.lstrip())
        if line.lstrip().startswith("#"):
            if found and indent > len(parents) * 2 + 4:
                found[-1] = found[-1]._replace(meaning=f"{found[-1].meaning} {_comment(line)}")
            elif skipped is None:
                pending.append(_comment(line))
            continue
        match = _LINE.match(line)
        if skipped is not None and (not line.strip() or indent > skipped):
            continue
        skipped = None
        if match is None:
            if line.strip().startswith("- ") and found:  # an item of the list above
                item = _COMMENT.sub("", line.strip()[2:])
                found[-1] = found[-1]._replace(default=f"{found[-1].default} {item}".strip())
            continue
        parents = [parent for parent in parents if parent[0] < indent]
        if match["key"] in _INTERNAL:
            skipped, pending = indent, []
            continue
        name = ".".join([*(parent for _, parent in parents), match["key"]])
        value = _without_anchor(_COMMENT.sub("", match["value"]).strip(), anchors)
        meaning = " ".join([*pending, _comment(line)]).strip()
        found.append(Key(name, value, meaning))
        parents.append((indent, match["key"]))
        pending = []
    return found


def _without_anchor(value: str, anchors: dict[str, str]) -> str:
    """A value without YAML's ``&name``, and for ``*name`` what was marked so."""
    mark, name, rest = _ANCHOR.fullmatch(value).groups()
    if mark == "*":
        return anchors[name]
    if mark == "&":
        anchors[name] = rest
    return rest


def _header_length(lines: list[str]) -> int:
    return next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))


def _comment(line: str) -> str:
    match = _COMMENT.search(line)
    return match[1].strip() if match else ""


def _table(path: Path) -> str:
    rows = list(_rows(path))
    if not rows:
        return ""
    head = "<tr><th>key</th><th>default</th><th>meaning</th></tr>"
    table = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="stacked">{table}</div>'


def _rows(path: Path) -> Iterator[str]:
    for key in keys(path):
        if not (key.default or key.meaning):
            continue  # holds other keys
        default = f"<code>{escape(key.default)}</code>" if key.default else ""
        yield (
            f"<tr><td><code>{escape(key.name)}</code></td>"
            f'<td class="default">{default}</td><td class="meaning">{_html(key.meaning)}</td></tr>'
        )


def _html(text: str) -> str:
    """Escape a comment for HTML, with code between backticks and without Markdown in the rest."""
    escaped = escape(text, quote=False)
    for sign in "*_[]<|":
        escaped = escaped.replace(sign, f"&#{ord(sign)};")
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
