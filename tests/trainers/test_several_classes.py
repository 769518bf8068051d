"""Training on images with any number of classes: each method's step against a loop by hand."""

import copy
from functools import partial

import lightning as L
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from learned_saliency.attribution import CAM
from learned_saliency.losses import (
    IGNORE,
    AlternativeImages,
    CASMLoss,
    DenseCRFLoss,
    FCAMLoss,
    RTISLoss,
    SeedSampler,
    SPGLoss,
    TriLiteLoss,
    class_seeds,
    joint_seeds,
    negative_cross_entropy,
)
from learned_saliency.models import (
    CASM,
    FCAM,
    RTIS,
    SPG,
    ACoL,
    CAMClassifier,
    CutMix,
    TriLite,
)
from learned_saliency.ops import blur, min_max
from learned_saliency.trainers import (
    NATIVE,
    ACoLModule,
    CAMModule,
    CASMModule,
    CutMixModule,
    ExactEvaluationDDP,
    FCAMModule,
    RTISModule,
    SnapshotPool,
    SPGModule,
    TriLiteModule,
)
from tests.support.learned import fit, freeze_statistics
from tests.support.networks import TinyBackbone
from tests.support.two_processes import run_on_two

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
TASK = {"optimizer": SGD, "task": "multilabel"}
LABELS = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]]).bool()


def classifier():
    torch.manual_seed(0)
    return CAMClassifier(TinyBackbone(), 3)


def fcam(foreground, **options):
    network = FCAM(classifier(), widths=(4, 4), foreground=foreground)
    sampler = SeedSampler(erosion=0, foreground_pixels=3, background_pixels=3)
    loss = FCAMLoss(crf=DenseCRFLoss(1e-6))
    return FCAMModule(
        network=network, seed_method=CAM(), sampler=sampler, loss=loss, **TASK | options
    )


@pytest.fixture
def batch():
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([2, -1, 1, 0])
    return {"image": images, "label": label, "labels": LABELS, "image_id": list("abcd")}


def quiet(module):
    module.log_losses = module.log_means = lambda *args, **kwargs: None
    return module


def entropy(logits, labels=LABELS):
    p = logits.sigmoid()
    return -torch.where(labels, p.log(), (1 - p).log()).sum(1).mean()


def test_cam_learns_all_classes_of_an_image(batch):
    module = quiet(CAMModule(network=classifier(), **TASK))
    by_hand = copy.deepcopy(module.network)
    module.training_step(batch, 0).backward()
    optimizer = module.configure_optimizers()["optimizer"]
    optimizer.step()
    entropy(by_hand(batch["image"])).backward()
    with torch.no_grad():
        for weight in by_hand.parameters():
            weight -= 0.05 * weight.grad
    found, expected = (dict(net.named_parameters()) for net in (module.network, by_hand))
    torch.testing.assert_close(found, expected)


def test_cutmix_learns_the_classes_of_both_images(batch):
    module = quiet(CutMixModule(network=classifier(), mixing=CutMix(), **TASK))
    torch.manual_seed(3)
    loss = module.training_step(batch, 0)
    torch.manual_seed(3)
    mixed = module.mixing(batch["image"])
    targets = LABELS.float()
    targets = mixed.share * targets + (1 - mixed.share) * targets[mixed.partners]
    p = module.network(mixed.images).sigmoid()
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log()).sum(1).mean()
    torch.testing.assert_close(loss, expected)


def test_acol_erases_by_the_maps_of_all_classes(batch):
    torch.manual_seed(0)
    network = ACoL(TinyBackbone(), 3, branch_width=4)
    module = quiet(ACoLModule(network=network, **TASK)).eval()
    features = network.features(batch["image"])
    maps = min_max(network.branch_a.cams(network.branch_a.features(features)))
    erased = features.clone()
    for row, present in enumerate(LABELS):
        for c in present.nonzero()[:, 0]:
            erased[row, :, maps[row, c] >= 0.6] = 0
    expected = entropy(network.branch_a(features)) + entropy(network.branch_b(erased))
    torch.testing.assert_close(module.training_step(batch, 0), expected)
    assert torch.equal(erased[1], features[1])


