"""Time the shares of channels, the information bottleneck and ensembles beside their peers.

Run by hand from an installed checkout: ``python benchmarks/posthoc_shares.py [section ...]``; the
sections are ``subsets``, ``references``, ``bottleneck`` and ``ensemble``, by default all.

SqueezeNet 1.0 with random weights at its last features (512 channels of 13 x 13 cells), whose head
is not affine, one thread, ratios to one plain forward pass of the same images. Captum's LIME,
KernelSHAP and DeepLiftShap get the head alone, as we do, with the same number of subsets or
references; as their documentation calls them, one subset in a run, and with as many in a run as we
take. The bottleneck's peer is the paper's way, a bottleneck within the network: each step runs the
whole network on ten copies of the image. That of an ensemble is one pass for each method.
"""

import sys
import warnings

import captum.attr
import torch
import torchvision
from attribution_methods import Timed, report, seconds, without_gradients
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr._core.lime import get_exp_kernel_similarity_function
from torch import Tensor, nn

from learned_saliency import attribution
from learned_saliency.attribution import split

SIDE, SAMPLES, AT_ONCE = 224, 256, 13


def network() -> nn.Module:
    """Give a network with random weights, none of whose activations are in place."""
    found = torchvision.models.squeezenet1_0().eval()
    for module in found.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return found


def subsets(image: Tensor, target: Tensor) -> None:
    """Time LIME-CAM and KernelSHAP-CAM on one image."""
    classifier = split(network(), "features")
    features = without_gradients(classifier.features, image)
    head = classifier.model.classifier
    mask = torch.arange(features.shape[1]).view(1, -1, 1, 1).expand_as(features)

    def scores(variants: Tensor) -> Tensor:
        return without_gradients(lambda a: head(a).flatten(1)[:, int(target)], variants)

    kernel = get_exp_kernel_similarity_function("cosine", 0.25 / 2**0.5)
    lime = captum.attr.Lime(
        scores,
        interpretable_model=SkLearnRidge(alpha=1),
        similarity_func=lambda a, b, row, **options: kernel(torch.ones_like(row), row, None),
    )
    shap = captum.attr.KernelShap(scores)
    timed: Timed = {"forward": lambda: without_gradients(classifier, image)}
    for name, ours, peer in (
        ("LIME", attribution.LIMECAM(samples=SAMPLES), lime),
        ("KernelSHAP", attribution.KernelSHAPCAM(samples=SAMPLES), shap),
    ):
        timed[f"attribution, {name}-CAM"] = lambda ours=ours: ours(classifier, image, target)
        for count in (AT_ONCE, 1):
            timed[f"captum {name}, {count} at once"] = lambda peer=peer, count=count: (
                peer.attribute(
                    features,
                    feature_mask=mask,
                    n_samples=SAMPLES,
                    perturbations_per_eval=count,
                    return_input_shape=False,
                )
            )
    times = seconds(timed, rounds=3)
    for name in timed:
        if name.startswith("captum"):  # which got the features
            times[name] += times["forward"]
    report(f"{SAMPLES} subsets of channels, one image", times, times["forward"])


def references(image: Tensor, target: Tensor) -> None:
    """Time DeepSHAP-CAM with 8 references on one image."""
    classifier = split(network(), "features")
    own = attribution.DeepSHAPCAM(samples=8)
    peer = captum.attr.DeepLiftShap(nn.Sequential(classifier.model.classifier, nn.Flatten()))
    copies = torch.randn(8, 3, SIDE, SIDE)
    given = attribution.DeepSHAPCAM(references=copies)

    def captums() -> None:
        features = without_gradients(classifier.features, torch.cat([image, copies]))
        peer.attribute(features[:1], features[1:], target=target)

    times = seconds(
        {
            "forward": lambda: without_gradients(classifier, image),
            "attribution, DeepSHAP-CAM, references of its own": lambda: own(
                classifier, image, target
            ),
            "attribution, DeepSHAP-CAM, given references": lambda: given(classifier, image, target),
            "captum DeepLiftShap, given references": captums,
        },
        rounds=8,
    )
    report("8 references and their passes, one image", times, times["forward"])


def bottleneck(image: Tensor, target: Tensor) -> None:
    """Time the information bottleneck on one image."""
    classifier = split(network(), "features")
    ours = attribution.InformationBottleneck()
    copies = image.expand(10, -1, -1, -1)

    def within() -> None:
        """Take one step of a bottleneck within the network, as its authors do."""
        features = without_gradients(classifier.features, copies)
        alpha = torch.full_like(features[:1], 5.0).requires_grad_()
        kept = torch.nn.functional.avg_pool2d(alpha.sigmoid(), 5, 1, 2)
        mixed = kept * features + (1 - kept) * torch.randn_like(features)
        loss = nn.functional.cross_entropy(classifier.head(mixed), target.expand(10))
        loss = loss + (kept**2 + (1 - kept) ** 2 - 1 - 2 * (1 - kept).log()).mean()
        torch.autograd.grad(loss, alpha)

    times = seconds(
        {
            "forward": lambda: without_gradients(classifier, image),
            "attribution, InformationBottleneck": lambda: ours(classifier, image, target),
            "within the network, ten steps (one, times ten)": within,
        },
        rounds=3,
    )
    times["within the network, ten steps (one, times ten)"] *= 10
    report("information bottleneck, one image", times, times["forward"])


def ensemble(images: Tensor, targets: Tensor) -> None:
    """Time the mean of three methods on 8 images."""
    classifier = split(network(), "features")
    images, targets = torch.randn(8, 3, SIDE, SIDE), torch.arange(8)
    members = [attribution.GradCAM(), attribution.LIFTCAM(), attribution.LayerCAM()]
    timed: Timed = {"forward": lambda: without_gradients(classifier, images)}
    for average in ("map", "rank"):
        method = attribution.Ensemble(members, average=average)
        timed[f"mean by {average}"] = lambda method=method: method(classifier, images, targets)
    timed["three methods, one by one"] = lambda: [m(classifier, images, targets) for m in members]
    times = seconds(timed, rounds=3)
    report("Grad-CAM, LIFT-CAM and Layer-CAM, 8 images", times, times["forward"])


def main() -> None:
    """Run the chosen sections."""
    sections = {
        "subsets": subsets,
        "references": references,
        "bottleneck": bottleneck,
        "ensemble": ensemble,
    }
    wanted = sys.argv[1:] or list(sections)
    unknown = [name for name in wanted if name not in sections]
    if unknown:
        sys.exit(f"no section is named {unknown[0]}; there are: {', '.join(sections)}")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")  # captum's about its hooks
    image, target = torch.randn(1, 3, SIDE, SIDE), torch.tensor([7])
    for name in wanted:
        sections[name](image, target)


if __name__ == "__main__":
    main()
