"""Cached training images: whole batches against one image at a time.

Run by hand, ``python benchmarks/data.py``. Both sides start from decoded and resized images in
memory, crop, flip and normalize them, and give float batches; the peer is torchvision's pipeline of
one image at a time with torch's own collation.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset, default_collate
from torchvision import transforms

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.datamodules.wsol import IMAGENET_MEAN, IMAGENET_STD

_IMAGES, _SIDE, _CROP, _BATCH = 1024, 112, 96, 32


def _write(folder: Path) -> None:
    generator = np.random.default_rng(0)
    ids = [f"{i}.png" for i in range(_IMAGES)]
    for image_id in ids:
        pixels = generator.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / image_id, compress_level=0)
    (folder / "train").mkdir()
    (folder / "train" / "image_ids.txt").write_text("\n".join(ids))
    (folder / "train" / "class_labels.txt").write_text("\n".join(f"{x},0" for x in ids))


def _peer() -> DataLoader:
    images = torch.randint(0, 256, (_IMAGES, 3, _SIDE, _SIDE), dtype=torch.uint8)
    augment = transforms.Compose(
        [
            transforms.RandomCrop(_CROP),
            transforms.RandomHorizontalFlip(),
            transforms.ConvertImageDtype(torch.float32),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    return DataLoader(
        TensorDataset(images),
        batch_size=_BATCH,
        shuffle=True,
        collate_fn=lambda items: default_collate([augment(image) for (image,) in items]),
    )


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / _IMAGES * 1e3


def main() -> None:
    """Print milliseconds an image of both, the best of several epochs, and their ratio."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        data = WSOLDataModule(
            folder,
            folder,
            resize_size=_SIDE,
            crop_size=_CROP,
            batch_size=_BATCH,
            cache="memory",
        )
        data.setup()
        ours, peer = data.train_dataloader(), _peer()
        times = [[_milliseconds(lambda x=x: list(iter(x))) for x in (ours, peer)] for _ in range(7)]
    best_ours, best_peer = np.min(times, axis=0)
    print(f"{'pipeline':<28}{'ms an image':>12}{'ratio':>8}")
    print(f"{'torchvision, one at a time':<28}{best_peer:>12.3f}{1.0:>8.2f}")
    print(f"{'WSOLDataModule, cached':<28}{best_ours:>12.3f}{best_ours / best_peer:>8.2f}")


if __name__ == "__main__":
    main()
