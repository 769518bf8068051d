"""Training of Real Time Image Saliency: its loss, what learns from it, and what passes share."""

import copy

import pytest
import torch

from learned_saliency.losses import AlternativeImages
from learned_saliency.ops import blur
from learned_saliency.trainers import ExactEvaluationDDP
from tests.support.learned import cut, fit, freeze_statistics, make_batches, make_module
from tests.support.two_processes import run_on_two

FIXED = {"alternatives": AlternativeImages(1.0), "fake_probability": 0.0}  # nothing is drawn


def make(**options):
    module = make_module("rtis", **options)
    torch.nn.init.normal_(module.classifier.fc.weight, std=3.0)
    module.log = lambda *args, **kwargs: None
    return module


@pytest.fixture
def batch():
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"image": images, "label": torch.tensor([2, 1, -1, 0, 1, 2])}


def loop(module, batch, asked):
    """The objective once more, image by image; ``asked`` are the classes of the masks."""
    total, classifier, power = 0.0, module.classifier, module.loss.destroyed_power
    for image, label, target in zip(batch["image"], batch["label"], asked, strict=True):
        levels = classifier.backbone(image[None])
        true = int(classifier(image[None]).argmax()) if label < 0 else int(label)
        mask, presence = module.network(levels, torch.tensor([target]), (32, 32))
        mask = mask[0]
        total = total + 10 * mask.mean()
        if target != true:
            total = total - (1 - presence.sigmoid()).log()
            continue
        hidden = blur(image[None], 10 * 32 / 224)[0]
        shown = [image * m + hidden * (1 - m) for m in (mask, 1 - mask)]
        kept, left = (classifier(x[None]).softmax(1)[0, true] for x in shown)
        variation = (mask[1:] - mask[:-1]).square().sum()
        variation = variation + (mask[:, 1:] - mask[:, :-1]).square().sum()
        total = total + 1e-3 * variation - kept.log() + 5 * left**power - presence.sigmoid().log()
    return total / len(batch["image"])


def test_the_loss_of_a_step_is_that_of_a_loop(batch, monkeypatch):
    """Three images are asked for a fake class, one has no known class."""
    module = make(alternatives=AlternativeImages(1.0)).eval()
    shift = torch.tensor([0, 2, 0, 1, 0, 2])
    real = torch.tensor([0, 2, 4])
    monkeypatch.setattr(module, "_draw", lambda *_: (shift, real))
    predicted = module.classifier(batch["image"]).argmax(1)
    targets = torch.where(batch["label"] < 0, predicted, batch["label"])
    asked = (targets + shift) % 3
    expected = loop(module, batch, asked.tolist())
    torch.testing.assert_close(module.training_step(batch, 0), expected[0])


def test_fake_classes_are_other_classes_of_a_share_of_the_images(batch):
    module = make()
    torch.manual_seed(0)
    shift, real = module._draw(3000, 5)
    assert torch.equal((shift == 0).nonzero()[:, 0], real)
    counts = shift.bincount(minlength=5).tolist()
    assert counts == pytest.approx([2100, 225, 225, 225, 225], abs=60)
    for wrong in (-0.1, 1.0):
        with pytest.raises(ValueError, match="fake_probability"):
            make(fake_probability=wrong)


def test_only_the_masking_network_learns_and_the_objective_falls(batch):
    module = make(**FIXED).train()
    before = copy.deepcopy(module.classifier.state_dict())
    (group,) = module.parameter_groups()
    parts = torch.nn.ModuleList([module.network.filter, module.network.decoder])
    assert {id(p) for p in group["params"]} == {id(p) for p in parts.parameters()}
    optimizer = torch.optim.Adam(group["params"], lr=0.01)
    losses = []
    for _ in range(15):
        loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in group["params"])
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is None for p in module.classifier.parameters())
    torch.testing.assert_close(module.classifier.state_dict(), before, rtol=0, atol=0)
    assert sum(losses[-3:]) < sum(losses[:3]) - 1


def test_a_step_is_one_clean_pass_and_one_of_both_mixtures_of_the_real_images(batch):
    module = make()
    passes = []
    module.classifier.backbone.register_forward_hook(
        lambda m, inputs, output: passes.append((len(inputs[0]), output[0].requires_grad))
    )
    torch.manual_seed(1)
    real = len(module._draw(6, 3)[1])
    torch.manual_seed(1)
    module.training_step(batch, 0).backward()
    assert passes == [(6, False), (2 * real, True)]
    assert 0 < real < 6
    module.fake_probability = 0.999999
    passes.clear()
    module.training_step(batch, 0).backward()  # fake classes alone: nothing is mixed
    assert passes == [(6, False)]


@torch.no_grad()
def test_maps_of_further_classes_come_from_the_levels_of_one_pass(batch):
    module = make().eval()
    images, labels = batch["image"], torch.tensor([2, 1, 0, 0, 1, 2])
    every = module.explain_all(images)
    passes = []
    module.classifier.backbone.register_forward_hook(lambda *_: passes.append(1))
    found = module.explain(images, labels)
    for label in range(3):
        maps = module.native_maps(found.features, images, torch.full((6,), label))
        torch.testing.assert_close(maps, every.saliency[:, label])
    classes = module.explain_classes(images, top_k=3)
    expected = every.saliency.gather(1, classes.targets[..., None, None].expand(-1, -1, 32, 32))
    torch.testing.assert_close(classes.maps["native"], expected)
    assert len(passes) == 2
    again = module.native_maps(found.features.clone(), images, labels)  # from elsewhere
    torch.testing.assert_close(again, found.saliency)
    assert len(passes) == 3
    torch.testing.assert_close(module.saliency(images, labels), found.saliency)


@torch.no_grad()
def test_levels_are_kept_as_long_as_their_features_and_in_no_copies(batch):
    module = make().eval()
    found = module.explain(batch["image"], None)
    assert len(module._finer) == 1
    other = copy.deepcopy(module)
    assert len(other._finer) == 0
    torch.testing.assert_close(other.saliency(batch["image"]), found.saliency)
    del found
    assert len(module._finer) == 0


def train_in_process(rank, folder):
    """Half of every batch; then with random draws, which differ between the processes."""
    for name, options in (("fixed", FIXED), ("drawn", {})):
        module = freeze_statistics(make_module("rtis", **options))
        halves = cut(make_batches(4, 4), 2, 2, 2, 2)[rank::2]
        options = {"devices": 2, "strategy": ExactEvaluationDDP()}
        fit(module, halves, use_distributed_sampler=False, **options)
        torch.save(module.network.state_dict(), folder / f"{name}{rank}.pt")


def test_two_processes_train_as_one_does(tmp_path):
    run_on_two(train_in_process, tmp_path)
    found = {path.stem: torch.load(path, weights_only=True) for path in tmp_path.glob("*.pt")}
    for name in ("fixed", "drawn"):
        torch.testing.assert_close(found[f"{name}0"], found[f"{name}1"], rtol=0, atol=0)
    alone = freeze_statistics(make_module("rtis", **FIXED))
    fit(alone, make_batches(4, 4))
    expected = dict(alone.network.state_dict())
    torch.testing.assert_close(dict(found["fixed0"]), expected, rtol=1e-4, atol=1e-6)
