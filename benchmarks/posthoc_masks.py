"""Time the methods that mask the image against their runs of the network and against their peers.

Run by hand from an installed checkout: ``python benchmarks/posthoc_masks.py [section ...]``; the
sections are ``rise``, ``occlusion``, ``meaningful`` and ``extremal``, by default all. TorchRay is
timed where its source lies on the path (``PYTHONPATH``).

ResNet-50, images of 224 pixels, one thread. The unit of RISE and occlusion is as many forward
passes as they make, in runs of the same size; that of the optimized masks as many forward and
backward passes to the image, parameters frozen. Aims: 1.05, and never slower than the peer.
Extremal perturbations are timed at their first iterations and from a mask that has settled.
"""

import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import captum.attr
import torch
from attribution_methods import report, resnet50, seconds, without_gradients
from torch import Tensor, nn

from learned_saliency import attribution
from learned_saliency.attribution import split
from learned_saliency.attribution.core.masked import OptimizedMaskMethod

SIDE, LAYER, SIZE, ITERATIONS, ROUNDS = 224, "layer4", 8, 3, 2


def rise(network: nn.Module, image: Tensor, target: Tensor) -> None:
    """Time RISE with few masks."""
    count = 4 * SIZE
    batch = image.repeat(SIZE, 1, 1, 1)
    method = attribution.RISE(masks=count, batch_size=SIZE)
    timed = {
        "forward": lambda: without_gradients(network, batch),
        "attribution.RISE": run_of(method, network, image, target),
    }
    if find_spec("torchray"):
        from torchray.attribution.rise import rise as peer

        timed["torchray rise"] = lambda: peer(network, image, num_masks=count, batch_size=SIZE)
    show("RISE", timed, count // SIZE)


def occlusion(network: nn.Module, image: Tensor, target: Tensor) -> None:
    """Time occlusion by few windows."""
    method = attribution.Occlusion(window=96, stride=48, batch_size=SIZE)
    count = len(method.windows(SIDE, SIDE))
    batch = image.repeat(SIZE, 1, 1, 1)
    peer = captum.attr.Occlusion(network)
    window, stride = (3, 96, 96), (3, 48, 48)

    def captums(size: int) -> Callable[[], object]:
        options = {"strides": stride, "perturbations_per_eval": size}
        return lambda: peer.attribute(image, window, target=target, **options)

    timed = {
        "forward": lambda: without_gradients(network, batch),
        "attribution.Occlusion": run_of(method, network, image, target),
        "captum Occlusion, as documented": captums(1),
        f"captum Occlusion, {SIZE} at a time": captums(SIZE),
    }
    show("occlusion", timed, count / SIZE)


def meaningful(network: nn.Module, image: Tensor, target: Tensor) -> None:
    """Time meaningful perturbations, two images at a time."""
    batch, targets = image.repeat(2, 1, 1, 1), target.repeat(2)

    def of(iterations: int) -> Callable[[], object]:
        method = attribution.MeaningfulPerturbation(iterations=iterations, first_mask="ones")
        return run_of(method, network, batch, targets)

    iterate("meaningful perturbations", network, batch, {"attribution.MeaningfulPerturbation": of})


def extremal(network: nn.Module, image: Tensor, target: Tensor) -> None:
    """Time extremal perturbations, two images at a time."""
    batch, targets = image.repeat(2, 1, 1, 1), target.repeat(2)

    def of(kind: type) -> Callable[[int], Callable[[], object]]:
        return lambda iterations: run_of(kind(iterations=iterations), network, batch, targets)

    timed = {
        "attribution.ExtremalPerturbation, first": of(attribution.ExtremalPerturbation),
        "attribution.ExtremalPerturbation, settled": of(Settled),
    }
    if find_spec("torchray"):
        from torchray.attribution.extremal_perturbation import extremal_perturbation as peer

        def torchrays(iterations: int) -> Callable[[], object]:
            options = {"max_iter": iterations}
            return lambda: [peer(network, one[None], int(target), **options) for one in batch]

        timed["torchray extremal_perturbation"] = torchrays
    iterate("extremal perturbations", network, batch, timed)


class Settled(attribution.ExtremalPerturbation):
    """Extremal perturbations from a disk of a tenth of the image."""

    def _minimize(self, masks: Tensor, *rest: object) -> Tensor:
        y, x = (torch.arange(side) - side / 2 for side in masks.shape[1:])
        disk = (y[:, None] ** 2 + x**2 < 0.1 / 3.14 * y.numel() * x.numel()).to(masks)
        return OptimizedMaskMethod._minimize(self, disk.expand_as(masks).clone(), *rest)


def run_of(
    method: attribution.PostHocMethod, network: nn.Module, images: Tensor, targets: Tensor
) -> Callable[[], object]:
    """Give a run of a method of ours."""
    classifier = split(network, LAYER)
    return lambda: method(classifier, images, targets)


def input_gradient(network: nn.Module, images: Tensor) -> None:
    """Run forward and backward to the images."""
    images = images.clone().requires_grad_()
    torch.autograd.grad(network(images).sum(), images)


def iterate(
    title: str,
    network: nn.Module,
    images: Tensor,
    timed: dict[str, Callable[[int], Callable[[], object]]],
) -> None:
    """Time iterations, as the difference of a run with more of them and one with a single one."""
    runs = {"forward and input backward": lambda: input_gradient(network, images)}
    for name, of in timed.items():
        runs |= {name: of(1 + ITERATIONS), f"{name}, one": of(1)}
    times = seconds(runs, ROUNDS)
    unit, found = next(iter(times)), {}
    for name in timed:
        found[name] = (times[name] - times[f"{name}, one"]) / ITERATIONS
    report(f"{title}, one iteration", {unit: times[unit]} | found, times[unit])


def show(title: str, timed: dict[str, Callable[[], object]], runs: float) -> None:
    """Time and print, in units of ``runs`` of the first entry."""
    times = seconds(timed, ROUNDS)
    unit = next(iter(times))
    times[unit] *= runs
    report(title, times, times[unit])


def main() -> None:
    """Run the chosen sections."""
    sections = {f.__name__: f for f in (rise, occlusion, meaningful, extremal)}
    wanted = sys.argv[1:] or list(sections)
    unknown = [name for name in wanted if name not in sections]
    if unknown:
        sys.exit(f"no section is named {unknown[0]}; there are: {', '.join(sections)}")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    network = resnet50().requires_grad_(False)
    image, target = torch.randn(1, 3, SIDE, SIDE), torch.tensor([7])
    for name in wanted:
        sections[name](network, image, target)


if __name__ == "__main__":
    main()
