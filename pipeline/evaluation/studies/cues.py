"""Study of whether counterfactual maps find the parts that tell two classes apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from learned_saliency.attribution import PostHocMethod, SharedFeatures, normalize, resize
from learned_saliency.datamodules import ClassPair, PartReader, WSOLBatch, WSOLDataModule
from learned_saliency.metrics import CueLocalization
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.evaluation.studies.base import (
    Outcome,
    Setting,
    Study,
    class_wise_methods,
)
from learned_saliency.pipeline.evaluation.studies.cue_results import (
    FIGURE,
    CueCounts,
    draw_cues,
    write_pairs,
)
from learned_saliency.trainers import SaliencyModule

#: Ways to compare the maps of two classes. ``"min_max"``, as in the released code: raw maps are
#: subtracted and the absolute difference is scaled, so that common parts of two maps cancel before
#: anything else. ``"separate"``, a reading of the paper's text: both maps are brought to [0, 1]
#: before they are subtracted, by minimum and maximum (Eq. 2), or left as they are if they are
#: probabilities, such as CALM's (Eq. 7). ``"clip"``, the released setting for CALM: the raw
#: difference as it is, cut off at 1.
NORMALIZATIONS = ("min_max", "separate", "clip")


class _Questions(NamedTuple):
    """Maps that a batch needs: Q questions of a row and a pair, M maps of a row and a class.

    Attributes:
        rows: Row of each map, int64 (M,).
        classes: Class of each map, int64 (M,).
        first: Index of each question's first map, int64 (Q,).
        second: Index of each question's second map, int64 (Q,).
        pairs: Pair of each question, int64 (Q,).
        masks: The differing parts, uint8 (Q, S, S).
    """

    rows: Tensor
    classes: Tensor
    first: Tensor
    second: Tensor
    pairs: Tensor
    masks: Tensor


class Cues(Study):
    """Cue localization of all methods with class-wise maps (paper 001, Tab. 1).

    Args:
        normalization: One of ``NORMALIZATIONS``.
        scale: See `metrics.CueLocalization`; ``"log"`` goes with probabilities.
        accumulate: See `metrics.CueLocalization`.

    Raises:
        ValueError: If an option is unknown.
    """

    name = "cues"

    def __init__(
        self, normalization: str = "min_max", scale: str = "even", accumulate: bool = False
    ) -> None:
        _check_normalization(normalization)
        CueLocalization(1, scale=scale, accumulate=accumulate)  # refuses what it does not know
        self.normalization = normalization
        self.counting = {"scale": scale, "accumulate": accumulate}

    def check(self, config: DictConfig) -> None:
        """Check that the data set has parts.

        Raises:
            UserError: If the data set has none.
        """
        if config.data.get("parts") is None:
            raise UserError(
                "studies=[cues] needs part labels, which this data set does not have: choose "
                "data=creatures or data=cub."
            )

    def check_module(self, module: SaliencyModule) -> None:
        """Check that some map depends on the class.

        Raises:
            UserError: If no map does.
        """
        if not class_wise_methods(module):
            raise UserError(
                "studies=[cues] needs maps that depend on the class, which the native map of this "
                "model does not: name a method, e.g. methods=[cam]."
            )

    def check_data(self, data: WSOLDataModule) -> None:
        """Check that the part labels can be read.

        Raises:
            DataError: If their files are missing or malformed.
        """
        data.parts()

    def run(self, setting: Setting) -> Outcome:
        """Compare counterfactual maps with the parts in which two classes differ."""
        module, parts = setting.module, setting.data.parts()
        methods = class_wise_methods(module)
        counts = CueCounts(methods, parts.pairs, device=module.device, **self.counting)
        batches = setting.batches(counts.scores, examples=counts)
        options = {"normalization": self.normalization, "note": setting.note}
        count_cues(module.classifier, batches, parts, methods, counts, **options)
        found = counts.result()
        files = {"cues.csv": partial(write_pairs, found=found, part_names=parts.names)}
        if found.examples:
            colors = partial(_colors, module)
            files["pictures/cues.png"] = partial(draw_cues, found=found, colors=colors)
        figures = {name: FIGURE for values in found.results.values() for name in values}
        return Outcome(found.results, figures, files)


def _check_normalization(normalization: str) -> None:
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization must be one of {NORMALIZATIONS}, got {normalization!r}")


def _colors(module: SaliencyModule, image: Tensor) -> Tensor:
    return module.colors(image.to(module.device))


def count_cues(
    classifier: nn.Module,
    batches: Iterable[WSOLBatch],
    parts: PartReader,
    methods: Mapping[str, PostHocMethod],
    counts: CueCounts,
    *,
    normalization: str = "min_max",
    note: Callable[[str], None] = lambda what: None,
) -> None:
    """Count the scores of absolute counterfactual maps (paper 001, Sec. 5.2 and Tab. 1).

    For each image and each pair that contains its true class, the method's maps of both classes are
    subtracted, and the absolute difference is compared, at the images' size, with the pixels of the
    parts in which the classes differ. Images without any such pixel are left out, as in the
    released evaluator birds whose parts are hidden.

    Args:
        classifier: An `attribution.Classifier` in evaluation mode.
        batches: Images of a split with part labels, on the classifier's device.
        parts: The pairs and the part labels.
        methods: Class-wise methods by name.
        counts: Counts to which the batches are added.
        normalization: One of ``NORMALIZATIONS``.
        note: Called with a description of the current work.

    Raises:
        ValueError: If an option is unknown.
    """
    _check_normalization(normalization)
    for number, batch in enumerate(batches):
        asked = _questions(batch, parts, counts.pairs)
        if asked is None:
            continue
        images, found = batch["image"], {}
        features = _features(classifier, images)
        for name, method in methods.items():
            note(f"{name}, batch {number + 1}")
            found[name] = _compare(method, classifier, images, features, asked, normalization)
            counts.scores[name].update(found[name].cpu(), asked.masks, asked.pairs)
        counts.take(_examples(batch, asked, found, counts.wanted))


def _questions(
    batch: WSOLBatch, parts: PartReader, pairs: Sequence[ClassPair]
) -> _Questions | None:
    """Collect the questions about a batch; None where no image is in a pair."""
    labels = batch["label"].tolist()
    places = parts.read(batch["image_id"], batch["image"].shape[-2:])  # (B, H, W)
    wanted: dict[tuple[int, int], int] = {}  # (row, class): index of its map
    rows: list[tuple[int, int, int]] = []
    masks = []
    for index, pair in enumerate(pairs):
        for row in (i for i, label in enumerate(labels) if label in pair[:2]):
            mask = torch.isin(places[row], torch.tensor(pair.parts, dtype=torch.uint8))
            if mask.any():
                maps = (wanted.setdefault((row, c), len(wanted)) for c in pair[:2])
                rows.append((*maps, index))
                masks.append(mask.to(torch.uint8))
    if not rows:
        return None
    device = batch["image"].device
    first, second, index = torch.tensor(rows).unbind(1)
    map_rows, classes = torch.tensor(list(wanted), device=device).unbind(1)
    return _Questions(
        map_rows, classes, first.to(device), second.to(device), index, torch.stack(masks)
    )


def _features(classifier: nn.Module, images: Tensor) -> Tensor | None:
    """Compute activations that a batch's maps share; None where they cannot be handed on."""
    if hasattr(classifier, "encode"):
        return None
    return SharedFeatures(classifier, images).features(images)


