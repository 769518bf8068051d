"""Work on tested networks beside each other."""

from learned_saliency.pipeline.comparison.matching import match
from learned_saliency.pipeline.comparison.sides import Member, Side, read_sides

__all__ = [
    "Member",
    "Side",
    "match",
    "read_sides",
]
