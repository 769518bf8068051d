"""The base of all errors that a person can mend.

A room of its own below all others, because data sets, trainers and commands raise such errors, and
because the command line tells them apart from defects before anything heavy is imported: this room
imports nothing.
"""

__all__ = ["MendableError"]


class MendableError(Exception):
    """An error whose message, one sentence, tells a person what is wrong and how to mend it.

    Commands print the message instead of a stack trace.
    """
