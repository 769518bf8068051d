"""Faithfulness in the test step: the metrics of the room, of the right class, image by image."""

import pytest
import torch
from torch import nn
from torchmetrics.utilities import dim_zero_sum

from learned_saliency.attribution import CAM, GradCAM, LayerCAM
from learned_saliency.metrics import (
    AverageDropInDeletion,
    AverageGain,
    Insertion,
    area_under_curves,
    insertion_curves,
    masked_probabilities,
)
from learned_saliency.models import FCAM, CAMClassifier
from learned_saliency.trainers import (
    FIGURES,
    NATIVE,
    CAMModule,
    FaithfulnessScores,
    FCAMModule,
    PostHocModule,
    Trial,
)
from tests.support.networks import SGD, TinyBackbone

MASKED = ["average_drop", "average_increase", "average_gain", "average_drop_in_deletion"]


class Brightness(nn.Module):
    """Logits (s, 0) with s the sum of the first channel: probabilities known by hand."""

    def __init__(self):
        super().__init__()
        self.passes = 0
        self.eval()

    def forward(self, images):
        self.passes += len(images)
        total = images[:, 0].sum((1, 2))
        return torch.stack([total, torch.zeros_like(total)], dim=1)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(5, 3, 16, 16, generator=generator),
        "label": torch.tensor([0, 1, 2, 1, 0]),
        "image_id": [f"{i}.png" for i in range(5)],
    }


def cam_module(**options):
    torch.manual_seed(0)
    return CAMModule(network=CAMClassifier(TinyBackbone(), 3), optimizer=SGD, **options).eval()


def one_step(module, batch):
    with torch.no_grad():
        return module.test_step(batch, 0)


def part(batch, rows):
    return {name: values[rows] for name, values in batch.items()}


