"""A few tested images with the maps of all methods, in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import boxes_from_saliency
from learned_saliency.storage import write_bytes
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.callbacks.journal import Kept
from learned_saliency.trainers.outputs import (
    EVERY_CLASS,
    NATIVE,
    Example,
    NativeMap,
    TestOutput,
    class_name,
    is_flat,
    score_line,
)
from learned_saliency.trainers.strategies.processes import gathered
from learned_saliency.visualization import (
    DEFAULT_COLORMAP,
    FOUND_BOX,
    TRUE_BOX,
    Picture,
    encode_png,
    grid,
    overlay,
    with_boxes,
)

CELL = 200  # width of a picture, pixels: room for the names of most classes


class ContactSheet(Kept, L.Callback):
    """Draws images spread evenly over the tested split, a column for each method.

    Below an image stand its true and its predicted class, below a map the class that it explains
    and that one's probability, or the score that it explains where that is no class; without a
    classifier the true class alone. Boxes are the true ones and, at the module's ``box_threshold``,
    that of the map. A map that is constant is called flat and has no box.

    The maps are those of the test, so that nothing is computed twice. Of several processes each
    draws the chosen images among its own; the first process puts them together.

    Args:
        path: PNG to write when the test ends.
        count: Number of images; 0 for no picture.
        class_names: Names of the classes; numbers stand for those that have none.

    Attributes:
        examples: What is drawn, of the last test.
    """

    def __init__(self, path: Path, count: int = 8, class_names: Sequence[str] = ()) -> None:
        self.path = path
        self.count = count
        self.class_names = class_names
        self._chosen: set[int] = set()
        self._whole: dict[int, Example] = {}  # those of all processes and methods
        self._drawn: dict[int, Example] = {}  # by place in the split
        self.examples: list[Example] = []
        self._taken: dict[str, dict[int, Example]] = {}  # by method and place

    def on_test_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Choose the images."""
        images = count_tested(trainer)
        spread = np.linspace(0, images - 1, min(self.count, images)).round().astype(int)
        self._chosen = set(spread.tolist())
        self._drawn, self._whole, self.examples = {}, {}, []

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        module: SaliencyModule,
        outputs: TestOutput,
        batch: WSOLBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the rows of the chosen images of a batch, beside the network."""
        module.aside.run(partial(self._draw, module, outputs, batch))

    def _draw(self, module: SaliencyModule, outputs: TestOutput, batch: WSOLBatch) -> None:
        for i, place in enumerate(batch["index"].tolist()):
            if place in self._chosen:
                self._drawn[place] = _example(module, outputs, batch, i)

    def on_test_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Write the picture."""
        drawn = {place: e for share in gathered(self._drawn) for place, e in share.items()}
        self._whole = self._with_taken(drawn, module.map_names)
        self.examples = [self._whole[place] for place in sorted(self._whole)]
        if not self.examples or not trainer.is_global_zero:
            return
        sheet = grid(
            [[e.image, *e.overlays.values()] for e in self.examples],
            ["image", *module.map_names],
            CELL,
            captions=[self._captions(e, module.native) for e in self.examples],
            colormap=DEFAULT_COLORMAP,
            legend=box_legend(module),
        )
        write_bytes(self.path, encode_png(sheet))

    def kept(self) -> dict[str, Any]:
        """Return what was drawn so far, pictures as tensors."""
        return {str(place): _plain(e) for place, e in self._drawn.items()}

    def take(self, kept: dict[str, Any]) -> None:
        """Add what was drawn before."""
        self._drawn |= {int(place): _restored(values) for place, values in kept.items()}

    def take_method(self, name: str, examples: Mapping[str, Any]) -> None:
        """Add what an earlier test has drawn of a method, see `of_method`."""
        self._taken[name] = {int(place): _restored(values) for place, values in examples.items()}

    def of_method(self, name: str) -> dict[str, Any]:
        """Return what the last test has drawn of a method by place, in tensors and plain values."""
        return {
            str(place): _plain(e._replace(overlays={name: e.overlays[name]}, flat=e.flat & {name}))
            for place, e in self._whole.items()
        }

    def _with_taken(self, drawn: Mapping[int, Example], names: Sequence[str]) -> dict[int, Example]:
        """Add the overlays that were taken over to what was drawn, in the order of the methods."""
        parts = [drawn, *self._taken.values()]
        found: dict[int, Example] = {}
        for place in sorted(self._chosen & {place for part in parts for place in part}):
            of_place = [part[place] for part in parts if place in part]
            overlays = {name: o for e in of_place for name, o in e.overlays.items()}
            found[place] = of_place[0]._replace(
                overlays={name: overlays[name] for name in names if name in overlays},
                flat=frozenset().union(*(e.flat for e in of_place)),
            )
        return found

    def _captions(self, e: Example, native: NativeMap | None) -> list[list[str]]:
        """The lines below an image and below each of its maps."""
        target = f"{class_name(self.class_names, e.target)} {e.target_probability:.1%}"
        captions = [class_lines(self.class_names, e.label, e.predicted, e.predicted_probability)]
        if e.score is not None:
            target, captions = score_line(e.target, e.score), [captions[0][:1]]
        elif e.predicted < 0:  # nothing is predicted, or any number of classes
            target, captions = target if e.target_probability else "", [captions[0][:1]]
        for name in e.overlays:
            shared = name == NATIVE and native is not None and not native.per_class
            flat = ["flat map"] if name in e.flat else []
            captions.append([EVERY_CLASS if shared else target, *flat])
        return captions


