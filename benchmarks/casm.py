"""Time an iteration of CASM beside a plain training step of its classifier, same batch.

Run by hand from an installed checkout: ``python benchmarks/casm.py``. All three are Lightning
modules that train for a few batches, each in turn; the first batch of each warms up, the median of
the others counts. On a CPU it is the time of computing, which other programs do not change much.
The unit is the classifier's step: forward, cross-entropy, backward, SGD.
"""

import argparse
import logging
import statistics
import time
import warnings
from functools import partial
from pathlib import Path

import lightning as L
import torch
import yaml
from torch.utils.data import DataLoader

from learned_saliency.losses import CASMLoss
from learned_saliency.models import CASM, CAMClassifier, MultiScaleBackbone
from learned_saliency.trainers import CAMModule, CASMModule, SaliencyModule, SnapshotPool

CONFIG = Path(__file__).parents[1] / "configs" / "backbone" / "resnet50.yaml"
CLASSES = 1000
SGD = partial(torch.optim.SGD, lr=0.001, momentum=0.9, weight_decay=1e-4)
ADAM = partial(torch.optim.Adam, lr=0.001, weight_decay=1e-4)


class Clock(L.Callback):
    """Seconds of each training batch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        """Start the clock."""
        self._start = _now(module.device)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        """Stop it."""
        self.seconds.append(_now(module.device) - self._start)


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def build_classifier() -> CAMClassifier:
    """ResNet-50 as CASM's paper has it: with all its strides."""
    options = yaml.safe_load(CONFIG.read_text())
    options = {name: value for name, value in options.items() if not name.startswith("_")}
    options |= {"pretrained": False, "unstrided_stages": 0}
    return CAMClassifier(MultiScaleBackbone(**options), CLASSES)


def build_casm(current_probability: float, shared: bool, thinning: str = "FL") -> CASMModule:
    """CASM whose classifier is always drawn from the pool (0.0), or always the current one."""
    return CASMModule(
        network=CASM(build_classifier(), shared=shared),
        pool=SnapshotPool(thinning, current_probability=current_probability),
        loss=CASMLoss(10.0),
        optimizer=ADAM,
        classifier_optimizer=SGD,
    )


def measure(module: SaliencyModule, batches: list, arguments: argparse.Namespace) -> float:
    """Median seconds of a batch."""
    clock = Clock()
    trainer = L.Trainer(
        accelerator=arguments.accelerator,
        precision=arguments.precision,
        devices=1,
        max_epochs=1,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return statistics.median(clock.seconds[1:])


def main() -> None:
    """Parse the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224, help="image side in pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--accelerator", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--separate", action="store_true", help="an encoder of the mask's own")
    arguments = parser.parse_args()

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    batch = {
        "image": torch.randn(arguments.batch, 3, arguments.size, arguments.size),
        "label": torch.arange(arguments.batch),
        "image_id": [str(i) for i in range(arguments.batch)],
    }
    batches = [batch] * (arguments.repetitions + 1)
    shared = not arguments.separate
    modules = {
        "classifier alone": partial(CAMModule, network=build_classifier(), optimizer=SGD),
        "CASM, stored classifier drawn": partial(build_casm, 0.0, shared),
        "CASM, current classifier drawn": partial(build_casm, 1.0, shared),
        "CASM, fixed classifier (F)": partial(build_casm, 0.5, shared, "F"),
    }
    seconds = {name: measure(build(), batches, arguments) for name, build in modules.items()}
    unit = seconds["classifier alone"]
    print(f"ResNet-50, {arguments.batch} images of {arguments.size} pixels")
    for name, value in seconds.items():
        print(f"{name:<34} {1000 * value:9.1f} ms  {value / unit:6.2f}")


if __name__ == "__main__":
    main()
