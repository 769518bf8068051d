"""Contract of a study: a question of its own beside the metrics of a test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import BatchSampler, SequentialSampler

from learned_saliency.attribution import PostHocMethod, SplitClassifier
from learned_saliency.datamodules import WSOLBatch, WSOLDataModule
from learned_saliency.metrics import Figure, box_union
from learned_saliency.ops import widen
from learned_saliency.trainers import NATIVE, Journal, Kept, MetricTree, SaliencyModule, Sums

Explainer = Callable[[nn.Module, Tensor, Tensor], Tensor]  # classifier, images, targets -> maps


class Setting(NamedTuple):
    """Configuration, module and data that a study runs on.

    Attributes:
        config: The evaluation's configuration.
        module: The trained module, in evaluation mode and on its device.
        data: The data module, set up.
        note: Called with a description of the current work.
        journal: Keeps what was counted, so that an evaluation that is ended goes on.
    """

    config: DictConfig
    module: SaliencyModule
    data: WSOLDataModule
    note: Callable[[str], None]
    journal: Journal

    @property
    def pictures(self) -> int:
        """Number of images of the split to draw; 0 for none."""
        return self.config.pictures.images

    def batches(self, scores: MetricTree | None = None, **parts: Kept) -> Iterator[WSOLBatch]:
        """Yield the batches of the evaluated split on the module's device, once for each study.

        With ``scores``, several processes share the batches: a metric's ``compute`` sums over all
        of them, so every process has to call it equally often. Batches that were counted before the
        evaluation was ended are left out; their sums are in the metrics already.

        Args:
            scores: Metrics to which the study adds the batches, by name; without them every process
                sees all batches, each time.
            **parts: What else the study gathers from the batches.
        """
        if scores is None:
            loader = self.data.dataloader(self.config.split)
            everything = SequentialSampler(loader.dataset)
            batches = BatchSampler(everything, loader.batch_sampler.batch_size, drop_last=False)
            for rows in batches:
                yield self.to_device(loader.dataset.__getitems__(rows))
            return
        done = self.journal.read()
        self.journal.restore({"scores": Sums(scores), **parts})
        for batch in self.data.dataloader(self.config.split, done):
            if len(batch["image"]):
                yield self.to_device(batch)
                self.journal.done(batch["index"])

    def to_device(self, batch: WSOLBatch) -> WSOLBatch:
        """Bring a batch to the module's device."""
        return self.module.transfer_batch_to_device(batch, self.module.device, 0)


class Outcome(NamedTuple):
    """Outcome of a study.

    Attributes:
        results: Metrics by method, fractions.
        figures: Declaration of each of these metrics.
        files: Function that writes each file of tables, curves and pictures, by its path in the
            run's folder. The folders are there.
        lines: Findings in words, which the first process says.
    """

    results: dict[str, dict[str, float]]
    figures: Mapping[str, Figure]
    files: Mapping[str, Callable[[Path], None]]
    lines: Sequence[str] = ()


