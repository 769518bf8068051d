"""Time the exported files of CAM, F-CAM and post-hoc methods beside their modules in eager mode.

Run by hand from an installed checkout: ``python benchmarks/export.py --backbone resnet50``. The
choices are the files of ``configs/backbone``; weights are random. All variants have the same number
of threads and take turns in one process; the median counts. The unit is the eager module, which
gets normalized images: normalization is part of the files alone. CAM's file does little besides
classifying; Grad-CAM's and LIFT-CAM's hold the derivative of the head of the same network.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from training_step import CLASSES, CONFIGS, build, measure  # beside this file

from learned_saliency.attribution import CAM, LIFTCAM, GradCAM
from learned_saliency.losses import FCAMLoss, SeedSampler
from learned_saliency.models import FCAM
from learned_saliency.pipeline.export.explained import ExplainedClassifier, RecordedClassifier
from learned_saliency.pipeline.export.formats.onnx import run_onnx, write_onnx
from learned_saliency.pipeline.export.graph import ExportedModel, trace
from learned_saliency.trainers import CAMModule, FCAMModule, SaliencyModule

SGD = partial(torch.optim.SGD, lr=0.01)


def build_modules(config: str) -> dict[str, SaliencyModule]:
    """CAM, F-CAM and post-hoc methods on a configured backbone, frozen, in evaluation mode."""
    fcam = FCAMModule(
        network=FCAM(build(config)),
        seed_method=CAM(),
        sampler=SeedSampler(),
        loss=FCAMLoss(),
        optimizer=SGD,
    )
    modules = {"CAM": CAMModule(network=build(config), optimizer=SGD), "F-CAM": fcam}
    for name, method in {"Grad-CAM": GradCAM(), "LIFT-CAM": LIFTCAM()}.items():
        modules[name] = ExplainedClassifier(classifier=build(config), methods={name: method})
    return {name: module.eval().requires_grad_(False) for name, module in modules.items()}


def variants(
    module: SaliencyModule, maps: str | None, folder: Path, images: Tensor
) -> dict[str, Callable[[], object]]:
    """The module and its files, each run on the same images."""
    labels = [torch.arange(len(images)) % CLASSES] if maps == "label" else []
    traced = module
    if isinstance(module, ExplainedClassifier):
        traced = RecordedClassifier(module, images.shape[-1], has_labels=True)
    program = trace(ExportedModel(traced, maps), images.shape[-1])
    torch.export.save(program, folder / "model.pt2")
    write_onnx(program, folder / "model.onnx")
    normalized = (images - module.mean) / module.std
    return {
        "eager": partial(module.explain, normalized, labels[0] if labels else None),
        "pt2": partial(torch.export.load(folder / "model.pt2").module(), images, *labels),
        "onnxruntime": partial(run_onnx(folder / "model.onnx"), images, *labels),
    }


def main() -> None:
    """Parse the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "timm")
    parser.add_argument("--backbone", default="resnet50", choices=choices)
    parser.add_argument("--size", type=int, default=224, help="image side in pixels")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    images = torch.rand(arguments.batch, 3, arguments.size, arguments.size)
    print(
        f"{arguments.backbone}, {arguments.batch} images of {arguments.size} pixels, "
        f"{arguments.threads} threads; speed over eager mode"
    )
    for name, module in build_modules(arguments.backbone).items():
        maps = None if name == "F-CAM" else "label"
        with tempfile.TemporaryDirectory() as folder:
            steps = variants(module, maps, Path(folder), images)
            with torch.no_grad():
                seconds = measure(steps, arguments.repetitions)
        for kind, value in seconds.items():
            rate = len(images) / value
            print(f"{name:<9} {kind:<12} {rate:8.1f} images/s  {seconds['eager'] / value:5.2f}")


if __name__ == "__main__":
    main()
