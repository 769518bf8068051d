"""Tests of bootstrap intervals: scipy as oracle, missing terms, tables on disk."""

import numpy as np
import pytest
from scipy import stats

from learned_saliency.pipeline.reports import (
    ImageScores,
    bootstrap_interval,
    draws,
    interval_ends,
    intervals,
    read_image_scores,
    resampled,
    without_bias,
    write_intervals,
)

TABLE = """image_id,method,label,predicted,target,x0,y0,x1,y1,iou,average_drop
a,cam,0,0,0,1,1,2,2,0.5,0.1
a,gradcam,0,0,0,1,1,2,2,0.25,
b,cam,1,0,1,1,1,2,2,1.0,0.3
b,gradcam,1,0,1,1,1,2,2,0.75,
"""


def test_ends_agree_with_scipy_up_to_the_draws():
    terms = np.random.default_rng(0).beta(0.5, 2.0, size=(150, 2))
    ours = bootstrap_interval(terms, resamples=20_000)
    for column, ends in zip(terms.T, ours.T, strict=True):
        theirs = stats.bootstrap(
            (column,), np.mean, n_resamples=20_000, method="percentile", rng=1
        ).confidence_interval
        np.testing.assert_allclose(ends, theirs, atol=1.5e-3)  # the intervals are 0.08 wide


def test_intervals_hold_the_true_mean_about_as_often_as_they_say():
    generator = np.random.default_rng(0)
    terms = generator.normal(size=(60, 400))  # 400 experiments with 60 images each
    low, high = bootstrap_interval(terms, seed=1)
    share = np.mean((low <= 0) & (high >= 0))
    assert 0.91 <= share <= 0.97


def test_the_best_of_many_thresholds_is_held_once_its_bias_is_corrected():
    generator = np.random.default_rng(0)
    thresholds = np.linspace(0, 1, 100)

    def hits(count):  # each image between two thresholds of its own
        middles = generator.normal(0.4, 0.2, size=(count, 1))
        return np.abs(thresholds - middles) <= generator.uniform(0, 0.3, size=(count, 1))

    truth = hits(100_000).mean(0).max()
    held = {"as drawn": [], "corrected": []}
    for seed in range(150):
        found = hits(80).astype(float)
        best = found.mean(0).max(keepdims=True)
        drawn = np.concatenate([(w @ found).max(1) / 80 for w in draws(80, 300, seed)])[:, None]
        for name, values in (("as drawn", drawn), ("corrected", without_bias(drawn, best))):
            low, high = interval_ends(values)[:, 0]
            held[name].append(low <= truth <= high)
    assert np.mean(held["as drawn"]) < 0.8
    assert np.mean(held["corrected"]) > 0.85


def test_methods_share_the_draws_and_parts_of_the_draws_do_not_matter(monkeypatch):
    column = np.random.default_rng(0).uniform(size=(30, 1))
    both = bootstrap_interval(np.hstack([column, column + 1]))
    np.testing.assert_allclose(both[:, 1], both[:, 0] + 1)
    module = "learned_saliency.pipeline.reports.bootstrap._CHUNK"
    monkeypatch.setattr(module, 100)
    again = bootstrap_interval(np.hstack([column, column + 1]))
    np.testing.assert_allclose(again, both, rtol=1e-14)


def samples_of(images, generator, each=3):
    """Scores of some samples of each image, which have a part in common, in a random order."""
    sources = np.repeat([f"{i}.png" for i in range(images)], generator.integers(1, each, images))
    common = dict(zip(np.unique(sources), generator.normal(size=images), strict=True))
    terms = np.array([common[image] for image in sources]) + generator.normal(0, 0.2, len(sources))
    order = generator.permutation(len(sources))
    names = [f"{image}#{k}" for k, image in enumerate(sources)]
    states = {"cam": {"pixels/object_scores": generator.integers(0, 9, (len(sources), 1002))}}
    states["cam"]["pixels/background_scores"] = generator.integers(0, 9, (len(sources), 1002))
    scores = ImageScores(names, [("cam", "x")], terms[:, None], states, sources.tolist())
    return scores.of([names[i] for i in order])


