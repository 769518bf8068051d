"""Rule of the study ``shortcuts``: which classes have their evidence where others do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from learned_saliency.pipeline.evaluation.studies.shortcut_features import MapSet

STRATA = 5  # parts of the images by their objects' areas, equally many in each
ENOUGH = 20  # permutations as extreme as the labels, after which no more are drawn
DRAWS = 4  # permutations, over the number of classes per probability of error

#: Cells of the 3 x 3 grid in words, row by row; the fifth, the center, is no shortcut's place.
PLACES = (
    *("upper left corner", "upper border", "upper right corner"),
    *("left border", "center", "right border"),
    *("lower left corner", "lower border", "lower right corner"),
)
CENTER = PLACES.index("center")


class Rule(NamedTuple):
    """Rule by which a class is flagged; see `Shortcuts`.

    Attributes:
        confidence: Confidence of each kind of flag over all classes of a method, in [0.5, 1).
        ratio: Largest share of evidence on the object, over that of the other classes, in (0, 1).
        excess: Least share of evidence in one place beyond that of the other classes, in (0, 1).
        least: Fewest images of a class that is tested.
    """

    confidence: float = 0.95
    ratio: float = 0.6
    excess: float = 0.2
    least: int = 8


class ClassTest(NamedTuple):
    """Comparison of a class with the others.

    Attributes:
        images: Number of its maps that are not flat.
        flat: Number of its flat maps.
        tested: Whether it has enough images, and other classes have as many.
        on_object: Mean share of its evidence on the object; NaN without truth.
        level: The same of images of the other classes with objects of like area.
        p_object: Adjusted p of "no less on the object than others"; NaN without truth.
        place: Outer cell of the grid with the greatest excess, a position in ``PLACES``.
        excess: Mean share of its evidence there, less that of the other classes.
        p_place: Adjusted p of "no more in one place than others".
        off_object: Whether its evidence lies off the object; None without truth.
        in_place: Whether its evidence lies in that place.
    """

    images: int
    flat: int
    tested: bool = False
    on_object: float = np.nan
    level: float = np.nan
    p_object: float = np.nan
    place: int = 0
    excess: float = np.nan
    p_place: float = np.nan
    off_object: bool | None = None
    in_place: bool = False

    @property
    def flagged(self) -> bool:
        """True where the class is named: by the truth where there is one, else by the place."""
        return self.in_place if self.off_object is None else self.off_object

    @property
    def chance(self) -> float:
        """Adjusted p of the test that decides."""
        return self.p_place if self.off_object is None else self.p_object


def compare_classes(maps: MapSet, rule: Rule, seed: int) -> dict[int, ClassTest]:
    """Compare each class with the others.

    Args:
        maps: Maps of one method.
        rule: The rule.
        seed: Seed of the permutations.

    Returns:
        The comparison of each class that has an image, by its number.
    """
    known = maps.rows(maps.classes >= 0)
    shown = known.rows(~known.flat)
    found = {}
    for label in np.unique(known.classes).tolist():
        flat = known.flat[known.classes == label]
        found[label] = ClassTest(int((~flat).sum()), int(flat.sum()))
    tested = [label for label, test in found.items() if test.images >= rule.least]
    if len(tested) < 2:
        return found
    rng = np.random.default_rng(seed)
    limit = int(np.ceil(DRAWS * len(tested) / (1 - rule.confidence)))
    by_place = _test_places(shown, tested, limit, rng)
    by_object = _test_objects(shown, tested, rule, limit, rng)
    for label in tested:
        test = found[label]._replace(tested=True, **by_place[label], **by_object.get(label, {}))
        alpha = 1 - rule.confidence
        in_place = test.p_place <= alpha and test.excess >= rule.excess
        off_object = None
        if label in by_object:
            less = test.on_object <= rule.ratio * test.level
            off_object = bool(test.p_object <= alpha and less)
        found[label] = test._replace(in_place=bool(in_place), off_object=off_object)
    return found


def excesses(grid: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Subtract the mean grid (9,) of the other images from that of the members, bool (N,)."""
    return grid[members].mean(0) - grid[~members].mean(0)


def _test_places(
    maps: MapSet, labels: Sequence[int], limit: int, rng: np.random.Generator
) -> dict[int, dict[str, float]]:
    """Test by permutation of the labels the greatest excess of each class over the outer cells."""
    outer = np.delete(np.arange(len(PLACES)), CENTER)
    values = maps.grid[:, outer] - maps.grid[:, outer].mean(0)
    found, chances = {}, []
    for label in labels:
        members = maps.classes == label
        excess = excesses(maps.grid, members)[outer]
        place = int(excess.argmax())
        found[label] = {"place": int(outer[place]), "excess": float(excess[place])}
        # With the overall means taken off, a class's mean tells its distance to the others.
        observed = values[members].mean(0).max()
        draw = _Draws(values, [np.arange(len(values))], [int(members.sum())], rng)
        chances.append(_chance(lambda draw=draw: draw().max(), observed, limit))
    for label, chance in zip(labels, holm(chances), strict=True):
        found[label]["p_place"] = chance
    return found


