"""Interventions of the creature benchmark: what is shown to the classifier and to the methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from learned_saliency.datamodules import RenderedParts, Rerendered, WSOLBatch, standardize
from learned_saliency.metrics import PartEffects, part_importance, rank_correlation
from learned_saliency.pipeline.evaluation.studies.base import Explainer
from learned_saliency.pipeline.evaluation.studies.bench_files import BenchExample

CONSTANT, RANDOM = "constant_map", "random_map"  # rows that no method may come near to

_CELLS = 8  # cells a side of the random maps, as many as a CAM of small images has

Colors = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation of the channels
MapMaker = Callable[[Tensor, Tensor], Tensor]  # rows of a batch, their classes -> maps


class Views(NamedTuple):
    """Images of a batch and all their interventions, as the classifier takes them.

    Attributes:
        effects: Logits with parts, distractors and the background removed.
        regions: Pixels of the P parts, then of the distractors, bool (B, P + D, S, S).
        shown: Whether a distractor has a pixel, bool (B, D).
    """

    effects: PartEffects
    regions: Tensor
    shown: Tensor


def map_makers(
    classifier: nn.Module, batch: WSOLBatch, methods: Mapping[str, Explainer], seed: int
) -> dict[str, MapMaker]:
    """List all methods and the two controls, as functions of rows of a batch and classes."""
    images = batch["image"]

    def by(method: Explainer) -> MapMaker:
        return lambda rows, classes: method(classifier, images[rows], classes).float()

    def constant(rows: Tensor, classes: Tensor) -> Tensor:
        return images.new_ones(len(rows), *images.shape[-2:])

    def chance(rows: Tensor, classes: Tensor) -> Tensor:
        places = batch["index"][rows.to(batch["index"].device)].tolist()
        drawn = []
        for place_, label in zip(places, classes.tolist(), strict=True):
            numbers = torch.Generator().manual_seed((seed * 1_000_003 + place_) * 1009 + label)
            drawn.append(torch.rand(1, _CELLS, _CELLS, generator=numbers))
        coarse = torch.stack(drawn).to(images.device)
        return functional.interpolate(coarse, images.shape[-2:], mode="bilinear")[:, 0]

    makers = {name: by(method) for name, method in methods.items()}
    return makers | {CONSTANT: constant, RANDOM: chance}


def look(
    classifier: nn.Module,
    batch: WSOLBatch,
    rendered: Rerendered,
    colors: Colors,
    batch_size: int,
) -> Views:
    """Show the classifier a batch without each set of parts and without each distractor."""
    device = batch["image"].device
    count, sets = rendered.parts.shape[:2]
    mean, std = (torch.tensor(values) for values in colors)
    pictures = torch.cat([rendered.parts.flatten(0, 1), rendered.plain, rendered.distractors])
    answers = [
        classifier(standardize(some, mean, std).to(device)) for some in pictures.split(batch_size)
    ]
    lengths = [count * sets, count, len(rendered.distractors)]
    of_parts, plain, of_distractors = torch.cat(answers).split(lengths)
    numbers = torch.cat([torch.arange(n) for n in torch.bincount(rendered.rows, minlength=count)])
    most = int(torch.bincount(rendered.rows, minlength=count).max())
    lost = plain.new_full((count, most, plain.shape[1]), torch.nan)
    lost[rendered.rows, numbers] = of_distractors
    masks = torch.zeros(count, most, *rendered.labels.shape[1:], dtype=torch.bool)
    masks[rendered.rows, numbers] = rendered.masks
    parts = torch.arange(1, sets.bit_length())[:, None, None]
    regions = torch.cat([rendered.labels[:, None] == parts, masks], 1).to(device)
    logits = of_parts.unflatten(0, (count, sets))
    effects = PartEffects(logits, lost, plain, batch["label"].to(device))
    return Views(effects, regions, masks.any((2, 3)).to(device))


def examples(
    classifier: nn.Module,
    batch: WSOLBatch,
    renderer: RenderedParts,
    methods: Mapping[str, Explainer],
    *,
    colors: Colors,
    importance: str = "mean",
    seed: int = 0,
    batch_size: int = 128,
) -> list[BenchExample]:
    """Explain some images, for a picture of what their parts do and of what maps say of them."""
    rendered, parts = renderer.render(batch["image_id"]), len(renderer.names)
    with torch.no_grad():
        views = look(classifier, batch, rendered, colors, batch_size)
        everyone = torch.arange(len(batch["label"]), device=batch["image"].device)
        makers = map_makers(classifier, batch, methods, seed)
        maps = {name: make(everyone, views.effects.predicted) for name, make in makers.items()}
    drops = views.effects.drops()
    found = {
        name: rank_correlation(
            part_importance(some, views.regions[:, :parts], importance, parts), drops
        )
        for name, some in maps.items()
    }
    pictures = torch.cat([rendered.parts[:, [0, *(2**p for p in range(parts))]]], 1)
    pictures = torch.cat([pictures, rendered.plain[:, None]], 1).permute(0, 1, 3, 4, 2).numpy()
    whole = views.effects.logits[:, 0].gather(1, views.effects.predicted[:, None])[:, 0]
    plain = views.effects.plain.gather(1, views.effects.predicted[:, None])[:, 0]
    lost = torch.cat([drops, (whole - plain).double()[:, None]], 1)
    return [
        BenchExample(
            pictures[row],
            lost[row].tolist(),
            {name: some[row].cpu().numpy() for name, some in maps.items()},
            {name: float(values[row]) for name, values in found.items()},
        )
        for row in range(len(pictures))
    ]
