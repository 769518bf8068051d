"""Input of training images: this project's data module against torchvision's plain pipeline.

Run by hand, ``taskset -c 0 python benchmarks/input.py [quality ...]``. Both sides read the same
JPEG files of 500 x 375 pixels, resize to 256 x 256, crop 224 x 224, flip, normalize and collate, in
one process on one thread. The peer decodes by Pillow and handles one image at a time. The images
are noise with a spectrum like that of photographs, and their files about as large as those of
photographs of this size: 60 of ImageNet come to 42 kB at JPEG quality 75 and to 70 kB at 90.
``quality`` is that of the files, 75 and 90 by default. The time is that of the processor, so that
other programs disturb little; the best of several epochs counts, which take turns.
"""

import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.datamodules.wsol import IMAGENET_MEAN, IMAGENET_STD

_IMAGES, _HEIGHT, _WIDTH, _BATCH, _EPOCHS = 64, 375, 500, 32, 25
_VARIANTS = {
    "exact": {},
    "fast_decode": {"fast_decode": True},
    "cache=memory": {"cache": "memory"},
    "cache=disk": {"cache": "disk"},
}


def photograph(number: int) -> Image.Image:
    """Draw noise whose amplitude falls with the frequency as in photographs."""
    generator = np.random.default_rng(number)
    frequency = np.hypot(np.fft.fftfreq(_HEIGHT)[:, None], np.fft.rfftfreq(_WIDTH))
    frequency[0, 0] = np.inf
    layers = []
    for power, deviation in ((1.3, 55), (1.6, 20), (1.6, 20), (1.6, 20)):
        noise = np.fft.rfft2(generator.normal(size=(_HEIGHT, _WIDTH))) / frequency**power
        layer = np.fft.irfft2(noise, s=(_HEIGHT, _WIDTH))
        layers.append(layer * (deviation / layer.std()))
    colors = 120 + layers[0][..., None] + np.stack(layers[1:], -1)
    return Image.fromarray(colors.clip(0, 255).astype(np.uint8))


def write(folder: Path, quality: int) -> float:
    """Write the data set; return the mean size of a file in kB."""
    names = [f"{number}.jpg" for number in range(_IMAGES)]
    for number, name in enumerate(names):
        photograph(number).save(folder / name, quality=quality)
    (folder / "train").mkdir()
    (folder / "train" / "image_ids.txt").write_text("\n".join(names))
    (folder / "train" / "class_labels.txt").write_text("\n".join(f"{name},0" for name in names))
    return sum((folder / name).stat().st_size for name in names) / len(names) / 1e3


class PlainImages(Dataset):
    """Images as torchvision's reference scripts read them."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / f"{number}.jpg" for number in range(_IMAGES)]
        self.transform = transforms.Compose(
            [
                transforms.Resize((256, 256)),
                transforms.RandomCrop(224),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Read an image."""
        with self.paths[index].open("rb") as file:
            return self.transform(Image.open(file).convert("RGB")), 0


def milliseconds(loader: Iterable) -> float:
    """Measure the time of an epoch per image."""
    start = time.process_time()
    for _ in loader:
        pass
    return (time.process_time() - start) / _IMAGES * 1e3


def measure(folder: Path) -> dict[str, float]:
    """Return the best milliseconds per image of each pipeline."""
    loaders: dict[str, Iterable] = {
        "torchvision": DataLoader(PlainImages(folder), batch_size=_BATCH, shuffle=True)
    }
    for name, options in _VARIANTS.items():
        data = WSOLDataModule(
            folder, folder, batch_size=_BATCH, cache_folder=folder / "kept", **options
        )
        data.setup()
        loaders[name] = data.train_dataloader()
    times = [[milliseconds(loader) for loader in loaders.values()] for _ in range(_EPOCHS)]
    return dict(zip(loaders, np.min(times, axis=0), strict=True))


def main() -> None:
    """Print milliseconds per image of all, and how many times as fast as the peer they are."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for quality in map(int, sys.argv[1:] or ("75", "90")):
        with tempfile.TemporaryDirectory() as folder:
            size = write(Path(folder), quality)
            best = measure(Path(folder))
        print(f"JPEG quality {quality}, {size:.0f} kB per file")
        for name, value in best.items():
            print(f"  {name:<14}{value:8.3f} ms{best['torchvision'] / value:8.2f}x")


if __name__ == "__main__":
    main()
