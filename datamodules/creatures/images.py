"""Images of the embedded data set: drawn by their numbers, rendered and written."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from learned_saliency.datamodules.creatures.anatomy import Attributes
from learned_saliency.datamodules.creatures.cue import Cue
from learned_saliency.datamodules.creatures.drawing import Drawing
from learned_saliency.datamodules.creatures.forks import fork_map
from learned_saliency.datamodules.creatures.pair import GroupDrawing, draw_group
from learned_saliency.datamodules.creatures.scene import SceneOptions, draw_scene, tight_box
from learned_saliency.datamodules.creatures.store import Record, SplitStore
from learned_saliency.datamodules.metadata import SPLITS
from learned_saliency.datamodules.textfile import DataError


class CreatureImages:
    """Images of a set of creatures, each by the name of its split and its number.

    Args:
        classes: Attribute values of head, wing, tail and body of each class.
        options: Size and difficulty.
        seed: Seed of the whole set, at least 0.
        animals: Creatures in each image, 1 or 2.
        cue: Planted cue of images of one creature; None for none.
    """

    def __init__(
        self,
        classes: Sequence[Attributes],
        options: SceneOptions,
        seed: int = 0,
        animals: int = 1,
        cue: Cue | None = None,
    ) -> None:
        self.classes, self.options, self.seed = classes, options, seed
        self.animals, self.cue = animals, cue

    def draw(self, split: str, number: int) -> tuple[Drawing, int]:
        """Draw one image; its ``paint`` gives it with all of its parts or without some.

        Args:
            split: "train", "val" or "test".
            number: Index of the image in its split, from 0.

        Returns:
            The drawing and its label.

        Raises:
            DataError: If images have several creatures.
        """
        if self.animals > 1:
            raise DataError(
                "data.reader.animals=2: parts are taken out of images of one creature alone; "
                "choose animals=1."
            )
        label = number % len(self.classes)
        key = [self.seed, SPLITS.index(split), number]
        drawing = draw_scene(self.classes[label], self.options, np.random.default_rng(key))
        if self.cue is not None:
            drawing = drawing._replace(mark=self.cue.draw(label, drawing.parts, key))
        return drawing, label

    def draw_several(self, split: str, number: int) -> tuple[GroupDrawing, tuple[int, int]]:
        """Draw one image of two creatures; see `draw` for the arguments.

        Returns:
            The drawing, and the label of each creature in the order of painting.
        """
        labels = self.labels(number)
        key = [self.seed, SPLITS.index(split), number]
        classes = [self.classes[label] for label in labels]
        return draw_group(classes, self.options, np.random.default_rng(key)), labels

    def labels(self, number: int) -> tuple[int, int]:
        """Return the classes of both creatures of an image.

        The first one is that of an image of one creature; the second one goes through the others.
        """
        count = len(self.classes)
        turn, first = divmod(number, count)
        return first, (first + 1 + turn % (count - 1)) % count

    def render(self, store: SplitStore, numbers: Sequence[int], workers: int) -> list[Record]:
        """Render and write images of a split, by some processes; return their records in order."""
        store.make_folders()

        def work(position: int) -> Record:
            make = self._make if self.animals == 1 else self._make_several
            return make(store, numbers[position])

        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # threads would compete with the workers and be lost in a fork
        try:
            return fork_map(work, len(numbers), workers)
        finally:
            cv2.setNumThreads(threads)

    def _make(self, store: SplitStore, number: int) -> Record:
        """Render and write an image of one creature."""
        drawing, label = self.draw(store.split, number)
        scene = drawing.scene()
        checksums = _write(store, number, (scene.image, scene.mask, scene.parts))
        cue = () if drawing.mark is None else drawing.mark.box
        return Record((label,), (tight_box(scene.mask),), checksums, cue)

    def _make_several(self, store: SplitStore, number: int) -> Record:
        """Render and write an image of several creatures."""
        drawing, labels = self.draw_several(store.split, number)
        checksums = _write(store, number, (drawing.paint(), *drawing.masks))
        return Record(labels, tuple(map(tight_box, drawing.masks)), checksums)


def _write(store: SplitStore, number: int, files: Sequence[np.ndarray]) -> tuple[str, ...]:
    """Write an image, RGB, and what the split has beside it; return their checksums."""
    pixels = (files[0][..., ::-1], *files[1:])[: len(store.kinds)]
    return store.write(number, [*map(_png, pixels)])


def _png(pixels: np.ndarray) -> bytes:
    """Encode an image (H, W) or, channels in the order blue, green, red, (H, W, 3)."""
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