def test_spg_is_guided_by_the_maps_of_all_classes(batch):
    torch.manual_seed(0)
    module = SPGModule(network=SPG(TinyBackbone((4, 5, 6)), 3), loss=SPGLoss(), **TASK).eval()
    found = module.network.branches(batch["image"])
    maps = min_max(module.network.cams(found.features))
    joint = torch.stack([maps[0, [0, 2]].amax(0), 0 * maps[1, 0], maps[2, 1], maps[3].amax(0)])
    branches = found.shallow, found.deep, found.last
    expected = module.loss(found.logits, joint, branches, LABELS, (16, 16))
    terms = module.losses(batch["image"], LABELS).terms
    torch.testing.assert_close(terms, expected._asdict())
    torch.testing.assert_close(terms["classification"], entropy(found.logits))


def test_trilite_learns_the_foreground_of_all_classes(batch):
    module = quiet(TriLiteModule(network=TriLite(classifier()), loss=TriLiteLoss(), **TASK)).eval()
    output = module.network(batch["image"])
    inside, outside = module.network.region_logits(output.features, output.regions)
    background = torch.where(LABELS, -(1 - outside.sigmoid()).log(), 0).sum(1).mean()
    expected = entropy(output.logits) + entropy(inside) + background
    torch.testing.assert_close(module.training_step(batch, 0), expected)


def test_rtis_asks_for_a_class_that_is_there_or_for_one_that_is_not(batch):
    torch.manual_seed(0)
    network = RTIS(classifier(), width=4, map_reduction=2)
    options = {"alternatives": AlternativeImages(1.0), "fake_probability": 0.5} | TASK
    module = quiet(RTISModule(network=network, loss=RTISLoss(), **options)).eval()
    logits = torch.zeros(4, 3)
    torch.manual_seed(0)
    asked, real = zip(*(module._ask(batch, logits) for _ in range(300)), strict=True)
    asked = torch.stack(asked)
    assert set(asked[:, 0].tolist()) == {2, 1}
    assert set(asked[:, 1].tolist()) == {0, 1, 2}
    assert set(asked[:, 2].tolist()) == {1, 0, 2}
    assert set(asked[:, 3].tolist()) == {0}
    counts = torch.cat(real).bincount(minlength=4)
    assert counts.tolist()[1::2] == [0, 300]
    assert counts.tolist()[::2] == pytest.approx([150, 150], abs=40)


def test_the_loss_of_a_step_of_rtis_is_that_of_a_loop(batch, monkeypatch):
    network = RTIS(classifier(), width=4, map_reduction=2)
    options = {"alternatives": AlternativeImages(1.0)} | TASK
    module = quiet(RTISModule(network=network, loss=RTISLoss(), **options)).eval()
    asked = torch.tensor([2, 0, 1, 0])
    monkeypatch.setattr(module, "_ask", lambda *_: (asked, torch.tensor([0, 2, 3])))
    total = 0.0
    for row, (image, target) in enumerate(zip(batch["image"], asked.tolist(), strict=True)):
        levels = network.classifier.backbone(image[None])
        mask, presence = network(levels, torch.tensor([target]), (16, 16))
        mask = mask[0]
        total = total + 10 * mask.mean()
        if row == 1:  # an image without a class
            total = total - (1 - presence.sigmoid()).log()
            continue
        hidden = blur(image[None], 10 * 16 / 224)[0]
        shown = [image * m + hidden * (1 - m) for m in (mask, 1 - mask)]
        kept, left = (network.classifier(x[None]).sigmoid()[0, target] for x in shown)
        variation = mask.diff(dim=0).square().sum() + mask.diff(dim=1).square().sum()
        total = total + 1e-3 * variation - kept.log() + 5 * left**0.3 - presence.sigmoid().log()
    torch.testing.assert_close(module.training_step(batch, 0), total[0] / 4)


