"""Study of what the maps of each method cost: time, passes and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.evaluation.studies.base import Outcome, Setting, Study, explainers
from learned_saliency.pipeline.evaluation.studies.measuring import CountFlops, TensorMemory
from learned_saliency.pipeline.evaluation.studies.shown import ShownBatch
from learned_saliency.storage import write_csv
from learned_saliency.trainers import gathered, place, spread

_MIB = 2**20


class Cost(NamedTuple):
    """Cost of a computation on a batch.

    Attributes:
        seconds: Shortest time of several runs, in seconds.
        flops: Floating-point operations of products and convolutions.
        memory: Peak of the memory beyond what was there before, in bytes.
    """

    seconds: float
    flops: int
    memory: int


class Costs(Study):
    """Time, passes and memory of all methods, beside their other figures (paper 000, Tab. A13, T).

    Some images of the split are explained in one batch. The first process measures, after a run to
    warm up, and all report what it found. Neither direction ranks methods: times depend on machine
    and moment, and the figures are no property of a map.

    Args:
        images: Number of images in the batch, at least 1; the paper times batches of 8.
        repeats: Timed runs, at least 1, of which the shortest counts.

    Raises:
        ValueError: If a number is below 1.
    """

    name = "costs"
    figures: Mapping[str, Figure] = {
        "seconds_per_image": Figure(None, short="time", unit="s"),
        "forwards": Figure(None, short="cost", unit="forwards"),
        "peak_memory_mib": Figure(None, short="memory", unit="MiB"),
    }

    def __init__(self, images: int = 8, repeats: int = 3) -> None:
        if images < 1 or repeats < 1:
            raise ValueError(f"images and repeats must be at least 1, got {images} and {repeats}")
        self.images = images
        self.repeats = repeats

    def run(self, setting: Setting) -> Outcome:
        """Measure all methods in the first process."""
        found = self._measure(setting) if place().rank == 0 else {}
        results = gathered(found)[0]
        device = setting.module.device
        facts = {"images": self.images, "device": _device(device)}
        files = {"costs.csv": partial(write_costs, results=results, facts=facts)}
        return Outcome(results, self.figures, files)

    def _measure(self, setting: Setting) -> dict[str, dict[str, float]]:
        module = setting.module
        batch = spread(setting.data.dataloader(setting.config.split), self.images)
        batch = setting.to_device(batch)
        images, classifier = batch["image"], module.classifier
        targets = ShownBatch(module, batch).targets  # its pass settles a foreign layer's layout
        forward = cost_of(lambda: classifier(images), module.device, repeats=1)
        results = {}
        for name, method in explainers(module).items():
            setting.note(name)
            run = partial(method, classifier, images, targets)
            cost = cost_of(run, module.device, repeats=self.repeats)
            results[name] = {
                "seconds_per_image": cost.seconds / len(images),
                "forwards": cost.flops / forward.flops if forward.flops else float("nan"),
                "peak_memory_mib": cost.memory / _MIB,
            }
        return results


def cost_of(run: Callable[[], Any], device: torch.device, repeats: int = 3) -> Cost:
    """Measure a computation that can be repeated.

    The first run, which also warms up, counts operations and, but for CUDA, the memory of tensors,
    see `TensorMemory`. On CUDA devices the memory is what the allocator has given out at most, with
    what kernels take for themselves.

    Args:
        run: The computation.
        device: Device that it runs on.
        repeats: Number of timed runs, at least 1.
    """
    with CountFlops() as flops, TensorMemory() as memory:
        run()
    peak, times = memory.peak, []
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            peak = torch.cuda.max_memory_allocated(device) - before
        times.append(time.perf_counter() - began)
    return Cost(min(times), flops.total, peak)


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def write_costs(
    path: Path, results: Mapping[str, Mapping[str, float]], facts: Mapping[str, Any]
) -> None:
    """Write one row per method as CSV, with what the figures depend on."""
    rows = [
        {"method": method} | {name: f"{value:.6g}" for name, value in values.items()} | facts
        for method, values in results.items()
    ]
    write_csv(path, ["method", *Costs.figures, *facts], rows)
