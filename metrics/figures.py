"""What a metric declares of the figures that it computes."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Figure(NamedTuple):
    """What is true of a figure wherever it is shown, compared or chosen by.

    Attributes:
        higher_is_better: Its better direction; None where neither is better.
        headline: Whether tables show it; the others are in the files alone.
        leads: Whether it stands before the others in a table.
        progress: Whether it is told after each epoch, too.
        short: The papers' abbreviation, for narrow tables; None where the name is short enough.
        needs: Ground truth that it reads beyond what its metric needs.
    """

    higher_is_better: bool | None
    headline: bool = True
    leads: bool = False
    progress: bool = False
    short: str | None = None
    needs: frozenset[str] = frozenset()


class Declaring(Protocol):
    """What every metric of this room declares, on its class unless its options decide.

    Attributes:
        needs: Ground truth that ``update`` reads and cannot do without: ``"boxes"``, ``"masks"``,
            ``"labels"``, ``"parts"``.
        figures: What ``compute`` gives, by name; of a metric of one figure the name that it has
            where nothing else is said.
    """

    needs: frozenset[str]
    figures: Mapping[str, Figure]


def declared(metric: Declaring) -> dict[str, Figure]:
    """The figures of a metric (its class, or one with options), each with all that it needs."""
    return {
        name: figure._replace(needs=figure.needs | metric.needs)
        for name, figure in metric.figures.items()
    }
