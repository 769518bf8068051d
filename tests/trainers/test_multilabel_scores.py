"""Scores, predictions and pictures of classifiers whose classes do not exclude each other."""

import pytest
import torch
from torch import nn

from learned_saliency.attribution import GradCAM, split
from learned_saliency.metrics import average_precision
from learned_saliency.models import CALM, CAMClassifier
from learned_saliency.ops import Activation
from learned_saliency.trainers import CALMModule, CAMModule, PostHocModule
from learned_saliency.trainers.callbacks.journal import Sums
from learned_saliency.trainers.scores import SplitScores
from tests.support.networks import SGD, TinyBackbone

PRESENCE = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]]).bool()
ROWS = [0, 0, 1, 2, 3, 3, 3]
LABELS = torch.tensor([0, 2, -1, 1, 0, 1, 2])
FIRST = torch.tensor([1, 0, 1, 1, 1, 0, 0]).bool()
LOGITS = torch.tensor([[2.0, -1, 0.5], [1, 0.2, -3], [0.5, 3, 0.7], [-1, -2, 0.1]])


def samples():
    maps = torch.rand(7, 8, 8, generator=torch.Generator().manual_seed(1))
    batch = {
        "image": torch.zeros(7, 3, 8, 8),
        "label": LABELS,
        "labels": PRESENCE[ROWS],
        "first": FIRST,
        "mask": (torch.arange(8) > 3).to(torch.uint8).expand(7, 8, 8),
    }
    return maps, LOGITS[ROWS], batch


def part(batch, rows):
    return {key: values[rows] for key, values in batch.items()}


def counted(scores, *slices):
    maps, logits, batch = samples()
    for rows in slices:
        own = part(batch, rows)
        scores.update({"a": maps[rows], "b": maps[rows]}, logits[rows], own, Activation.SIGMOID)
    return scores


def test_images_are_counted_once_and_there_is_no_accuracy():
    wanted = average_precision(LOGITS, PRESENCE)
    for slices in ([slice(0, 7)], [slice(0, 2), slice(2, 3), slice(3, 7)]):
        scores = counted(SplitScores(["a", "b"]), *slices)
        for found in scores.compute().values():
            assert found["mean_average_precision"] == pytest.approx(float(wanted.mean()))
            assert not {"accuracy", "top5_accuracy"} & set(found)
        assert scores.class_precision() == pytest.approx(wanted.tolist())


def test_what_a_journal_keeps_of_two_parts_is_the_whole():
    whole, joined = counted(SplitScores(["a", "b"]), slice(0, 7)), SplitScores(["a", "b"])
    for rows in (slice(0, 3), slice(3, 7)):
        Sums(joined).take(Sums(counted(SplitScores(["a", "b"]), rows)).kept())
    for name, values in whole.compute().items():
        assert joined.compute()[name] == pytest.approx(values)
    before = Sums(joined).kept()["precision"]["scores"]
    counted(joined, slice(0, 3))
    after = Sums(joined).kept()["precision"]["scores"]
    assert torch.cat(before).numel() < torch.cat(after).numel()


def test_exclusive_classes_have_an_accuracy_and_no_average_precision():
    maps, logits, batch = samples()
    plain = {key: values for key, values in batch.items() if key not in ("labels", "first")}
    scores = SplitScores(["a"])
    scores.update({"a": maps}, logits, plain)
    found = scores.compute()["a"]
    assert {"accuracy", "top5_accuracy"} <= set(found)
    assert "mean_average_precision" not in found
    assert scores.class_precision() == []


@pytest.fixture
def module():
    torch.manual_seed(0)
    network = CAMClassifier(TinyBackbone(), 4)
    network.fc.weight.data *= 30
    return CAMModule(network=network, optimizer=SGD, task="multilabel").eval()


def test_a_task_declares_its_activation_on_the_classifier(module):
    assert module.activation is module.classifier.activation is Activation.SIGMOID
    plain = CAMModule(network=CAMClassifier(TinyBackbone(), 4), optimizer=SGD)
    assert plain.activation is Activation.SOFTMAX
    calm = CALMModule(network=CALM(CAMClassifier(TinyBackbone(), 4)), loss=None, optimizer=SGD)
    assert calm.activation is Activation.SOFTMAX
    assert calm.classifier.activation == "softplus"  # the network's own, of its locations


def test_a_given_classifiers_declaration_counts():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = split(network, "0", activation="sigmoid")
    module = PostHocModule(classifier=classifier, methods={"gradcam": GradCAM()})
    assert module.activation is Activation.SIGMOID


def test_present_classes_of_each_image_are_explained(module):
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        p = module.classifier(images).sigmoid()
    threshold = float(p.flatten().sort().values[[11, 12]].mean())
    batch = {"image": images, "image_id": list("abcdef"), "present": threshold}
    found = module.predict_step(batch, 0)
    counts = (p >= threshold).sum(1)
    assert found.targets.shape == (6, max(1, int(counts.max())))
    assert torch.equal(found.targets, p.argsort(1, descending=True)[:, : found.targets.shape[1]])
    assert found.present == threshold
    for column in range(found.targets.shape[1]):
        maps = module.saliency(images, found.targets[:, column])
        torch.testing.assert_close(found.maps["native"][:, column], maps)
