"""Time Opti-CAM on ResNet-50, as a ratio to plain forward and backward passes.

Run by hand from an installed checkout: ``python benchmarks/opticam.py [iterations]``. The floor is
as many forward passes with a backward pass to the image as there are iterations, of the same batch
with frozen parameters; the aim is a ratio of at most 1.05. The plain loop does what a direct
reading of the paper gives: torch.optim.Adam, the activations upsampled channel by channel and
masked images that go through a network whose parameters get gradients too.
"""

import sys
import time
from collections.abc import Callable

import torch
import torchvision
from torch.nn import functional as F

from attribution import OptiCAM, split

BATCH, SIDE, ROUNDS = 2, 224, 2


def floor(network: torch.nn.Module, images: torch.Tensor, iterations: int) -> None:
    """Run forward and backward passes to the images."""
    images = images.clone().requires_grad_()
    for _ in range(iterations):
        torch.autograd.grad(network(images).sum(), images)


def plain_loop(
    network: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor, iterations: int
) -> None:
    """Optimize u with the parts of torch."""
    with torch.no_grad():
        features = split(network, "layer4").features(images)
    u = torch.zeros(features.shape[:2], requires_grad=True)
    adam = torch.optim.Adam([u], lr=0.1)
    for _ in range(iterations):
        full = F.interpolate(features, size=SIDE, mode="bilinear")
        maps = (u.softmax(dim=1)[:, :, None, None] * full).sum(dim=1, keepdim=True)
        low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
        logits = network(images * (maps - low) / (high - low))
        adam.zero_grad()
        (-logits.gather(1, targets[:, None]).sum()).backward()
        adam.step()


def seconds(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Measure processor time, which other programs hardly change, in turn; best of the rounds."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(ROUNDS):
        for name, function in functions.items():
            start = time.process_time()
            function()
            best[name] = min(best[name], time.process_time() - start)
    return best


def main() -> None:
    """Print one line a variant."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    learning = torchvision.models.resnet50().eval()
    frozen = torchvision.models.resnet50().eval().requires_grad_(False)
    images = torch.randn(BATCH, 3, SIDE, SIDE)
    targets = torch.arange(BATCH)
    classifier, method = split(frozen, "layer4"), OptiCAM(iterations=iterations, tolerance=0.0)
    times = seconds(
        {
            "floor: forward and input backward": lambda: floor(frozen, images, iterations),
            "attribution.OptiCAM": lambda: method(classifier, images, targets),
            "plain loop": lambda: plain_loop(learning, images, targets, iterations),
        }
    )
    print(f"ResNet-50, {BATCH} images, {iterations} iterations, one thread, best of {ROUNDS}")
    base = next(iter(times.values()))
    for name, time_taken in times.items():
        per_image = 1e3 * time_taken / BATCH
        print(f"{name:36} {per_image:9.0f} ms an image  ratio {time_taken / base:.3f}")


if __name__ == "__main__":
    main()
