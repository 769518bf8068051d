"""Study of whether masks hide the evidence from classifiers that they were not made for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from learned_saliency.datamodules import WSOLBatch, WSOLDataModule
from learned_saliency.metrics import MaskedAccuracy, binarize, declared, masked_variants
from learned_saliency.pipeline.cli import UserError, first_sentence
from learned_saliency.pipeline.evaluation.studies.base import (
    Explainer,
    Outcome,
    Setting,
    Study,
    explainers,
    labeled,
)
from learned_saliency.pipeline.runs import (
    PlainLogits,
    check_library_network,
    load_network,
    read_checkpoint,
    third_party_network,
)
from learned_saliency.storage import write_bytes, write_csv
from learned_saliency.trainers import place, spread
from learned_saliency.visualization import Picture, encode_png, grid

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

Accuracies = dict[str, dict[str, dict[str, float]]]  # by method, by classifier, by variant
BankScores = Mapping[str, Mapping[str, MaskedAccuracy]]  # by method, by classifier


class Member(NamedTuple):
    """A classifier of the bank with the normalization of its images.

    Attributes:
        network: Network of images (B, 3, H, W) to logits (B, C), in evaluation mode.
        mean: Mean of each channel in [0, 1], (3, 1, 1).
        std: Standard deviation of each channel, (3, 1, 1).
    """

    network: nn.Module
    mean: Tensor
    std: Tensor

    def to(self, device: torch.device) -> Member:
        """Bring network and normalization to a device."""
        return Member(self.network.to(device), self.mean.to(device), self.std.to(device))


class Bank(Study):
    """Accuracy of other classifiers on masked images, for all methods (paper 004, Fig. 2 and 3).

    Args:
        classifiers: See `build_bank`.
        alpha: See `metrics.binarize`; above 0.

    Raises:
        ValueError: If ``alpha`` is not above 0.
    """

    name = "bank"
    needs_labels = True

    def __init__(self, classifiers: Sequence[str] = (), alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f"alpha must be above 0, got {alpha}")
        self.classifiers = list(classifiers)
        self.alpha = alpha
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
        self._bank = build_bank(self.classifiers, classes, torch.device("cpu"), size)

    def run(self, setting: Setting) -> Outcome:
        """Show the masked images to all classifiers."""
        module = setting.module
        methods, colors = explainers(module), {"mean": module.mean, "std": module.std}
        bank = {name: member.to(module.device) for name, member in self._bank.items()}
        scores = bank_scores(bank, methods, module.device)
        options = {"alpha": self.alpha, "note": setting.note, **colors}
        batches = labeled(setting.batches(scores))
        count_bank(bank, module.classifier, batches, methods, scores, **options)
        found = bank_accuracies(scores)
        files = {"bank.csv": partial(write_accuracies, accuracies=found)}
        if setting.pictures and place().rank == 0:
            split = setting.data.dataloader(setting.config.split)
            batch = setting.to_device(spread(split, setting.pictures))
            images = batch["image"]
            with torch.no_grad():
                labels = module.known_targets(batch["label"], module.classifier(images))
            for name, method in methods.items():
                with torch.no_grad():
                    binary = binarize(method(module.classifier, images, labels), self.alpha)
                draw = partial(draw_variants, images=images, binary=binary, **colors)
                files[f"pictures/masked_{name}.png"] = draw
        figures = {f"bank_{name}": figure for name, figure in declared(MaskedAccuracy).items()}
        return Outcome(bank_figures(found), figures, files)


def check_bank(names: Sequence[str]) -> None:
    """Check before a long run that the classifiers of a bank can be found.

    Args:
        names: See `build_bank`.

    Raises:
        UserError: If no classifier is named, a library has no such network, or a file is missing or
            no checkpoint.
    """
    if not names:
        raise UserError(
            "studies=[bank] needs classifiers: name some as studies.bank.classifiers=[...], "
            "checkpoints or torchvision:NAME or timm:NAME."
        )
    for name in names:
        if not _is_foreign(name):
            read_checkpoint(name, "best.ckpt")
            continue
        network, at, file = name.partition("@")
        check_library_network(network)
        if at and not Path(file).expanduser().is_file():
            raise UserError(f"studies.bank.classifiers: {name}: there is no such file.")


def _is_foreign(name: str) -> bool:
    return ":" in name and not Path(name).expanduser().exists()


def build_bank(
    names: Sequence[str], num_classes: int, device: torch.device, size: int = 224
) -> dict[str, Member]:
    """Load the classifiers of a bank.

    Args:
        names: Each a run's folder or a checkpoint of this project, whose classifier is taken, or
            ``torchvision:NAME`` or ``timm:NAME`` with the library's weights, or the same with a
            file of weights, ``timm:NAME@FILE``.
        num_classes: Number of classes of the data set, which all classifiers must have.
        device: Device for the classifiers.
        size: Side of the images in pixels, which all classifiers must take.

    Returns:
        The classifiers by the given names.

    Raises:
        UserError: If a classifier cannot be loaded, does not take the images, or has other classes.
    """
    bank = {}
    for name in names:
        network, normalization = _load(name, num_classes)
        network = network.to(device).eval().requires_grad_(False)
        try:
            with torch.no_grad():
                found = network(torch.zeros(1, 3, size, size, device=device)).shape[1]
        except Exception as error:  # a foreign network may raise anything
            raise UserError(
                f"studies.bank.classifiers: {name} does not take images of {size} x {size} pixels: "
                f"{first_sentence(error)}; choose the size by data.crop_size=..., or leave it out."
            ) from None
        if found != num_classes:
            raise UserError(
                f"studies.bank.classifiers: {name} knows {found} classes, but the data set has"
                f" {num_classes}; choose one that was trained on these."
            )
        mean, std = (
            torch.tensor(normalization[key], device=device).view(3, 1, 1) for key in ("mean", "std")
        )
        bank[name] = Member(network, mean, std)
    return bank


def _load(name: str, num_classes: int) -> tuple[nn.Module, Mapping[str, Any]]:
    """Load a classifier and the ``mean`` and ``std`` that its images are normalized with."""
    if _is_foreign(name):
        classifier, _, weights = name.partition("@")
        network = third_party_network(classifier, num_classes, weights or "default")
        return PlainLogits(network), getattr(network, "pretrained_cfg", _IMAGENET)
    checkpoint = read_checkpoint(name, "best.ckpt")
    network = load_network(checkpoint)
    return getattr(network, "classifier", network), checkpoint.config.data


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
    note: Callable[[str], None] = lambda what: None,
) -> None:
    """Count each classifier's hits on images that masks show, hide, repaint (paper 004, Fig. 3).

    Maps explain the true class and are cut by `metrics.binarize`.

    Args:
        bank: The classifiers to show the images to.
        classifier: The network that the maps explain, in evaluation mode.
        batches: Images of a split, on the device of bank and classifier.
        methods: Methods by name, ``(classifier, images, targets) -> maps (B, H, W) in [0, 1]``.
        scores: Metrics of `bank_scores`, to which the batches are added.
        mean: Mean that the batches are normalized with, (3, 1, 1).
        std: Standard deviation that they are normalized with, (3, 1, 1).
        alpha: See `metrics.binarize`.
        note: Called with a description of the current work.
    """
    for number, batch in enumerate(batches):
        images, labels = batch["image"], batch["label"]
        with torch.no_grad():
            clean = {name: _logits(member, images, mean, std) for name, member in bank.items()}
        for method, explain in methods.items():
            note(f"{method}, batch {number + 1}")
            with torch.no_grad():
                maps = explain(classifier, images, labels)
                variants = masked_variants(images, binarize(maps, alpha), mean, std)
                del variants["clean"]  # does not depend on the map
                for name, member in bank.items():
                    masked = {v: _logits(member, x, mean, std) for v, x in variants.items()}
                    scores[method][name].update({"clean": clean[name]} | masked, labels)


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


def _logits(member: Member, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Show a member images that are normalized for another network."""
    return member.network((images * std + mean - member.mean) / member.std)


