import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learned_saliency.models import (
    CAMClassifier,
    GlobalAverage,
    GlobalMaximum,
    LogSumExp,
    SingleLogit,
    Values,
    Wildcat,
)

POOLINGS = [GlobalAverage, GlobalMaximum, LogSumExp, Wildcat]


class _Backbone(nn.Module):
    channels = (4,)

    def forward(self, images):
        return [images]


def _network(answers, classes, pooling=GlobalAverage):
    torch.manual_seed(0)
    return CAMClassifier(_Backbone(), classes, pooling=pooling(), answers=answers).double()


def _features():
    return torch.randn(
        3, 4, 5, 6, dtype=torch.double, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_two_classes_of_one_logit_are_its_sigmoid(pooling):
    network, features = _network(SingleLogit, 2, pooling), _features()
    assert network.fc.out_features == network.pooling.modalities
    logits = network.head(features)
    rows = F.conv2d(features, network.fc.weight[:, :, None, None], network.fc.bias)
    z = network.pooling(rows.mean(1, keepdim=True))[:, 0]
    torch.testing.assert_close(logits.softmax(1)[:, 1], z.sigmoid())
    labels = torch.tensor([0, 1, 1])
    wanted = F.binary_cross_entropy_with_logits(z, labels.double())
    torch.testing.assert_close(F.cross_entropy(logits, labels), wanted)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", [SingleLogit, Values])
def test_gradients_and_maps_belong_to_the_scores(kind, pooling):
    network, features = _network(kind, 2, pooling), _features()
    if kind is Values:
        network.answers.set_units(torch.tensor([[1.0, -20.0], [2.0, 30.0], [5.0, 0.0]]))
        network.double()
    maps = network.cams(features)
    for target in range(2):
        targets = torch.full((3,), target)
        (wanted,) = torch.autograd.grad(network.head(features)[:, target].sum(), features)
        torch.testing.assert_close(network.head_gradients(features, targets), wanted)
        torch.testing.assert_close(network.cams(features, targets), maps[:, target])
    if network.pooling.is_mean:
        torch.testing.assert_close(maps.mean(dim=(2, 3)), network.head(features))


def test_values_have_the_units_of_the_training_images_in_the_state():
    network = _network(Values, 2)
    values = torch.tensor([[1.0, -20.0], [2.0, 30.0], [6.0, 5.0]])
    network.answers.set_units(values)
    standardized = network.fc(_features().mean(dim=(2, 3)))
    found = network.head(_features())
    wanted = standardized * values.double().std(0, correction=0) + values.double().mean(0)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    other = _network(Values, 2)
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other.head(_features()), found)
    with pytest.raises(ValueError, match="value 1 is the same for all training images"):
        network.answers.set_units(torch.tensor([[1.0, 2.0], [3.0, 2.0]]))


def test_one_logit_is_for_two_classes():
    with pytest.raises(ValueError, match="needs the two classes 0 and 1, and there are 3"):
        _network(SingleLogit, 3)


def test_a_classifier_of_classes_has_the_state_that_it_always_had():
    assert set(_network(None, 2).state_dict()) == {"fc.weight", "fc.bias"}
    assert set(_network(SingleLogit, 2).state_dict()) == {"fc.weight", "fc.bias"}
