"""Small modules of all learned methods, their batches, and a training without a run's folder."""

from functools import partial

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader

from learned_saliency.attribution import CAM, MaskObjective
from learned_saliency.losses import (
    IGNORE,
    AlternativeImages,
    CALMLoss,
    CASMLoss,
    DenseCRFLoss,
    FCAMLoss,
    RTISLoss,
    SeedSampler,
    TriLiteLoss,
)
from learned_saliency.models import (
    CALM,
    CASM,
    FCAM,
    RTIS,
    Amortized,
    CAMClassifier,
    ChannelWeights,
    TriLite,
)
from learned_saliency.trainers import (
    AmortizedModule,
    CALMModule,
    CAMModule,
    CASMModule,
    FCAMModule,
    RTISModule,
    SnapshotPool,
    TriLiteModule,
)
from tests.support.networks import TinyBackbone

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
CLASSES = 3


class EvenSampler(SeedSampler):
    """Sampler that labels the same two pixels of every image."""

    def __call__(self, maps, generator=None, check=True):
        labels = torch.full(maps.shape, IGNORE, device=maps.device)
        labels[:, 3, 3], labels[:, -4, -4] = 1, 0
        return labels


def make_module(method, sampler=SeedSampler, optimizer=SGD, **options):
    """A module of a method with initial weights that are always the same."""
    torch.manual_seed(0)
    classifier = CAMClassifier(TinyBackbone(), CLASSES)
    options |= {"optimizer": optimizer}
    if method == "cam":
        return CAMModule(network=classifier, **options)
    if method == "calm":
        return CALMModule(network=CALM(classifier), loss=CALMLoss("em"), **options)
    if method == "fcam":
        return FCAMModule(
            network=FCAM(classifier, widths=(4, 4)),
            seed_method=CAM(interpolation="bicubic"),
            sampler=sampler(erosion=0),
            loss=FCAMLoss(crf=DenseCRFLoss()),
            **options,
        )
    if method == "trilite":
        return TriLiteModule(network=TriLite(classifier), loss=TriLiteLoss(1.0), **options)
    if method == "amortized":
        network = Amortized(classifier, ChannelWeights)
        return AmortizedModule(network=network, objective=MaskObjective(), **options)
    if method == "rtis":
        network = RTIS(classifier, width=4, map_reduction=2)
        options = {"alternatives": AlternativeImages(), **options}
        return RTISModule(network=network, loss=RTISLoss(), **options)
    return CASMModule(
        network=CASM(classifier, width=4, map_reduction=2),
        pool=SnapshotPool("L2", size=3),
        loss=CASMLoss(2.0),
        classifier_optimizer=SGD,
        **options,
    )


METHODS = ("cam", "calm", "fcam", "casm", "trilite", "amortized", "rtis")


def freeze_statistics(module):
    """Let BatchNorm keep its statistics, so that images of a batch do not see each other."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    return module


def make_batches(*sizes):
    """Batches of random images of 16 pixels."""
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.randn(size, 3, 16, 16, generator=generator),
            "label": torch.randint(0, CLASSES, (size,), generator=generator),
            "image_id": [str(i) for i in range(size)],
        }
        for size in sizes
    ]


def cut(batches, *sizes):
    """Cut the images of all batches into others of these sizes."""
    whole = {k: torch.cat([b[k] for b in batches]) for k in ("image", "label")}
    parts = zip(*(value.split(sizes) for value in whole.values()), strict=True)
    return [
        {"image": image, "label": label, "image_id": [str(i) for i in range(len(label))]}
        for image, label in parts
    ]


def fit(module, batches, epochs=1, resume=None, **options):
    """Train a module on batches in memory, from the start or from a checkpoint on."""
    options = {"logger": False} | options
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,
        **options,
    )
    loader = DataLoader(batches, batch_size=None, shuffle=False)
    trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
    return trainer
