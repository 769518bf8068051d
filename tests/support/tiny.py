"""The data set of the fixture ``tiny``: its module, its images, masks for it."""

import numpy as np
from PIL import Image

from learned_saliency.datamodules import WSOLDataModule


def tiny_data(folder, **options):
    defaults = {"resize_size": 10, "crop_size": 8, "batch_size": 4, "eval_batch_size": 3}
    return WSOLDataModule(folder, folder / "metadata", **(defaults | options))


def train_images(data, epoch=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return {
        image_id: image
        for batch in loader
        for image_id, image in zip(batch["image_id"], batch["image"], strict=True)
    }


def add_masks(folder, split="val", count=5):
    lines = []
    for i in range(count):
        mask = np.zeros((10, 12), np.uint8)
        mask[2:5, i : i + 4] = 1
        Image.fromarray(mask).save(folder / split / f"mask{i}.png")
        lines.append(f"{split}/{i}.png,{split}/mask{i}.png,")
    (folder / "metadata" / split / "masks.txt").write_text("\n".join(lines))


def read_all(data):
    data.setup("fit")
    return list(data.train_dataloader()), list(data.val_dataloader())
