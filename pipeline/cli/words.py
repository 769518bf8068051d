"""Words of a command line as Hydra wants them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from learned_saliency.pipeline.cli.choices import FIRST_STAGE_GROUP
from learned_saliency.pipeline.cli.schema import find_row, rows

MULTIRUN = {"-m", "--multirun"}
_WITH_VALUE = {"-c", "--cfg", "-i", "--info", "-p", "--package"}  # flags of Hydra's
_QUOTED = ("path", "place", "paths", "classes", "pretrained")  # types of values that hold texts


def hydra_words(arguments: Sequence[str]) -> list[str]:
    """Write the words of a command line as Hydra wants them.

    Paths and names are quoted, so that spaces, commas, brackets, ``=`` and ``*`` in them mean
    nothing to Hydra; lists ``[a,b]`` and what is quoted already stay as they are, and with ``-m``
    values with a comma, which are several. Arguments of the trainer need no ``+``, and the group
    of the classifier that a model is built on is ``first_stage``.
    """
    sweep = bool(MULTIRUN & set(arguments))
    words = []
    for word in arguments:
        key, equals, value = word.partition("=")
        if key == "first_stage":
            word = f"{FIRST_STAGE_GROUP}={value}"
        row = find_row(key.lstrip("+")) if equals else None
        if row is not None and row.type in _QUOTED:
            several = sweep and "," in value and not _exists(value)
            word = word if several else f"{key}={_quoted(value, row.type)}"
        words.append(f"++{word}" if equals and _is_added(key) else word)
    return words


def list_places(arguments: Sequence[str], key: str) -> list[str]:
    """Write words of a command line as Hydra wants them, bare ones as a list of paths.

    Args:
        arguments: The words; those without ``key=``, and those that are paths of something, are
            places.
        key: The key whose value the places are.
    """
    places, others, last = [], [], ""
    for word in arguments:
        bare = not word.startswith(("-", "~")) and last not in _WITH_VALUE
        (places if bare and ("=" not in word or _exists(word)) else others).append(word)
        last = word
    if not places:
        return hydra_words(others)
    return [f"{key}=[{','.join(_literal(place) for place in places)}]", *hydra_words(others)]


def named_keys(words: Sequence[str]) -> frozenset[str]:
    """Collect the keys and groups that words of a command line name."""
    return frozenset(word.lstrip("+~").partition("=")[0] for word in words)


def _is_added(key: str) -> bool:
    """Tell whether a key is an argument of the trainer, which may have no default."""
    return key.startswith("trainer.") and key in rows()


def _quoted(value: str, kind: str) -> str:
    plain = value in ("", "null")
    plain |= kind == "pretrained" and value.lower() in ("true", "false")
    plain |= kind == "classes" and value.isdecimal()
    if plain or (value[0] + value[-1] in ("[]", "''", '""') and not _exists(value)):
        return value
    return _literal(value, kind)


def _literal(value: str, kind: str = "path") -> str:
    """Quote a text for Hydra."""
    literal = value if kind == "place" else value.replace("${", "\\${")
    literal = re.sub(r"(\\*)'", r"\1\1\\'", literal)  # backslashes before a quote count double
    literal = re.sub(r"(\\+)$", r"\1\1", literal)
    return f"'{literal}'"


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(os.path.expanduser(path))
    except ValueError:  # a zero byte
        return False
