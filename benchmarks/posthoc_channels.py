"""Time the methods of channels and cells as ratios to plain forward passes, beside their peers.

Run by hand from an installed checkout: ``python benchmarks/posthoc_channels.py [section ...]``; the
sections are ``head``, ``levels``, ``masks`` and ``cells``, by default all. One thread, processor
time, images of 224 pixels, random weights: time does not depend on them.

- ``head``: ResNet-50 at its last layer, 4 images, against a plain forward of the same batch:
  methods that run the network once. Aim: 1.1 for Finer-CAM, Eigen-CAM and Recipro-CAM.
- ``levels``: Refine-CAM over three layers.
- ``masks``: SS-CAM and IS-CAM at a layer of 64 channels, two samples each, one image, against as
  many plain forwards of one image.
- ``cells``: Recipro-CAM of a probability, whose head runs once per cell; Eigen-CAM of 784 cells.
"""

import sys
import warnings

import pytorch_grad_cam
import torch
from attribution_methods import BATCH, SIDE, Timed, report, resnet50, seconds, without_gradients
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch.nn import functional as F
from torchcam import methods as torchcam

from learned_saliency import attribution
from learned_saliency.attribution import split

COUNT = BATCH // 2
LAYERS = ["layer2", "layer3", "layer4"]


def timed_methods(network: torch.nn.Module, layer: str, **methods: object) -> Timed:
    """Give calls of our methods on a batch, by name."""
    classifier = split(network, layer)
    images, targets = batch()
    return {
        f"attribution.{name}": lambda method=method: method(classifier, images, targets)
        for name, method in methods.items()
    }


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Draw images and classes, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(COUNT, 3, SIDE, SIDE, generator=generator), torch.arange(COUNT)


def grad_cam_peer(name: str, layers: list[str], **options: object) -> Timed:
    """Give a call of pytorch-grad-cam."""
    network, (images, targets) = resnet50(), batch()
    method = getattr(pytorch_grad_cam, name)(
        network, [network.get_submodule(layer) for layer in layers], **options
    )
    wanted = [ClassifierOutputTarget(int(target)) for target in targets]
    if name == "FinerCAM":  # given targets are no comparison there
        wanted = None
    return {f"pytorch-grad-cam {name}": lambda: method(images, wanted)}


def torchcam_peer(name: str, layers: list[str], count: int = COUNT, **options: object) -> Timed:
    """Give a call of torchcam, resized to the image."""
    network, (images, targets) = resnet50(), batch()
    images, targets = images[:count], targets[:count].tolist()

    def run() -> None:
        with getattr(torchcam, name)(network, layers, **options) as method:
            maps = method(targets, network(images))[0][:, None]
            F.interpolate(maps, size=SIDE, mode="bilinear")

    return {f"torchcam {name}": run}


def plain_reciprocam(network: torch.nn.Module) -> Timed:
    """Give Recipro-CAM as a loop over images, all cells of one in a batch."""
    classifier, (images, targets) = split(network, "layer4"), batch()

    def run() -> None:
        with torch.no_grad():
            for features, target in zip(classifier.features(images), targets, strict=True):
                cells = features[0].numel()
                mask = torch.eye(cells).view(cells, 1, *features.shape[1:])
                scores = classifier.head(features * mask).softmax(1)[:, target]
                F.interpolate(scores.view(1, 1, *features.shape[1:]), size=SIDE, mode="bilinear")

    return {"plain Recipro-CAM": run}


def head() -> None:
    """Time methods that run the network once."""
    network = resnet50()
    images, _ = batch()
    timed: Timed = {"forward": lambda: without_gradients(network, images)}
    timed |= timed_methods(
        network,
        "layer4",
        CAM=attribution.CAM(),
        **{"CAM, max and centered": attribution.CAM(normalization="max", center=True)},
        GradCAM=attribution.GradCAM(),
        **{"GradCAM, centered": attribution.GradCAM(center=True)},
        FinerCAM=attribution.FinerCAM(),
        ShapleyCAM=attribution.ShapleyCAM(),
        EigenCAM=attribution.EigenCAM(),
        ReciproCAM=attribution.ReciproCAM(),
    )
    for name in ("GradCAM", "FinerCAM", "ShapleyCAM", "EigenCAM"):
        timed |= grad_cam_peer(name, ["layer4"])
    timed |= torchcam_peer("FinerCAM", ["layer4"])
    timed |= plain_reciprocam(network)
    times = seconds(timed, rounds=5)
    report(f"one pass, {COUNT} images", times, times["forward"])


def levels() -> None:
    """Time Refine-CAM over three layers."""
    network = resnet50()
    images, _ = batch()
    timed: Timed = {"forward": lambda: without_gradients(network, images)}
    timed |= timed_methods(network, "layer4", RefineCAM=attribution.RefineCAM(layers=LAYERS[:-1]))
    timed |= grad_cam_peer("RefineCAM", LAYERS) | torchcam_peer("RefineCAM", LAYERS)
    times = seconds(timed, rounds=3)
    report(f"three layers, {COUNT} images", times, times["forward"])


def masks() -> None:
    """Time the variants of Score-CAM, two runs of each of 64 channels."""
    network, (images, targets) = resnet50(), batch()
    classifier, one = split(network, "layer1.0.conv1"), images[:1]
    timed: Timed = {"forward, one image": lambda: without_gradients(network, one)}
    for name, method in {
        "SSCAM": attribution.SSCAM(samples=2),
        "ISCAM": attribution.ISCAM(steps=2),
    }.items():
        timed[f"attribution.{name}"] = lambda method=method: method(classifier, one, targets[:1])
        timed |= torchcam_peer(name, ["layer1.0.conv1"], count=1, num_samples=2)
    times = seconds(timed, rounds=1)
    report("two runs per channel", times, 2 * 64 * times["forward, one image"])


def cells() -> None:
    """Time what grows with the number of cells."""
    network, (images, _) = resnet50(), batch()
    timed: Timed = {"forward": lambda: without_gradients(network, images)}
    timed |= timed_methods(
        network, "layer4", ReciproCAM=attribution.ReciproCAM(target="probability")
    )
    timed |= plain_reciprocam(network)
    timed |= {
        f"{name}, layer2": call
        for name, call in (
            timed_methods(network, "layer2", EigenCAM=attribution.EigenCAM())
            | grad_cam_peer("EigenCAM", ["layer2"])
        ).items()
    }
    times = seconds(timed, rounds=3)
    report(f"cells, {COUNT} images", times, times["forward"])


def main() -> None:
    """Run the chosen sections."""
    sections = {"head": head, "levels": levels, "masks": masks, "cells": cells}
    wanted = sys.argv[1:] or list(sections)
    unknown = [name for name in wanted if name not in sections]
    if unknown:
        sys.exit(f"no section is named {unknown[0]}; there are: {', '.join(sections)}")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    for name in wanted:
        sections[name]()


if __name__ == "__main__":
    main()
