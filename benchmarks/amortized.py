"""Score amortized Opti-CAM on photographs, beside Opti-CAM and plain CAMs; results/amortized.md.

Run by hand from an installed checkout: ``python benchmarks/amortized.py RUN [RUN ...]``. The runs
are of ``model=amortized`` on one classifier and one data set; their best checkpoints are scored on
``test``, once. The predicted class is explained, and what is masked has the mean color. Opti-CAM
takes 5, 20 and 100 steps, from zero and from each run's start. The cost of a map is counted in
operations of convolutions and products, backward passes included, over those of one forward pass
of the classifier.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from learned_saliency.attribution import (
    LIFTCAM,
    Amortized,
    ChannelWeightedMethod,
    FakeCAM,
    GradCAM,
    LayerCAM,
    OptiCAM,
    PostHocMethod,
    Query,
    frozen,
)
from learned_saliency.metrics import (
    AverageDrop,
    AverageGain,
    AverageIncrease,
    masked_probabilities,
)
from learned_saliency.pipeline.runs import build_data, load_module, read_checkpoint

_BATCH = 10


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
    """CAM by the weights of the class in a last 1x1 convolution, before its ReLU (SqueezeNet).

    Args:
        weights: Weights (C, K) of that convolution.
        **options: See `ChannelWeightedMethod`.
    """

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
    with Cost() as forward, torch.no_grad(), frozen(classifier):
        classifier(images[:1])
    with Cost() as whole:
        method(classifier, images[:1])
    return maps, {"forwards": round(whole.total / forward.total, 2), "seconds": round(seconds, 3)}


def methods(
    classifier: nn.Module, runs: dict[str, Amortized], steps: list[int]
) -> Iterator[tuple[str, PostHocMethod]]:
    """Yield the plain methods, then the trained networks, and Opti-CAM from each start."""
    yield "equal weights", Equal()
    last = [m for m in classifier.modules() if isinstance(m, nn.Conv2d | nn.Linear)][-1]
    if isinstance(last, nn.Conv2d) and last.kernel_size == (1, 1):
        weights = last.weight[:, :, 0, 0]
        yield "CAM", ClassWeights(weights, rectify=False)
        yield "CAM, rectified", ClassWeights(weights)
    yield "Grad-CAM", GradCAM()
    yield "LayerCAM", LayerCAM()
    yield "LIFT-CAM", LIFTCAM()
    yield "Fake-CAM", FakeCAM()
    for name, method in runs.items():
        yield f"one pass, {name}", method
    for name, start in {"zero": None, **runs}.items():
        for count in steps:
            yield f"Opti-CAM, {count} steps from {name}", OptiCAM(iterations=count, start=start)


def main() -> None:
    """Read the command line, score all methods, and print and write a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs of model=amortized")
    parser.add_argument("--steps", nargs="*", type=int, default=[5, 20, 100], help="of Opti-CAM")
    parser.add_argument("--out", type=Path, default=Path("amortized.json"), help="table as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {run: read_checkpoint(run, "best.ckpt") for run in given.runs}
    loaded = {f"{c.config.model.form} ({run.name})": load_module(c) for run, c in found.items()}
    classifier = next(iter(loaded.values())).classifier
    data = build_data(next(iter(found.values())).config, "test")
    images = torch.cat([batch["image"] for batch in data.dataloader("test")])
    with torch.no_grad(), frozen(classifier):
        targets = torch.cat([classifier(part) for part in images.split(_BATCH)]).argmax(1)
    rows: dict[str, dict[str, float]] = {}
    trained = {name: Amortized(**module.map_parts) for name, module in loaded.items()}
    for name, method in methods(classifier, trained, given.steps):
        maps, cost = explained(method, classifier, images)
        rows[name] = measure(classifier, images, maps, targets) | cost
        rows[name]["area"] = round(float(maps.mean()), 2)
        print(name, json.dumps(rows[name]), flush=True)
    given.out.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    print(f"\n{len(images)} photographs, {given.out}\n")
    print("| method | AD | AI | AG | mean of the map | forwards | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        cells = [row[key] for key in ("AD", "AI", "AG", "area", "forwards", "seconds")]
        print(f"| {name} | {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
