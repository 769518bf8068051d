"""Time a training step as ``train.py`` takes it beside a bare loop of the same network and loss.

Run by hand from an installed checkout: ``python benchmarks/overhead.py``. The training is built by
the functions that ``train.py`` calls, with its default callbacks, loggers and checkpoints; only the
training batches lie in memory. After each of its batches the bare loop, a copy of the network with
forward, loss, backward, step and nothing else, takes one step on the same batch, so that both meet
the same state of the machine. What lies between two steps of the bare loop is the training's: its
step, its callbacks, its rows in ``metrics.csv`` and what Lightning does around them. CPU seconds of
the process are counted; the overhead is the median of the differences of neighboring steps.
Validation and checkpoints at the end of an epoch are left out, as in the bare loop.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import lightning as L
import torch
from commit_before import checked_out, measured_there
from torch.nn import functional
from torch.utils.data import DataLoader

from learned_saliency.attribution import SharedFeatures
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.runs import build_module, build_network
from learned_saliency.pipeline.training.plan import Plan, make_plan
from learned_saliency.pipeline.training.stage import fit_stage, open_loggers
from learned_saliency.trainers import FCAMModule, SaliencyModule

WARM_UP = 4  # first steps, which are left out
CLASSES = 16  # creatures have as many
SMALL = ["backbone=resnet10", "backbone.channels=[16,32,64,128]", "backbone.unstrided_stages=1"]


class Case(NamedTuple):
    """A network, the size of its batches and the number of steps."""

    model: str
    backbone: Sequence[str]
    size: int
    batch: int
    steps: int

    @property
    def name(self) -> str:
        """The case in words."""
        return f"{self.model}, {self.backbone[0].partition('=')[2]}, {self.size} px, {self.batch}"


CASES = {
    "short": Case("cam", SMALL, 64, 8, 120),
    "short-fcam": Case("fcam", SMALL, 64, 8, 60),
    "resnet18": Case("cam", ["backbone=resnet18", "backbone.unstrided_stages=0"], 128, 8, 24),
    "resnet50": Case("cam", ["backbone=resnet50", "backbone.unstrided_stages=0"], 128, 4, 24),
    "resnet50-fcam": Case("fcam", ["backbone=resnet50", "backbone.unstrided_stages=0"], 128, 4, 24),
}


class Beside(L.Callback):
    """Takes a step of the bare loop after each batch of a training, and the time of both."""

    def __init__(self, step: Callable[[WSOLBatch], None]) -> None:
        self.step = step
        self.ours: list[float] = []
        self.bare: list[float] = []
        self._mark = 0.0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock."""
        self._mark = time.process_time()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: object,
        batch: WSOLBatch,
        batch_idx: int,
    ) -> None:
        """Stop the clock for the training and take a bare step."""
        now = time.process_time()
        self.ours.append(now - self._mark)
        self.step(batch)
        self._mark = time.process_time()
        self.bare.append(self._mark - now)


def bare_step(module: SaliencyModule) -> Callable[[WSOLBatch], None]:
    """One step of the loop that one would write by hand for a module's network."""
    network, optimizer = module.network.train(), module.configure_optimizers()["optimizer"]

    def fcam_loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        output = network(images)
        with torch.no_grad():
            shared = SharedFeatures(network.classifier, images, output.features)
            pseudo_labels = module.sampler(module.seed_method(shared, images, labels))
        return module.loss(output.scores, pseudo_labels, module.colors(images)).total

    def step(batch: WSOLBatch) -> None:
        images, labels = batch["image"], batch["label"]
        optimizer.zero_grad()
        if isinstance(module, FCAMModule):
            loss = fcam_loss(images, labels)
        else:
            loss = functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()

    return step


def plan_of(case: Case, folder: Path) -> Plan:
    """Plan the training of a case, with batches in memory in the place of its training images."""
    words = [
        *("data=creatures", f"data.root={folder}/data", f"data.metadata={folder}/data/metadata"),
        *(f"data.reader.{split}_images={CLASSES}" for split in ("train", "val", "test")),
        f"data.reader.image_size={case.size}",
        *(f"data.resize_size={case.size}", f"data.crop_size={case.size}", "pictures.images=0"),
        *(f"model={case.model}", *case.backbone, f"output_dir={folder}/run"),
        "recipe.classifier_epochs=1" if case.model == "cam" else "recipe.epochs=1",
    ]
    if case.model == "fcam":
        words.append("model.first_stage.epochs=0")
    plan = make_plan(compose_checked(words))
    generator = torch.Generator().manual_seed(0)
    batches = [
        {
            "image": torch.randn(case.batch, 3, case.size, case.size, generator=generator),
            "label": torch.randint(CLASSES, (case.batch,), generator=generator),
            "image_id": [str(image) for image in range(case.batch)],
        }
        for _ in range(8)
    ]
    repeated = [batches[step % len(batches)] for step in range(case.steps + WARM_UP)]
    plan.data.train_dataloader = lambda: DataLoader(repeated, batch_size=None)
    return plan


def measure(case: Case) -> Beside:
    """Run the training of a case with the bare loop beside it."""
    with tempfile.TemporaryDirectory() as name:
        plan = plan_of(case, Path(name))
        network = build_network(plan.config.model, plan.data.num_classes)
        bare = build_module(plan.config.model, copy.deepcopy(network))
        beside = Beside(bare_step(bare))
        fit_stage(plan, "", network, None, open_loggers(plan, "", None), [beside])
    return beside


def measured(names: Sequence[str], threads: int) -> dict[str, list[float]]:
    """Milliseconds of a bare step, and what the training adds to it, by case."""
    torch.set_num_threads(threads)
    found = {}
    for name in names:
        beside = measure(CASES[name])
        pairs = list(zip(beside.ours, beside.bare, strict=True))[WARM_UP:]
        bare = statistics.median(bare for _, bare in pairs)
        more = statistics.median(ours - bare for ours, bare in pairs)
        found[name] = [1000 * bare, 1000 * more]
    return found


def show(title: str, found: dict[str, list[float]]) -> None:
    """Print the table of one commit."""
    print(f"{title:<34} {'bare ms':>9} {'more ms':>8} {'more':>7}")
    for name, (bare, more) in found.items():
        print(f"{CASES[name].name:<34} {bare:9.1f} {more:8.2f} {more / bare:7.1%}", flush=True)


def main() -> None:
    """Parse the arguments, measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="case", help=str([*CASES]))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--before", action="store_true", help="the commit before the work on speed")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    arguments = parser.parse_args()
    if arguments.before:
        with checked_out() as folder:
            words = [*arguments.cases, "--json", f"--threads={arguments.threads}"]
            show("before", measured_there(folder, Path(__file__).resolve(), words))
    found = measured(arguments.cases, arguments.threads)
    print(json.dumps(found)) if arguments.json else show("model, backbone, size, batch", found)


if __name__ == "__main__":
    main()
