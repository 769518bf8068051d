"""Networks of a library that predict.py builds."""

import pytest

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.prediction.loading import CONFIG_NAME, build_model


@pytest.mark.filterwarnings("ignore:.*random weights")
@pytest.mark.parametrize(
    ("words", "mean"),
    [
        (["classifier=timm:tf_efficientnet_lite0", "layer=bn2"], [0.5, 0.5, 0.5]),
        (["classifier=torchvision:squeezenet1_1", "layer=features"], [0.485, 0.456, 0.406]),
        (
            ["classifier=timm:tf_efficientnet_lite0", "layer=bn2", "input.mean=[0.1,0.2,0.3]"],
            [0.1, 0.2, 0.3],
        ),
    ],
)
def test_colors_are_normalized_as_the_weights_want_them(words, mean):
    config = compose_checked([*words, "input.size=64"], CONFIG_NAME, complete=False)
    model = build_model(config)
    assert model.mean.tolist() == pytest.approx(mean)
    assert model.module.mean.flatten().tolist() == pytest.approx(mean)
