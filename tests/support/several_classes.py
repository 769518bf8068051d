"""A data set whose images have several classes each, and a model for it that nobody trained."""

import numpy as np
import torch
from PIL import Image

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.conversion.convert import write_checkpoint
from learned_saliency.pipeline.runs.build import build_module, build_network

NAMES = ["ant", "bee", "cow"]
#: Classes of the images of each split, one to three of them.
CLASSES = [[0, 2], [1], [0, 1, 2], [2], [1, 2], [0]]
SIDE = 32


def write_several(root):
    """Write images on which each class has a square of its own color, with boxes and masks."""
    generator = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        folder, lines = root / "metadata" / split, {"ids": [], "labels": [], "sizes": []}
        lines |= {"boxes": [], "masks": []}
        folder.mkdir(parents=True)
        (root / split).mkdir()
        for k, classes in enumerate(CLASSES):
            name = f"{split}/{k}.png"
            pixels = generator.integers(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
            lines["ids"].append(name)
            lines["sizes"].append(f"{name},{SIDE},{SIDE}")
            for c in classes:
                x, y = 2 + 10 * c, 3 + 4 * (k % 4)
                pixels[y : y + 8, x : x + 8, c] = 250
                mask = np.zeros((SIDE, SIDE), np.uint8)
                mask[y : y + 8, x : x + 8] = 1
                Image.fromarray(mask).save(root / split / f"{k}-{c}-mask.png")
                lines["labels"].append(f"{name},{c}")
                lines["boxes"].append(f"{name},{x},{y},{x + 7},{y + 7},{c}")
                lines["masks"].append(f"{name},{split}/{k}-{c}-mask.png,,{c}")
            Image.fromarray(pixels).save(root / name)
        files = {"ids": "image_ids", "labels": "class_labels"}
        if split != "train":
            files |= {"sizes": "image_sizes", "boxes": "localization", "masks": "masks"}
        for key, file in files.items():
            (folder / f"{file}.txt").write_text("\n".join(lines[key]) + "\n")
    names = "".join(f"{i},{name}\n" for i, name in enumerate(NAMES))
    (root / "metadata" / "class_names.txt").write_text(names)
    return root


def several_words(root):
    """Words of a command line that name the data set and a small network."""
    return [
        "data=wsol",
        "data.name=several",
        f"data.root={root}",
        f"data.metadata={root}/metadata",
        "data.task=multilabel",
        f"data.resize_size={SIDE}",
        f"data.crop_size={SIDE}",
        "data.num_workers=0",
        "data.eval_batch_size=4",
        "backbone=resnet10",
        "backbone.channels=[8,8,16,16]",
    ]


def several_run(root, folder):
    """Write a run whose checkpoint has random weights, large enough to tell classes apart."""
    config = compose_checked([*several_words(root), "model=cam", f"output_dir={folder}"])
    torch.manual_seed(3)
    network = build_network(config.model, len(NAMES))
    network.fc.weight.data *= 20
    write_checkpoint(config, build_module(config.model, network), NAMES, folder)
    return folder
