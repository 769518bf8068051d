"""Amortized Opti-CAM on photographs, beside Opti-CAM and plain CAMs; results/amortized.md.

The photographs below a folder are sorted by path; every fourth is for the test, of the rest every
fifth for validation, the others for training. The classifier is torchvision's SqueezeNet 1.0, layer
`features`; explained is the class that it predicts, what is masked has the mean color. Networks and
recipe are those of model=amortized, and WORDS change them. Training keeps the epoch with the best
average gain on the photographs for validation.

    python benchmarks/amortized.py train PHOTOS OUT --weights FILE recipe.form=decoder WORDS
    python benchmarks/amortized.py score PHOTOS OUT --weights FILE             # on the test, once
    python benchmarks/amortized.py score PHOTOS OUT --weights FILE --split val # while choosing
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from learned_saliency.attribution import (
    LIFTCAM,
    Amortized,
    ChannelWeightedMethod,
    FakeCAM,
    GradCAM,
    OptiCAM,
    PostHocMethod,
    Query,
    split,
)
from learned_saliency.metrics import (
    AverageDrop,
    AverageGain,
    AverageIncrease,
    ZeroBoxGain,
    kept_probabilities,
    masked_probabilities,
)
from learned_saliency.models import Amortized as AmortizedNetwork
from learned_saliency.pipeline.cli import compose_checked

_MEAN, _STD, _SIDE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224
_BATCH = 15
_SUFFIXES = (".jpeg", ".jpg", ".png")


class Photographs:
    """Photographs of a split, as normalized squares of 224 pixels.

    Args:
        folder: Folder of the photographs, which are searched below it.
        name: Split, ``"train"``, ``"val"`` or ``"test"``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
        rest = [file for i, file in enumerate(files) if i % 4 != 3]
        self.files = {
            "test": files[3::4],
            "val": rest[4::5],
            "train": [file for i, file in enumerate(rest) if i % 5 != 4],
        }[name]
        self.images = [_read(file) for file in self.files]

    def middle(self) -> Tensor:
        """Cut the middle squares, (N, 3, 224, 224)."""
        cuts = []
        for image in self.images:
            _, height, width = image.shape
            cuts.append(_cut(image, (height - _SIDE) // 2, (width - _SIDE) // 2))
        return torch.stack(cuts)

    def batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield random squares, half of them flipped, in a random order."""
        for rows in torch.randperm(len(self.images), generator=generator).split(_BATCH):
            cuts = []
            for row in rows.tolist():
                _, height, width = self.images[row].shape
                top, left, flipped = (
                    int(torch.randint(0, most, (1,), generator=generator))
                    for most in (height - _SIDE + 1, width - _SIDE + 1, 2)
                )
                cut = _cut(self.images[row], top, left)
                cuts.append(cut.flip(2) if flipped else cut)
            yield torch.stack(cuts)


def _read(file: Path) -> Tensor:
    """Read a photograph, uint8 (3, H, W), whose shorter side is 256 pixels."""
    with Image.open(file) as opened:
        image = torchvision.transforms.functional.pil_to_tensor(opened.convert("RGB"))
    return torchvision.transforms.functional.resize(image, 256, antialias=True)


def _cut(image: Tensor, top: int, left: int) -> Tensor:
    """Cut a square and normalize its colors."""
    part = image[:, top : top + _SIDE, left : left + _SIDE].float() / 255
    return torchvision.transforms.functional.normalize(part, _MEAN, _STD)


class Layer(nn.Module):
    """SqueezeNet as a classifier whose last level is its layer ``features``."""

    channels = (512,)

    def __init__(self, weights: Path) -> None:
        super().__init__()
        network = torchvision.models.squeezenet1_0()
        network.load_state_dict(load_file(weights))
        network.eval().requires_grad_(False)
        self.split = split(network, "features", layout="channels_first")
        self.eval()

    @property
    def backbone(self) -> "Layer":
        """The network itself, which knows the width of the level."""
        return self

    def features(self, images: Tensor) -> Tensor:
        """Compute the level (B, 512, 13, 13)."""
        return self.split.features(images)

    def levels(self, images: Tensor) -> list[Tensor]:
        """Compute the only level."""
        return [self.features(images)]

    def head(self, features: Tensor) -> Tensor:
        """Compute logits (B, 1000)."""
        return self.split.head(features)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images."""
        return self.split(images)


class Cost(TorchDispatchMode):
    """Counter of the operations of convolutions and products, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run an operation and count it."""
        found = func(*args, **(kwargs or {}))
        cost = flop_registry.get(func._overloadpacket)
        if cost is not None:
            self.total += cost(*args, **(kwargs or {}), out_val=found)
        return found


class Equal(ChannelWeightedMethod):
    """Opti-CAM before its first step: all channels weigh the same."""

    def _coefficients(self, query: Query) -> Tensor:
        return torch.ones_like(query.features[:, :, 0, 0])


class ClassWeights(ChannelWeightedMethod):
    """CAM of SqueezeNet: the weights of the class in the last convolution, before its ReLU."""

    rectify = False

    def __init__(self, weights: Tensor, **options: Any) -> None:
        super().__init__(**options)
        self.weights = weights

    def _coefficients(self, query: Query) -> Tensor:
        return self.weights[query.targets]


def measure(classifier: nn.Module, images: Tensor, maps: Tensor, targets: Tensor) -> dict:
    """Measure AD, AI and AG of maps, in percent."""
    metrics = {"AD": AverageDrop(), "AI": AverageIncrease(), "AG": AverageGain()}
    for rows in torch.arange(len(images)).split(_BATCH):
        found = masked_probabilities(classifier, images[rows], maps[rows], targets[rows])
        for metric in metrics.values():
            metric.update(found.p, found.o)
    return {name: round(100 * float(metric.compute()), 2) for name, metric in metrics.items()}


def explained(
    method: PostHocMethod, classifier: nn.Module, images: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Explain images by a method; return maps, and the cost in forwards and seconds per image."""
    began = time.perf_counter()
    maps = torch.cat([method(classifier, part) for part in images.split(_BATCH)])
    seconds = (time.perf_counter() - began) / len(images)
    with Cost() as forward, torch.no_grad():
        classifier(images[:1])
    with Cost() as whole:
        method(classifier, images[:1])
    return maps, {"forwards": round(whole.total / forward.total, 2), "seconds": round(seconds, 3)}


def validate(
    method: PostHocMethod, classifier: nn.Module, images: Tensor, logits: Tensor
) -> dict[str, float]:
    """Measure gain, drop and increase of a method for the predicted classes, in percent."""
    metric = ZeroBoxGain()
    for part, scores in zip(images.split(_BATCH), logits.split(_BATCH), strict=True):
        targets = scores.argmax(1)
        maps = method(classifier, part, targets)
        metric.update(*kept_probabilities(classifier, part, maps, targets, scores))
    return {name: round(100 * float(value), 2) for name, value in metric.compute().items()}


def train(given: argparse.Namespace) -> None:
    """Train a network by the recipe and keep the epoch with the best gain on val."""
    words = ["model=amortized", "data=photos", *given.words]
    config = compose_checked(words, complete=False)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    classifier, model = Layer(given.weights), config.model
    network = AmortizedNetwork(classifier, instantiate(model.forms[model.form]))
    objective = instantiate(model.mask)
    optimizer = instantiate(model.module.optimizer)(network.form.parameters())
    scheduler = instantiate(model.module.scheduler)(optimizer)
    photographs = Photographs(given.photos, "train")
    images = Photographs(given.photos, "val").middle()
    with torch.no_grad():
        known = torch.cat([classifier(part) for part in images.split(_BATCH)])
    method = Amortized(network.form, normalization=objective.normalization)
    best, began = float("-inf"), time.perf_counter()
    for epoch in range(1, model.epochs + 1):
        network.train()
        losses = []
        for batch in photographs.batches(generator):
            output = network(batch)
            masks = objective.masks(output.maps, batch.shape[-2:])
            original = objective.select(output.logits, output.targets)
            loss = -objective(classifier, batch, masks, output.targets, original).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.form.parameters(), model.module.gradient_clip)
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
        values = validate(method, classifier, images, known)
        row = {"epoch": epoch, "loss": sum(losses) / len(losses), **values}
        _note(given.out / f"{model.form}.jsonl", row | {"seconds": time.perf_counter() - began})
        if values["zerobox_gain"] > best:
            best = values["zerobox_gain"]
            kept = {
                "form": network.form.state_dict(),
                "model": OmegaConf.to_container(model, resolve=True),
            }
            torch.save(kept | {"epoch": epoch}, given.out / f"{model.form}.pt")


def _note(path: Path, row: dict) -> None:
    print(json.dumps(row), flush=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(row)}\n")


def score(given: argparse.Namespace) -> None:
    """Score all methods on a split, print a table and write it."""
    classifier, images = Layer(given.weights), Photographs(given.photos, given.split).middle()
    with torch.no_grad():
        logits = torch.cat([classifier(part) for part in images.split(_BATCH)])
    targets = logits.argmax(1)
    rows = {}
    for name, method in _methods(given, classifier):
        maps, cost = explained(method, classifier, images)
        rows[name] = measure(classifier, images, maps, targets) | cost
        rows[name]["area"] = round(float(maps.mean()), 2)
        print(name, json.dumps(rows[name]), flush=True)
    path = given.out / f"{given.split}.json"
    path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    print(f"\n{len(images)} photographs, {path}\n")
    print("| method | AD | AI | AG | mean of the map | forwards | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        cells = [row[key] for key in ("AD", "AI", "AG", "area", "forwards", "seconds")]
        print(f"| {name} | {' | '.join(map(str, cells))} |")


def _methods(given: argparse.Namespace, classifier: Layer) -> Iterator[tuple[str, PostHocMethod]]:
    """Yield the plain methods, then the trained networks and Opti-CAM from each start."""
    weights = classifier.split.model.classifier[1].weight[:, :, 0, 0]
    yield "equal weights", Equal()
    yield "CAM", ClassWeights(weights)
    yield "CAM, rectified", ClassWeights(weights, rectify=True)
    yield "Grad-CAM", GradCAM()
    yield "LIFT-CAM", LIFTCAM()
    yield "Fake-CAM", FakeCAM()
    starts: dict[str, Amortized | None] = {"zero": None}
    for path in sorted(given.out.glob("*.pt")):
        starts[path.stem] = _load(path)
        yield f"one pass, {path.stem}", starts[path.stem]
    for selector, rate in (words.split(":") for words in given.opticam):
        for name, start in starts.items():
            for steps in given.steps:
                yield (
                    f"Opti-CAM, {selector}, rate {rate}, {steps} steps from {name}",
                    OptiCAM(
                        iterations=steps,
                        selector=selector,
                        learning_rate=float(rate),
                        start=start,
                    ),
                )


def _load(path: Path) -> Amortized:
    """Load a trained network as a method."""
    kept = torch.load(path, weights_only=True)
    model: DictConfig = OmegaConf.create(kept["model"])
    form = instantiate(model.forms[model.form])(Layer.channels[-1])
    form.load_state_dict(kept["form"])
    return Amortized(form, normalization=model.mask.normalization)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    jobs: dict[str, Callable[[argparse.Namespace], None]] = {"train": train, "score": score}
    parser.add_argument("job", choices=jobs)
    parser.add_argument("photos", type=Path, help="folder of the photographs")
    parser.add_argument("out", type=Path, help="folder of networks and tables")
    parser.add_argument("words", nargs="*", help="words of train.py that change the recipe")
    parser.add_argument("--weights", type=Path, required=True, help="SqueezeNet's, .safetensors")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument(
        "--opticam", nargs="*", default=["logit:0.1"], help="SELECTOR:RATE of Opti-CAM's steps"
    )
    parser.add_argument("--steps", nargs="*", type=int, default=[5, 20, 100], help="of Opti-CAM")
    given = parser.parse_intermixed_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    jobs[given.job](given)


if __name__ == "__main__":
    main()