def test_casm_hides_the_classes_that_are_there(batch):
    torch.manual_seed(0)
    network = CASM(classifier(), width=4, map_reduction=2)
    with torch.no_grad():
        network.classifier.fc.weight.mul_(20)
    module = CASMModule(
        network=network,
        pool=SnapshotPool("F"),
        loss=CASMLoss(2.0, negative_cross_entropy),
        classifier_optimizer=SGD,
        gradient_clip=1e6,
        **TASK,
    )
    by_hand = copy.deepcopy(network).train()
    by_hand.classifier.eval()
    fit(module, [batch])
    images, levels = batch["image"], by_hand.classifier.backbone(batch["image"])
    mask = by_hand.decoder([level.detach() for level in levels], (16, 16))
    clean = by_hand.classifier(images)
    masked = by_hand.classifier(images * (1 - mask[:, None]))
    total = 0.0
    for row, present in enumerate(LABELS):
        own = present.nonzero()[:, 0]
        if not len(own):
            continue
        score = F.logsigmoid(masked[row, own]).mean()
        rate = ((clean[row, own] > 0) & (masked[row, own] <= 0)).float().mean()
        total = total + score - 2.0 * torch.relu(rate - mask[row].mean())
    (total / 4).backward()
    with torch.no_grad():
        for weight in by_hand.decoder.parameters():
            weight -= 0.05 * weight.grad
    found, expected = (dict(net.decoder.named_parameters()) for net in (network, by_hand))
    torch.testing.assert_close(found, expected)


def test_casms_entropy_is_refused():
    network = CASM(classifier(), width=4, map_reduction=2)
    parts = {"pool": SnapshotPool("F"), "loss": CASMLoss(2.0), "classifier_optimizer": SGD}
    with pytest.raises(ValueError, match="the entropy score has no meaning"):
        CASMModule(network=network, **parts, **TASK)


@pytest.mark.parametrize("foreground", ["any", "class"])
def test_fcam_learns_from_the_maps_of_all_classes(batch, foreground):
    module = quiet(fcam(foreground)).eval()
    output = module.network(batch["image"])
    cams = torch.stack(
        [CAM()(module.classifier, batch["image"], torch.full((4,), c)) for c in range(3)], dim=1
    )
    module.sampler.reseed(7)
    loss = module.training_step(batch, 0)
    order = torch.tensor([[0, 2, 1], [0, 1, 2], [1, 0, 2], [0, 1, 2]])
    maps, among = cams.gather(1, order[:, :, None, None].expand_as(cams)), LABELS.gather(1, order)
    module.sampler.reseed(7)
    if foreground == "any":
        labels, present = joint_seeds(module.sampler, maps, among), LABELS.any(1, keepdim=True)
        assert set(labels[1].unique().tolist()) == {IGNORE, 0}
    else:
        labels, present = class_seeds(module.sampler, maps, order, among), LABELS
        assert set(labels[2].unique().tolist()) <= {IGNORE, 0, 2}
    expected = module.loss(output.scores, labels, module.colors(batch["image"]), present)
    torch.testing.assert_close(loss, expected.total)
    loss.backward()
    assert all(weight.grad is None for weight in module.classifier.parameters())


def test_fcam_has_a_map_of_each_class_from_one_pass(batch):
    module = fcam("class").eval()
    assert module.native.per_class
    passes = []
    module.classifier.backbone.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        every = module.explain_all(batch["image"])
        passes.clear()
        found = module.explain_classes(batch["image"], torch.tensor([[0, 2]] * 4))
    assert len(passes) == 1
    torch.testing.assert_close(found.maps[NATIVE], every.saliency[:, [0, 2]])
    scores = module.network(batch["image"]).scores
    assert scores.shape == (4, 4, 16, 16)
    torch.testing.assert_close(every.saliency, scores.softmax(1)[:, 1:])
    predicted = module.explain(batch["image"], batch["label"]).saliency[1]
    torch.testing.assert_close(predicted, every.saliency[1, every.logits[1].argmax()])
    copied = copy.deepcopy(module)  # with nothing of earlier passes
    assert copied._scores.get(found.logits) is None


