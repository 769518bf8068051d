"""SPG's branches, the levels that they read, and the classifier that remains."""

import pytest
import torch
from torch.nn import functional

from learned_saliency.models import SPG, CAMClassifier, MultiScaleClassifier
from tests.support.networks import TinyBackbone

CHANNELS = (3, 4, 5, 6)


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def make(**options):
    torch.manual_seed(0)
    return SPG(TinyBackbone(CHANNELS), 3, **({"guide_width": 7} | options)).eval()


def by_layers(levels, model, name, level):
    """Foreground's logits by the layers that the paper names."""
    first = getattr(model, f"guide_{name}")[0]
    hidden = functional.relu(functional.conv2d(levels[level], first.weight, first.bias, padding=1))
    if name == "last":
        final = model.guide_last[2]
    else:
        middle, final = model.guide_shared[0], model.guide_shared[2]
        hidden = functional.relu(functional.conv2d(hidden, middle.weight, middle.bias, padding=1))
    return functional.conv2d(hidden, final.weight, final.bias)[:, 0]


@pytest.mark.parametrize(
    ("given", "read"), [({}, (1, 2)), ({"guide_levels": [0, 2]}, (0, 2))], ids=["default", "given"]
)
@torch.no_grad()
def test_branches_read_their_levels_and_share_layers(images, given, read):
    model = make(**given)
    levels = model.levels(images)
    found = model.branches(images)
    for name, level in zip(("shallow", "deep", "last"), (*read, 3), strict=True):
        scores = getattr(found, name)
        assert scores.shape == (2, *levels[level].shape[2:])
        torch.testing.assert_close(scores, by_layers(levels, model, name, level))
    torch.testing.assert_close(found.features, levels[-1])
    torch.testing.assert_close(found.logits, model(images))


def test_what_is_left_after_training_is_a_cam_classifier(images):
    model, plain = make(), CAMClassifier(TinyBackbone(CHANNELS), 3).eval()
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("guide_")}
    plain.load_state_dict(state)
    assert isinstance(model, MultiScaleClassifier)
    features, labels = model.features(images), torch.tensor([2, 0])
    torch.testing.assert_close(model(images), plain(images), rtol=0, atol=0)
    torch.testing.assert_close(model.cams(features, labels), plain.cams(features, labels))
    torch.testing.assert_close(
        model.head_gradients(features, labels), plain.head_gradients(features, labels)
    )


def test_branches_pass_gradcheck():
    model = make().double()
    images = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)).double()
    assert torch.autograd.gradcheck(
        lambda x: model.branches(x)[2:], images.requires_grad_(), fast_mode=True
    )


@pytest.mark.parametrize(("last", "width"), [(1024, 512), (256, 256)])
def test_branches_have_the_papers_width_unless_features_have_few_channels(last, width):
    with torch.device("meta"):
        model = SPG(TinyBackbone((288, 768, last)), 2)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.dim() == 4}
    guides = {name: shape for name, shape in shapes.items() if name.startswith("guide_")}
    assert guides == {
        "guide_shallow.0.weight": (width, 288, 3, 3),
        "guide_deep.0.weight": (width, 768, 3, 3),
        "guide_shared.0.weight": (width, width, 3, 3),
        "guide_shared.2.weight": (1, width, 1, 1),
        "guide_last.0.weight": (width, last, 3, 3),
        "guide_last.2.weight": (1, width, 1, 1),
    }


@pytest.mark.parametrize("levels", [[-2, -3], [1, 1], [-3, -1], [2, 3], [0], [-5, -2], [0, 1, 2]])
def test_levels_that_do_not_fit_are_refused(levels):
    with pytest.raises(ValueError, match=r"two of the 4 levels, .*both before the last, got"):
        make(guide_levels=levels)


def test_a_backbone_with_too_few_levels_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="at least three levels, this one has 2"):
        SPG(TinyBackbone(), 3)


def test_a_branch_needs_a_channel():
    with pytest.raises(ValueError, match="guide_width must be at least 1, got 0"):
        make(guide_width=0)
