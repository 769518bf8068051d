"""Height and width of images, which a configuration gives as a number or as a pair."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple


class Size(NamedTuple):
    """Height and width of images in pixels.

    As text it is what a command line takes: ``224`` for a square, else ``[192,256]``.
    """

    height: int
    width: int

    @classmethod
    def of(cls, given: int | Sequence[int]) -> Size:
        """Read the side of a square, or height and width.

        Raises:
            ValueError: If ``given`` is a sequence of other than two numbers.
        """
        if isinstance(given, Integral):
            return cls(int(given), int(given))
        if len(given) != 2:
            raise ValueError(f"expected a size of one number or [height, width], got {list(given)}")
        return cls(*map(int, given))

    @property
    def plain(self) -> int | list[int]:
        """The size as a configuration and JSON have it: a number for a square."""
        return self.height if self.height == self.width else list(self)

    def __str__(self) -> str:
        return str(self.plain).replace(" ", "")
