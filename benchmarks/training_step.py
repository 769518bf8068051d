"""Time a training step of the CAM classifier and of F-CAM's decoder beside the bare backbone.

Run by hand from an installed checkout: ``python benchmarks/training_step.py --backbone resnet50``.
The choices are the files of ``configs/backbone``. All variants take turns on the same batch in the
same process; the median counts. The unit is the bare backbone's forward and backward.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from torch import Tensor
from torch.nn import functional

from learned_saliency.models import FCAM, CAMClassifier, MultiScaleBackbone

CONFIGS = Path(__file__).parents[1] / "configs" / "backbone"
CLASSES = 200


def build(config: str) -> CAMClassifier:
    """CAM classifier on a configured backbone with random weights, in training mode."""
    options = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text())
    options = {name: value for name, value in options.items() if not name.startswith("_")}
    backbone = MultiScaleBackbone(**options | {"pretrained": False})
    return CAMClassifier(backbone, CLASSES).train()


def variants(config: str, images: Tensor) -> dict[str, Callable[[], object]]:
    """One step of each kind on the same images."""
    classifier, fcam = (
        build(config).to(images.device),
        FCAM(build(config)).to(images.device).train(),
    )
    batch, _, height, width = images.shape
    labels = torch.arange(batch, device=images.device) % CLASSES
    seeds = torch.full((batch, height, width), -1, device=images.device)
    seeds[:, height // 2, width // 2], seeds[:, 0, 0] = 1, 0  # one pixel each of the two maps

    @torch.no_grad()
    def forward() -> None:
        classifier.backbone(images)

    def forward_backward() -> None:
        classifier.zero_grad()
        classifier.backbone(images)[-1].sum().backward()

    def classifier_step() -> None:
        classifier.zero_grad()
        functional.cross_entropy(classifier(images), labels).backward()

    def decoder_step() -> None:
        fcam.zero_grad()
        functional.cross_entropy(fcam(images).scores, seeds, ignore_index=-1).backward()

    return {
        "backbone, forward, no gradient": forward,
        "backbone, forward and backward": forward_backward,
        "classifier: forward, cross-entropy, backward": classifier_step,
        "F-CAM: frozen forward, decoder forward and backward": decoder_step,
    }


def measure(steps: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median seconds of each step; the steps take turns, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repetitions + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def main() -> None:
    """Parse the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "timm")
    parser.add_argument("--backbone", default="resnet50", choices=choices)
    parser.add_argument("--size", type=int, default=224, help="image side in pixels")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size).to(arguments.device)
    seconds = measure(variants(arguments.backbone, images), arguments.repetitions)
    unit = seconds["backbone, forward and backward"]
    print(f"{arguments.backbone}, {arguments.batch} images of {arguments.size} pixels")
    for name, value in seconds.items():
        print(f"{name:<52} {1000 * value:9.1f} ms  {value / unit:6.2f}")


if __name__ == "__main__":
    main()