def _compare(
    method: PostHocMethod,
    classifier: nn.Module,
    images: Tensor,
    features: Tensor | None,
    asked: _Questions,
    normalization: str,
) -> Tensor:
    """Compute absolute differences (Q, S, S) of the two maps of each question, in [0, 1].

    Maps are made at the images' size, as many in one call as the batch has images.
    """
    found = []
    chunks = (part.split(len(images)) for part in (asked.rows, asked.classes))
    for rows, classes in zip(*chunks, strict=True):
        picked = images[rows]
        given = None if features is None else features[rows]
        shared = SharedFeatures(classifier, picked, given)
        found.append(method.raw_maps(shared, picked, classes))
    maps = resize(torch.cat(found), images.shape[-2:])
    if normalization == "separate" and not method.gives_probabilities(classifier):
        maps = normalize(maps)
    saliency = (maps[asked.first] - maps[asked.second]).abs()
    return normalize(saliency) if normalization == "min_max" else saliency.clamp(max=1)


def _examples(
    batch: WSOLBatch, asked: _Questions, maps: Mapping[str, Tensor], count: int
) -> list[dict[str, Any]]:
    """Pick one question of each of the first images, for the image's last pair."""
    chosen = {int(asked.rows[first]): q for q, first in enumerate(asked.first)}
    return [
        {
            "index": int(batch["index"][row]),
            "image": batch["image"][row].cpu().clone(),
            "mask": asked.masks[question].clone(),
            "pair": int(asked.pairs[question]),
            "maps": {name: normalize(found[question]).cpu() for name, found in maps.items()},
        }
        for row, question in list(sorted(chosen.items()))[:count]
    ]
