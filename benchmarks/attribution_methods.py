"""Time post-hoc methods as ratios to one plain forward pass of the same batch, beside their peers.

Run by hand from an installed checkout: ``python benchmarks/attribution_methods.py [section ...]``;
the sections are ``cams``, ``peers``, ``opticam`` and ``scorecam``, by default all. (A script called
attribution.py would hide the package of that name from all scripts of this folder.)

ResNet-50 at its last layer, 8 images of 224 pixels, one thread. Aims: a ratio of 1.1 for methods
that need the head alone, 2 for SHAP-CAM with 100 orderings. Score-CAM is measured at a layer of 64
channels, against as many forward passes of a single image, aim 1.15; Opti-CAM against as many
forward and backward passes to the image, with frozen parameters, as it has iterations, aim 1.05.

Peers are pytorch-grad-cam, captum and, where it is installed, torchcam, each as it is documented.
What runs the whole network once a channel (their Ablation-CAM) is not run but counted.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import captum.attr
import pytorch_grad_cam
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import fx, nn
from torch.nn import functional as F

from learned_saliency import attribution
from learned_saliency.attribution import split

BATCH, SIDE, LAYER = 8, 224, "layer4"
ITERATIONS = 5
OURS = {
    "CAM": attribution.CAM(),
    "GradCAM": attribution.GradCAM(),
    "GradCAMPlusPlus": attribution.GradCAMPlusPlus(),
    "XGradCAM": attribution.XGradCAM(),
    "HiResCAM": attribution.HiResCAM(),
    "LayerCAM": attribution.LayerCAM(),
    "LIFTCAM": attribution.LIFTCAM(),
    "AblationCAM": attribution.AblationCAM(),
    "SHAPCAM, 100 orderings": attribution.SHAPCAM(orderings=100),
}
PEERS = ("GradCAM", "GradCAMPlusPlus", "XGradCAM", "HiResCAM", "LayerCAM")

Timed = dict[str, Callable[[], object]]


def resnet50() -> nn.Module:
    """Give a network with random weights: time does not depend on them."""
    return torchvision.models.resnet50().eval()


def without_gradients(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Run a plain forward pass."""
    with torch.no_grad():
        return network(images)


def seconds(functions: Timed, rounds: int) -> dict[str, float]:
    """Measure processor time, which other programs hardly change, in turn; best of the rounds."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            function()
            best[name] = min(best[name], time.process_time() - start)
    return best


def report(title: str, times: dict[str, float], unit: float) -> None:
    """Print a table of milliseconds and of ratios to ``unit`` seconds."""
    print(f"\n{title}")
    for name, taken in times.items():
        print(f"  {name:44} {1e3 * taken:9.0f} ms   ratio {taken / unit:7.2f}", flush=True)


def cams(images: torch.Tensor, targets: torch.Tensor) -> None:
    """Time the methods that need the head alone."""
    classifier = split(resnet50(), LAYER)
    timed: Timed = {"forward": lambda: without_gradients(classifier, images)}
    for name, method in OURS.items():
        timed[name] = lambda method=method: method(classifier, images, targets)
    times = seconds(timed, rounds=3)
    report(f"attribution, {BATCH} images", times, times["forward"])


def peers(images: torch.Tensor, targets: torch.Tensor) -> None:
    """Time other libraries' methods."""
    network = resnet50()
    timed: Timed = {"forward": lambda: without_gradients(network, images)}
    timed |= dict(grad_cam_peers(images, targets))
    timed |= dict(captum_peers(images, targets))
    if find_spec("torchcam"):
        timed |= dict(torchcam_peers(images, targets))
    times = seconds(timed, rounds=2)
    channels = without_gradients(split(network, LAYER).features, images[:1]).shape[1]
    times["whole network once a channel (counted)"] = channels * times["forward"]
    report(f"peers, {BATCH} images", times, times["forward"])


