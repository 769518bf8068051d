"""Images whose class is unknown, in every step of every method and in every metric."""

import pytest
import torch

from learned_saliency.attribution import CAM, GradCAM
from learned_saliency.metrics import Localization, MaskLocalization
from learned_saliency.models import CAMClassifier
from learned_saliency.trainers import CRITERIA, NATIVE, PostHocModule, SaliencyModule, ZeroBoxScores
from learned_saliency.trainers.callbacks.contact_sheet import class_lines
from learned_saliency.trainers.scores import SplitScores
from tests.support.networks import TinyBackbone
from tests.trainers.test_declared import MODULES

LEARN_LABELS = {"cam", "calm of the class", "calm of all", "trilite"}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(4, 3, 32, 32, generator=generator),
        "label": torch.tensor([2, -1, 0, -1]),
        "index": torch.arange(4),
        "image_id": [f"{i}.png" for i in range(4)],
        "boxes": [torch.tensor([[2, 3, 20, 25]])] * 4,
    }


def build(name, **options):
    torch.manual_seed(2)
    module = MODULES[name]()
    for key, value in options.items():
        setattr(module, key, value)
    return module.eval()


def test_the_predicted_class_stands_for_an_unknown_one():
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 5.0, 2.0]])
    labels = torch.tensor([-1, 1, -1])
    assert SaliencyModule.known_targets(labels, logits).tolist() == [2, 1, 1]
    assert SaliencyModule.known_targets(None, logits).tolist() == [2, 0, 1]
    assert labels.tolist() == [-1, 1, -1]


@pytest.mark.parametrize("name", MODULES)
def test_maps_of_unknown_classes_are_those_of_predicted_ones(name, batch):
    module = build(name, methods={"cam": CAM(), "gradcam": GradCAM()})
    images = batch["image"]
    maps, logits = module.maps(images, batch["label"])
    assert 3 not in logits.argmax(1)  # the class that -1 as an index stands for
    resolved = SaliencyModule.known_targets(batch["label"], logits)
    wanted, _ = module.maps(images, resolved)
    torch.testing.assert_close(maps, wanted, rtol=0, atol=0)
    found = module.explain(images, batch["label"]).saliency
    torch.testing.assert_close(found, module.explain(images, resolved).saliency, rtol=0, atol=0)


def test_a_foreign_classifier_explains_predicted_classes(batch):
    torch.manual_seed(0)
    classifier = CAMClassifier(TinyBackbone(), 4)
    module = PostHocModule(classifier=classifier, methods={"cam": CAM()}).eval()
    output = module.test_step(batch, 0)
    assert output.targets.tolist() == module.known_targets(batch["label"], output.logits).tolist()


@pytest.mark.parametrize("name", MODULES)
def test_modules_tell_whether_they_learn_from_labels(name):
    assert build(name).needs_labels == (name in LEARN_LABELS)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_validation_takes_batches_without_labels(name, batch):
    module = build(name, zerobox=ZeroBoxScores(list(CRITERIA)))
    module.log = lambda *args, **kwargs: None
    module.on_validation_epoch_start()
    module.validation_step(batch | {"label": torch.full((4,), -1)}, 0)
    values = module.validation_scores.compute()[NATIVE] | module.zerobox.compute()
    assert "max_box_acc" in values
    assert not {"accuracy", "top5_accuracy", "top1_loc", "top5_loc", "om"} & values.keys()
    module.on_validation_epoch_start()
    with torch.no_grad():
        resolved = module.explain(batch["image"], None).logits.argmax(1)
    module.validation_step(batch | {"label": resolved}, 0)
    labeled = module.validation_scores.compute()[NATIVE] | module.zerobox.compute()
    assert labeled["accuracy"] == 1
    for key in values:
        assert values[key] == pytest.approx(labeled[key], nan_ok=True), key


def test_accuracy_leaves_unknown_classes_out(batch):
    scores = SplitScores([NATIVE])
    logits = torch.eye(4)[[2, 1, 1, 3]]  # right, unknown, wrong, unknown
    scores.update({NATIVE: torch.rand(4, 32, 32)}, logits, batch)
    assert scores.compute()[NATIVE]["accuracy"] == 0.5


def test_box_metrics_of_classes_leave_unknown_ones_out(batch):
    maps = torch.zeros(4, 32, 32)
    maps[:, 3:26, 2:21] = 1  # the boxes
    maps[2] = torch.eye(32)
    logits = torch.eye(4)[[2, 1, 0, 3]]
    for metric in (Localization(), MaskLocalization()):
        metric.update(maps, batch["boxes"], logits, batch["label"])
        found = {name: float(value) for name, value in metric.compute().items()}
        for name, value in {"max_box_acc": 0.75, "top1_loc": 0.5, "le": 0.25, "om": 0.5}.items():
            assert found.get(name, value) == value, name


def test_fcam_and_casm_train_with_predicted_classes(batch):
    for name in ("fcam", "casm"):
        losses = []
        for unknown in (True, False):
            module = build(name).train()
            with torch.no_grad():
                predicted = module.eval().explain(batch["image"], None).logits.argmax(1)
            module.train()
            labels = torch.full((4,), -1) if unknown else predicted
            losses.append(training_loss(module, batch | {"label": labels}))
        assert losses[0] == losses[1], name


def training_loss(module, batch):
    logged = {}
    module.log_losses = lambda total, parts, count: logged.update(total=float(total.detach()))
    module.log_means = lambda *args, **kwargs: None
    if module.automatic_optimization:
        module.sampler.reseed(0)
        module.training_step(batch, 0)
    else:
        clean = module._clean_pass(batch, 1.0, True)
        module._backward = lambda *args, **kwargs: None
        module._gradient = lambda loss, mask, retain_graph: torch.autograd.grad(loss, mask)[0]
        module._masked_pass(batch, clean, None, 1.0, True)
    return logged["total"]


def test_an_unknown_class_is_called_so():
    assert class_lines(["a", "b"], -1, 1, 0.5) == ["true: unknown", "predicted: b 50.0%"]
