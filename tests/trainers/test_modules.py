"""Training of the right parts of each module, and right counts in evaluation."""

import copy

import pytest
import torch

from learned_saliency.attribution import CAM, GradCAM
from learned_saliency.losses import DenseCRFLoss, FCAMLoss, SeedSampler
from learned_saliency.models import FCAM, CAMClassifier
from learned_saliency.trainers import NATIVE, CAMModule, FCAMModule
from learned_saliency.trainers.scores import SplitScores
from tests.support.networks import SGD, TinyBackbone


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(5, 3, 32, 32, generator=generator),
        "label": torch.tensor([0, 1, 2, 1, 0]),
        "image_id": [f"{i}.png" for i in range(5)],
        "boxes": [torch.tensor([[2, 3, 20, 25]])] * 5,
        "mask": torch.randint(0, 2, (5, 32, 32), generator=generator, dtype=torch.uint8),
    }


@pytest.fixture
def cam_module():
    torch.manual_seed(0)
    network = CAMClassifier(TinyBackbone(), 3)
    return CAMModule(network=network, optimizer=SGD, head_lr_factor=10.0)


@pytest.fixture
def fcam_module(cam_module):
    return FCAMModule(
        network=FCAM(cam_module.network, widths=(4, 4)),
        optimizer=SGD,
        seed_method=CAM(interpolation="bicubic"),
        sampler=SeedSampler(erosion=0),
        loss=FCAMLoss(crf=DenseCRFLoss()),
        methods={"cam": CAM(interpolation="bicubic"), "gradcam": GradCAM()},
    )


def test_new_layers_of_the_classifier_learn_faster(cam_module):
    groups = cam_module.configure_optimizers()["optimizer"].param_groups
    assert [group["lr"] for group in groups] == [0.1, 1.0]
    assert {id(p) for p in groups[1]["params"]} == {
        id(p) for p in cam_module.network.fc.parameters()
    }
    assert sum(len(group["params"]) for group in groups) == len(list(cam_module.parameters()))


def test_fcam_trains_the_decoder_and_leaves_the_classifier_as_it_was(fcam_module, batch):
    before = {k: v.clone() for k, v in fcam_module.network.classifier.state_dict().items()}
    decoder = {k: v.clone() for k, v in fcam_module.network.decoder.state_dict().items()}
    fcam_module.log = lambda *args, **kwargs: None
    fcam_module.train()
    optimizer = fcam_module.configure_optimizers()["optimizer"]
    fcam_module.training_step(batch, 0).backward()
    optimizer.step()
    after = fcam_module.network.classifier.state_dict()
    torch.testing.assert_close(dict(after), before, rtol=0, atol=0)
    assert all(p.grad is None for p in fcam_module.network.classifier.parameters())
    changed = fcam_module.network.decoder.state_dict()
    assert any(not torch.equal(changed[k], decoder[k]) for k in decoder)


def test_maps_of_all_methods_come_from_one_pass(fcam_module, batch):
    fcam_module.eval()
    passes = []
    fcam_module.classifier.backbone.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        maps, logits = fcam_module.maps(batch["image"], batch["label"])
    assert len(passes) == 1
    assert list(maps) == [NATIVE, "cam", "gradcam"]
    torch.testing.assert_close(logits, fcam_module.classifier(batch["image"]))
    expected = CAM(interpolation="bicubic")(fcam_module.classifier, batch["image"], batch["label"])
    torch.testing.assert_close(maps["cam"], expected)


def test_prediction_explains_the_predicted_class(cam_module, batch):
    cam_module.eval()
    with torch.no_grad():
        found = cam_module.predict_step(batch, 0)
    assert torch.equal(found.targets[:, 0], found.logits.argmax(1))
    expected = cam_module.saliency(batch["image"], found.targets[:, 0])
    torch.testing.assert_close(found.maps[NATIVE][:, 0], expected.detach())
    assert found.boxes.shape == (5, 4)


def test_colors_undo_the_normalization(cam_module):
    colors = torch.rand(2, 3, 4, 4) * 255
    mean, std = cam_module.mean, cam_module.std
    torch.testing.assert_close(cam_module.colors((colors / 255 - mean) / std), colors)
    swapped = copy.copy(cam_module)
    swapped.shown_channels = [2, 0, 0]
    found = swapped.colors((colors / 255 - mean) / std)
    torch.testing.assert_close(found, colors[..., [2, 0, 0], :, :])


def test_the_state_of_an_epoch_depends_on_seed_epoch_and_rank_only(cam_module, monkeypatch):
    seeds = set()
    for epoch in range(3):
        monkeypatch.setattr(CAMModule, "current_epoch", epoch)
        for rank in range(2):
            monkeypatch.setattr(CAMModule, "global_rank", rank)
            seeds.add(cam_module.epoch_seed())
            assert cam_module.epoch_seed() == cam_module.epoch_seed()
    assert len(seeds) == 6


def test_scores_of_uneven_batches_equal_those_of_one_batch(fcam_module, batch):
    whole, parts = (SplitScores([NATIVE], floors=True) for _ in range(2))
    maps, logits = {NATIVE: torch.rand(5, 32, 32)}, torch.randn(5, 3)
    whole.update(maps, logits, batch)
    for part in (slice(0, 3), slice(3, 5)):
        parts.update(
            {NATIVE: maps[NATIVE][part]}, logits[part], {k: v[part] for k, v in batch.items()}
        )
    assert parts.compute() == whole.compute()
    assert set(whole.compute()) == {NATIVE, "full_image", "centered_box"}
    whole.reset()
    without = {k: v for k, v in batch.items() if k not in ("boxes", "mask")}
    whole.update(maps, logits, without)
    figures = {name for name in whole.compute()[NATIVE] if not name.startswith("map_")}
    assert figures == {"accuracy", "top5_accuracy"}
