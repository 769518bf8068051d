"""Passes and time of the metrics with forward passes, beside captum and pytorch-grad-cam.

An untrained SqueezeNet of torchvision judges Grad-CAM on images of 224 x 224 of random numbers, on
one thread. Times are CPU time, which the machine's other work disturbs least. Samples, removed
parts and squares are equal on both sides; each side batches as it does by default. Quantus needs an
older numpy and is not run here.

    python benchmarks/forward_metrics.py             # 4 images
    python benchmarks/forward_metrics.py --images 16
"""

import argparse
from collections.abc import Callable
from time import process_time
from typing import Any

import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from pytorch_grad_cam.metrics.arcc import ARCC
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from torch import Tensor, nn
from torchvision.models import squeezenet1_1

from learned_saliency.attribution import GradCAM, split
from learned_saliency.trainers import FIGURES, Trial

_SAMPLES, _SQUARES = 10, 64


class Counted(nn.Module):
    """A classifier that counts the images that it sees."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        """Count and classify."""
        self.seen += len(images)
        return self.network(images)


def measured(counted: Counted, run: Callable[[], Any]) -> tuple[int, float]:
    """Return the images that the classifier saw, and the seconds of CPU time of a run."""
    counted.seen, start = 0, process_time()
    run()
    return counted.seen, process_time() - start


def peers(model: Counted, images: Tensor, maps: Tensor, targets: Tensor) -> dict[str, Callable]:
    """Make the peers' runs by the name of our figure; both libraries explain by our Grad-CAM."""
    classes = [ClassifierOutputSoftmaxTarget(target) for target in targets.tolist()]
    classifier = split(model, "network.features")

    def repeated(inputs: Tensor) -> Tensor:
        return targets.repeat_interleave(len(inputs) // len(images))

    def explain(inputs: Tensor | tuple[Tensor]) -> tuple[Tensor]:
        inputs = inputs[0] if isinstance(inputs, tuple) else inputs
        return (GradCAM()(classifier, inputs, repeated(inputs)),)

    def probability(inputs: Tensor) -> Tensor:
        return model(inputs).softmax(1).gather(1, repeated(inputs)[:, None])[:, 0]

    def square(inputs: Tensor) -> tuple[Tensor, Tensor]:
        gone = torch.zeros_like(inputs)
        for one in gone:
            y, x = torch.randint(0, 169, (2,)).tolist()
            one[:, y : y + 56, x : x + 56] = 1
        return gone / 3, inputs * (1 - gone)

    def arcc() -> None:
        metric = ARCC(lambda input_tensor, targets: explain(input_tensor)[0].numpy())
        metric(images, maps.numpy(), classes, model)

    return {
        "road": lambda: ROADCombined()(images, maps.numpy(), classes, model),
        "arcc": arcc,
        "infidelity": lambda: captum_infidelity(
            probability,
            square,
            images,
            maps[:, None].expand_as(images),
            n_perturb_samples=_SQUARES,
            max_examples_per_batch=32,
            normalize=True,
        ),
        "max_sensitivity": lambda: sensitivity_max(
            explain, images, perturb_radius=0.2, n_perturb_samples=_SAMPLES
        ),
    }


def main() -> None:
    """Print a row for each metric."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=4)
    count = parser.parse_args().images
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Counted(squeezenet1_1()).eval()
    classifier = split(model, "network.features")
    images, targets = torch.randn(count, 3, 224, 224), torch.arange(count)
    maps = GradCAM()(classifier, images, targets)
    others = peers(model, images, maps, targets)
    print(
        f"{'figure':26}{'passes':>8}{'peer':>8}{'ratio':>8}{'seconds':>10}{'peer':>10}{'ratio':>8}"
    )
    for name, measurement in FIGURES.items():
        trial = Trial(
            classifier,
            images,
            maps,
            targets,
            explain=lambda altered: GradCAM()(classifier, altered, targets),
        )
        if not measurement.needs <= trial.available:
            continue
        with torch.no_grad():
            seen, seconds = measured(model, lambda: measurement.observe(trial))  # noqa: B023
            row = f"{name:26}{seen / count:8.1f}"
            if name not in others:
                print(f"{row}{'':16}{seconds / count:10.3f}", flush=True)
                continue
            peer, peer_seconds = measured(model, others[name])
        ratio, time_ratio = seen / peer, seconds / peer_seconds
        times = f"{seconds / count:10.3f}{peer_seconds / count:10.3f}{time_ratio:8.2f}"
        print(f"{row}{peer / count:8.1f}{ratio:8.2f}{times}", flush=True)


if __name__ == "__main__":
    main()