class Study(ABC):
    """A question of its own, answered in one pass over a split, for all methods.

    A study is a class in a file of this folder, whose options are its constructor's arguments, and
    a file in ``configs/studies/`` that names the class as ``_target_`` and gives the options. It is
    chosen as ``studies=[NAME]``.

    ``run`` counts with torchmetrics, whose states are sums over images, and leaves all writing to
    the `Outcome`: several processes run it, each with a share of the batches, and the first one
    writes.

    Attributes:
        name: Name of the study's file in ``configs/studies/``.
        needs_labels: Whether the study compares with the true class. It is refused where no image
            has one, and takes its batches through `labeled`.
        needs_network: Whether the study explains images itself, by the module's methods. It is
            refused where there are finished maps alone.
        needs_exclusive: Whether the study takes it that each image has one class, which others
            rule out. It is refused for data sets of multi-label tasks.
        needs_truth: Whether the study compares with boxes or masks. It is refused where the split
            has neither.
        rows: Names of rows of the table that are the study's own; no finished maps may have them.
    """

    name: ClassVar[str]
    needs_labels: ClassVar[bool] = False
    needs_network: ClassVar[bool] = True
    needs_exclusive: ClassVar[bool] = False
    needs_truth: ClassVar[bool] = False
    rows: Collection[str] = ()

    def check(self, config: DictConfig) -> None:  # noqa: B027
        """Check before any work what can be checked with the evaluation's configuration alone.

        Raises:
            UserError: If the study cannot run.
        """

    def check_module(self, module: SaliencyModule) -> None:  # noqa: B027
        """Check before the test that the module and its methods suit the study.

        Raises:
            UserError: If the study cannot run.
        """

    def check_data(self, data: WSOLDataModule) -> None:  # noqa: B027
        """Check before the test that the data suit the study, and make what it needs of them.

        Raises:
            UserError: If the study cannot run.
        """

    @abstractmethod
    def run(self, setting: Setting) -> Outcome:
        """Answer the question.

        Raises:
            UserError: If model or data turn out not to fit.
        """


def tested_maps(module: SaliencyModule, batch: WSOLBatch) -> tuple[dict[str, Tensor], Tensor]:
    """Compute the maps of all methods as the test does, for its classes.

    Returns:
        Maps (B, H, W) in [0, 1] by method, at least float32, and the logits (B, C).
    """
    labels = batch["label"] if module.explained == "label" else None
    maps, logits = module.maps(batch["image"], labels)
    maps |= {name: read(batch) for name, read in module.given.items()}
    return {name: widen(saliency) for name, saliency in maps.items()}, logits


def regions_of(batch: WSOLBatch) -> Tensor:
    """Return the masks uint8 (B, H, W) of a batch; where it has none, its boxes as masks.

    An image of which nobody has boxed the object is ignored everywhere, 255.
    """
    if "mask" in batch:
        return batch["mask"]
    boxed = box_union(batch["boxes"], batch["image"][:, 0])
    unboxed = ~boxed.flatten(1).any(dim=1)
    return boxed.to(torch.uint8).masked_fill(unboxed[:, None, None], 255)


def labeled(batches: Iterable[WSOLBatch]) -> Iterator[WSOLBatch]:
    """Leave out of batches the images whose class is unknown, and batches without any other."""
    for batch in batches:
        rows = torch.nonzero(batch["label"] >= 0)[:, 0]
        if len(rows) == len(batch["label"]):
            yield batch
        elif len(rows):
            yield chosen_rows(batch, rows)


def chosen_rows(batch: WSOLBatch, rows: Tensor) -> WSOLBatch:
    """Take some images of a batch; ``rows`` are their places in it, int64 (R,)."""
    return {name: _chosen(values, rows) for name, values in batch.items()}


def _chosen(values: Tensor | list[Any], rows: Tensor) -> Tensor | list[Any]:
    if isinstance(values, Tensor):
        return values[rows.to(values.device)]
    return [values[row] for row in rows.tolist()]


def class_wise_methods(module: SaliencyModule) -> dict[str, PostHocMethod]:
    """List methods with a raw map per class: the module's own, if it has one, and post-hoc."""
    own = None if module.native is None else module.native.class_wise
    return ({} if own is None else {NATIVE: own}) | module.methods


def explainers(module: SaliencyModule) -> dict[str, Explainer]:
    """List all methods; the native one gives the map of the class alone if it has such a map."""
    found: dict[str, Explainer] = dict(class_wise_methods(module))
    if module.native is not None and module.native.class_wise is None:

        def native(classifier: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
            return module.saliency(images, targets)

        found = {NATIVE: native} | found
    return found


def named_network(module: SaliencyModule) -> nn.Module:
    """Find the network that the maps explain, whose layers a person names."""
    classifier = module.classifier
    return classifier.model if isinstance(classifier, SplitClassifier) else classifier
