"""CALM's further maps by predict.py, with classes by name."""

import numpy as np
import pytest
from PIL import Image

from tests.support.commands import run_command
from tests.support.untrained import untrained_run

METHODS = "methods=[calm_saliency,calm_subset,calm_counterfactual]"


@pytest.fixture
def predict(creatures, tmp_path):
    """A call of predict.py on one image; gives the command's end and the maps by method."""
    colors = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(colors).save(tmp_path / "image.png")

    def predict(model, *words, out="maps"):
        run = tmp_path / model
        if not run.exists():
            untrained_run(creatures, run, f"model={model}")
        place = [f"images={tmp_path}/image.png", f"out={tmp_path}/{out}", "arrays=true"]
        found = run_command("predict", f"checkpoint={run}", *place, "trainer=cpu", *words)
        maps = {
            path.name.split(".")[-2]: np.load(path)
            for path in sorted((tmp_path / out).glob("*.npy"))
        }
        return found, maps

    return predict


def test_maps_of_classes_by_name_and_what_does_not_fit(predict):
    names = [f"c{i}" for i in range(16)]
    subset = f"attribution.calm_subset.classes=[{','.join(names)}]"
    pair = "attribution.calm_counterfactual.classes=[c3,5]"
    done, maps = predict("calm", METHODS, subset, pair)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(maps["calm_subset"], maps["calm_saliency"], atol=1e-5)
    turned = "attribution.calm_counterfactual.classes=[5,c3]"
    negative = "attribution.calm_counterfactual.part=negative"
    again = predict("calm", METHODS, subset, turned, negative, out="turned")[1]
    np.testing.assert_allclose(again["calm_counterfactual"], maps["calm_counterfactual"], atol=1e-5)
    assert np.ptp(maps["calm_counterfactual"]) > 0.5
    for model, words, told in (
        ("calm", [METHODS, subset, "attribution.calm_counterfactual.classes=[c33]"], "named 'c33'"),
        ("calm", ["methods=[calm_subset]"], "classes that are to be named"),
        ("cam", ["methods=[calm_saliency]"], "choose a run of model=calm"),
    ):
        refused, maps = predict(model, *words, out="refused")
        assert refused.returncode == 2
        assert told in refused.stderr.splitlines()[-1]
        assert not maps
