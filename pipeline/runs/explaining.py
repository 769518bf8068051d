"""Precision, memory layout and folded BatchNorm of the networks that are explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from learned_saliency.attribution import FoldedBatchNorm, FoldingError, fold_batchnorm
from learned_saliency.ops import widen
from learned_saliency.pipeline.cli import UserError
from learned_saliency.trainers import NATIVE, SaliencyModule

# Words of ``precision`` by the values of Lightning's.
_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_MOST_COMPARED = 16  # images of the first batch


def with_precision(config: DictConfig) -> DictConfig:
    """Return the configuration with ``precision``, where it has a value, in place of the trainer's.

    The network and the methods compute in it; maps and metrics are at least float32 in any case.

    Raises:
        UserError: If there is no such precision.
    """
    if config.precision is None:
        return config
    if str(config.precision) not in _PRECISIONS:
        raise UserError(
            f"precision={config.precision}: expected one of {', '.join(_PRECISIONS)} here."
        )
    config = config.copy()
    config.trainer.precision = _PRECISIONS[str(config.precision)]
    return config


class MapDifference(NamedTuple):
    """Differences of maps (B, H, W) in [0, 1] from those of the same images.

    Attributes:
        mean: Mean absolute difference.
        largest: Largest absolute difference.
        correlation: Pearson correlation, the mean over images; None if all maps are constant.
    """

    mean: float
    largest: float
    correlation: float | None

    @classmethod
    def of(cls, maps: Tensor, plain: Tensor) -> MapDifference:
        """Compare maps with plain ones."""
        maps, plain = maps.double(), plain.double()
        error = (maps - plain).abs()
        centered = [m.flatten(1) - m.flatten(1).mean(1, keepdim=True) for m in (maps, plain)]
        products = (centered[0] * centered[1]).sum(1)
        found = products / (centered[0].norm(dim=1) * centered[1].norm(dim=1))
        found = found[found.isfinite()]
        correlation = float(found.mean()) if len(found) else None
        return cls(float(error.mean()), float(error.max()), correlation)


class MapEffect(NamedTuple):
    """Effect of the options on the first images.

    Attributes:
        images: Number of images.
        folded: Number of folded BatchNorms.
        same_class: Share of images whose predicted class is the same.
        logit_mean: Mean absolute difference of logits.
        logit_largest: Largest absolute difference of logits.
        maps: Differences of the maps by method.
    """

    images: int
    folded: int
    same_class: float
    logit_mean: float
    logit_largest: float
    maps: dict[str, MapDifference]

    def line(self) -> str:
        """Say the effect in one line."""
        maps = "; ".join(
            f"{name} {d.mean:.2g}, {d.largest:.2g}, "
            + ("flat" if d.correlation is None else f"{d.correlation:.6f}")
            for name, d in self.maps.items()
        )
        return (
            f"{self.images} images beside plain float32: same class {100 * self.same_class:.4g} %; "
            f"logits differ by {self.logit_mean:.2g} in the mean, {self.logit_largest:.2g} at most;"
            f" maps (mean and largest difference, correlation): {maps or 'none'}"
        )

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        maps = {name: difference._asdict() for name, difference in self.maps.items()}
        logits = {"mean": self.logit_mean, "largest": self.logit_largest}
        return {
            "images": self.images,
            "same_class": self.same_class,
            "logits": logits,
            "maps": maps,
        }


class Explaining(NamedTuple):
    """Options of how networks compute while they are explained.

    Attributes:
        words: The options that were asked for, by their keys.
        precision: Lightning's word for the precision.
        channels_last: Whether activations lie in memory with their channels last.
        fold_batchnorm: Whether BatchNorm is folded into convolutions.
    """

    words: dict[str, Any]
    precision: str = "32-true"
    channels_last: bool = True
    fold_batchnorm: bool = False

    @classmethod
    def of(cls, config: DictConfig) -> Explaining:
        """Read the options of a configuration that went through `with_precision`."""
        usual = {"precision": None, "channels_last": True, "fold_batchnorm": False}
        words = {key: config[key] for key in usual if config[key] != usual[key]}
        precision = str((config.get("trainer") or {}).get("precision", "32-true"))
        return cls(words, precision, config.channels_last, config.fold_batchnorm)

    def __str__(self) -> str:
        return " ".join(
            f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in self.words.items()
        )

    def warning(self, device: torch.device) -> str | None:
        """Say beforehand that a precision takes longer on this processor; None if it does not."""
        if self.precision != "bf16-mixed" or device.type != "cpu" or _has_bfloat16():
            return None
        return (
            "precision=bf16: this processor has no instructions for bfloat16 and takes many times "
            "as long as with float32"
        )

    def autocast(self, device: torch.device) -> AbstractContextManager:
        """Return the context in which a network computes with the precision."""
        if self.precision not in _AUTOCAST:
            return nullcontext()
        return torch.autocast(device.type, dtype=_AUTOCAST[self.precision])

    def check(self, module: SaliencyModule, images: Tensor) -> None:
        """Check that BatchNorm can be folded, if that is asked for; leave the module as it is.

        Raises:
            UserError: If it cannot.
        """
        if self.fold_batchnorm:
            self._fold(module, images).undo()

    def apply(self, module: SaliencyModule, images: Tensor) -> FoldedBatchNorm | None:
        """Bring a module into the form that is asked for.

        Args:
            module: The module, on its device.
            images: Normalized images (B, 3, H, W), see `attribution.fold_batchnorm`.

        Returns:
            What undoes the folding; None without.

        Raises:
            UserError: If BatchNorm cannot be folded.
        """
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        module.network.to(memory_format=layout)
        return self._fold(module, images) if self.fold_batchnorm else None

    def compare(
        self,
        module: SaliencyModule,
        images: Tensor,
        labels: Tensor | None = None,
        names: Sequence[str] = (),
    ) -> tuple[MapEffect | None, FoldedBatchNorm | None]:
        """Apply the options, and find how logits and maps of some images change by them.

        Args:
            module: The module on its device, in the form in which it was loaded.
            images: The first normalized images, (B, 3, H, W), of which a few suffice.
            labels: Classes to explain, int64 (B,); see `SaliencyModule.maps`.
            names: Names of the post-hoc methods.

        Returns:
            The effect, None without options; and what `apply` returns.

        Raises:
            UserError: If BatchNorm cannot be folded, or numbers are not finite any more; nothing is
                folded then.
        """
        if not self.words:
            return None, self.apply(module, images)
        images = images[:_MOST_COMPARED]
        labels = None if labels is None else labels[:_MOST_COMPARED]
        module.eval()
        plain_maps, plain = _found(module, images, labels, names)
        targets = module.known_targets(labels, plain)
        folded = self.apply(module, images)
        try:
            with self.autocast(images.device):
                self._check_finite(module, images, plain)
                maps, logits = _found(module, images, targets, names)
        except BaseException:
            if folded is not None:
                folded.undo()
            raise
        error = (logits - plain).abs()
        effect = MapEffect(
            len(images),
            0 if folded is None else folded.count,
            float((logits.argmax(1) == plain.argmax(1)).double().mean()),
            float(error.mean()),
            float(error.max()),
            {name: MapDifference.of(maps[name], plain_maps[name]) for name in plain_maps},
        )
        return effect, folded

    def _check_finite(self, module: SaliencyModule, images: Tensor, plain: Tensor) -> None:
        """Check that logits are finite where the plain ones (B, C) are."""
        with torch.no_grad():
            logits = widen(module.classifier(images))
        if plain.isfinite().all() and not logits.isfinite().all():
            raise UserError(f"{self}: the network's scores are not finite with it; leave it out.")

    def _fold(self, module: SaliencyModule, images: Tensor) -> FoldedBatchNorm:
        passes = []
        if module.native is not None:
            passes.append(lambda given: tuple(module.explain(given, None)))
        try:
            return fold_batchnorm(module.classifier, images, passes, network=module.network)
        except FoldingError as error:
            raise UserError(f"fold_batchnorm=true: {error}; leave it out.") from None


def _has_bfloat16() -> bool:
    """Return whether the processor computes in bfloat16; True where that is not known."""
    known = getattr(torch.cpu, "get_capabilities", dict)()
    if known.get("architecture") != "x86_64":
        return True
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def explaining_record(options: Explaining, effect: MapEffect | None) -> dict[str, Any]:
    """Return what is written down of the options and their effect; nothing without options."""
    if effect is None:
        return {}
    folded = {"folded": effect.folded} if options.fold_batchnorm else {}
    return {"explaining": {**options.words, **folded, "effect": effect.record()}}


def _found(
    module: SaliencyModule, images: Tensor, labels: Tensor | None, names: Sequence[str]
) -> tuple[Mapping[str, Tensor], Tensor]:
    """Compute maps by method and logits, at least float32."""
    names = [name for name in names if name != NATIVE]
    with torch.no_grad():
        maps, logits = module.maps(images, labels, names)
    return {name: widen(values) for name, values in maps.items()}, widen(logits)
