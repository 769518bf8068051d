"""Study of whether maps depend on what the network has learned (sanity checks)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from learned_saliency.attribution import PostHocMethod, SharedFeatures, resize
from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.metrics import Figure, MapSimilarity, declared
from learned_saliency.pipeline.cli import UserError, first_sentence, nearest
from learned_saliency.pipeline.evaluation.studies.base import (
    Explainer,
    Outcome,
    Setting,
    Study,
    explainers,
    named_network,
)
from learned_saliency.pipeline.evaluation.studies.random_layers import (
    CASCADING,
    Step,
    in_groups,
    layers_in_order,
    layers_within,
    random_state,
    random_steps,
    replaced,
)
from learned_saliency.pipeline.evaluation.studies.randomization_report import (
    Similarities,
    draw_cascade,
    plot_similarities,
    write_similarities,
)
from learned_saliency.pipeline.evaluation.studies.shown import ShownBatch, renamed
from learned_saliency.pipeline.runs import Checkpoint, load_module, read_checkpoint
from learned_saliency.trainers import SaliencyModule, place, spread

LABELS = "labels"  # name among the scores of the comparison with permuted labels


class Randomization(Study):
    """Similarity of maps with those of randomized networks (paper 000, App. F, Fig. A6 and A7).

    The layers of the classifier get random weights, from the top down (cascading) and one group at
    a time (independent), and the maps of the class that the trained network was asked about are
    made again. A trained map network beside the classifier stays as it is. The similarities are
    those of `metrics.MapSimilarity`.

    Args:
        layers: Layers or blocks from the top down, by their names in the network; None for all
            layers in ``steps`` groups, the last layer alone and the others in equal shares.
        steps: Number of groups, at least 1.
        independent: Whether each group is randomized alone, too.
        classifier: A run that was trained with ``data.permute_labels``, whose maps are compared in
            the same way; None for none.
        seed: Seed of the random weights.

    Raises:
        ValueError: If ``steps`` is below 1, or ``layers`` is empty.
    """

    name = "randomization"
    figures: Mapping[str, Figure] = {
        f"{kind}_{name}": figure._replace(short=f"{figure.short or name} {kind}")
        for kind in ("randomized", "permuted")
        for name, figure in declared(MapSimilarity).items()
    }

    def __init__(
        self,
        layers: Sequence[str] | None = None,
        steps: int = 6,
        independent: bool = True,
        classifier: str | None = None,
        seed: int = 0,
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if layers is not None and not layers:
            raise ValueError("layers must name at least one layer, or be null")
        self.layers = None if layers is None else list(layers)
        self.steps = steps
        self.independent = independent
        self.classifier = classifier
        self.seed = seed
        self._split = ""
        self._checkpoint: Checkpoint | None = None
        self._module: SaliencyModule | None = None
        self._permuted: SaliencyModule | None = None
        self._groups: list[list[str]] = []

    def check(self, config: DictConfig) -> None:
        """Check that the run was trained on permuted labels.

        Raises:
            UserError: If it cannot be read, or was not.
        """
        self._split = config.split
        if self.classifier is None:
            return
        self._checkpoint = read_checkpoint(self.classifier)
        if self._checkpoint.config.data.get("permute_labels") is None:
            raise UserError(
                f"studies.randomization.classifier: {self._checkpoint.path} was trained on the "
                "labels as they are; train one by train.py data.permute_labels=0."
            )

    def check_module(self, module: SaliencyModule) -> None:
        """Find the layers, and load the run that was trained on permuted labels.

        Raises:
            UserError: If the network lacks a layer, or the run cannot be loaded.
        """
        self._module = module.eval()
        network = named_network(module)
        known = [name for name, _ in network.named_modules() if name]
        for layer in self.layers or ():
            if layer not in known or not layers_within(network, layer):
                raise UserError(
                    f"studies.randomization.layers: no layer with weights is named {layer}"
                    f"{nearest(layer, [n for n in known if n != layer], at_least=3)}."
                )
        within = [inner for layer in self.layers or () for inner in layers_within(network, layer)]
        if len(set(within)) < len(within):
            raise UserError(
                "studies.randomization.layers: one of these layers lies within another; name each "
                "part of the network once."
            )
        if self._checkpoint is not None:
            self._permuted = load_module(self._checkpoint, methods=module.methods).eval()

    def check_data(self, data: WSOLDataModule) -> None:
        """Order the layers by a pass, and try the other run on one image.

        Raises:
            UserError: If the images are too small, or the run has other classes or does not fit the
                methods.
        """
        images = data.dataloader(self._split).dataset.__getitems__([0])["image"]
        self._groups = self._find_groups(images)
        try:
            MapSimilarity().update(*(torch.zeros_like(images[:, 0]) for _ in range(2)))
        except ValueError as error:
            raise UserError(f"studies=[randomization]: {error}; set data.crop_size.") from None
        if self._permuted is None:
            return
        key = f"studies.randomization.classifier: {self.classifier}"
        with torch.no_grad():
            ours, theirs = (m.classifier(images) for m in (self._module, self._permuted))
            if ours.shape != theirs.shape:
                raise UserError(
                    f"{key} knows {theirs.shape[1]} classes, but the network that is explained "
                    f"{ours.shape[1]}; name a run on the same data set."
                )
            try:
                self._permuted.maps(images, None)
            except (ValueError, RuntimeError) as error:
                raise UserError(f"{key} does not fit: {first_sentence(error)}.") from None

    def _find_groups(self, images: Tensor) -> list[list[str]]:
        network = named_network(self._module)
        if self.layers is None:
            return in_groups(layers_in_order(network, images), self.steps)
        return [layers_within(network, layer)[::-1] for layer in self.layers]

    def run(self, setting: Setting) -> Outcome:
        """Compare the maps of all methods with those of randomized networks."""
        module, device = setting.module, setting.module.device
        steps = random_steps(self._groups, self.independent)
        named = [step.name for step in steps] + ([LABELS] if self._permuted is not None else [])
        methods = explainers(module)
        other = {} if self._permuted is None else explainers(self._permuted.to(device))
        scores: dict[str, dict[str, Any]] = {
            method: {
                name: MapSimilarity().to(device)
                for name in named
                if name != LABELS or method in other
            }
            for method in methods
        }
        drawn = self._state(module)
        for number, batch in enumerate(setting.batches(scores)):
            shown = ShownBatch(module, batch)
            first = _all_maps(module, methods, shown)
            for step in steps:
                setting.note(f"{step.kind} to {step.lowest}, batch {number + 1}")
                with replaced(named_network(module), step.part_of(drawn)):
                    _count(scores, step.name, first, _all_maps(module, methods, shown))
            if self._permuted is not None:
                common = {name: method for name, method in other.items() if name in methods}
                _count(scores, LABELS, first, _all_maps(self._permuted, common, shown))
        return self._outcome(setting, steps, scores)

    def _outcome(
        self, setting: Setting, steps: Sequence[Step], scores: Mapping[str, Any]
    ) -> Outcome:
        found = {
            method: {
                name: {key: float(value) for key, value in metric.compute().items()}
                for name, metric in each.items()
            }
            for method, each in scores.items()
        }
        whole = [step for step in steps if step.kind == CASCADING][-1].name
        results: dict[str, dict[str, float]] = {}
        for method, each in found.items():
            results[method] = renamed("randomized_", each[whole])
            results[method] |= renamed("permuted_", each.get(LABELS, {}))
        table = Similarities(steps, found)
        files = {
            "randomization.csv": partial(write_similarities, table=table),
            "pictures/randomization.png": partial(plot_similarities, table=table),
        }
        if setting.pictures and place().rank == 0:
            files |= self._pictures(setting, [s for s in steps if s.kind == CASCADING])
        return Outcome(results, self.figures, files)

    def _state(self, module: SaliencyModule) -> dict[str, Tensor]:
        layers = [layer for group in self._groups for layer in group]
        return random_state(named_network(module), layers, self.seed)

    def _pictures(self, setting: Setting, steps: Sequence[Step]) -> dict[str, Any]:
        """Make the maps of some images as more and more layers are random (Fig. A7)."""
        module = setting.module
        batch = spread(setting.data.dataloader(setting.config.split), setting.pictures)
        shown = ShownBatch(module, setting.to_device(batch))
        methods, drawn = explainers(module), self._state(module)
        columns = [_all_maps(module, methods, shown)]
        for step in steps:
            with replaced(named_network(module), step.part_of(drawn)):
                columns.append(_all_maps(module, methods, shown))
        colors = module.colors(shown.images)
        titles = ["image", "trained", *(step.label for step in steps)]
        files = {}
        for name in methods:
            maps = torch.stack([found[name][0] for found in columns])
            draw = partial(draw_cascade, colors=colors, maps=maps, titles=titles)
            files[f"pictures/randomization_{name}.png"] = draw
        return files


_Maps = tuple[Tensor, Tensor]  # maps in [0, 1] and raw maps, both (B, H, W)


def _all_maps(
    module: SaliencyModule, methods: Mapping[str, Explainer], shown: ShownBatch
) -> dict[str, _Maps]:
    """Make the maps of all methods for the classes of a batch, by the classifier as it is now."""
    shared = SharedFeatures(module.classifier, shown.images)
    return {
        name: _maps(method, shared, shown.images, shown.targets) for name, method in methods.items()
    }


def _maps(method: Explainer, classifier: nn.Module, images: Tensor, targets: Tensor) -> _Maps:
    if not isinstance(method, PostHocMethod):
        maps = method(classifier, images, targets)
        return maps, maps
    raw = method.raw_maps(classifier, images, targets)
    size = images.shape[-2:]
    return method.finish(raw, size), resize(raw, size, method.interpolation)


def _count(
    scores: Mapping[str, Any], name: str, first: Mapping[str, _Maps], second: Mapping[str, _Maps]
) -> None:
    """Count how similar second maps are to the first, by method."""
    for method, (maps, raw) in second.items():
        own, own_raw = first[method]
        scores[method][name].update(own, maps, own_raw, raw)
