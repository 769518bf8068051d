"""Time a training step on a frozen trunk with its features on disk, beside one without.

Run by hand from an installed checkout: ``python benchmarks/feature_cache.py``. F-CAM's decoder and
TriLite's branches stand on a ResNet-18 and a ViT-S/16 with random weights, on which time does not
depend. A step is the frozen pass, or the features' way from the disk (in the page cache by then)
into a batch, then forward and backward of what is trained. Both take turns on the same batch, on
one thread; the median of the processor's time counts, which other programs hardly change.
"""

import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from learned_saliency.models import (
    FCAM,
    CAMClassifier,
    FeatureCache,
    MultiScaleBackbone,
    TransformerBackbone,
    TriLite,
    feature_key,
)

_BATCH, _SIDE, _CLASSES, _ROUNDS = 8, 224, 200, 5
_TRUNKS = {
    "ResNet-18": lambda: MultiScaleBackbone("resnet18", unstrided_stages=2),
    "ViT-S/16": lambda: TransformerBackbone("vit_small_patch16_224"),
}


def fcam(classifier: CAMClassifier, images: Tensor) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Make F-CAM and its loss on a foreground and a background pixel per image."""
    network = FCAM(classifier).train()
    seeds = torch.full((len(images), *images.shape[-2:]), -1)
    seeds[:, _SIDE // 2, _SIDE // 2], seeds[:, 0, 0] = 1, 0
    return network, lambda: functional.cross_entropy(network(images).scores, seeds, ignore_index=-1)


def trilite(classifier: CAMClassifier, images: Tensor) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Make TriLite and a loss that reads both branches."""
    network = TriLite(classifier).train()
    labels = torch.arange(len(images)) % _CLASSES

    def loss() -> Tensor:
        output = network(images)
        scores = output.logits, *network.region_logits(output.features, output.regions)
        return sum(functional.cross_entropy(logits, labels) for logits in scores)

    return network, loss


def seconds(loss: Callable[[], Tensor]) -> float:
    """Measure the processor time of a step, forward and backward."""
    start = time.process_time()
    loss().backward()
    return time.process_time() - start


def main() -> None:
    """Measure and print all combinations."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for name, make_trunk in _TRUNKS.items():
        for method in (fcam, trilite):
            images = torch.randn(_BATCH, 3, _SIDE, _SIDE)
            network, loss = method(CAMClassifier(make_trunk(), _CLASSES), images)
            trunk = network.classifier.backbone
            with tempfile.TemporaryDirectory() as folder:
                cache = FeatureCache(folder, feature_key(trunk, ""))
                times: dict[str, list[float]] = {"without": [], "with": []}
                for _ in range(_ROUNDS + 1):
                    times["without"].append(seconds(loss))
                    cache.attach(trunk)
                    cache.expect(images)
                    times["with"].append(seconds(loss))
                    cache.detach()
            plain, kept = (statistics.median(values[1:]) for values in times.values())
            print(
                f"{method.__name__} on {name}: {1e3 * plain:.0f} ms without, {1e3 * kept:.0f} ms "
                f"with, ratio {plain / kept:.2f}; {cache.image_bytes / 1e6:.2f} MB per image",
                flush=True,
            )


if __name__ == "__main__":
    main()
