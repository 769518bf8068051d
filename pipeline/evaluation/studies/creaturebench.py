"""Study of maps by exact effects: parts of the embedded creatures are removed by rendering."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from learned_saliency.datamodules import (
    CreaturesRenderer,
    RenderedParts,
    WSOLBatch,
    WSOLDataModule,
    shared_parts,
    standardize,
    sufficient_parts,
)
from learned_saliency.metrics import (
    IMPORTANCES,
    PartFidelity,
    declared,
    find_contrasts,
    part_importance,
)
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.evaluation.studies.base import (
    Explainer,
    Outcome,
    Setting,
    Study,
    explainers,
    labeled,
)
from learned_saliency.pipeline.evaluation.studies.bench_files import (
    draw_axes,
    draw_examples,
    write_scores,
)
from learned_saliency.pipeline.evaluation.studies.bench_views import (
    CONSTANT,
    RANDOM,
    Colors,
    Views,
    examples,
    look,
    map_makers,
)
from learned_saliency.trainers import GivenMaps, SaliencyModule, place, spread

_COMPARED = 8  # images that are compared with the renderer's before the work

Scores = Mapping[str, Mapping[str, PartFidelity]]  # by method and kind of importance


class CreatureBench(Study):
    """Completeness, correctness and contrastivity of all methods' maps; see `PartFidelity`.

    Each image is rendered again without each set of its parts, without each distractor and before
    a plain background. The classifier's answers to these are measured once and judge the maps of
    all methods. Two rows stand beside the methods: a constant map, and coarse random ones.

    Args:
        importance: One of ``metrics.IMPORTANCES``, for the table; the files have both.
        seed: Seed of the random maps.
        batch_size: Most images in one pass of the classifier.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    name = "creaturebench"
    rows = (CONSTANT, RANDOM)
    needs_labels = True
    needs_exclusive = True
    needs_network = False  # finished maps do, too; `check_module` asks for the classifier

    def __init__(self, importance: str = "mean", seed: int = 0, batch_size: int = 128) -> None:
        if importance not in IMPORTANCES:
            raise ValueError(f"importance must be one of {IMPORTANCES}, got {importance!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.importance, self.seed, self.batch_size = importance, seed, batch_size
        self._split = "test"

    def check(self, config: DictConfig) -> None:
        """Keep in mind the split whose images are compared by `check_data`."""
        self._split = config.split

    def check_module(self, module: SaliencyModule) -> None:
        """Check that there is a classifier, whose answers judge the maps.

        Raises:
            UserError: If there are maps alone.
        """
        if not module.has_scores:
            raise UserError(
                "studies=[creaturebench]: judges maps by a network's answers, and there are maps "
                "alone; name the network that they explain, checkpoint=RUN."
            )

    def check_data(self, data: WSOLDataModule) -> None:
        """Check that the images are those which the renderer draws.

        Raises:
            UserError: If the data set was not rendered, or was rendered otherwise.
            DataError: If the classifier was trained on other classes.
        """
        if not isinstance(data.reader, CreaturesRenderer):
            raise UserError(
                "studies=[creaturebench] renders images without their parts, which only the "
                "embedded data set can: choose data=creatures."
            )
        data.parts()
        some = spread(data.dataloader(self._split), _COMPARED)
        rendered = RenderedParts(data.reader, data.crop_size)
        drawn = torch.stack([rendered.image(image_id) for image_id in some["image_id"]])
        colors = (torch.tensor(values) for values in (data.mean, data.std))
        if not torch.equal(standardize(drawn, *colors), some["image"]):
            raise UserError(
                f"studies=[creaturebench]: the images in {data.root} are not those which the "
                "renderer draws with these options and libraries; render the set anew in another "
                "data.root."
            )

    def run(self, setting: Setting) -> Outcome:
        """Remove parts by rendering and judge the maps by the effects."""
        module, data = setting.module, setting.data
        renderer = RenderedParts(data.reader, data.crop_size)
        methods, sufficient = explainers(module), sufficient_parts(renderer.attributes)
        scores = {
            name: {kind: PartFidelity(sufficient).to(module.device) for kind in IMPORTANCES}
            for name in (*methods, *module.given, CONSTANT, RANDOM)
        }
        options = {"seed": self.seed, "batch_size": self.batch_size}
        options["colors"] = data.mean, data.std
        subject = module.classifier, labeled(setting.batches(scores)), renderer, methods
        count_bench(*subject, scores, given=module.given, note=setting.note, **options)
        found = {
            name: {kind: _floats(metric) for kind, metric in metrics.items()}
            for name, metrics in scores.items()
        }
        results = {name: values[self.importance] for name, values in found.items()}
        files = {
            "creaturebench.csv": partial(write_scores, found=found),
            "pictures/creaturebench.png": partial(draw_axes, results=results),
        }
        if setting.pictures and place().rank == 0:
            split = data.dataloader(setting.config.split)
            batch = setting.to_device(spread(split, setting.pictures))
            shown = module.classifier, batch, renderer, methods
            rows = examples(*shown, importance=self.importance, **options)
            drawn = partial(draw_examples, rows=rows, parts=renderer.names)
            files["pictures/creaturebench_examples.png"] = drawn
        return Outcome(results, declared(PartFidelity), files)


def _floats(metric: PartFidelity) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def count_bench(
    classifier: nn.Module,
    batches: Iterable[WSOLBatch],
    renderer: RenderedParts,
    methods: Mapping[str, Explainer],
    scores: Scores,
    *,
    colors: Colors,
    given: Mapping[str, GivenMaps] = MappingProxyType({}),
    seed: int = 0,
    batch_size: int = 128,
    note: Callable[[str], None] = lambda what: None,
) -> None:
    """Judge the methods' maps of all batches by the effects of removed parts.

    Args:
        classifier: The network of images to logits that the maps explain, in evaluation mode.
        batches: Images of the embedded data set whose class is known, on the classifier's device.
        renderer: Renders them without parts.
        methods: Methods by name, ``(classifier, images, targets) -> maps (B, H, W) in [0, 1]``.
        scores: Metrics by method, ``constant_map`` and ``random_map`` among them, and by kind of
            importance, to which the batches are added.
        colors: Mean and standard deviation of the channels that ``images`` were normalized with.
        given: Finished maps by name, of one class per image: they count for completeness and
            correctness alone.
        seed: Seed of the random maps.
        batch_size: Most images in one pass of the classifier.
        note: Called with a description of the current work.
    """
    shared, parts = shared_parts(renderer.attributes), len(renderer.names)
    for number, batch in enumerate(batches):
        note(f"rendering, batch {number + 1}")
        views = look(classifier, batch, renderer.render(batch["image_id"]), colors, batch_size)
        contrast = find_contrasts(views.effects, shared)
        everyone = torch.arange(len(batch["label"]), device=batch["image"].device)
        rows = everyone[contrast.valid]
        sets, own = contrast.parts[rows].double(), views.regions[rows, :parts]
        for name, explain in map_makers(classifier, batch, methods, seed).items():
            note(f"{name}, batch {number + 1}")
            maps = explain(everyone, views.effects.predicted)
            others = [explain(rows, c) for c in contrast.classes[rows].unbind(1) if len(rows)]
            for kind, metric in scores[name].items():
                importance = part_importance(maps, views.regions, kind, parts)
                both = [part_importance(found, own, kind, parts) for found in others]
                shares = torch.stack(both, 1) if both else sets[:, :2]  # (N, 2, P)
                asked = torch.einsum("nsp,ncp->nsc", sets, shares)
                metric.update(importance, views.shown, views.effects, asked)
        for name, read in given.items():
            _count_finished(read(batch), views, scores[name], parts)


def _count_finished(
    maps: Tensor, views: Views, metrics: Mapping[str, PartFidelity], parts: int
) -> None:
    """Judge maps of one class per image, which have no other class to be told from."""
    for kind, metric in metrics.items():
        importance = part_importance(maps, views.regions, kind, parts)
        metric.update(importance, views.shown, views.effects)
