"""Ready functions of what networks return: pytorch-grad-cam's targets, and errors in own ones."""

from collections import namedtuple
from types import SimpleNamespace

import pytest
import pytorch_grad_cam as peer
import torch
from pytorch_grad_cam.utils.model_targets import (
    FasterRCNNBoxScoreTarget,
    RawScoresOutputTarget,
    SemanticSegmentationTarget,
)
from torch import nn
from torch.nn import functional as F

from learned_saliency import attribution
from learned_saliency.attribution import (
    AblationCAM,
    BoxScore,
    EmbeddingSimilarity,
    GradCAM,
    OptiCAM,
    OutputError,
    RawScores,
    RegionScore,
    ScoreCAM,
    ScoredClassifier,
    split,
)

METHODS = ["GradCAM", "HiResCAM", "XGradCAM", "LayerCAM"]
IMAGES = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(5))


class Network(nn.Module):
    """Maps of 5 classes and what ``form`` makes of them; large, as the oracle adds epsilons."""

    def __init__(self, form=lambda maps: maps):
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.act1 = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()
        self.conv2, self.act2 = nn.Conv2d(8, 6, 3, stride=2, padding=1), nn.ReLU()
        self.out = nn.Conv2d(6, 5, 3, padding=1)
        nn.init.normal_(self.out.weight, std=4)
        self.form = form

    def forward(self, images):
        return self.form(self.out(self.act2(self.conv2(self.act1(self.conv1(images))))))


