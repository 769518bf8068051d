"""Logits in what networks return."""

from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from learned_saliency.attribution import CAM, AblationCAM, GradCAM, split
from learned_saliency.attribution.core.outputs import find_logits

LOGITS = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
Auxiliary = namedtuple("Auxiliary", ["logits", "aux_logits"])


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        {"loss": None, "logits": LOGITS, "hidden": LOGITS + 1},
        OrderedDict(scores=LOGITS),
        Auxiliary(LOGITS, LOGITS + 1),
        SimpleNamespace(logits=LOGITS),
        (LOGITS,),
        [[LOGITS]],
        LOGITS[:, :, None, None],
    ],
)
def test_the_usual_forms_are_understood(output):
    torch.testing.assert_close(find_logits(output, 2), LOGITS)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ((LOGITS, LOGITS), "a tuple of 2"),
        ([LOGITS, LOGITS], "a list of 2"),
        ({"a": LOGITS, "b": LOGITS}, "a dictionary of a, b"),
        ({}, "a dictionary of nothing"),
        (None, "NoneType"),
        (LOGITS.argmax(1), "a tensor of torch.int64"),
    ],
)
def test_what_is_open_or_no_logits_is_refused(output, said):
    with pytest.raises(ValueError, match=f"returns {said}.*wrap it"):
        find_logits(output, 2)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 3, 4, 4), (2, 0), (2, 3, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="for 2 images, not logits"):
        find_logits(torch.zeros(shape), 2)


@pytest.mark.parametrize("shape", [(2, 1), (2,), (2, 1, 1, 1)])
def test_the_softmax_of_one_logit_is_a_sigmoid(shape):
    logit = torch.tensor([-1.0, 30.0])
    expected = logit.sigmoid()
    found = find_logits(logit.reshape(shape), 2)
    assert found.shape == (2, 2)
    torch.testing.assert_close(found.softmax(1), torch.stack([1 - expected, expected], 1))


class Returning(nn.Module):
    """A network whose output has a form of its own."""

    def __init__(self, classes, form=lambda logits: logits):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.act, self.form = nn.Conv2d(3, 4, 3), nn.ReLU(), form
        self.out = nn.Linear(4, classes)

    def forward(self, images):
        return self.form(self.out(self.act(self.conv(images)).mean((2, 3))))


IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tracing", [True, False], ids=["traced", "hooked"])
@pytest.mark.parametrize(
    "form", [lambda x: {"logits": x}, lambda x: (x,), lambda x: Auxiliary(x, x)]
)
def test_split_networks_give_the_maps_of_plain_ones(form, tracing):
    plain = split(Returning(3).eval(), "act", tracing=tracing)
    packed = split(Returning(3, form).eval(), "act", tracing=tracing)
    torch.testing.assert_close(packed(IMAGES), plain(IMAGES))
    for method in (GradCAM(), AblationCAM()):
        torch.testing.assert_close(method(packed, IMAGES), method(plain, IMAGES))


@pytest.mark.parametrize("tracing", [True, False], ids=["traced", "hooked"])
@pytest.mark.parametrize("method", [CAM(), GradCAM(), AblationCAM()])
def test_maps_of_one_logit_are_those_of_two_classes(method, tracing):
    """Class 1 is the logit's, class 0 the negative logit's."""
    one, two = Returning(1).eval(), Returning(2).eval()
    with torch.no_grad():
        two.out.weight.copy_(torch.cat([-one.out.weight, one.out.weight]))
        two.out.bias.copy_(torch.cat([-one.out.bias, one.out.bias]))
    binary, plain = (split(network, "act", tracing=tracing) for network in (one, two))
    highest = []
    for target in (0, 1):
        targets = torch.full((2,), target)
        expected = method(plain, IMAGES, targets)
        torch.testing.assert_close(method(binary, IMAGES, targets), expected)
        highest.append(float(expected.amax()))
    assert max(highest) == 1
