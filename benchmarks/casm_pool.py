"""Measure memory, disk and the time of a checkpoint of CASM with a full pool, and a commit's.

Run by hand from an installed checkout: ``python benchmarks/casm_pool.py [--commit COMMIT]``. CASM
with a ResNet-50 whose pool is filled with 30 snapshots is trained for some steps, each of which
replaces a snapshot and draws one, as the package of this checkout does it, with numbers as trained
and in bfloat16, and as that of the commit does it; each in a process of its own, with a pool of one
snapshot beside it. Small images of a small batch leave the memory to the weights. It needs about
10 GB of disk below ``TMPDIR``, and 8 GB of memory.

Of memory both figures are peaks: all that the process had in RAM, and its part that no file
stands for, which the system cannot take back. The time of a checkpoint is the least of several,
from the training's state to the file on the disk, with nothing new in the pool between them; the
time of a step is the least of the processor's. Equal weights at the end are equal words.
"""

import argparse
import hashlib
import json
import logging
import sys
import tempfile
import threading
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

sys.path.append(str(Path(__file__).parent))  # where the package is that of another commit

from casm import build_classifier
from commit_before import BEFORE, ROOT, checked_out, measured_there

from learned_saliency.losses import CASMLoss
from learned_saliency.models import CASM
from learned_saliency.pipeline.runs import DurableCheckpointIO
from learned_saliency.trainers import CASMModule, SnapshotPool

SNAPSHOTS, STEPS, CHECKPOINTS = 30, 6, 5
SHOWN = (
    *("all_mb", "anonymous_mb", "checkpoint_mb", "checkpoint_s", "first_s"),
    *("folder_mb", "step_s", "weights"),
)
SGD = partial(torch.optim.SGD, lr=1e-4, momentum=0.9)
ADAM = partial(torch.optim.Adam, lr=1e-4)


class Memory:
    """Peaks of this process' memory in MB; of anonymous memory as looked at every few ms."""

    def __init__(self) -> None:
        self._anonymous = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self._anonymous = max(self._anonymous, _status("RssAnon"))

    def end(self) -> dict[str, float]:
        """Stop watching and return the peaks."""
        self._ended.set()
        self._thread.join()
        return {"all_mb": _status("VmHWM") / 1e3, "anonymous_mb": self._anonymous / 1e3}


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))  # kB


class Clock(L.Callback):
    """Seconds of the processor of each training step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the clock."""
        self._start = time.process_time()

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop it."""
        self.seconds.append(time.process_time() - self._start)


class Fill(L.Callback):
    """Fill the pool with other classifiers before the first step."""

    def on_train_start(self, trainer: L.Trainer, module: CASMModule) -> None:
        """Take them."""
        state = dict(module.classifier.state_dict())
        for number in range(module.pool.size):
            module.pool.take({k: v + number / 100 for k, v in state.items()})


def train(size: int, options: dict[str, Any], folder: Path) -> tuple[L.Trainer, Clock]:
    """Train for a few steps with a full pool."""
    torch.manual_seed(0)
    module = CASMModule(
        network=CASM(build_classifier()),
        pool=SnapshotPool("L1", size=size, current_probability=0.0, **options),
        loss=CASMLoss(10.0),
        optimizer=ADAM,
        classifier_optimizer=SGD,
    )
    written = {}
    if hasattr(module, "keep_files"):
        module.keep_files(folder)
        written = {"written": module.drop_files}
    batch = {"image": torch.randn(2, 3, 64, 64), "label": torch.arange(2), "image_id": ["a", "b"]}
    clock = Clock()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        plugins=[DurableCheckpointIO(**written)],
        callbacks=[Fill(), clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader([batch] * STEPS, batch_size=None))
    return trainer, clock


def measure(size: int, options: dict[str, Any]) -> dict[str, Any]:
    """Measure one pool in this process."""
    memory = Memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "checkpoints"
        folder.mkdir()
        trainer, clock = train(size, options, folder)
        path, seconds = folder / "last.ckpt", []
        for _ in range(1 + CHECKPOINTS):  # the first waits for the disk's earlier work, too
            begun = time.perf_counter()
            trainer.save_checkpoint(path)
            seconds.append(time.perf_counter() - begun)
        files = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
        return memory.end() | {
            "checkpoint_mb": path.stat().st_size / 1e6,
            "checkpoint_s": min(seconds[1:]),
            "first_s": seconds[0],
            "folder_mb": sum(files) / 1e6,
            "step_s": min(clock.seconds),
            "weights": _digest(trainer),
        }


def _digest(trainer: L.Trainer) -> str:
    """Hash all weights, so that equal trainings have equal words."""
    found = hashlib.sha256()
    for tensor in trainer.lightning_module.state_dict().values():
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:12]


def main() -> None:
    """Measure all in processes of their own, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commit", default=BEFORE, help="to compare with")
    parser.add_argument("--child", help="used by the script itself")
    arguments = parser.parse_args()
    if arguments.child:
        warnings.filterwarnings("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        torch.set_num_threads(2)
        print(json.dumps(measure(**json.loads(arguments.child))))
        return
    print(f"{'':30}{'  '.join(f'{name:>13}' for name in SHOWN)}")
    with checked_out(arguments.commit) as before:
        cases = {
            "before": (before, {}),
            "now": (ROOT, {}),
            "now, bfloat16": (ROOT, {"dtype": "bfloat16"}),
        }
        for name, (folder, options) in cases.items():
            for size in (1, SNAPSHOTS):
                words = ["--child", json.dumps({"size": size, "options": options})]
                found = measured_there(folder, Path(__file__), words)
                cells = [found[key] for key in SHOWN]
                told = [f"{c:>13}" if isinstance(c, str) else f"{c:13.2f}" for c in cells]
                print(f"{name + f', {size} snapshots':30}{'  '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
