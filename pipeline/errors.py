"""Mistakes of the person at the keyboard, told in one sentence."""


class UserError(ValueError):
    """Something that was typed or handed over is wrong; the message says what and the remedy."""
