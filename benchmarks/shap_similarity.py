"""Compare channel weights with SHAP-CAM's by cosine similarity (paper 002, Tab. 2).

Run by hand: ``python benchmarks/shap_similarity.py WEIGHTS FOLDER [images [orderings]]``, a file
of SqueezeNet 1.0's ImageNet weights (.safetensors) and a folder of photographs, of which as many as
wanted are taken, evenly spread; the predicted class is explained. SqueezeNet's head, a 1x1
convolution, a ReLU and an average, is not affine, so that orderings matter, and so simple that
10,000 of them are cumulative sums; SHAPCAM, for any head, is checked against these first. The
paper has, with VGG-16: LIFT-CAM 0.980, Ablation-CAM 0.972, Grad-CAM 0.489, XGrad-CAM 0.406,
Grad-CAM++ 0.385, Score-CAM 0.195.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2

from learned_saliency import attribution

COMPARED = {
    "LIFT-CAM": attribution.LIFTCAM(),
    "Ablation-CAM": attribution.AblationCAM(),
    "Grad-CAM": attribution.GradCAM(),
    "XGrad-CAM": attribution.XGradCAM(),
    "Grad-CAM++": attribution.GradCAMPlusPlus(),
    "Score-CAM": attribution.ScoreCAM(),
}


class OneClass(nn.Module):
    """SqueezeNet with the logit of one class; Score-CAM's softmax is over channels, not classes."""

    def __init__(self, network: nn.Module, target: int) -> None:
        super().__init__()
        self.body = network.features
        self.weight = network.classifier[1].weight[target : target + 1]
        self.bias = network.classifier[1].bias[target : target + 1]

    def features(self, images: Tensor) -> Tensor:
        """Activations (B, 512, 13, 13)."""
        return self.body(images)

    def head(self, features: Tensor) -> Tensor:
        """Logit (B, 1)."""
        return F.conv2d(features, self.weight, self.bias).relu().mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Logit (B, 1)."""
        return self.head(self.features(images))


def read(path: Path) -> Tensor:
    """Give a photograph as the network takes it, (1, 3, 224, 224)."""
    transform = v2.Compose(
        [
            v2.RGB(),
            v2.Resize((224, 224), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return transform(torchvision.io.decode_image(path))[None]


def shapley(classifier: OneClass, image: Tensor, orders: Tensor, block: int = 64) -> Tensor:
    """Run Algorithm 1 on this head: weights (1, 512) of the channels, from orders (P, 512)."""
    parts = (classifier.weight[0] * classifier.features(image)[0]).flatten(1)  # (512, 169)
    total = torch.zeros(len(parts), dtype=torch.float64)
    for order in orders.split(block):
        sums = parts[order].cumsum(1) + classifier.bias  # (P, 512, 169)
        values = F.pad(sums, (0, 0, 1, 0), value=float(classifier.bias)).relu().mean(2)
        gains = values.double().diff(dim=1)
        total.index_add_(0, order.flatten(), gains.flatten())
    return (total / len(orders))[None].float()


def draw(count: int, seed: int) -> Tensor:
    """Draw orders (count, 512)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 512, generator=generator).argsort(1)


def main() -> None:
    """Print one line a method: mean, lowest and highest similarity."""
    weights, folder, *numbers = sys.argv[1:]
    count, orderings = [*map(int, numbers), *(20, 10_000)[len(numbers) :]]
    torch.set_num_threads(1)
    network = torchvision.models.squeezenet1_0().eval().requires_grad_(False)
    network.load_state_dict(load_file(weights))
    paths = sorted(path for path in Path(folder).iterdir() if path.is_file())
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))
    found: dict[str, list[float]] = {}
    for number, index in enumerate(chosen, start=1):
        image = read(paths[index])
        classifier = OneClass(network, int(network(image).argmax()))
        reference = shapley(classifier, image, draw(orderings, seed=0))
        others = {name: m.coefficients(classifier, image) for name, m in COMPARED.items()}
        for fewer in (1, 10, 100):
            orders = draw(fewer, seed=1)
            others[f"SHAP-CAM, {fewer} orderings"] = shapley(classifier, image, orders)
        if number == 1:
            theirs = attribution.SHAPCAM(orders=draw(1, 1)).coefficients(classifier, image)
            torch.testing.assert_close(
                theirs,
                others["SHAP-CAM, 1 orderings"],
                rtol=0,
                atol=1e-5 * float(theirs.abs().max()),
            )
        for name, values in others.items():
            alike = F.cosine_similarity(values, reference)
            found.setdefault(name, []).append(float(alike))
        print(f"image {number}/{len(chosen)}", file=sys.stderr, flush=True)
    print(f"SqueezeNet 1.0, {len(chosen)} images, SHAP-CAM with {orderings} orderings")
    for name, values in found.items():
        print(f"{name:24} mean {np.mean(values):6.3f}  {min(values):6.3f} to {max(values):.3f}")


if __name__ == "__main__":
    main()
