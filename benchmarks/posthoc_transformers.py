"""Time post-hoc methods for vision transformers as ratios to one plain forward of the same batch.

Run by hand from an installed checkout: ``python benchmarks/posthoc_transformers.py [batch ...]``,
by default of 1 and of 4 images. ViT-B/16 at 224 pixels with random weights, one thread; classes are
given. Aims: LeGrad and ViT-ReciproCAM 1.1. The peer is torchcam's LeGrad of all blocks, on
torchvision's ViT-B/16. Others have no peer that is installed.
"""

import sys

import timm
import torch
import torchvision
from attribution_methods import SIDE, Timed, report, seconds, without_gradients
from torchcam import methods

from learned_saliency import attribution
from learned_saliency.attribution import split

OURS = {
    "LeGrad": attribution.LeGrad(),
    "LeGrad, pool=mean": attribution.LeGrad(pool="mean"),
    "ViTReciproCAM": attribution.ViTReciproCAM(),
    "ViTReciproCAM, gaussian=False": attribution.ViTReciproCAM(gaussian=False),
    "TIBAV": attribution.TIBAV(),
    "AttnLRP": attribution.AttnLRP(),
    "AttnLRP, no gamma": attribution.AttnLRP(linear_gamma=0, conv_gamma=0),
}


def torchcam(network: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor) -> None:
    """Run torchcam's LeGrad of all blocks as its page shows it."""
    with methods.LeGrad(network, list(network.encoder.layers)) as method:
        method(targets.tolist(), network(images))


def main() -> None:
    """Time all methods on batches of the wanted sizes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = timm.create_model("vit_base_patch16_224").eval()
    classifier = split(network, "blocks.11.norm1")
    other = torchvision.models.vit_b_16().eval()
    for batch in [int(word) for word in sys.argv[1:]] or [1, 4]:
        images, targets = torch.randn(batch, 3, SIDE, SIDE), torch.arange(batch)
        timed: Timed = {"forward": lambda given=images: without_gradients(network, given)}
        for name, method in OURS.items():
            timed[name] = lambda method=method, given=(images, targets): method(classifier, *given)
        timed["torchcam LeGrad"] = lambda given=(images, targets): torchcam(other, *given)
        times = seconds(timed, rounds=3)
        report(f"vision transformers, batch of {batch}", times, times["forward"])


if __name__ == "__main__":
    main()
