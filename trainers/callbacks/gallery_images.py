"""Tested images with their maps as small pictures."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import box_iou, boxes_from_saliency
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.outputs import TestOutput, is_flat
from learned_saliency.visualization import Picture, encode_png

_PICTURE_SIDE = 224  # pixels, of the longer side
_MAP_SIDE = 64
_QUALITY = 85


class GalleryMap(NamedTuple):
    """Map of one method of an image.

    Attributes:
        values: Gray PNG of 8 bits, the map in [0, 1] reduced to at most 64 pixels a side.
        box: Predicted box x0 y0 x1 y1 in pixels of the input, both ends inside; None for a map that
            is constant.
        iou: IoU of the box with the best true box; None without either.
    """

    values: bytes
    box: list[int] | None
    iou: float | None


class GalleryImage(NamedTuple):
    """A tested image with its maps.

    Attributes:
        place: Place of the image in the split.
        image_id: Name of the image.
        label: True class; -1 where it is unknown.
        predicted: Predicted class; -1 without a classifier.
        target: Class that the maps explain.
        predicted_probability: Probability of ``predicted``, in [0, 1]; None without a classifier.
        target_probability: Probability of ``target``, likewise.
        score: Score of ``target`` where scores that are no classes are explained; else None.
        size: Height and width of the network's input in pixels.
        picture: JPEG of the input, at most 224 pixels a side.
        boxes: True boxes x0 y0 x1 y1 in pixels of the input, both ends inside.
        regions: Outlines of the true mask, polygons of points x, y in pixels of the input.
        maps: Maps by method.
    """

    place: int
    image_id: str
    label: int
    predicted: int
    target: int
    predicted_probability: float | None
    target_probability: float | None
    score: float | None
    size: tuple[int, int]
    picture: bytes
    boxes: list[list[int]]
    regions: list[list[list[int]]]
    maps: dict[str, GalleryMap]


def draw_image(
    module: SaliencyModule, tested: TestOutput, batch: WSOLBatch, i: int
) -> GalleryImage:
    """Draw one image of a batch with its maps."""
    colors = module.colors(batch["image"][i]).permute(1, 2, 0).round().byte().cpu().numpy()
    true = batch["boxes"][i].cpu() if "boxes" in batch else torch.empty(0, 4, dtype=torch.int64)
    probs = module.activation.probabilities(tested.logits[i].float())
    predicted, target = int(probs.argmax()), int(tested.targets[i])
    threshold = float(module.box_threshold)
    classified = module.has_scores and module.has_classes
    predicts = classified and "labels" not in batch  # else it decides on each class by itself
    scored = module.has_scores and not module.has_classes
    return GalleryImage(
        place=int(batch["index"][i]),
        image_id=batch["image_id"][i],
        label=int(batch["label"][i]),
        predicted=predicted if predicts else -1,
        target=target,
        predicted_probability=float(probs[predicted]) if predicts else None,
        target_probability=float(probs[target]) if classified else None,
        score=float(tested.logits[i, target]) if scored else None,
        size=(colors.shape[0], colors.shape[1]),
        picture=_jpeg(colors),
        boxes=true.tolist(),
        regions=_outlines(batch["mask"][i]) if "mask" in batch else [],
        maps={name: _drawn(maps[i], true, threshold) for name, maps in tested.maps.items()},
    )


def _drawn(saliency: Tensor, true: Tensor, threshold: float) -> GalleryMap:
    values = saliency.float().cpu()
    box = None
    if not is_flat(values.numpy()):
        box = boxes_from_saliency(values[None], threshold)[0]
    iou = None
    if box is not None and len(true):
        iou = float(box_iou(box.numpy(), true.numpy()).max())
    levels = _reduced((values.numpy() * 255).round().astype(np.uint8), _MAP_SIDE)
    return GalleryMap(encode_png(levels), None if box is None else box.tolist(), iou)


def badness(module: SaliencyModule, tested: TestOutput, batch: WSOLBatch, i: int) -> float:
    """Measure how badly the first method failed on one image of a batch, in [0, 1].

    It is 1 for a flat map; else 1 minus the IoU of the predicted box with the best true box; where
    there are none, 1 minus the probability of the true class.
    """
    saliency = next(iter(tested.maps.values()))[i].float().cpu()
    if is_flat(saliency.numpy()):
        return 1.0
    if "boxes" in batch and len(batch["boxes"][i]):
        box = boxes_from_saliency(saliency[None], float(module.box_threshold))[0]
        return 1 - float(box_iou(box.numpy(), batch["boxes"][i].cpu().numpy()).max())
    if batch["label"][i] >= 0 and module.has_scores and module.has_classes:
        probs = module.activation.probabilities(tested.logits[i].float())
        return 1 - float(probs[batch["label"][i]])
    return 0.0


def _reduced(pixels: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """Reduce a picture to a longer side of at most ``most`` pixels."""
    factor = most / max(pixels.shape[:2])
    if factor >= 1:
        return pixels
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _jpeg(colors: Picture) -> bytes:
    pixels = cv2.cvtColor(_reduced(colors, _PICTURE_SIDE), cv2.COLOR_RGB2BGR)
    ok, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not ok:
        raise OSError(f"a picture of shape {colors.shape} could not be encoded")
    return code.tobytes()


def _outlines(mask: Tensor) -> list[list[list[int]]]:
    """Find the outlines of a mask's object, thinned by at most a pixel."""
    of_object = (mask.cpu().numpy() == 1).astype(np.uint8)
    found = cv2.findContours(of_object, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]
    thinned = [cv2.approxPolyDP(outline, 1.0, True)[:, 0].tolist() for outline in found]
    return [outline for outline in thinned if len(outline) > 2]


def plain(image: GalleryImage) -> dict[str, Any]:
    """Write an image in tensors and plain values."""
    maps = {
        name: found._asdict() | {"values": _tensor(found.values)}
        for name, found in image.maps.items()
    }
    return image._asdict() | {"picture": _tensor(image.picture), "maps": maps}


def restored(values: dict[str, Any]) -> GalleryImage:
    """Read what `plain` wrote."""
    maps = {
        name: GalleryMap(**found | {"values": found["values"].numpy().tobytes()})
        for name, found in values["maps"].items()
    }
    picture = values["picture"].numpy().tobytes()
    return GalleryImage(
        **values | {"picture": picture, "maps": maps, "size": tuple(values["size"])}
    )


def _tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)
