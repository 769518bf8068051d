"""Classifiers that draw in training or have branches, and the bound, on two processes."""

import torch

from learned_saliency.losses import SPGLoss, SupervisedLoss, TriLiteLoss
from learned_saliency.models import (
    FCAM,
    SPG,
    ACoL,
    ADLClassifier,
    CAMClassifier,
    CutMix,
    HideAndSeek,
    MultiScaleBackbone,
    TriLite,
    Wildcat,
)
from learned_saliency.trainers import (
    ACoLModule,
    CAMModule,
    CutMixModule,
    ExactEvaluationDDP,
    HaSModule,
    SPGModule,
    SupervisedModule,
    TriLiteModule,
)
from tests.support.learned import CLASSES, SGD, cut, fit, make_batches
from tests.support.networks import TinyBackbone
from tests.support.two_processes import run_on_two


def plain(**options):
    return CAMClassifier(TinyBackbone(), CLASSES, **options)


def dropping():
    backbone = MultiScaleBackbone("resnet10t", channels=[8, 8, 16, 24], stem_width=8)
    return ADLClassifier(backbone, CLASSES)


MODULES = {
    "has": lambda: HaSModule(network=plain(), hiding=HideAndSeek([0, 56]), optimizer=SGD),
    "cutmix": lambda: CutMixModule(network=plain(), mixing=CutMix(), optimizer=SGD),
    "adl": lambda: CAMModule(network=dropping(), optimizer=SGD),
    "acol": lambda: ACoLModule(network=ACoL(TinyBackbone(), CLASSES), optimizer=SGD),
    "spg": lambda: SPGModule(
        network=SPG(TinyBackbone((4, 5, 6)), CLASSES), loss=SPGLoss(), optimizer=SGD
    ),
    "wildcat": lambda: CAMModule(network=plain(pooling=Wildcat()), optimizer=SGD),
    "trilite on acol": lambda: TriLiteModule(
        network=TriLite(ACoL(TinyBackbone(), CLASSES)), loss=TriLiteLoss(1.0), optimizer=SGD
    ),
    "supervised": lambda: SupervisedModule(
        network=FCAM(plain(), widths=(4, 4)), loss=SupervisedLoss(), optimizer=SGD
    ),
}


def train_in_process(rank, folder):
    """Train each module on half of every batch."""
    for name, make in MODULES.items():
        torch.manual_seed(rank)  # the first process's weights count
        module, halves = make(), cut(make_batches(8, 8), 4, 4, 4, 4)[rank::2]
        for batch in halves:
            batch["mask"] = (batch["image"][:, 0] > 0).to(torch.uint8)
        options = {"devices": 2, "strategy": ExactEvaluationDDP()}
        fit(module, halves, use_distributed_sampler=False, **options)
        torch.save(dict(module.named_parameters()), folder / f"{name}{rank}.pt")


def test_weights_stay_equal_and_none_is_left_out(tmp_path):
    run_on_two(train_in_process, tmp_path)
    found = {path.stem: torch.load(path, weights_only=True) for path in tmp_path.glob("*.pt")}
    assert len(found) == 2 * len(MODULES)
    for name, make in MODULES.items():
        torch.manual_seed(0)
        first, second, start = found[f"{name}0"], found[f"{name}1"], dict(make().named_parameters())
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        assert any(not torch.equal(first[key], weight) for key, weight in start.items()), name
