"""The base of all errors that a person can mend, and the end of a command by a signal.

A room of its own below all others, because data sets, trainers and commands raise such errors, and
because the command line tells them apart from defects before anything heavy is imported: this room
imports nothing of ours.
"""

import signal

_LONGEST = 2000  # characters; what a damaged file or a slip of the hand holds may have any length

__all__ = ["MendableError", "OtherProcessEnded", "Stopped", "SurroundingsError"]


class MendableError(Exception):
    """An error whose message, one sentence, tells a person what is wrong and how to mend it.

    Commands print the message instead of a stack trace.

    Args:
        message: The sentence. Line breaks that a name brings into it become spaces, and of a text
            that is too long to be read the middle is left out.

    Attributes:
        code: Exit code of a command that ends by it.
    """

    code = 2

    def __init__(self, message: str = "") -> None:
        message = " ".join(message.splitlines())
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST // 2]}...{message[-_LONGEST // 2 :]}"
        super().__init__(message)


class SurroundingsError(MendableError):
    """A fault of the machine, not of what was typed: a full disk, a process that was killed."""

    code = 1


class OtherProcessEnded(BaseException):
    """The end of a command whose processes do not work together any more: one of them has ended.

    It is no ``Exception``, so that nothing which mends errors keeps it.

    Attributes:
        code: Exit code of the command.
    """

    def __init__(self, message: str, code: int) -> None:
        self.code = code
        super().__init__(message)


class Stopped(BaseException):
    """The end of a command that a signal asked for.

    It is no ``Exception``, so that nothing which mends errors keeps it.

    Attributes:
        signal: The signal, SIGTERM for example.
        advice: What the user may do next, one sentence; empty where there is nothing to say.
    """

    def __init__(self, number: int, advice: str = "") -> None:
        self.signal = signal.Signals(number)
        self.advice = advice
        end = f"; {advice}" if advice else ""
        super().__init__(f"stopped by {self.signal.name}{end}")

    @property
    def code(self) -> int:
        """Exit code of the command, as a shell counts: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + self.signal
