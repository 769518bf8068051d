"""Time methods that go back by rules of their own beside their peers, as ratios to one forward.

Run by hand from an installed checkout: ``python benchmarks/posthoc_rules.py [section ...]``; the
sections are ``resnet`` (ResNet-50, layer4) and ``vgg`` (VGG-16, its last pooling), by default both.
One image of 224 pixels and one thread, so that peers which take one image at a time have no
disadvantage; processor time. The unit is one forward without gradients of the same network.

Peers are captum and pytorch-grad-cam. captum's LRP takes neither the additions of a ResNet nor
modules that run twice, and is timed on VGG-16 alone; there its rules go through the network from
the logits to the layer, after two forwards.
"""

import sys
import warnings

import captum.attr
import pytorch_grad_cam
import torch
import torchvision
from attribution_methods import SIDE, Timed, report, seconds, without_gradients
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from learned_saliency import attribution
from learned_saliency.attribution import split

OURS = {
    "GuidedBackprop": attribution.GuidedBackprop(),
    "Feedback, 5 rounds": attribution.Feedback(),
    "FullGrad": attribution.FullGrad(),
    "ExcitationBackprop, layer": attribution.ExcitationBackprop(),
    "ExcitationBackprop, image": attribution.ExcitationBackprop(place="image"),
    "LRPCAM": attribution.LRPCAM(),
    "GradCAM, to compare": attribution.GradCAM(),
    "VanillaGradient, to compare": attribution.VanillaGradient(),
}


def measure(title: str, make: type, layer: str, lrp: bool) -> None:
    """Time all methods on one network and print them."""
    image, target = torch.randn(1, 3, SIDE, SIDE), torch.tensor([3])
    network = make().eval()
    classifier = split(network, layer)
    timed: Timed = {"forward": lambda: without_gradients(network, image)}
    for name, method in OURS.items():
        timed[name] = lambda method=method: method(classifier, image, target)
    timed |= peers(make, layer, image, target, lrp)
    times = seconds(timed, rounds=4)
    report(title, times, times["forward"])


def peers(make: type, layer: str, image: torch.Tensor, target: torch.Tensor, lrp: bool) -> Timed:
    """Give the peers' methods; each has a network of its own, since some change it."""
    plain, guided, full = (make().eval() for _ in range(3))
    captum_guided = captum.attr.GuidedBackprop(plain)
    cam_guided = pytorch_grad_cam.GuidedBackpropReLUModel(guided, device="cpu")
    cam_full = pytorch_grad_cam.FullGrad(full, [])
    timed: Timed = {
        "captum GuidedBackprop": lambda: captum_guided.attribute(
            image.clone().requires_grad_(), target=target
        ),
        "pytorch-grad-cam GuidedBackpropReLUModel": lambda: cam_guided(image.clone(), int(target)),
        "pytorch-grad-cam FullGrad": lambda: cam_full(
            image.clone(), [ClassifierOutputTarget(int(target))]
        ),
    }
    if lrp:
        for module in plain.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False
        method = captum.attr.LayerLRP(plain, plain.get_submodule(layer))
        timed["captum LayerLRP"] = lambda: method.attribute(image, target=target)
    return timed


def main() -> None:
    """Run the chosen sections."""
    sections = {
        "resnet": lambda: measure("ResNet-50", torchvision.models.resnet50, "layer4", False),
        "vgg": lambda: measure("VGG-16", torchvision.models.vgg16, "features.30", True),
    }
    wanted = sys.argv[1:] or list(sections)
    unknown = [name for name in wanted if name not in sections]
    if unknown:
        sys.exit(f"no section is named {unknown[0]}; there are: {', '.join(sections)}")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")  # captum's about its hooks
    for name in wanted:
        sections[name]()


if __name__ == "__main__":
    main()