def bank_figures(accuracies: Accuracies) -> dict[str, dict[str, float]]:
    """Average over the bank by method: ``bank_clean``, ``bank_masked_in`` and so on."""
    results = {}
    for method, found in accuracies.items():
        rows = list(found.values())
        results[method] = {
            f"bank_{variant}": sum(row[variant] for row in rows) / len(rows) for variant in rows[0]
        }
    return results


def write_accuracies(path: Path, accuracies: Accuracies) -> None:
    """Write one row per method and classifier as CSV."""
    rows = [
        {"method": method, "classifier": name, **values}
        for method, found in accuracies.items()
        for name, values in found.items()
    ]
    write_csv(path, list(rows[0]), rows)


def draw_variants(path: Path, images: Tensor, binary: Tensor, mean: Tensor, std: Tensor) -> None:
    """Draw each image with its mask's part alone, hidden and repainted (paper 004, Fig. 2).

    Args:
        path: PNG to write.
        images: Normalized images (B, 3, H, W), one per row.
        binary: Pixels that the masks show, bool (B, H, W).
        mean: Mean that the images are normalized with, (3, 1, 1).
        std: Standard deviation that they are normalized with, (3, 1, 1).
    """
    variants = masked_variants(images, binary, mean, std)
    columns = [_pictures(shown * std + mean) for shown in variants.values()]
    rows = [list(row) for row in zip(*columns, strict=True)]
    titles = [name.replace("_", " ") for name in variants]
    write_bytes(path, encode_png(grid(rows, titles)))


def _pictures(colors: Tensor) -> list[Picture]:
    shown = (colors.clamp(0, 1) * 255).round().byte()
    return list(shown.permute(0, 2, 3, 1).cpu().numpy())
