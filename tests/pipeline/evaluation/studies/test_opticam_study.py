"""Opti-CAM's options, one changed at a time."""

import csv

import pytest
import torch

from learned_saliency.attribution import OptiCAM, RandomStart, split
from learned_saliency.metrics import masked_probability
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.studies import OptiCAMStudy
from tests.support.studies import Setting, rows_of, small_batch, small_module, states

OPTIONS = {
    "layers": ["1"],
    "iterations": [1, 3],
    "learning_rates": [0.1, 0.5],
    "objectives": ["mask", "iodiff"],
    "normalizations": ["range", "max"],
    "targets": ["logit", "margin"],
    "seed": 4,
}


def configured(*words):
    words = ["+attribution.opticam.learning_rate=0.1", "attribution.opticam.iterations=2", *words]
    return compose_checked(words, "evaluate", complete=False)


class Data:
    """Data module with one image."""

    def __init__(self, image):
        self.image = image

    def dataloader(self, split):
        data = type("Set", (), {"__getitems__": lambda _, rows: {"image": self.image}})
        return type("Loader", (), {"dataset": data()})


@pytest.fixture
def study():
    study = OptiCAMStudy(**OPTIONS)
    study.check(configured())
    return study


@torch.no_grad()
def test_every_row_is_opticam_with_that_option(study, tmp_path):
    module, batch = small_module({"opticam": OptiCAM()}), small_batch()
    study.check_module(module)
    study.check_data(Data(batch["image"][:1]))
    setting = Setting(module, batch)
    found = study.run(setting)
    plain = {"iterations": 2, "learning_rate": 0.1}
    expected = {
        "as configured": plain,
        "learning_rate=0.5": plain | {"learning_rate": 0.5},
        "objective=iodiff": plain | {"objective": "iodiff"},
        "normalization=max": plain | {"normalization": "max"},
        "target=margin": plain | {"target": "margin"},
        "start=random": plain | {"start": RandomStart(4)},
        "layer=1": plain,
    }
    assert list(found.results) == [f"opticam {name}" for name in expected]
    clean = module.classifier(batch["image"]).softmax(1)
    p = clean.gather(1, batch["label"][:, None])[:, 0]
    for name, options in expected.items():
        classifier = split(module.classifier.model, "1") if name == "layer=1" else module.classifier
        maps = OptiCAM(**options)(classifier, batch["image"], batch["label"])
        o = masked_probability(module.classifier, batch["image"], maps[None], batch["label"], p)[0]
        values = found.results[f"opticam {name}"]
        drops = ((p - o).clamp(min=0) / p).mean()
        gains = ((o - p).clamp(min=0) / (1 - p)).mean()
        assert values["average_drop"] == pytest.approx(float(drops), abs=1e-5)
        assert values["average_gain"] == pytest.approx(float(gains), abs=1e-5)
    assert {n for v in found.results.values() for n in v} == set(found.figures)
    for name, write in found.files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        write(path)
    with (tmp_path / "opticam.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["iterations"] for row in rows] == ["1", "2", "3"] * 2 + ["2"] * 5
    one = OptiCAM(iterations=1, learning_rate=0.5)(
        module.classifier, batch["image"], batch["label"]
    )
    o = masked_probability(module.classifier, batch["image"], one[None], batch["label"], p)[0]
    drops = ((p - o).clamp(min=0) / p).mean()
    assert float(rows[3]["average_drop"]) == pytest.approx(float(drops), abs=1e-5)
    seconds = [float(row["seconds_per_image"]) for row in rows[:3]]
    assert seconds == sorted(seconds)
    curve = setting.scores["opticam as configured"]["objective"].compute()
    longest = OptiCAM(iterations=3, learning_rate=0.1)
    objective = longest.optimize(module.classifier, batch["image"], batch["label"]).objective
    torch.testing.assert_close(curve, objective.double().mean(1), rtol=0, atol=1e-4)


@torch.no_grad()
def test_two_processes_have_the_sums_of_one(study):
    module, batch = small_module({"opticam": OptiCAM()}), small_batch()
    whole = Setting(module, batch)
    shares = [Setting(module, rows_of(batch, 0, 3)), Setting(module, rows_of(batch, 1, 2, 4, 5))]
    for setting in (whole, *shares):
        study.run(setting)
    first, second = (states(share.scores) for share in shares)
    for name, value in states(whole.scores).items():
        if "seconds" not in name:
            torch.testing.assert_close(
                first[name] + second[name], value, msg=name, rtol=1e-4, atol=1e-4
            )


def test_what_does_not_fit_is_told_before_any_work(study):
    for words, told in (
        ({"starts": ["gradcam"]}, "gives nothing to start from"),
        ({"starts": ["nothing"]}, "no method is named 'nothing'"),
        ({"objectives": ["max"]}, "studies.opticam.objectives: objective must be one of"),
    ):
        with pytest.raises(UserError, match=told):
            OptiCAMStudy(**words).check(configured())
    module = small_module({"opticam": OptiCAM()})
    wrong = OptiCAMStudy(layers=["7"])
    wrong.check(configured())
    with pytest.raises(UserError, match="no layer is named 7"):
        wrong.check_module(module)
    wrong = OptiCAMStudy(layers=["5"])  # a vector, no grid
    wrong.check(configured())
    wrong.check_module(module)
    with pytest.raises(UserError, match=r"studies.opticam.layers: 5: layer '5' gives no spatial"):
        wrong.check_data(Data(small_batch(1)["image"]))
    with pytest.raises(ValueError, match="iterations must be at least 1"):
        OptiCAMStudy(iterations=[0])
