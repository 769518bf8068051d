"""Measure how often bootstrap intervals over images hold the truth, and where they lie.

Run by hand from an installed checkout: ``python benchmarks/intervals.py RUN_A RUN_B``. The tested
images of the two runs play the part of all images: sets of n of them are drawn with replacement,
each of which gets its intervals, and the truth is the value on all of them. Told for each metric of
the native maps, of the first run and of the difference: the mean of the sets' values minus the
truth, the same of the intervals' middles, and the shares of intervals that hold the truth, lie
above it and lie below it.
"""

import argparse

import numpy as np

from learned_saliency.pipeline.comparison import match, read_sides
from learned_saliency.pipeline.reports import ImageScores, interval_ends, without_bias
from learned_saliency.trainers import NATIVE

METRICS = ("max_box_acc", "max_box_acc_v2", "pxap", "le", "f1")


def native_scores(scores: ImageScores) -> ImageScores:
    """Keep the native maps' scores, without what changes no metric."""
    chosen = [k for k, (method, _) in enumerate(scores.columns) if method == NATIVE]
    columns = [scores.columns[k] for k in chosen]
    states = {NATIVE: scores.states[NATIVE]}
    return scores._replace(columns=columns, terms=scores.terms[:, chosen], states=states).thinned()


def main() -> None:
    """Draw the sets of images; print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs=2)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--sets", type=int, default=300)
    parser.add_argument("--resamples", type=int, default=300)
    options = parser.parse_args()
    matched = match(read_sides(options.runs))
    both = [native_scores(s.members[0].saved.scores.of(matched.image_ids)) for s in matched.sides]
    places = [[one.names().index((NATIVE, name)) for name in METRICS] for one in both]

    def metrics(weights):
        """Compute the metrics of the first run and the differences, (R, 2, M)."""
        first, second = (one.values(weights)[:, at] for one, at in zip(both, places, strict=True))
        return np.stack([first, second - first], 1)

    are_means = both[0].are_means()[places[0]]
    count = len(matched.image_ids)
    truth = metrics(np.ones((1, count)))[0]
    print(f"{count} images as the population, {options.sets} sets, percent")
    print("images  of          metric            truth   value  middle   holds   above   below")
    for images in options.images:
        generator = np.random.default_rng(0)
        values, ends = [], []
        for _ in range(options.sets):
            drawn = generator.multinomial(images, [1 / count] * count)
            again = generator.multinomial(images, drawn / images, size=options.resamples)
            found = metrics(np.vstack([drawn[None], again]).astype(np.float64))
            values.append(found[0])
            first = np.where(are_means, found[1:, 0], without_bias(found[1:, 0], found[0, 0]))
            ends.append(interval_ends(np.stack([first, found[1:, 1]], 1)))
        low, high = np.moveaxis(np.array(ends), 1, 0)
        shown = {
            "truth": truth,
            "value": np.mean(values, 0) - truth,
            "middle": ((low + high) / 2).mean(0) - truth,
            "holds": ((low <= truth) & (truth <= high)).mean(0),
            "above": (low > truth).mean(0),
            "below": (high < truth).mean(0),
        }
        for kind, of in enumerate(("the first", "difference")):
            for k, name in enumerate(METRICS):
                cells = "".join(f"{100 * part[kind, k]:8.1f}" for part in shown.values())
                print(f"{images:6}  {of:<10}  {name:<14}{cells}")


if __name__ == "__main__":
    main()
