"""Time SHAP-CAM and LIFT-CAM, as ratios to one forward pass of the same images.

Run by hand from an installed checkout: ``python benchmarks/shapcam.py``. The naive way runs the
whole network for every subset of channels, K + 1 times an ordering; its time is that of one pass
times their number. Captum's DeepLIFT runs the whole network, too. ResNet-50's head is affine and
needs no ordering at all, VGG-16's has pooling and three linear layers with ReLUs between.
"""

import time
import warnings
from collections.abc import Callable

import torch
import torchvision
from captum.attr import LayerDeepLift
from torch import nn

from learned_saliency.attribution import LIFTCAM, SHAPCAM, split

BATCH, SIDE, ROUNDS = 2, 224, 3
NETWORKS = {"resnet50": ("layer4", 100), "vgg16": ("features.29", 10)}


def distinct_relus(network: nn.Module) -> nn.Module:
    """Give each ReLU call a module of its own, not in place, as captum needs it."""
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return network


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
    """Print one line a network and method."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")  # captum's about its hooks
    images, targets = torch.randn(BATCH, 3, SIDE, SIDE), torch.arange(BATCH)
    print(f"{BATCH} images, one thread, best of {ROUNDS}; ratios to one forward pass")
    for name, (layer, orderings) in NETWORKS.items():
        network = distinct_relus(getattr(torchvision.models, name)().eval())
        classifier = split(network, layer)
        shap = SHAPCAM(orderings=orderings, batch_size=512)

        def forward(network: nn.Module = network) -> None:
            with torch.no_grad():
                network(images)

        times = seconds(
            {
                "forward": forward,
                "LIFTCAM": lambda c=classifier: LIFTCAM()(c, images, targets),
                f"SHAPCAM, {orderings} orderings": lambda c=classifier, m=shap: m(
                    c, images, targets
                ),
            }
        )
        channels = classifier.features(images[:1]).shape[1]
        times[f"naive SHAP-CAM, {orderings} orderings"] = (
            times["forward"] * orderings * (channels + 1)
        )
        if name == "vgg16":  # ResNet-50 calls each ReLU module several times, which captum refuses
            captum = LayerDeepLift(network, network.get_submodule(layer))
            once = {"captum": lambda c=captum: c.attribute(images, images * 0, target=targets)}
            times["captum LayerDeepLift"] = seconds(once)["captum"]
        for method, taken in times.items():
            ratio = taken / times["forward"]
            print(f"{name:9} {method:32} {1e3 * taken:11.0f} ms  ratio {ratio:10.2f}")


if __name__ == "__main__":
    main()
