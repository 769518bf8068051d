"""Mistakes of the person at the keyboard, told in one sentence."""

from learned_saliency.errors import MendableError


class UserError(MendableError, ValueError):
    """Something that was typed or handed over is wrong; the message says what and the remedy."""


def first_sentence(error: BaseException) -> str:
    """Return the message of another library's error, without its further explanations."""
    lines = str(error).splitlines()
    return lines[0].partition(". ")[0].rstrip(".") if lines else type(error).__name__
