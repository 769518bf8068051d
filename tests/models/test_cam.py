import pytest
import torch
from torch import nn

from learned_saliency.models import CAMClassifier, MultiScaleBackbone

B, K, C, H, W = 3, 6, 5, 4, 7


class TwoLevels(nn.Module):
    """The least that a backbone must have."""

    channels = (4, K)
    reductions = (1, 2)

    def __init__(self):
        super().__init__()
        self.fine = nn.Conv2d(3, 4, 1)
        self.coarse = nn.Conv2d(4, K, 3, stride=2, padding=1)

    def forward(self, images):
        fine = self.fine(images).relu()
        return [fine, self.coarse(fine).relu()]


@pytest.fixture(name="generator")
def make_generator():
    return torch.Generator().manual_seed(11)


@pytest.fixture(name="classifier")
def make_classifier(generator):
    classifier = CAMClassifier(TwoLevels(), num_classes=C)
    for parameter in classifier.parameters():
        nn.init.normal_(parameter, generator=generator)
    return classifier


def test_forward_is_pooling_after_a_1x1_convolution(classifier, generator):
    images = torch.randn(B, 3, 9, 8, generator=generator)
    features = classifier.backbone(images)[-1]
    convolution = nn.Conv2d(K, C, 1)
    convolution.load_state_dict(
        {"weight": classifier.fc.weight[:, :, None, None], "bias": classifier.fc.bias}
    )
    maps = convolution(features)
    torch.testing.assert_close(classifier.features(images), features)
    torch.testing.assert_close(classifier.cams(features), maps)
    torch.testing.assert_close(classifier(images), nn.AdaptiveAvgPool2d(1)(maps).flatten(1))


def test_logits_are_the_mean_of_the_maps(classifier, generator):
    features = torch.randn(B, K, H, W, generator=generator)
    torch.testing.assert_close(classifier.head(features), classifier.cams(features).mean((2, 3)))


def test_maps_of_one_class_are_gathered_from_all(classifier, generator):
    features = torch.randn(B, K, H, W, generator=generator)
    labels = torch.tensor([4, 0, 4])
    every = classifier.cams(features)
    chosen = torch.stack([maps[label] for maps, label in zip(every, labels, strict=True)])
    torch.testing.assert_close(classifier.cams(features, labels), chosen)
    torch.testing.assert_close(classifier.cams(features[:1], labels[:1]), chosen[:1])


def test_maps_pass_gradcheck(classifier, generator):
    classifier = classifier.double()
    features = torch.randn(2, K, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, 3])
    assert torch.autograd.gradcheck(lambda maps: classifier.cams(maps, labels), features)
    assert torch.autograd.gradcheck(classifier.head, features)


def test_levels_end_with_the_features():
    backbone = MultiScaleBackbone("resnet10t", channels=[8, 8, 16, 24], stem_width=8)
    classifier = CAMClassifier(backbone, num_classes=2).eval()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    levels = classifier.levels(images)
    assert [level.shape[1] for level in levels] == backbone.channels
    torch.testing.assert_close(levels[-1], classifier.features(images))
    assert classifier(images).shape == (1, 2)


@pytest.mark.parametrize(
    ("features", "labels", "error", "message"),
    [
        ((B, K, H), None, ValueError, r"\(B, 6, h, w\), got \(3, 6, 4\)"),
        ((B, K + 1, H, W), None, ValueError, r"got \(3, 7, 4, 7\)"),
        ((B, K, H, W), torch.zeros(2, dtype=torch.long), ValueError, r"\(3,\), got \(2,\)"),
        ((B, K, H, W), torch.zeros(B), TypeError, "integers, got torch.float32"),
        ((B, K, H, W), torch.zeros(B, dtype=torch.bool), TypeError, "integers, got torch.bool"),
    ],
)
def test_wrong_shapes_and_types_are_refused(classifier, features, labels, error, message):
    with pytest.raises(error, match=message):
        classifier.cams(torch.zeros(features), labels)


def test_a_classifier_needs_a_class():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        CAMClassifier(TwoLevels(), num_classes=0)


def test_the_last_layer_comes_with_its_weights_where_classes_and_features_fit(monkeypatch):
    class Whole(nn.Module):
        def get_classifier(self):
            return head

    asked = []
    monkeypatch.setattr("timm.create_model", lambda *args, **kwargs: asked.append(args) or Whole())
    backbone = MultiScaleBackbone.__new__(MultiScaleBackbone)
    nn.Module.__init__(backbone)
    backbone.channels = [3, 6]
    head = nn.Linear(6, 5)
    classifier = CAMClassifier(backbone, 5, pretrained_head="resnet50.tv_in1k")
    assert asked == [("resnet50.tv_in1k",)]
    torch.testing.assert_close(dict(classifier.fc.state_dict()), dict(head.state_dict()))
    for other in (nn.Linear(6, 4), nn.Linear(7, 5), nn.Identity()):
        head = other
        with pytest.raises(ValueError, match="pretrained_head=resnet50"):
            CAMClassifier(backbone, 5, pretrained_head="resnet50")


def test_a_last_layer_that_cannot_be_had_is_told_in_one_line(monkeypatch):
    with pytest.raises(ValueError, match="timm has no network 'resnet5'"):
        CAMClassifier(TwoLevels(), C, pretrained_head="resnet5")

    def fail(*args, **kwargs):
        raise OSError("no\nnetwork")

    monkeypatch.setattr("timm.create_model", fail)
    with pytest.raises(RuntimeError, match=r"pretrained_head=resnet50 could not.*: no network"):
        CAMClassifier(TwoLevels(), C, pretrained_head="resnet50")
