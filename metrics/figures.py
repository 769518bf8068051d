"""Declarations of the values that a metric computes."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

#: Needs of values that are for one task alone, see `trainers.TASKS`.
EXCLUSIVE, PRESENCE = "one class per image", "all classes of each image"
VALUES = "values of each image"


class Figure(NamedTuple):
    """Declaration of one value of a metric, for tables, comparison, selection and progress.

    Attributes:
        higher_is_better: The better direction; None where neither is better.
        headline: Whether tables show the value; other values are in the files alone.
        leads: Whether the value stands before the others in a table.
        progress: Whether the value is told after each epoch, too.
        short: The papers' abbreviation, for narrow tables; None where the name is short enough.
        needs: Ground truth that the value needs beyond what its metric needs.
        target: The value to come near to, for searches over runs, where neither direction is
            better; None where there is none.
        unit: Unit in which tables show the value as it is, such as ``"s"``; None for a fraction,
            which they show in percent.
        in_pixels: Whether the value changes with the number of pixels of a map, so that those of
            maps of two sizes cannot be compared.
    """

    higher_is_better: bool | None
    headline: bool = True
    leads: bool = False
    progress: bool = False
    short: str | None = None
    needs: frozenset[str] = frozenset()
    target: float | None = None
    unit: str | None = None
    in_pixels: bool = False

    def head(self, name: str) -> str:
        """Head a column of a narrow table; ``name`` is the value's own name."""
        return (self.short or name) + ("" if self.unit is None else f", {self.unit}")

    def shown(self, value: float) -> str:
        """Write a value as tables do, without its unit, which is in the column's head."""
        return f"{100 * value:.1f}" if self.unit is None else f"{value:.4g}"


class Declaring(Protocol):
    """Interface of every metric of this room: declarations on the class, or from its options.

    Attributes:
        needs: Ground truth that ``update`` reads and cannot do without: ``"boxes"``, ``"masks"``,
            ``"labels"``, ``"parts"``.
        figures: Values that ``compute`` gives, by name; for a metric with one value, by the name
            that the value has by default.
    """

    needs: frozenset[str]
    figures: Mapping[str, Figure]


def declared(metric: Declaring) -> dict[str, Figure]:
    """Return the declarations of a metric (its class, or one with options), with all needs."""
    return {
        name: figure._replace(needs=figure.needs | metric.needs)
        for name, figure in metric.figures.items()
    }
