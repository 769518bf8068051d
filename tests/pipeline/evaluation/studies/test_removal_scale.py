"""The picture of the removal curves: a scale on which they can be told apart."""

import matplotlib as mpl
import torch

from learned_saliency.metrics import RemovalCurve
from learned_saliency.pipeline.evaluation.studies.removal import plot_removal


def curve(ratios):
    ratios = torch.tensor(ratios)
    random = torch.linspace(0.9, 0.3, len(ratios))
    fractions = torch.linspace(0.1, 0.9, len(ratios))
    return RemovalCurve(fractions, ratios * random, random, ratios, torch.tensor(0.05))


def test_the_scale_is_that_of_the_curves(tmp_path, monkeypatch):
    """Curves between 92 and 101 % fill most of the height, with 0 and the floor left out."""
    limits, told = [], []
    save = mpl.figure.Figure.savefig

    def watched(figure, *arguments, **options):
        limits.append(figure.axes[0].get_ylim())
        told.append([text.get_text() for text in figure.axes[0].get_legend().get_texts()])
        save(figure, *arguments, **options)

    monkeypatch.setattr(mpl.figure.Figure, "savefig", watched)
    close = {"a": curve([0.99, 0.95, 0.92]), "b": curve([1.01, 0.97, float("nan")])}
    plot_removal(tmp_path / "a.png", close)
    ((low, high),) = limits
    assert 90 < low < 92
    assert 101 < high < 103
    limits.clear()
    plot_removal(tmp_path / "b.png", {"a": curve([1.0, 0.5, 0.02])})
    assert limits[0][0] == 0
    assert told == [["a", "b", "random erasing"], ["a", "random erasing", "all erased"]]
