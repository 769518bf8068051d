"""Check the pictures of curves."""

import torch
from matplotlib.figure import Figure

from learned_saliency.pipeline.reports import plot_curves


def test_floors_stand_beside_the_curves_of_boxes(tmp_path, monkeypatch):
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (drawn.append(f), save(f, *a, **k)))
    steps = torch.linspace(0, 1, 5)
    curves = {"native": {"thresholds": steps, "largest_contour_50": steps / 2}}
    floors = {"full_image": 0.1, "centered_box": 0.3}
    plot_curves(tmp_path / "curves.png", curves, {}, floors)
    (axis,) = drawn[0].axes
    lines = {line.get_label(): float(line.get_ydata()[0]) for line in axis.get_lines()}
    assert lines == {"native": 0.0, **floors}
    assert (tmp_path / "curves.png").is_file()
