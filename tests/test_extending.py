"""A new learned method is files of its own and an export line in each room, and nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.words import SMALL_RUN

LOSS = '''"""Cross-entropy with a penalty on undecided predictions."""

import torch.nn.functional as F
from torch import Tensor, nn


class EntropyCAMLoss(nn.Module):
    """Cross-entropy plus ``weight`` times the entropy of the prediction."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Give both terms for logits (B, C) and labels (B,)."""
        log_probs = logits.float().log_softmax(1)
        entropy = -(log_probs.exp() * log_probs).sum(1).mean()
        return {"classification": F.nll_loss(log_probs, labels), "entropy": self.weight * entropy}
'''
TRAINER = '''"""A CAM classifier whose predictions are decided."""

from typing import Any

from torch import Tensor

from learned_saliency.losses import EntropyCAMLoss
from learned_saliency.trainers.cam import CAMModule


class EntropyCAMModule(CAMModule):
    """Trains a CAM classifier with an entropy penalty."""

    def __init__(self, *, loss: EntropyCAMLoss, **options: Any) -> None:
        super().__init__(**options)
        self.loss = loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Cross-entropy and entropy."""
        terms = self.loss(self.network(batch["image"]), batch["label"])
        total = sum(terms.values())
        self.log_losses(total, terms, len(batch["label"]))
        return total
'''
MODEL = """# A CAM classifier with an entropy penalty.
defaults: [cam, _self_]
name: entropycam
paper: none
module:
  _target_: learned_saliency.trainers.EntropyCAMModule
  loss: {_target_: learned_saliency.losses.EntropyCAMLoss, weight: "${recipe.entropy_weight}"}
"""
RECIPE = "# @package recipe\nentropy_weight: 0.5\n"

# Trains, evaluates, predicts, exports, and serves as the classifier of F-CAM: by the commands.
SCRIPT = """
import json, sys
from learned_saliency.pipeline.commands import main
import learned_saliency.trainers
assert "site" in learned_saliency.trainers.__file__
for name, words in json.loads(sys.argv[1]):
    sys.argv[:] = [f"{name}.py", *words]
    main(name)
"""


def copied(folder: Path) -> Path:
    """Make a copy of the package in which rooms that change are copies and others are links."""
    package = folder / "site" / "learned_saliency"
    shutil.copytree(ROOT / "learned_saliency", package)
    for room in ("losses", "trainers", "configs"):
        shutil.copytree(ROOT / room, package / room)
    rooms = re.findall(r'"learned_saliency\.\w+" = "(\w+)"', (ROOT / "pyproject.toml").read_text())
    for room in set(rooms) - {"losses", "trainers", "configs"}:
        (package / room).symlink_to(ROOT / room)
    return package


def export(package: Path, room: str, module: str, name: str) -> None:
    """Add the export line of a name, and nothing else."""
    file = package / room / "__init__.py"
    line = f"from learned_saliency.{room}.{module} import {name}\n"
    text = file.read_text()
    assert "__all__ = [\n" in text
    text = text.replace("__all__ = [\n", f'__all__ = [\n    "{name}",\n')
    file.write_text(text.replace("\n\n__all__", f"\n{line}\n__all__"))


def test_a_learned_method_in_its_own_files_does_all_that_the_others_do(creatures, tmp_path):
    package = copied(tmp_path)
    (package / "losses" / "entropycam.py").write_text(LOSS)
    (package / "trainers" / "entropycam.py").write_text(TRAINER)
    (package / "configs" / "model" / "entropycam.yaml").write_text(MODEL)
    (package / "configs" / "recipe" / "method" / "entropycam.yaml").write_text(RECIPE)
    export(package, "losses", "entropycam", "EntropyCAMLoss")
    export(package, "trainers", "entropycam", "EntropyCAMModule")

    data = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    run, short = tmp_path / "run", ["+trainer.limit_train_batches=2", "pictures.images=0"]
    fcam = [*SMALL_RUN, *data, *short, "model=fcam", f"classifier={run}"]
    commands = [
        ["train", [*SMALL_RUN, *data, *short, "model=entropycam", f"output_dir={run}"]],
        ["evaluate", [f"checkpoint={run}", "methods=[gradcam]", f"output_dir={tmp_path}/scored"]],
        ["predict", [f"checkpoint={run}", f"images={creatures}/images/test", f"out={tmp_path}/m"]],
        ["export", [f"checkpoint={run}", "format=pt2", f"out={tmp_path}/model.pt2"]],
        ["train", [*fcam, f"output_dir={tmp_path}/fcam"]],
    ]
    environment = {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(commands)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train/loss_entropy" in (run / "metrics.csv").read_text()
    scored = json.loads((tmp_path / "scored" / "results.json").read_text())["test"]
    assert {"native", "gradcam"} <= scored.keys()
    assert len(json.loads((tmp_path / "m" / "predictions.json").read_text())["images"]) == 17
    assert (tmp_path / "model.pt2").is_file()
    assert json.loads((tmp_path / "fcam" / "results.json").read_text())["model"] == "fcam"