def detections(maps):
    """A box around the center of each cell, moved and rated by its maps; those above 0.5 stay."""
    y, x = torch.meshgrid(torch.arange(12) * 2.0 + 1, torch.arange(12) * 2.0 + 1, indexing="ij")
    found = []
    for row in maps:
        low = torch.stack([x, y]) - 4 - row[:2].sigmoid()
        boxes = torch.cat([low, torch.stack([x, y]) + 4 + row[2:4].sigmoid()]).flatten(1).T
        scores = row[4].flatten().mul(0.1).sigmoid()
        kept = (scores > 0.5).nonzero()[:, 0]
        labels = torch.arange(len(scores)) % 3
        found.append({"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]})
    return found


def peer_maps(name, network, targets):
    with getattr(peer, name)(model=network, target_layers=[network.act2]) as method:
        return torch.from_numpy(method(IMAGES, targets))


def check(name, network, outputs, targets, peer_targets):
    for tracing in (True, False):
        classifier = split(network, "act2", outputs=outputs, tracing=tracing)
        found = getattr(attribution, name)()(classifier, IMAGES, targets)
        expected = peer_maps(name, network, peer_targets)
        assert expected.amax((1, 2)).amin() > 0.9  # no flat map
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_class_over_a_region_is_pytorch_grad_cams_segmentation(name):
    region = torch.rand(12, 12, generator=torch.Generator().manual_seed(0)) > 0.4
    wanted = [SemanticSegmentationTarget(c, region.float().numpy()) for c in (2, 3)]
    check(name, Network().eval(), RegionScore(region), torch.tensor([2, 3]), wanted)


@pytest.mark.parametrize("name", METHODS)
def test_a_box_is_pytorch_grad_cams_box_score(name):
    network = Network(detections).eval()
    with torch.no_grad():
        best = network(IMAGES)
    boxes = torch.stack([found["boxes"][found["scores"].argmax()] for found in best])
    labels = torch.stack([found["labels"][found["scores"].argmax()] for found in best])
    wanted = [FasterRCNNBoxScoreTarget(labels[i : i + 1], boxes[i : i + 1].numpy()) for i in (0, 1)]
    classifier = split(network, "act2", outputs=BoxScore(boxes, labels), tracing=False)
    found = getattr(attribution, name)()(classifier, IMAGES, torch.arange(2))
    expected = peer_maps(name, network, wanted)
    assert expected.amax((1, 2)).amax() > 0.9
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
    both = FasterRCNNBoxScoreTarget(labels, boxes.numpy())
    total = split(network, "act2", outputs=BoxScore(boxes, labels, total=True), tracing=False)
    with torch.no_grad():
        outputs = [float(both(output)) for output in network(IMAGES)]
        torch.testing.assert_close(total(IMAGES)[:, 0], torch.tensor(outputs))


@pytest.mark.parametrize("name", METHODS)
def test_a_regression_is_pytorch_grad_cams_raw_score(name):
    network = Network(lambda maps: maps.mean((2, 3))[:, 3:4] - 2).eval()  # any sign
    check(name, network, RawScores(), None, [RawScoresOutputTarget()] * 2)


@pytest.mark.parametrize("name", METHODS)
def test_similarity_of_an_embedding(name):
    """With a reference of each image's own, against a function that the peer's users write."""
    network = Network(lambda maps: maps.mean((2, 3))).eval()
    with torch.no_grad():
        network.out.weight *= 20
        references = network(IMAGES.flip(3)) + torch.tensor([3.0, 0, -3, 0, 0])
    wanted = [lambda found, r=r: 50 * F.cosine_similarity(found, r, dim=0) for r in references]
    outputs = EmbeddingSimilarity(references)
    classifier = split(network, "act2", outputs=outputs)
    found = getattr(attribution, name)()(classifier, IMAGES, torch.arange(2))
    expected = peer_maps(name, network, wanted)
    assert expected.amax((1, 2)).amin() > 0.9
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(
        outputs(references), F.cosine_similarity(references[:, None], references[None], dim=2)
    )


@pytest.mark.parametrize(
    ("form", "entry"),
    [
        (lambda x: {"size": x - 1, "logits": x}, None),
        (lambda x: {"size": x, "genus": x - 1}, "size"),
        (lambda x: (x - 1, x), 1),
        (lambda x: SimpleNamespace(size=x), "size"),
        (lambda x: namedtuple("Output", ["a", "size"])(x - 1, x), "size"),
    ],
)
def test_one_output_of_several(form, entry):
    plain = Network(lambda maps: maps.mean((2, 3))).eval()
    several = Network(lambda maps: form(maps.mean((2, 3)))).eval()
    classifier = split(several, "act2", outputs=RawScores(entry), tracing=False)
    expected = split(plain, "act2")
    torch.testing.assert_close(classifier(IMAGES), expected(IMAGES))
    for method in (GradCAM(target="probability"), ScoreCAM()):
        torch.testing.assert_close(method(classifier, IMAGES), method(expected, IMAGES))


def test_a_lost_box_scores_zero_and_has_a_flat_map():
    network = Network(detections).eval()
    away = BoxScore(torch.tensor([[100.0, 100, 120, 120]]), torch.tensor([0]))
    classifier = split(network, "act2", outputs=away, tracing=False)
    assert not classifier(IMAGES).any()
    assert not GradCAM()(classifier, IMAGES).any()
    assert not away([{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}]).any()


def test_a_class_over_all_pixels_is_its_mean():
    maps = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(RegionScore()(maps), maps.mean((2, 3)))
    everything = RegionScore(torch.ones(3, 4), entry="out")({"out": maps, "aux": -maps})
    torch.testing.assert_close(everything, maps.mean((2, 3)))


def count(maps):
    return (maps.argmax(1) == 2).float().mean((1, 2))


def test_counts_serve_methods_without_gradients_and_are_refused_by_the_others():
    classifier = split(Network().eval(), "act2", outputs=count)
    features = classifier.features(IMAGES)
    expected = []
    with torch.no_grad():
        full = count(classifier.model(IMAGES))
        for k in range(6):
            ablated = features.clone()
            ablated[:, k] = 0
            expected.append(full - count(classifier.model.out(ablated)))
    found = AblationCAM().coefficients(classifier, IMAGES)
    torch.testing.assert_close(found, torch.stack(expected, 1) / full[:, None])
    assert ScoreCAM()(classifier, IMAGES).amax() == 1
    for method in (GradCAM(), OptiCAM(iterations=1)):
        with pytest.raises(OutputError, match=r"count gives scores without a gradient.*ScoreCAM"):
            method(classifier, IMAGES)


@pytest.mark.parametrize("tracing", [True, False], ids=["traced", "hooked"])
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda maps: maps.out, r"<lambda> fails on what the network returns, a tensor of"),
        (lambda maps: maps, r"<lambda> gives \(2, 5, 12, 12\) for 2 images, not scores \(B,\)"),
        (lambda maps: maps.mean(), r"<lambda> gives \(\) for 2 images"),
        (lambda maps: maps.argmax(1), r"<lambda> gives a tensor of torch.int64, not a floating"),
        (lambda maps: [1.0, 2.0], "<lambda> gives a list of 2, not a floating"),
        (lambda maps: maps.mean((1, 2, 3)) / 0, "<lambda> gives scores that are NaN or infinite"),
        (RawScores("out"), "RawScores fails on .*there is no entry 'out'"),
        (RegionScore(torch.ones(3, 3)), r"RegionScore fails .*\(3, 3\), the output \(12, 12\)"),
    ],
)
def test_wrong_functions_are_named(function, said, tracing):
    classifier = split(Network().eval(), "act2", outputs=function, tracing=tracing)
    with pytest.raises(OutputError, match=said):
        GradCAM()(classifier, IMAGES)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RegionScore(torch.zeros(3, 3)), "not all 0"),
        (lambda: RegionScore(torch.ones(1, 3, 3)), r"\(H, W\)"),
        (lambda: EmbeddingSimilarity(torch.zeros(2, 3)), "no row all 0"),
        (lambda: EmbeddingSimilarity(torch.ones(3)), r"\(T, D\)"),
        (lambda: BoxScore(torch.zeros(2, 4), torch.zeros(3)), r"\(2, 4\) and \(3,\)"),
    ],
)
def test_wrong_parts_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_outputs_must_be_a_function():
    with pytest.raises(TypeError, match="outputs must be a function, got str"):
        split(Network(), "act2", outputs="out")


def difference(logits):
    return logits[:, 3] - logits[:, 5]


@pytest.mark.parametrize("method", [GradCAM(), AblationCAM(), OptiCAM(iterations=2)])
def test_scores_of_logits_serve_classifiers_that_are_not_split(tiny_cnn, images, method):
    """The difference of two classes is a head whose weights are the difference of theirs."""
    classifier, other = tiny_cnn("linear"), tiny_cnn("linear")
    with torch.no_grad():
        other.fc.weight[0] = other.fc.weight[3] - other.fc.weight[5]
        other.fc.bias[0] = other.fc.bias[3] - other.fc.bias[5]
    scored = ScoredClassifier(classifier, difference)
    expected = method(other, images, torch.zeros(4).long())
    torch.testing.assert_close(method(scored, images), expected)
    torch.testing.assert_close(scored(images), scored.head(scored.features(images)))
