"""Study of whether masks hide the evidence from classifiers that they were not made for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from learned_saliency.datamodules import WSOLBatch, WSOLDataModule
from learned_saliency.metrics import MaskedAccuracy, binarize, declared, masked_variants
from learned_saliency.pipeline.evaluation.studies.bank_members import (
    Member,
    build_bank,
    check_bank,
)
from learned_saliency.pipeline.evaluation.studies.bank_pictures import (
    Accuracies,
    draw_variants,
    plot_accuracies,
    write_accuracies,
)
from learned_saliency.pipeline.evaluation.studies.base import (
    Explainer,
    Outcome,
    Setting,
    Study,
    explainers,
    labeled,
)
from learned_saliency.trainers import place, spread

#: Maps that look at nothing, beside which Fig. 3 sets the methods, by name.
REFERENCES = ("zero", "one", "random")

_SEEDS = 1_000_003  # images whose random maps have seeds of their own

BankScores = Mapping[str, Mapping[str, MaskedAccuracy]]  # by method, by classifier


class Bank(Study):
    """Accuracy of other classifiers on masked images, for all methods (paper 004, Fig. 2 and 3).

    Beside the methods, plot and ``bank.csv`` have `reference_maps`, which look at nothing.

    Args:
        classifiers: See `build_bank`.
        alpha: See `metrics.binarize`; above 0.
        references: Whether reference maps are measured, too.
        seed: Seed of the random ones.

    Raises:
        ValueError: If ``alpha`` is not above 0.
    """

    name = "bank"
    needs_labels = True
    needs_exclusive = True

    def __init__(
        self,
        classifiers: Sequence[str] = (),
        alpha: float = 1.0,
        references: bool = True,
        seed: int = 0,
    ) -> None:
        if not alpha > 0:
            raise ValueError(f"alpha must be above 0, got {alpha}")
        self.classifiers = list(classifiers)
        self.alpha = alpha
        self.references = list(REFERENCES) if references else []
        self.seed = seed
        self._bank: dict[str, Member] = {}

    def check(self, config: DictConfig) -> None:
        """Check that the classifiers can be found; see `check_bank`."""
        check_bank(self.classifiers)

    def check_data(self, data: WSOLDataModule) -> None:
        """Load the classifiers.

        Raises:
            UserError: If a classifier cannot be loaded or has other classes than the data set.
        """
        classes, size = data.num_classes, data.crop_size
        self._bank = build_bank(
            self.classifiers, classes, torch.device("cpu"), size, data.decoding.channels
        )

    def run(self, setting: Setting) -> Outcome:
        """Show the masked images to all classifiers."""
        module = setting.module
        methods, colors = explainers(module), {"mean": module.mean, "std": module.std}
        bank = {name: member.to(module.device) for name, member in self._bank.items()}
        scores = bank_scores(bank, [*methods, *self.references], module.device)
        options = {"alpha": self.alpha, "note": setting.note, "seed": self.seed, **colors}
        batches = labeled(setting.batches(scores))
        count_bank(bank, module.classifier, batches, methods, scores, **options)
        found = bank_accuracies(scores)
        files = {
            "bank.csv": partial(write_accuracies, accuracies=found),
            "pictures/bank.png": partial(
                plot_accuracies, accuracies=found, references=self.references
            ),
        }
        if setting.pictures and place().rank == 0:
            files |= self._pictures(setting, methods)
        figures = {f"bank_{name}": figure for name, figure in declared(MaskedAccuracy).items()}
        of_methods = {name: found[name] for name in methods}
        return Outcome(bank_figures(of_methods), figures, files)

    def _pictures(
        self, setting: Setting, methods: Mapping[str, Explainer]
    ) -> dict[str, Callable[[Path], None]]:
        """Mask some images by each method; return functions that draw them, by file."""
        module = setting.module
        split = setting.data.dataloader(setting.config.split)
        batch = setting.to_device(spread(split, setting.pictures))
        images, found = batch["image"], {}
        colors = {"mean": module.mean, "std": module.std}
        with torch.no_grad():
            labels = module.known_targets(batch["label"], module.classifier(images))
        for name, method in methods.items():
            with torch.no_grad():
                binary = binarize(method(module.classifier, images, labels), self.alpha)
            shown = {"binary": binary, "shown_channels": module.shown_channels, **colors}
            draw = partial(draw_variants, images=images, **shown)
            found[f"pictures/masked_{name}.png"] = draw
        return found


def reference_maps(name: str, images: Tensor, places: Sequence[int], seed: int = 0) -> Tensor:
    """Make the maps of one of the `REFERENCES`, which do not look at the images.

    Args:
        name: ``"zero"``, which shows nothing; ``"one"``, which shows everything; or ``"random"``, a
            number in [0, 1) for each pixel, which shows half of them.
        images: Shape (B, 3, H, W).
        places: Place of each image in its split, on which alone random numbers depend.
        seed: Seed of the random numbers.

    Returns:
        Maps (B, H, W) in [0, 1].

    Raises:
        ValueError: If the name is none of these.
    """
    size = images.shape[-2:]
    if name == "zero":
        return images.new_zeros(len(images), *size)
    if name == "one":
        return images.new_ones(len(images), *size)
    if name != "random":
        raise ValueError(f"name must be one of {REFERENCES}, got {name!r}")
    made = []
    for place_of_image in places:
        generator = torch.Generator().manual_seed(seed * _SEEDS + place_of_image)
        made.append(torch.rand(size, generator=generator))
    return torch.stack(made).to(images)


def bank_scores(
    bank: Iterable[str], methods: Iterable[str], device: torch.device | str = "cpu"
) -> BankScores:
    """Make the metric of each method and classifier."""
    bank = list(bank)
    return {method: {name: MaskedAccuracy().to(device) for name in bank} for method in methods}


def count_bank(
    bank: Mapping[str, Member],
    classifier: nn.Module,
    batches: Iterable[WSOLBatch],
    methods: Mapping[str, Explainer],
    scores: BankScores,
    *,
    mean: Tensor,
    std: Tensor,
    alpha: float = 1.0,
    seed: int = 0,
    note: Callable[[str], None] = lambda what: None,
) -> None:
    """Count each classifier's hits on images that masks show, hide, repaint (paper 004, Fig. 3).

    Maps explain the true class and are cut by `metrics.binarize`.

    Args:
        bank: The classifiers to show the images to.
        classifier: The network that the maps explain, in evaluation mode.
        batches: Images of a split, on the device of bank and classifier.
        methods: Methods by name, ``(classifier, images, targets) -> maps (B, H, W) in [0, 1]``.
        scores: Metrics of `bank_scores`, to which the batches are added; those that belong to no
            method are of the `reference_maps` of their name.
        mean: Mean that the batches are normalized with, (3, 1, 1).
        std: Standard deviation that they are normalized with, (3, 1, 1).
        alpha: See `metrics.binarize`.
        seed: Seed of random reference maps.
        note: Called with a description of the current work.
    """
    colors = {"mean": mean, "std": std}
    for number, batch in enumerate(batches):
        images, labels = batch["image"], batch["label"]
        with torch.no_grad():
            clean = {name: member.logits(images, **colors) for name, member in bank.items()}
        for method, of_method in scores.items():
            note(f"{method}, batch {number + 1}")
            with torch.no_grad():
                if method in methods:
                    maps = methods[method](classifier, images, labels)
                else:
                    maps = reference_maps(method, images, batch["index"].tolist(), seed)
                variants = masked_variants(images, binarize(maps, alpha), **colors)
                del variants["clean"]  # does not depend on the map
                for name, member in bank.items():
                    masked = {v: member.logits(x, **colors) for v, x in variants.items()}
                    of_method[name].update({"clean": clean[name]} | masked, labels)


def bank_accuracies(scores: BankScores) -> Accuracies:
    """Compute the accuracies; with several processes every one has to call this.

    Returns:
        Fractions by method, by classifier and by variant: clean, masked_in, masked_out, inpainted.
    """
    return {
        method: {
            name: {variant: float(value) for variant, value in metric.compute().items()}
            for name, metric in found.items()
        }
        for method, found in scores.items()
    }


def bank_figures(accuracies: Accuracies) -> dict[str, dict[str, float]]:
    """Average over the bank by method: ``bank_clean``, ``bank_masked_in`` and so on."""
    results = {}
    for method, found in accuracies.items():
        rows = list(found.values())
        results[method] = {
            f"bank_{variant}": sum(row[variant] for row in rows) / len(rows) for variant in rows[0]
        }
    return results