def grad_cam_peers(
    images: torch.Tensor, targets: torch.Tensor
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Give pytorch-grad-cam's methods."""
    network, wanted = resnet50(), [ClassifierOutputTarget(int(target)) for target in targets]
    for name in PEERS:
        method = getattr(pytorch_grad_cam, name)(network, [network.layer4])
        yield f"pytorch-grad-cam {name}", lambda method=method: method(images, wanted)


def captum_peers(
    images: torch.Tensor, targets: torch.Tensor
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Give captum's methods, resized to the image as all others are."""
    network = resnet50()
    grad_cam = captum.attr.LayerGradCam(network, network.layer4)
    yield "captum LayerGradCam", lambda: _resized(grad_cam.attribute(images, targets))
    distinct = distinct_relus(network)
    lift = captum.attr.LayerDeepLift(distinct, distinct.get_submodule("layer4.2.last_relu"))
    yield (
        "captum LayerDeepLift",
        lambda: _resized(lift.attribute(images, 0 * images, target=targets)),
    )


def torchcam_peers(
    images: torch.Tensor, targets: torch.Tensor
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Give torchcam's methods, resized to the image."""
    from torchcam import methods

    for name in ("CAM", "GradCAM", "GradCAMpp", "XGradCAM", "LayerCAM"):
        network = resnet50()

        def run(name: str = name, network: nn.Module = network) -> None:
            with getattr(methods, name)(network, target_layer="layer4") as method:
                _resized(method(targets.tolist(), network(images))[0][:, None])

        yield f"torchcam {name}", run


def distinct_relus(network: nn.Module) -> nn.Module:
    """Give each ReLU call a module of its own, not in place, as captum's DeepLIFT needs it."""
    traced = fx.symbolic_trace(network)
    for node in traced.graph.nodes:
        if node.op == "call_module" and isinstance(traced.get_submodule(node.target), nn.ReLU):
            last = node.name == "layer4_2_relu_2"
            node.target = f"{node.target.rpartition('.')[0]}.{'last_relu' if last else node.name}"
            traced.add_submodule(node.target.removeprefix("."), nn.ReLU())
            node.target = node.target.removeprefix(".")
    traced.recompile()
    return traced.eval()


def _resized(maps: torch.Tensor) -> torch.Tensor:
    return F.interpolate(maps, size=SIDE, mode="bilinear")


def opticam(images: torch.Tensor, targets: torch.Tensor) -> None:
    """Time Opti-CAM against its floor and against a direct reading of the paper, 2 images."""
    images, targets = images[:2], targets[:2]
    frozen = resnet50().requires_grad_(False)
    classifier, learning = split(frozen, LAYER), resnet50()
    method = attribution.OptiCAM(iterations=ITERATIONS, tolerance=0.0)
    times = seconds(
        {
            "floor: forward and input backward": lambda: floor(frozen, images),
            "attribution.OptiCAM": lambda: method(classifier, images, targets),
            "parts of torch, parameters with gradients": lambda: plain_loop(
                learning, images, targets
            ),
        },
        rounds=3,
    )
    once = seconds({"forward": lambda: without_gradients(frozen, images)}, rounds=3)["forward"]
    # Both runs look at the activations once, which 100 iterations hide.
    for name in list(times)[1:]:
        times[name] = (times[name] - once) * 100 / ITERATIONS + once
    times["floor: forward and input backward"] *= 100 / ITERATIONS
    report(
        f"Opti-CAM, 2 images, 100 iterations counted from {ITERATIONS}",
        times,
        times["floor: forward and input backward"],
    )


def floor(network: nn.Module, images: torch.Tensor) -> None:
    """Run forward and backward passes to the images."""
    images = images.clone().requires_grad_()
    for _ in range(ITERATIONS):
        torch.autograd.grad(network(images).sum(), images)


def plain_loop(network: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> None:
    """Optimize u with the parts of torch: activations are resized, parameters get gradients."""
    features = without_gradients(split(network, LAYER).features, images)
    u = torch.zeros(features.shape[:2], requires_grad=True)
    adam = torch.optim.Adam([u], lr=0.1)
    for _ in range(ITERATIONS):
        full = F.interpolate(features, size=SIDE, mode="bilinear")
        maps = (u.softmax(dim=1)[:, :, None, None] * full).sum(dim=1, keepdim=True)
        low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
        logits = network(images * (maps - low) / (high - low))
        adam.zero_grad()
        (-logits.gather(1, targets[:, None]).sum()).backward()
        adam.step()


def scorecam(images: torch.Tensor, targets: torch.Tensor) -> None:
    """Time Score-CAM on one image at a layer of 64 channels."""
    image, target = images[:1], targets[:1]
    classifier = split(resnet50(), "layer1.0.conv1")
    method = attribution.ScoreCAM()
    times = seconds(
        {
            "forward, one image": lambda: without_gradients(classifier, image),
            "attribution.ScoreCAM": lambda: method(classifier, image, target),
        },
        rounds=2,
    )
    unit = 64 * times["forward, one image"]
    report("Score-CAM, one image, in units of 64 forward passes", times, unit)


def main() -> None:
    """Run the chosen sections."""
    sections = {"cams": cams, "peers": peers, "opticam": opticam, "scorecam": scorecam}
    wanted = sys.argv[1:] or list(sections)
    unknown = [name for name in wanted if name not in sections]
    if unknown:
        sys.exit(f"no section is named {unknown[0]}; there are: {', '.join(sections)}")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")  # captum's about its hooks
    images, targets = torch.randn(BATCH, 3, SIDE, SIDE), torch.arange(BATCH)
    for name in wanted:
        sections[name](images, targets)


if __name__ == "__main__":
    main()
