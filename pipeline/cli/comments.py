"""The comments of a configuration file: they are the meaning of its keys."""

from __future__ import annotations

import re
from functools import cache
from itertools import takewhile
from pathlib import Path

import yaml

# The end of a sentence, but not that of "Tab. F.3".
_END = re.compile(r"(?<!Tab)(?<!App)(?<!Sec)\.\s+(?=[A-Z`])")


def read_description(path: Path) -> str:
    """Read the first sentence of the comment that a YAML file begins with; empty without one."""
    return _first_sentence(_head(path.read_text(encoding="utf-8").splitlines()))


@cache
def read_comments(path: Path) -> dict[str, str]:
    """Read the comments of the keys of a YAML file, by their dotted names within the file.

    A comment is that at the end of the key's line, with the lines that go on below its ``#``, then
    that on the lines above the key. The comment that the file begins with belongs to no key.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    head = len(_head(lines))
    keys: dict[str, str] = {}
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        _collect(root, lines, head, "", keys)
    return keys


def _head(lines: list[str]) -> list[str]:
    return list(takewhile(lambda line: line.startswith("#"), lines))


def _collect(
    node: yaml.MappingNode, lines: list[str], head: int, prefix: str, keys: dict[str, str]
) -> None:
    """Add the comments of the keys of a mapping and of those below it."""
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        row, column = key.start_mark.line, key.start_mark.column
        # a comment follows the value, or the key where the value is a block, or another one's alias
        scalar = isinstance(value, yaml.ScalarNode)
        block = value.style in ("|", ">") if scalar else not value.flow_style
        end = key.end_mark if block or value.start_mark.line != row else value.end_mark
        parts = [_behind(lines, end.line, end.column), _above(lines, row, column, head)]
        if comment := " ".join(part for part in parts if part):
            keys[name] = comment
        if block and isinstance(value, yaml.MappingNode):
            _collect(value, lines, head, f"{name}.", keys)


def _behind(lines: list[str], row: int, column: int) -> str:
    """The comment behind a column of a line, and the lines below that begin at its ``#``."""
    start = lines[row].find("#", column)
    if start < 0:
        return ""
    found = [lines[row][start:]]
    for line in lines[row + 1 :]:
        if line.lstrip() != line[start:] or not line[start:].startswith("#"):
            break
        found.append(line[start:])
    return _joined(found)


def _above(lines: list[str], row: int, column: int, head: int) -> str:
    """The comment on the lines above a key that begin where it begins."""
    first = row
    while first > head and re.match(rf" {{{column}}}#", lines[first - 1]):
        first -= 1
    return _joined(lines[first:row])


def _joined(lines: list[str]) -> str:
    return " ".join(line.lstrip(" #").rstrip() for line in lines)


def _first_sentence(lines: list[str]) -> str:
    """The first sentence of a comment; commands that follow on lines of their own are none."""
    text = ""
    for line in lines:
        if line.startswith("# @package"):
            continue
        text = f"{text} {line.strip('# ')}".strip()
        sentence, end, _ = _END.sub("\n", text, count=1).partition("\n")
        if end or text.endswith((".", ":")):
            return sentence.rstrip(".:")
    return text
