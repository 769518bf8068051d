"""The target of an exported method: what is built and recorded, and what is refused."""

import pytest
import torch

from learned_saliency.attribution import GradCAM, split
from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.export.reading import read_source
from tests.support import own_networks
from tests.support.own_networks import OWN

WORDS = [f"classifier={OWN}:convolutional", "layer=middle", "input.size=32"]


def read(*words):
    return read_source(compose_checked(list(words), "export", complete=False), has_graph=True)


def test_a_method_explains_the_target():
    source = read(*WORDS, "method=gradcam", "target=margin")
    assert source.facts["target"] == "margin"
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    classifier = split(own_networks.convolutional().eval(), "middle")
    expected = GradCAM(target="margin")(classifier, images)
    torch.testing.assert_close(source.module.explain(images, None).saliency, expected)
    assert read(*WORDS).facts["target"] == "logit"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["method=cam", "target=margin"], "target=margin: 'cam' explains the logit alone"),
        ([f"target={OWN}:difference"], "gives classes with probabilities"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(words, told):
    with pytest.raises(UserError, match=told):
        read(*WORDS, *words)


def test_a_trained_map_has_no_target(fcam_run):
    with pytest.raises(UserError, match="target=margin: is what a post-hoc method explains"):
        read(f"checkpoint={fcam_run}", "target=margin")
