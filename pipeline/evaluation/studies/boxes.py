"""Study of how much of the evidence that maps show lies within the true boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.metrics import Figure, black_level
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.evaluation.studies.base import (
    Explainer,
    Outcome,
    Setting,
    Study,
    chosen_rows,
    explainers,
)
from learned_saliency.pipeline.evaluation.studies.shown import (
    SHOWN_FIGURES,
    ShownBatch,
    computed,
    renamed,
    shown_scores,
)
from learned_saliency.storage import write_bytes, write_csv
from learned_saliency.trainers import SaliencyModule, place, spread
from learned_saliency.visualization import encode_png, grid

_BOX, _OUTSIDE = "true_box", "outside_true_box"  # rows that need no map: S := B and S := I \ B
_VARIANTS = ("boxes_", "boxes_in_", "boxes_out_")  # S, B and S, S without B
_SHORT = ("{} S", "{} B&S", "{} S-B")


class Boxes(Study):
    """Average drop, gain and increase of maps within and outside of true boxes (paper 000, Tab. 3).

    B is the union of an image's true boxes, as a mask. The images are multiplied by B itself, by
    its complement, and for each method by its map S, by S within B and by S outside of B. Images
    without a box are left out. Where B is the whole image, nothing is left outside of it, and the
    classifier sees an empty image.

    An image costs one pass beside those of the methods, two for the boxes, and three for each
    method.
    """

    name = "boxes"
    rows = (_BOX, _OUTSIDE)
    figures: Mapping[str, Figure] = {
        f"{prefix}{name}": figure._replace(short=short.format(figure.short))
        for name, figure in SHOWN_FIGURES.items()
        for prefix, short in zip(_VARIANTS, _SHORT, strict=True)
    }

    def __init__(self) -> None:
        self._split = ""

    def check(self, config: DictConfig) -> None:
        """Note the split whose boxes are needed."""
        self._split = config.split

    def check_data(self, data: WSOLDataModule) -> None:
        """Check that the split has boxes.

        Raises:
            UserError: If it has none.
        """
        if not data.has_boxes(self._split):
            raise UserError(
                f"studies=[boxes] needs true boxes, which {data.metadata / self._split} does not "
                "have: choose a data set with boxes, or leave the study out."
            )

    def run(self, setting: Setting) -> Outcome:
        """Show the images through boxes, maps and what these have in common."""
        module = setting.module
        methods = explainers(module)
        scores = {row: {_VARIANTS[0]: shown_scores(module.device)} for row in (_BOX, _OUTSIDE)}
        for name in methods:
            scores[name] = {prefix: shown_scores(module.device) for prefix in _VARIANTS}
        for number, batch in enumerate(setting.batches(scores)):
            rows = torch.tensor([row for row, boxes in enumerate(batch["boxes"]) if len(boxes)])
            if not len(rows):
                continue
            batch = chosen_rows(batch, rows)
            shown = ShownBatch(module, batch)
            inside = box_masks(batch["boxes"], shown.images)
            both = torch.stack([inside, 1 - inside])
            shown.show(both, *(scores[row][_VARIANTS[0]] for row in (_BOX, _OUTSIDE)))
            for name, method in methods.items():
                setting.note(f"{name}, batch {number + 1}")
                maps = method(shown.classifier, shown.images, shown.targets)
                shown.show(cut_at_boxes(maps, inside), *scores[name].values())
        results = {
            row: {
                key: value
                for prefix, each in found.items()
                for key, value in renamed(prefix, computed(each)).items()
            }
            for row, found in scores.items()
        }
        files: dict[str, Any] = {"boxes.csv": partial(write_boxes, results=results)}
        if setting.pictures and place().rank == 0:
            files |= _pictures(setting, methods)
        return Outcome(results, self.figures, files)


def box_masks(boxes: Sequence[Tensor], images: Tensor) -> Tensor:
    """Draw the union of each image's boxes.

    Args:
        boxes: Boxes x0 y0 x1 y1 per image in pixels, int (n, 4); x1 and y1 lie inside. What lies
            beyond the image is left out.
        images: Shape (B, 3, H, W); gives size, type and device.

    Returns:
        Masks of ones and zeros, shape (B, H, W).
    """
    masks = torch.zeros_like(images[:, 0])
    for mask, found in zip(masks, boxes, strict=True):
        ends = (found + found.new_tensor([0, 0, 1, 1])).clamp(min=0)
        for x0, y0, x1, y1 in ends.tolist():
            mask[y0:y1, x0:x1] = 1
    return masks


def cut_at_boxes(maps: Tensor, inside: Tensor) -> Tensor:
    """Stack maps (B, H, W), maps within the boxes and maps outside: (3, B, H, W)."""
    return torch.stack([maps, maps * inside, maps * (1 - inside)])


def write_boxes(path: Path, results: Mapping[str, Mapping[str, float]]) -> None:
    """Write one row per method as CSV, and two of the boxes alone, whose cells are S's (Tab. 3)."""
    rows = [
        {"method": row} | {name: f"{value:.6f}" for name, value in values.items()}
        for row, values in results.items()
    ]
    write_csv(path, ["method", *Boxes.figures], rows)


def _pictures(setting: Setting, methods: Mapping[str, Explainer]) -> dict[str, Any]:
    """Make some images as the classifier sees them, one picture per method."""
    module = setting.module
    batch = spread(setting.data.dataloader(setting.config.split), setting.pictures)
    shown = ShownBatch(module, setting.to_device(batch))
    inside = box_masks(batch["boxes"], shown.images)
    files = {}
    for name, method in methods.items():
        maps = method(shown.classifier, shown.images, shown.targets).to(inside)
        masks = torch.cat([torch.stack([inside, 1 - inside]), cut_at_boxes(maps, inside)])
        probs = torch.cat([shown.p[None], shown.show(masks)])
        seen = [module.colors(images) for images in masked_images(module, shown.images, masks)]
        files[f"pictures/boxes_{name}.png"] = partial(
            draw_boxes, colors=torch.stack([module.colors(shown.images), *seen]), probs=probs
        )
    return files


def masked_images(module: SaliencyModule, images: Tensor, masks: Tensor) -> Tensor:
    """Multiply images by masks (N, B, H, W), as the test does: (N, B, 3, H, W)."""
    black = black_level(images, **module.masking)
    return (images - black) * masks[:, :, None] + black


def draw_boxes(path: Path, colors: Tensor, probs: Tensor) -> None:
    """Draw each image as it is and through five masks, with the probability of its class.

    Args:
        path: PNG to write.
        colors: Shape (6, B, 3, H, W), in 0..255.
        probs: Probability of the class on each, shape (6, B).
    """
    pictures = colors.round().byte().permute(1, 0, 3, 4, 2).cpu().numpy()
    captions = [[[f"p = {100 * p:.1f} %"] for p in row] for row in probs.T.tolist()]
    titles = ["image", "box B", "outside of B", "map S", "S within B", "S outside of B"]
    rows = [list(row) for row in pictures]
    write_bytes(path, encode_png(grid(rows, titles, captions=captions)))