def test_images_are_drawn_with_all_of_their_samples():
    scores = samples_of(7, np.random.default_rng(0), each=4)
    names = sorted(set(scores.sources))
    (drawn,) = draws(len(names), 5, 3)
    for found, counts in zip(resampled(scores, 5, 3), drawn, strict=True):
        rows = []
        for image, count in zip(names, counts.astype(int), strict=True):
            for _ in range(count):
                rows += [i for i, source in enumerate(scores.sources) if source == image]
        alone = scores._replace(
            image_ids=[str(i) for i in range(len(rows))],
            terms=scores.terms[rows],
            states={"cam": {name: v[rows] for name, v in scores.states["cam"].items()}},
            sources=None,
        )
        wanted = alone.values(np.ones((1, len(rows))))[0]
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_images_by_themselves_are_drawn_as_ever():
    scores = samples_of(9, np.random.default_rng(1), each=2)
    ordered = scores.of(sorted(scores.image_ids))
    plain = ordered._replace(sources=None)
    found = resampled(plain, 40, 2)
    wanted = np.concatenate([plain.thinned().values(weights) for weights in draws(9, 40, 2)])
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(resampled(ordered, 40, 2), found, rtol=1e-12)  # sums in other order


def test_intervals_of_samples_hold_the_true_mean_about_as_often_as_they_say():
    held = {"images": [], "samples": []}
    for seed in range(300):
        scores = samples_of(30, np.random.default_rng(seed), each=6)._replace(states={})
        for name, found in (("images", scores), ("samples", scores._replace(sources=None))):
            low, high = interval_ends(resampled(found, 300, seed))[:, 0]
            held[name].append(low <= 0 <= high)
    assert np.mean(held["images"]) > 0.89
    assert np.mean(held["samples"]) < 0.75


def test_images_without_a_term_do_not_count():
    terms = np.array([[1.0, np.nan, 0.5], [2.0, np.nan, np.nan], [3.0, np.nan, np.nan]])
    low, high = bootstrap_interval(terms)
    assert low[0] < 2 < high[0]
    assert np.isnan([low[1], high[1]]).all()
    assert low[2] == high[2] == 0.5


@pytest.mark.parametrize(
    ("terms", "options", "words"),
    [
        (np.zeros((0, 2)), {}, "at least one image"),
        (np.zeros(3), {}, r"expected terms \(N, K\)"),
        (np.zeros((2, 2)), {"level": 1.0}, r"level in \(0, 1\)"),
        (np.zeros((2, 2)), {"resamples": 0}, "resamples >= 1"),
    ],
)
def test_bad_arguments_are_refused(terms, options, words):
    with pytest.raises(ValueError, match=words):
        bootstrap_interval(terms, **options)


def test_a_table_of_images_gives_a_row_per_method_and_metric(tmp_path):
    table = tmp_path / "images.csv"
    table.write_text(TABLE)
    found = intervals(tmp_path)
    names = [("cam", "iou"), ("cam", "average_drop"), ("gradcam", "iou")]
    assert list(found) == [*names, ("cam", "accuracy"), ("gradcam", "accuracy")]
    assert found["cam", "accuracy"] == (0.5, 0.0, 1.0, 2)  # the class of b is not the predicted one
    assert found["cam", "iou"].mean == 0.75
    assert found["cam", "iou"][1:] == (0.5, 1.0, 2)
    rows = write_intervals(tmp_path).read_text().splitlines()
    assert rows[0] == "method,metric,mean,low,high,images"
    assert rows[2] == "cam,average_drop,0.2,0.1,0.3,2"


def test_a_table_of_samples_names_their_images(tmp_path):
    rows = [row.split(",") for row in TABLE.split()]
    places = (1, 1), (2, 1), (3, 0), (4, 0)
    for row, (k, image) in zip(rows[1:], places, strict=True):
        row[0:1] = [f"s{k}", f"i{image}"]
    rows[0][0:1] = ["image_id", "image"]
    (tmp_path / "images.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    found = read_image_scores(tmp_path)
    assert found.image_ids == ["s1", "s2", "s3", "s4"]
    assert found.sources == ["i1", "i1", "i0", "i0"]
    assert ("cam", "image") not in found.columns
    assert found.of(["s3", "s1"]).sources == ["i0", "i1"]


def test_a_table_without_rows_gives_none(tmp_path):
    table = tmp_path / "images.csv"
    table.write_text(TABLE.splitlines()[0] + "\n")
    assert intervals(tmp_path) == {}
