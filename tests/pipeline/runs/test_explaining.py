"""Options of how networks compute while they are explained, and their effect on maps."""

import pytest
import torch
from torch import nn

from learned_saliency.attribution import LIFTCAM, GradCAM, split
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs import Explaining, MapDifference, explaining_record
from learned_saliency.trainers import PostHocModule

FOLDED = {"fold_batchnorm": True}


def module(factor=1.0):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    norm.running_mean.normal_()
    body = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU())
    head = [nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(body, *head)
    network[1].weight.data.mul_(factor)
    methods = {"gradcam": GradCAM(), "liftcam": LIFTCAM()}
    return PostHocModule(classifier=split(network, "0"), methods=methods)


def images():
    return torch.randn(20, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def test_differences_are_those_of_numpys_kind():
    maps = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(0))
    other = maps + torch.tensor([0.0, 0.1, -0.2]).view(3, 1, 1)
    found = MapDifference.of(other, maps)
    assert found.mean == pytest.approx(0.1)
    assert found.largest == pytest.approx(0.2)
    assert found.correlation == pytest.approx(1)
    other[2] = -maps[2]
    assert MapDifference.of(other, maps).correlation == pytest.approx(1 / 3)
    assert MapDifference.of(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)).correlation is None


def test_without_options_nothing_is_compared():
    explained = module()
    effect, folded = Explaining({}).compare(explained, images(), None, ["gradcam"])
    assert effect is folded is None
    assert explaining_record(Explaining({}), effect) == {}


def test_folding_keeps_maps_and_is_undone():
    explained, options = module(), Explaining(FOLDED, fold_batchnorm=True)
    norm = explained.network.model[0][1]
    effect, folded = options.compare(explained, images(), None, ["gradcam", "liftcam"])
    assert (effect.images, effect.folded, effect.same_class) == (16, 1, 1)
    assert effect.logit_largest < 1e-5
    assert all(found.largest < 1e-4 for found in effect.maps.values())
    assert not isinstance(explained.network.model[0][1], nn.BatchNorm2d)
    assert str(options) == "fold_batchnorm=true"
    assert effect.line().startswith("16 images beside plain float32: same class 100 %; logits")
    record = explaining_record(options, effect)["explaining"]
    assert record["folded"] == 1
    assert record["effect"]["maps"]["gradcam"]["correlation"] == pytest.approx(1)
    folded.undo()
    assert explained.network.model[0][1] is norm


def test_bfloat16_changes_maps_a_little_and_leaves_weights():
    explained = module()
    weights = {name: value.clone() for name, value in explained.state_dict().items()}
    options = Explaining({"precision": "bf16"}, "bf16-mixed")
    effect, folded = options.compare(explained, images(), None, ["liftcam"])
    assert folded is None
    assert 0 < effect.logit_mean < 0.05
    assert 1e-5 < effect.maps["liftcam"].mean < 0.05
    torch.testing.assert_close(dict(explained.state_dict()), weights, rtol=0, atol=0)


def test_scores_that_are_not_finite_any_more_are_refused():
    options = Explaining({"precision": "fp16"}, "16-mixed")
    told = "precision=fp16: the network's scores are not finite with it; leave it out"
    with pytest.raises(UserError, match=told):
        options.compare(module(factor=1e6), images(), None, ["gradcam"])


def test_nothing_stays_folded_where_the_comparison_fails():
    explained = module(factor=1e6)
    norm = explained.network.model[0][1]
    words = FOLDED | {"precision": "fp16"}
    with pytest.raises(UserError, match="scores are not finite"):
        Explaining(words, "16-mixed", fold_batchnorm=True).compare(explained, images())
    assert explained.network.model[0][1] is norm


def test_channels_first_is_a_layout_of_the_weights():
    explained = module()
    options = Explaining({"channels_last": False}, channels_last=False)
    effect, _ = options.compare(explained, images(), None, ["gradcam"])
    assert explained.network.model[0][0].weight.is_contiguous()
    assert effect.maps["gradcam"].largest < 1e-4


def test_a_network_without_pairs_is_refused_by_the_key():
    explained = module()
    explained.network.model[0][1] = nn.Identity()
    with pytest.raises(UserError, match="fold_batchnorm=true: the network has no BatchNorm; leave"):
        Explaining(FOLDED, fold_batchnorm=True).check(explained, images())


@pytest.mark.parametrize(
    ("capabilities", "warned"),
    [
        ({"architecture": "x86_64", "avx2": True}, True),
        ({"architecture": "x86_64", "amx_bf16": True}, False),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_a_processor_without_instructions_for_bfloat16_is_told_of_beforehand(
    monkeypatch, capabilities, warned
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    half = Explaining({"precision": "bf16"}, "bf16-mixed")
    assert (half.warning(torch.device("cpu")) is not None) == warned
    assert half.warning(torch.device("cuda")) is None
    assert Explaining({}).warning(torch.device("cpu")) is None
