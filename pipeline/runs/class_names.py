"""Look-up of classes that a person gives by name or number."""

from __future__ import annotations

from collections.abc import Sequence

from learned_saliency.pipeline.cli import UserError, nearest


def class_number(word: str | int, names: Sequence[str], key: str = "classes") -> int:
    """Find the number of a class; a name counts before a number in digits.

    Args:
        word: Name of the class, with or without the number behind it that tells classes of one
            name apart; or its number.
        names: Names of all classes; their numbers where they have none.
        key: Key that the word stands in, for a message.

    Raises:
        UserError: If there is no such class, or several have the name.
    """
    if isinstance(word, str) and (numbers := _named(word, names)):
        if len(numbers) > 1:
            raise UserError(
                f"{key}: '{word}' is the name of {len(numbers)} classes: give one of the "
                f"numbers {', '.join(map(str, numbers))} instead."
            )
        return numbers[0]
    if isinstance(word, int) or word.isdecimal():
        if 0 <= int(word) < len(names):
            return int(word)
        raise UserError(f"{key}: {word} is none of the {len(names)} classes, from 0.")
    if list(names) == [str(label) for label in range(len(names))]:
        raise UserError(
            f"{key}: '{word}' is not known, the classes have the numbers 0 to "
            f"{len(names) - 1} and no names; names come from metadata/class_names.txt at "
            "the time of the training, or from class_names= of a foreign classifier."
        )
    close = nearest(str(word), names, at_least=3)
    raise UserError(f"{key}: no class is named '{word}'{close}.")


def _named(word: str, names: Sequence[str]) -> list[int]:
    """Find the numbers of the classes of a name, with or without a number behind it."""
    numbered = list(enumerate(names))
    whole = [number for number, name in numbered if name == word]
    return whole or [number for number, name in numbered if name == f"{word} ({number})"]
