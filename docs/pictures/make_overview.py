"""Make the picture of README: maps of photographs, and of creatures by a trained run.

Run by hand from an installed checkout with the extra ``dev``::

    python docs/pictures/make_overview.py SQUEEZENET_WEIGHTS RUN

SQUEEZENET_WEIGHTS is a file of torchvision's ``squeezenet1_0`` trained on ImageNet, RUN the folder
of a run of ``python train.py``. The photographs come with scikit-image and may be redistributed:
``astronaut`` is in the public domain (NASA), ``chelsea`` (Stefan van der Walt) and ``coffee``
(Rachel Michetti) are CC0.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torchvision.transforms.functional import normalize

from learned_saliency import load
from learned_saliency.attribution import LIFTCAM, GradCAM, OptiCAM, split
from learned_saliency.datamodules import read_pixels, read_split
from learned_saliency.pipeline.runs import read_checkpoint, third_party_network
from learned_saliency.visualization import FOUND_BOX, TRUE_BOX, Picture, grid, overlay, with_boxes

OUT = Path(__file__).with_name("overview.png")
SIDE, CELL = 224, 112
CREATURES = (0, 1, 2)  # images of the test split
CATEGORIES = torchvision.models.SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"]
PHOTOGRAPHS = {
    "astronaut": (data.astronaut, "space shuttle"),
    "cat": (data.chelsea, "Egyptian cat"),
    "coffee": (data.coffee, "espresso"),
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def square(image: NDArray[np.uint8]) -> Picture:
    """Cut the middle square of an image and resize it to SIDE pixels."""
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    middle = image[top : top + side, left : left + side]
    return cv2.resize(middle, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def explained_photographs(weights: str) -> list[list[Picture]]:
    """Give a row for each photograph: the image and the maps of three methods for its class."""
    network = third_party_network("torchvision:squeezenet1_0", None, weights)
    classifier = split(network.eval(), "features")
    pictures = [square(read()) for read, _ in PHOTOGRAPHS.values()]
    images = torch.stack([torch.from_numpy(p).permute(2, 0, 1) / 255 for p in pictures])
    images = normalize(images, MEAN, STD)
    targets = torch.tensor([CATEGORIES.index(name) for _, name in PHOTOGRAPHS.values()])
    methods = (GradCAM(), LIFTCAM(), OptiCAM(iterations=100, mean=MEAN, std=STD))
    maps = [method(classifier, images, targets).numpy() for method in methods]
    return [
        [picture, *(overlay(picture, saliency[row]) for saliency in maps)]
        for row, picture in enumerate(pictures)
    ]


def explained_creatures(run: str) -> list[list[Picture]]:
    """Give a row for three test images of a run: the true box, the CAM, and F-CAM with its box."""
    model = load(run, methods=["native", "cam"])
    config = read_checkpoint(run, "best.ckpt").config.data
    root = Path(config.root).expanduser()
    test = read_split(Path(config.metadata).expanduser() / "test", localization=True)
    rows = []
    for number in CREATURES:
        image = read_pixels(root / test.image_ids[number])
        (found,) = model([image])
        boxes = test.boxes[test.box_images == number]
        truth = with_boxes(image, boxes, TRUE_BOX)
        fcam = with_boxes(overlay(image, found.map), [found.box], FOUND_BOX)
        rows.append([truth, overlay(image, found.maps["cam"][0]), fcam])
    return rows


def main(weights: str, run: str) -> None:
    """Draw both halves and write the picture with a palette of 256 colors."""
    titles = ["photograph", "Grad-CAM", "LIFT-CAM", "Opti-CAM"]
    left = grid(explained_photographs(weights), titles, cell=CELL)
    right = grid(explained_creatures(run), ["creature", "CAM", "F-CAM"], cell=CELL)
    margin = np.full((len(left), CELL // 8, 3), 255, dtype=np.uint8)
    sheet = Image.fromarray(np.concatenate([left, margin, right], axis=1))
    sheet.quantize(256).save(OUT, optimize=True)
    print(f"{OUT}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