class _Shown(torch.nn.Module):
    """The maps of an F-CAM as a network of images and classes."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, images, targets):
        return self.module.explain(images, targets).saliency


def test_a_graph_of_any_batch_size_holds_the_maps_of_classes(batch):
    shown, size = _Shown(fcam("class").eval()), torch.export.Dim("batch")
    targets = torch.tensor([0, 1, 2, 1])
    shapes = {"images": {0: size}, "targets": {0: size}}
    given = batch["image"], targets
    graph = torch.export.export(shown, given, dynamic_shapes=shapes, strict=False).module()
    for rows in (slice(0, 4), slice(0, 3)):
        found, expected = (net(*(part[rows] for part in given)) for net in (graph, shown))
        torch.testing.assert_close(found, expected)


def batches(*sizes):
    generator = torch.Generator().manual_seed(1)
    made = []
    for size in sizes:
        labels = torch.rand(size, 3, generator=generator) < 0.5
        images = torch.randn(size, 3, 16, 16, generator=generator)
        label = torch.where(labels.any(1), labels.int().argmax(1), -1)
        names = [str(i) for i in range(size)]
        made.append({"image": images, "label": label, "labels": labels, "image_id": names})
    return made


def join(*parts):
    names = ("image", "label", "labels")
    whole = {key: torch.cat([part[key] for part in parts]) for key in names}
    return whole | {"image_id": [name for part in parts for name in part["image_id"]]}


MODULES = {
    "cam": lambda: CAMModule(network=classifier(), **TASK),
    "any": lambda: fcam("any"),
    "class": lambda: fcam("class"),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_training_goes_on_to_the_bit(name, tmp_path):
    data, options = batches(4, 4), {"logger": False, "enable_progress_bar": False}
    options |= {"enable_model_summary": False, "accelerator": "cpu", "inference_mode": False}

    def run(epochs, path=None):
        module = MODULES[name]()
        trainer = L.Trainer(max_epochs=epochs, enable_checkpointing=False, **options)
        loader = DataLoader(data, batch_size=None, shuffle=False)
        trainer.fit(module, loader, ckpt_path=path, weights_only=True)
        return trainer, module

    trainer, _ = run(1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    _, resumed = run(2, tmp_path / "last.ckpt")
    _, whole = run(2)
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def train_in_process(rank, folder):
    """Train each module on half of every batch, and CAM once more without running statistics."""

    def keep(name, module, parts):
        options = {"devices": 2, "strategy": ExactEvaluationDDP()}
        fit(module, parts[rank::2], use_distributed_sampler=False, **options)
        torch.save(dict(module.named_parameters()), folder / f"{name}{rank}.pt")

    for name, make in MODULES.items():
        torch.manual_seed(rank)  # the first process's weights count
        keep(name, make(), batches(4, 4, 4, 4))
    keep("frozen", freeze_statistics(MODULES["cam"]()), batches(2, 2, 2, 2))


def test_two_processes_have_the_same_weights(tmp_path):
    run_on_two(train_in_process, tmp_path)
    for name, make in MODULES.items():
        first, second = (
            torch.load(tmp_path / f"{name}{rank}.pt", weights_only=True) for rank in range(2)
        )
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        start = dict(make().named_parameters())
        assert any(not torch.equal(first[key], weight) for key, weight in start.items()), name
    parts = batches(2, 2, 2, 2)
    joined = [join(*parts[:2]), join(*parts[2:])]
    module = freeze_statistics(MODULES["cam"]())
    fit(module, joined)
    torch.testing.assert_close(
        torch.load(tmp_path / "frozen0.pt", weights_only=True), dict(module.named_parameters())
    )