def _test_objects(
    maps: MapSet, labels: Sequence[int], rule: Rule, limit: int, rng: np.random.Generator
) -> dict[int, dict[str, float]]:
    """Test by permutation within strata of like area whether less evidence is on the object."""
    levels = ObjectLevels(maps)
    groups, on_object = levels.groups, maps.column("on_object")
    counts = {label: [int((maps.classes[at] == label).sum()) for at in groups] for label in labels}
    labels = [label for label in labels if sum(counts[label]) >= rule.least]
    if len(labels) < 2:
        return {}
    less = np.full((len(on_object), 1), np.nan)
    for at in groups:
        less[at, 0] = on_object[at].mean() - on_object[at]
    found, chances = {}, []
    for label in labels:
        members = maps.classes == label
        of_others = levels.of(members)[members]
        here = np.isfinite(of_others)
        mean = float(on_object[members][here].mean()) if here.any() else np.nan
        level = float(of_others[here].mean()) if here.any() else np.nan
        found[label] = {"on_object": mean, "level": level}
        draw = _Draws(less, groups, counts[label], rng)
        observed = np.nanmean(less[members])
        chances.append(_chance(lambda draw=draw: draw()[0], observed, limit))
    for label, chance in zip(labels, holm(chances), strict=True):
        found[label]["p_object"] = chance
    return found


class ObjectLevels:
    """Shares of evidence on the object, by the fifths of the objects' areas.

    Args:
        maps: Maps that are not flat, (N,).

    Attributes:
        groups: Places of the images of each fifth, without the images that have no truth.
    """

    def __init__(self, maps: MapSet) -> None:
        self._on_object = maps.column("on_object")
        known = np.flatnonzero(np.isfinite(self._on_object) & np.isfinite(maps.area))
        strata = area_strata(maps.area[known])
        groups = (known[strata == stratum] for stratum in range(STRATA))
        self.groups = [at for at in groups if len(at)]

    def of(self, members: np.ndarray) -> np.ndarray:
        """Average the share over the images of each fifth that are no members of a class.

        Args:
            members: Images of the class, bool (N,).

        Returns:
            Mean of each image's fifth (N,); NaN where an image has no truth, or its fifth has no
            image of another class.
        """
        levels = np.full(len(members), np.nan)
        for at in self.groups:
            others = at[~members[at]]
            if len(others):
                levels[at] = self._on_object[others].mean()
        return levels


def area_strata(area: np.ndarray) -> np.ndarray:
    """Part images by the areas (N,) of their objects into fifths, 0 to 4; ties stay together."""
    if not len(area):
        return np.zeros(0, int)
    ends = np.quantile(area, np.arange(1, STRATA) / STRATA)
    return np.searchsorted(ends, area, side="left")


class _Draws:
    """Mean of a random class: as many images of each group as the class has, without repetition."""

    def __init__(
        self,
        values: np.ndarray,
        groups: Sequence[np.ndarray],
        counts: Sequence[int],
        rng: np.random.Generator,
    ) -> None:
        self._groups = [(values[at], n) for at, n in zip(groups, counts, strict=True) if n]
        self._total = sum(counts)
        self._rng = rng

    def __call__(self) -> np.ndarray:
        sums = (
            values[self._rng.choice(len(values), count, replace=False, shuffle=False)].sum(0)
            for values, count in self._groups
        )
        return sum(sums) / self._total


def _chance(draw: Callable[[], float], observed: float, limit: int) -> float:
    """Estimate the probability that a draw is at least as great as observed.

    Drawing ends with the twentieth such draw, or after ``limit`` draws (Besag and Clifford 1991);
    either way the estimate is a valid p-value.
    """
    tolerance = 1e-12 * max(abs(observed), 1.0)  # sums of the same values in another order
    hits = 0
    for count in range(1, limit + 1):
        hits += draw() >= observed - tolerance
        if hits == ENOUGH:
            return hits / count
    return (hits + 1) / (limit + 1)


def holm(chances: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm 1979); the order stays."""
    order = np.argsort(chances, kind="stable")
    factors = np.arange(len(chances), 0, -1)
    adjusted = np.maximum.accumulate(np.minimum(np.asarray(chances)[order] * factors, 1.0))
    found = np.empty(len(chances))
    found[order] = adjusted
    return found.tolist()
