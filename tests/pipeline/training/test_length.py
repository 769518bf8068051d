"""Length of a training: epochs of several passes, and a figure that still rose at the end."""

import json
import math

import pytest

from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.training import length, resumed_config, train
from learned_saliency.pipeline.training.length import last_rise


def curve(*values):
    return {at: value for at, value in enumerate(values) if value is not None}


RISING = [0.1 * at for at in range(10)]


@pytest.mark.parametrize(
    ("values", "epochs", "rise"),
    [
        (curve(*RISING), 10, 0.4),  # 0.9 in the last epoch, 0.5 in the sixth of ten
        (curve(*RISING[:9], 0.79), 10, 0.0),  # the last but one of ten is best
        (curve(*RISING, *RISING[::-1]), 20, 0.0),  # risen and fallen
        (curve(*[0.5] * 18, 0.6, 0.55), 20, 0.1),  # the last two of twenty are its last tenth
        (curve(*[0.5] * 17, 0.6, 0.55, 0.55), 20, 0.0),
        (curve(0.5, 0.5, 0.509), 3, 0.0),  # within a point
        (curve(0.5, 0.5, 0.511), 3, 0.011),
        (curve(0.2, 0.6), 2, 0.0),  # too few
        (curve(None, 0.2, None, 0.3, None, 0.4, None), 7, 0.1),  # the last validated one
        (curve(None, None, None, None, 0.2, 0.3, 0.4), 7, 0.0),  # nothing to compare with
        (curve(0.2, math.nan, 0.3, 0.4), 4, 0.2),
        (curve(0.7, 0.7, 0.7, 0.7), 4, 0.0),  # constant
        (curve(0.9, 0.2, 0.3, 0.4), 4, 0.0),  # below the first again
        ({}, 5, 0.0),
    ],
)
def test_a_figure_still_rises_where_the_end_is_best_by_more_than_a_point(values, epochs, rise):
    assert last_rise(values, epochs) == pytest.approx(rise)
    fallen = {at: -value for at, value in values.items()}
    assert last_rise(fallen, epochs, higher_is_better=False) == pytest.approx(-rise)


def go_on(folder, *words):
    words = [f"resume={folder}", *words]
    return train(resumed_config(compose_checked(words), words))


WORDS = [
    *("model=cam", "pictures.images=0"),
    *("recipe.classifier_epoch_steps=5", "trainer.accumulate_grad_batches=3"),
]


def recorded(folder):
    return json.loads((folder / "results.json").read_text())


def test_epochs_of_several_passes_and_a_rise_are_told_everywhere_also_when_a_run_goes_on(
    small_run, tmp_path, capsys, monkeypatch
):
    seen, rises = [], [0.0534, 0.0]
    monkeypatch.setattr(length, "last_rise", lambda *found: seen.append(found) or rises.pop(0))
    folder = train(compose_checked([*small_run, *WORDS])).folder
    told, page = capsys.readouterr().err, (folder / "report.html").read_text()
    card = (folder / "checkpoints" / "best.md").read_text()

    line = "2 steps are one pass over 32 images, an epoch takes 4 passes "  # 12 batches, 4 steps,
    line += "(recipe.classifier_epoch_steps=5)"  # would be too few
    assert f"cam: {line}\n" in told
    training = {"epochs": 1, "passes": 4, "images": 32, "steps": 6, "kept_after": 6}
    assert recorded(folder)["training"] == training
    summary = "1 epoch of 4 passes over 32 images, 6 steps"
    assert f"| training | {summary}; kept after 6 |" in card
    assert summary in page

    rise = "xap on val was still rising when the training ended, by 5.3 points in the last third "
    rise += "of 1 epochs; resume={} recipe.classifier_epochs=2 goes on."
    assert f"cam: warning: p{rise.format(folder)}\n" in told
    assert recorded(folder)["rising"]["points"] == 5.34
    assert f"p{rise.format('RUN')}" in card
    assert f"P{rise.format('RUN')}" in page

    with pytest.raises(UserError, match=r"would change model\.epoch_steps, which a resumed run"):
        go_on(folder, "recipe.classifier_epoch_steps=6")
    go_on(folder, "recipe.classifier_epochs=3", "+trainer.limit_train_batches=5")
    told, page = capsys.readouterr().err, (folder / "report.html").read_text()
    line += ", of which trainer.limit_train_batches leaves 5 of 16 batches"
    assert f"cam: {line}\n" in told
    values, epochs, higher = seen[1]
    assert (sorted(values), epochs, higher) == ([0, 1, 2], 3, True)
    assert values[0] == seen[0][0][0]
    assert "rising" not in recorded(folder)
    card = (folder / "checkpoints" / "best.md").read_text()
    assert not any("still rising" in each for each in (told, card, page))
    assert "3 epochs of 2 passes over 32 images, 10 steps; kept after" in card  # 6 and 2 times 2