def count_tested(trainer: L.Trainer) -> int:
    """Count the images of a test, of which the trainer may take the first batches alone."""
    loader = trainer.test_dataloaders
    images = len(loader.dataset)
    if trainer.limit_test_batches == 1.0:
        return images
    batch = loader.batch_sampler.batch_size * trainer.world_size
    return min(images, int(trainer.num_test_batches[0]) * batch)


def box_legend(module: SaliencyModule) -> list[tuple[str, tuple[int, int, int]]]:
    """Name the boxes by their colors, and the threshold of those predicted."""
    found = f"predicted box, above {float(module.box_threshold):.2f} of the maximum"
    return [("true box", TRUE_BOX), (found, FOUND_BOX)]


def class_lines(
    class_names: Sequence[str], label: int, predicted: int, probability: float
) -> list[str]:
    """Two lines: the true class, and the predicted one with its probability."""
    return [
        f"true: {class_name(class_names, label)}",
        f"predicted: {class_name(class_names, predicted)} {probability:.1%}",
    ]


def _example(module: SaliencyModule, tested: TestOutput, batch: WSOLBatch, i: int) -> Example:
    colors = module.colors(batch["image"][i]).permute(1, 2, 0)
    image = colors.round().byte().cpu().numpy()
    true = batch["boxes"][i].tolist() if "boxes" in batch else []
    probs = module.activation.probabilities(tested.logits[i].float())
    predicted = int(probs.argmax()) if module.has_scores and "labels" not in batch else -1
    target = int(tested.targets[i])
    scored = module.has_scores and not module.has_classes
    threshold = float(module.box_threshold)
    drawn = {name: _drawn(image, maps[i], true, threshold) for name, maps in tested.maps.items()}
    return Example(
        image_id=batch["image_id"][i],
        label=int(batch["label"][i]),
        predicted=predicted,
        target=target,
        image=with_boxes(image, true, TRUE_BOX),
        overlays={name: picture for name, (picture, _) in drawn.items()},
        predicted_probability=float(probs[max(predicted, 0)]),
        target_probability=float(probs[target]) if module.has_scores else 0.0,
        flat=frozenset(name for name, (_, flat) in drawn.items() if flat),
        score=float(tested.logits[i, target]) if scored else None,
    )


def _plain(example: Example) -> dict[str, Any]:
    """Write an example in tensors and plain values."""
    overlays = {name: torch.from_numpy(picture) for name, picture in example.overlays.items()}
    values = {"image": torch.from_numpy(example.image), "overlays": overlays}
    return example._asdict() | values | {"flat": sorted(example.flat)}


def _restored(values: dict[str, Any]) -> Example:
    """Read what `_plain` wrote."""
    overlays = {name: picture.numpy() for name, picture in values["overlays"].items()}
    pictures = {"image": values["image"].numpy(), "overlays": overlays}
    return Example(**values | pictures | {"flat": frozenset(values["flat"])})


def _drawn(
    image: Picture, saliency: Tensor, true: list[list[int]], threshold: float
) -> tuple[Picture, bool]:
    """An image under a map (H, W), with true and predicted boxes; and whether the map is flat."""
    values = saliency.float().cpu()
    flat = is_flat(values.numpy())
    found = [] if flat else boxes_from_saliency(values[None], threshold).tolist()
    picture = with_boxes(overlay(image, values.numpy()), true, TRUE_BOX)
    return with_boxes(picture, found, FOUND_BOX), flat