def test_figures_by_hand():
    """The map keeps one of four pixels of an image of ones: s is 4, 1 and 3."""
    images, saliency = torch.ones(1, 3, 2, 2), torch.zeros(1, 2, 2)
    saliency[0, 0, 1] = 1.0
    scores = FaithfulnessScores(["m"], MASKED)
    terms = scores.update("m", Trial(Brightness(), images, saliency, torch.tensor([0])))
    p, o, d = torch.sigmoid(torch.tensor([4.0, 1.0, 3.0], dtype=torch.float64))
    expected = {
        "average_drop": (p - o) / p,
        "average_increase": torch.zeros(()).double(),
        "average_gain": torch.zeros(()).double(),
        "average_drop_in_deletion": (p - d) / p,
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value[None], rtol=1e-5, atol=0, msg=name)
        assert scores.compute()["m"][name] == pytest.approx(float(value), rel=1e-5)
    other = Trial(Brightness(), images, saliency, torch.tensor([1]))
    gains = FaithfulnessScores(["m"], ["average_gain"]).update("m", other)["average_gain"]
    p, o = torch.sigmoid(torch.tensor([-4.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(gains, ((o - p) / (1 - p))[None], rtol=1e-5, atol=0)


def test_masked_figures_share_one_pass_of_three_images():
    classifier = Brightness()
    trial = Trial(classifier, torch.rand(2, 3, 4, 4), torch.rand(2, 4, 4), torch.tensor([0, 1]))
    FaithfulnessScores(["m"], MASKED).update("m", trial)
    assert classifier.passes == 3 * 2


def test_masking_to_black_is_the_caller_s_choice():
    """With mean and std, nothing is black; black is -mean / std, four pixels of -2."""
    images = torch.zeros(1, 3, 2, 2)
    trial = Trial(
        Brightness(), images, torch.zeros(1, 2, 2), torch.tensor([0]), mean=[1.0] * 3, std=[0.5] * 3
    )
    torch.testing.assert_close(trial.probabilities.p, torch.tensor([0.5]))
    torch.testing.assert_close(trial.probabilities.o, torch.sigmoid(torch.tensor([-8.0])))


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_the_mean_of_its_terms_over_uneven_batches(batch, name):
    module = cam_module(methods={"gradcam": GradCAM()}, faithfulness=[name])
    parts = [one_step(module, part(batch, rows)) for rows in (slice(0, 3), slice(3, 5))]
    for method in (NATIVE, "gradcam"):
        terms = torch.cat([found.terms[method][name] for found in parts])
        assert module.faithfulness.compute()[method][name] == pytest.approx(float(terms.mean()))
    reductions = module.faithfulness.metrics["gradcam"][name]._reductions.values()
    assert all(reduction is dim_zero_sum for reduction in reductions)  # exact over processes


@pytest.mark.parametrize("explained", ["label", "predicted"])
def test_test_step_scores_the_class_that_it_explains(batch, explained):
    figures = ["average_gain", "average_drop_in_deletion", "insertion_percentile"]
    module = cam_module(methods={"gradcam": GradCAM()}, faithfulness=figures, explained=explained)
    found = one_step(module, batch)
    images, network = batch["image"], module.network
    predicted = network(images).argmax(1)
    assert not torch.equal(predicted, batch["label"])
    targets = batch["label"] if explained == "label" else predicted
    assert torch.equal(found.targets, targets)
    maps = GradCAM()(network, images, targets)
    torch.testing.assert_close(found.maps["gradcam"], maps)
    p, o, d = masked_probabilities(network, images, maps, targets)
    curves = insertion_curves(network, images, maps, targets, steps=40, start="zero")
    direct = [AverageGain(), AverageDropInDeletion(), Insertion()]
    for metric, args in zip(direct, [(p, o), (p, d), (curves,)], strict=True):
        metric.update(*args)
    results = module.faithfulness.compute()["gradcam"]
    assert list(results) == figures
    for name, metric in zip(figures, direct, strict=True):
        assert results[name] == pytest.approx(float(metric.compute()), abs=1e-6), name
    torch.testing.assert_close(
        found.terms["gradcam"]["insertion_percentile"], area_under_curves(curves), rtol=0, atol=1e-6
    )


def test_a_decoder_is_judged_by_its_classifier(batch):
    classifier = cam_module().network
    module = FCAMModule(
        network=FCAM(classifier, widths=(4, 4)),
        optimizer=SGD,
        seed_method=CAM(),
        sampler=None,
        loss=None,
        faithfulness=["average_drop_in_deletion"],
    ).eval()
    found = one_step(module, batch)
    p, _, d = masked_probabilities(classifier, batch["image"], found.maps[NATIVE], batch["label"])
    expected = ((p - d) / p).double()
    torch.testing.assert_close(
        found.terms[NATIVE]["average_drop_in_deletion"], expected, rtol=0, atol=1e-5
    )


def test_no_figure_costs_no_pass(batch):
    module = cam_module()
    passes = []
    module.network.backbone.register_forward_hook(lambda *_: passes.append(1))
    assert not set(one_step(module, batch).terms[NATIVE]) & set(FIGURES)
    assert len(passes) == 1


def test_a_new_test_forgets_the_last_one(batch):
    module = cam_module(faithfulness=["average_drop"])
    one_step(module, batch)
    first = module.faithfulness.compute()
    module.on_test_start()
    one_step(module, batch)
    assert module.faithfulness.compute() == first


def test_figures_and_classes_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"average_drp.*average_drop"):
        FaithfulnessScores(["m"], ["average_drp"])
    with pytest.raises(ValueError, match=r"label.*predicted"):
        cam_module(explained="truth")


def test_any_classifier_is_tested_and_predicts_from_one_pass(batch):
    network = cam_module().network
    module = PostHocModule(
        classifier=network, methods={"gradcam": GradCAM(), "layercam": LayerCAM()}
    ).eval()
    passes = []
    network.backbone.register_forward_hook(lambda *_: passes.append(1))
    found = one_step(module, batch)
    assert len(passes) == 1
    assert list(found.maps) == ["gradcam", "layercam"]
    expected = LayerCAM()(network, batch["image"], batch["label"])
    torch.testing.assert_close(found.maps["layercam"], expected)
    torch.testing.assert_close(found.logits, network(batch["image"]))
    with torch.no_grad():
        prediction = module.predict_step(batch, 0)
    assert torch.equal(prediction.targets[:, 0], network(batch["image"]).argmax(1))
    assert prediction.boxes.shape == (5, 4)
    with pytest.raises(ValueError, match="at least one method"):
        PostHocModule(classifier=network)
