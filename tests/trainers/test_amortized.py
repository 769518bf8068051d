"""Training of amortized Opti-CAM: the objective, what learns from it, and what it reads."""

import copy

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from learned_saliency import attribution
from learned_saliency.attribution import MaskObjective, OptiCAM
from learned_saliency.models import Amortized, CAMClassifier, ChannelWeights, EvidenceDecoder
from learned_saliency.trainers import AmortizedModule
from tests.support.networks import SGD, TinyBackbone

FORMS = {"weights": ChannelWeights, "decoder": lambda channels: EvidenceDecoder(channels, 8)}


def make(form="weights", objective=None, **options):
    torch.manual_seed(0)
    network = Amortized(CAMClassifier(TinyBackbone(), 4), FORMS[form])
    torch.nn.init.normal_(network.classifier.fc.weight, std=3.0)
    for parameter in network.form.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    objective = objective or MaskObjective(selector="log_probability")
    module = AmortizedModule(network=network, objective=objective, optimizer=SGD, **options)
    module.log = lambda *args, **kwargs: None
    return module


@pytest.fixture
def batch():
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"image": images, "label": torch.tensor([3, 3, 3, 3])}


def loop(module, images, selector, normalization, objective):
    """The mean objective once more, image by image."""
    values, classifier, network = [], module.classifier, module.network.form
    for image in images:
        features = classifier.backbone(image[None])[-1]
        logits = classifier.fc(features.mean((2, 3)))[0]
        target = int(logits.argmax())
        gradients = classifier.fc.weight[target, :, None, None].expand_as(features[0]) / 64
        s = network(features.relu(), gradients[None])[:, None]
        s = torch.nn.functional.interpolate(s, (32, 32), mode="bilinear")[0, 0]
        mask = {
            "range": lambda s: (s - s.min()) / (s.max() - s.min()),
            "max": lambda s: s / s.max(),
            "sigmoid": torch.sigmoid,
        }[normalization](s)

        def select(shown, target=target):
            y = classifier(shown[None])[0]
            return {"logit": y[target], "log_probability": y.log_softmax(0)[target]}[selector]

        inside, outside = select(image * mask), select(image * (1 - mask))
        values.append(
            {
                "mask": inside,
                "diff": -(select(image) - inside).abs(),
                "iomask": inside - outside,
            }[objective]
        )
    return torch.stack(values).mean()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("selector", "normalization", "objective"),
    [
        ("log_probability", "range", "mask"),
        ("logit", "max", "diff"),
        ("logit", "sigmoid", "iomask"),
    ],
)
def test_the_loss_is_minus_the_mean_objective(batch, form, selector, normalization, objective):
    options = {"selector": selector, "normalization": normalization, "objective": objective}
    module = make(form, MaskObjective(**options)).eval()
    loss = module.training_step(batch, 0)
    expected = -loop(module, batch["image"], selector, normalization, objective)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("form", FORMS)
def test_only_the_small_network_learns_and_the_objective_rises(batch, form):
    module = make(form).train()
    before = copy.deepcopy(module.classifier.state_dict())
    (group,) = module.parameter_groups()
    assert {id(p) for p in group["params"]} == {id(p) for p in module.network.form.parameters()}
    optimizer = torch.optim.Adam(group["params"], lr=0.003)
    losses = []
    for _ in range(12):
        loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is None for p in module.classifier.parameters())
    torch.testing.assert_close(module.classifier.state_dict(), before, rtol=0, atol=0)
    assert sum(losses[-3:]) < sum(losses[:3]) - 0.03


def test_a_step_is_one_clean_pass_and_one_pass_of_masked_images(batch):
    module = make()
    passes = []
    module.classifier.backbone.register_forward_hook(
        lambda m, inputs, output: passes.append((len(inputs[0]), output[0].requires_grad))
    )
    module.training_step(batch, 0).backward()
    assert passes == [(4, False), (4, True)]


def test_labels_are_not_read_and_further_classes_are_drawn(batch):
    module = make().eval()
    other = batch | {"label": torch.full((4,), -1)}
    assert torch.equal(module.training_step(batch, 0), module.training_step(other, 0))
    several = make(targets=3).eval()
    logits = several.classifier(batch["image"]).repeat(50, 1)
    torch.manual_seed(0)
    ranks = (logits > logits.gather(1, several._draw(logits)[:, None])).sum(1)
    assert ranks.bincount().tolist() == pytest.approx([67, 67, 67], abs=20)
    for wrong in ({"targets": 0}, {"gradient_clip": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(**wrong)


class Batches(L.LightningDataModule):
    """One batch of images that have nearly lost their class, and an epoch of it."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def train_dataloader(self):
        return DataLoader([self.batch], batch_size=None)


def test_no_step_is_longer_than_the_clipped_gradient(batch):
    module = make(gradient_clip=0.01)
    del module.log
    module.network.classifier.fc.weight.data *= 100
    before = [p.detach().clone() for p in module.network.form.parameters()]
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **options)
    trainer.fit(module, datamodule=Batches(batch))
    pairs = zip(module.network.form.parameters(), before, strict=True)
    length = float(sum((p.detach() - b).square().sum() for p, b in pairs)) ** 0.5
    assert length == pytest.approx(0.1 * 0.01, rel=0.01)  # the learning rate times the norm


def unknown(features):
    raise RuntimeError("these are not of the latest pass")


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_maps_of_classes_come_from_the_features_of_one_pass(batch, form):
    module = make(form).eval()
    images = batch["image"]
    found = module.explain(images, batch["label"])
    again = module.native_maps(found.features, images, batch["label"])
    torch.testing.assert_close(again, found.saliency)
    module.classifier.head_of = unknown  # a head that reads more than the features takes a pass
    passes = []
    module.classifier.backbone.register_forward_hook(lambda *_: passes.append(1))
    again = module.native_maps(found.features * 0, images, batch["label"])
    torch.testing.assert_close(again, found.saliency)
    assert len(passes) == 1
    del module.classifier.head_of
    every = module.explain_all(images)
    torch.testing.assert_close(every.saliency[:, 3], found.saliency)
    torch.testing.assert_close(every.logits, found.logits)


@torch.no_grad()
def test_an_unknown_class_is_explained_as_predicted(batch):
    module = make().eval()
    images = batch["image"]
    predicted = module.classifier(images).argmax(1)
    labels = torch.tensor([-1, 3, -1, 0])
    expected = module.saliency(images, torch.where(labels < 0, predicted, labels))
    torch.testing.assert_close(module.saliency(images, labels), expected)
    torch.testing.assert_close(module.saliency(images), module.saliency(images, predicted))


def test_the_native_map_is_where_opticam_starts_from_its_u(batch):
    module = make().eval()
    images = batch["image"]
    start = attribution.Amortized(**module.map_parts)
    with torch.no_grad():
        found = module.explain(images, None)
        torch.testing.assert_close(start(module.classifier, images), found.saliency)
        masked = module.classifier(images * found.saliency[:, None])
    expected = masked.gather(1, found.logits.argmax(1)[:, None])[:, 0]
    result = OptiCAM(iterations=1, start=start).optimize(module.classifier, images)
    torch.testing.assert_close(result.objective[0], expected)


def test_a_head_without_a_closed_form_cannot_be_exported():
    module = make()
    assert module.export_obstacle is None
    module.network.classifier = torch.nn.Identity()
    assert "gradient of the head of Identity" in module.export_obstacle
