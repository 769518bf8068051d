"""The examples of CONTRIBUTING.md are files of their own and export lines, and they work."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.words import SMALL_DATA, SMALL_RUN

PAGE = (ROOT / "CONTRIBUTING.md").read_text()

# All commands in one process: with the example methods, data set and study beside the others.
SCRIPT = """
import json, sys
from learned_saliency.pipeline.commands import main
import learned_saliency.trainers
assert "site" in learned_saliency.trainers.__file__
for name, words in json.loads(sys.argv[1]):
    sys.argv[:] = [f"{name}.py", *words]
    main(name)
"""


def blocks(heading: str) -> dict[str, str]:
    """Give the code below each line ``HEADING `PATH`:`` of the page, by its path."""
    found = re.findall(rf"^{heading} `(\S+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return dict(found)


def shown_commands() -> list[str]:
    """Give the lines of the page that call a command of the project."""
    return re.findall(r"^python \w+\.py .*$", PAGE, re.MULTILINE)


def extended(folder: Path) -> Path:
    """Make a copy of the package and add the page's examples to it as the page says."""
    package = folder / "site" / "learned_saliency"
    shutil.copytree(ROOT / "learned_saliency", package)
    files, lines, exports = blocks("New file"), blocks("Add to"), blocks("Export from")
    changed = {path.partition("/")[0] for path in [*files, *lines, *exports]}
    rooms = re.findall(r'"learned_saliency\.\w+" = "(\w+)"', (ROOT / "pyproject.toml").read_text())
    for room in rooms:
        if room in changed:
            shutil.copytree(ROOT / room, package / room)
        else:
            (package / room).symlink_to(ROOT / room)
    for path, text in files.items():
        assert not (package / path).exists()
        (package / path).write_text(text)
    for path, text in lines.items():
        with (package / path).open("a") as file:
            file.write(text)
    for path, line in exports.items():
        export(package / path, line)
    return package


def export(file: Path, line: str) -> None:
    """Add the export line of a name, and nothing else."""
    name = re.fullmatch(r"from learned_saliency\.\S+ import (\w+)\n", line)[1]
    text = file.read_text()
    assert "__all__ = [\n" in text
    text = text.replace("__all__ = [\n", f'__all__ = [\n    "{name}",\n')
    file.write_text(text.replace("\n\n__all__", f"\n{line}\n__all__"))


def table_of(creatures: Path) -> Path:
    """List the images of a data set as the example of a reader expects it."""
    with (creatures / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "class", "split"])
        for split in ("train", "val", "test"):
            for line in (creatures / "metadata" / split / "class_labels.txt").open():
                image, _, label = line.strip().rpartition(",")
                writer.writerow([image, f"class {int(label):02d}", split])
    return creatures


def test_examples_of_contributing_do_all_that_others_do(creatures, tmp_path):
    extended(tmp_path)
    photos = table_of(shutil.copytree(creatures, tmp_path / "photos"))
    data = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    run, short = tmp_path / "run", ["+trainer.limit_train_batches=2", "pictures.images=0"]
    table = [word for word in SMALL_RUN if word not in SMALL_DATA or ".reader." not in word]
    added = {
        "python train.py model=entropycam": [*SMALL_RUN, *data, *short, f"output_dir={run}"],
        "python train.py data=table data.root=photos model=cam": [
            *(word for word in table if word != "data=creatures"),
            *short,
            f"output_dir={tmp_path}/table",
        ],
        "python evaluate.py checkpoint=RUN 'methods=[native,normgrad]' 'studies=[flip]'": [
            "evaluate.faithfulness=[]",
            f"output_dir={tmp_path}/scored",
        ],
    }
    assert sorted(shown_commands()) == sorted(added)
    shown = [shlex.split(line.replace("RUN", str(run)))[1:] for line in added]
    fcam = [*SMALL_RUN, *data, *short, "model=fcam", f"classifier={run}"]
    commands = [
        *(
            [script[:-3], [*words, *more]]
            for (script, *words), more in zip(shown, added.values(), strict=True)
        ),
        ["predict", [f"checkpoint={run}", f"images={photos}/images/test", f"out={tmp_path}/m"]],
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
    assert {"native", "normgrad"} <= scored.keys()
    assert 0 < scored["normgrad"]["flip_difference"] < 1
    assert 0 <= scored["normgrad"]["pxap"] <= 1
    assert len(json.loads((tmp_path / "m" / "predictions.json").read_text())["images"]) == 17
    assert (tmp_path / "model.pt2").is_file()
    assert json.loads((tmp_path / "fcam" / "results.json").read_text())["model"] == "fcam"
    listed = json.loads((tmp_path / "table" / "results.json").read_text())
    assert listed["data"] == "table"
    assert 0 <= listed["test"]["native"]["accuracy"] <= 1
    assert "15,class 15" in (photos / "table-metadata" / "class_names.txt").read_text()
