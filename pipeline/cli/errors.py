"""Mistakes of the person at the keyboard, told in one sentence."""

import re

from learned_saliency.errors import MendableError

# Control characters, by which a name could move the cursor of a terminal, color it or worse; line
# breaks; and the signs that turn the direction of a text, by which a name looks like another.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


class UserError(MendableError, ValueError):
    """Something that was typed or handed over is wrong; the message says what and the remedy."""


def first_sentence(error: BaseException) -> str:
    """Return the message of another library's error, without its further explanations."""
    lines = str(error).splitlines()
    return lines[0].partition(". ")[0].rstrip(".") if lines else type(error).__name__


def printable(text: str) -> str:
    """Return a text, which may hold names from anywhere, as one line that is safe to print."""
    return _CONTROL.sub(lambda found: " " if found[0].isspace() else "\ufffd", text)
