"""Completeness, correctness and contrastivity of maps by exact effects of parts."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.part_effects import PartEffects
from learned_saliency.metrics.rank_correlation import rank_correlation

_THRESHOLDS = (0.01, 0.5, 80)  # first, last and number, as Hesse et al. 2023
_FILES = Figure(True, headline=False)


class PartFidelity(Metric):
    r"""Scores of FunnyBirds (Hesse et al. 2023, Sec. 4) for maps of objects with removable parts.

    All explain the predicted class :math:`\hat y`; :math:`I_r` is `part_importance`, and
    :math:`P_t = \{r : I_r > t\}` are the important parts at a threshold t. Means over images of

    - ``bench_csdc``, controlled synthetic data check:
      :math:`\max_S |S \cap P_t| / |S|` over the minimal sets of parts S that tell the class; images
      that are classified correctly.
    - ``bench_pc``, preservation check: whether the prediction stays when all parts but
      :math:`P_t` are removed.
    - ``bench_dc``, deletion check: whether it changes when :math:`P_t` is removed.
    - ``bench_d``, distractibility: :math:`1 - |N \cap P_t| / |N|`, N the parts and distractors
      whose removal lowers the logit by less than 5 %; images with any.
    - ``bench_correctness`` (Cor.), single deletion: :math:`(\rho + 1) / 2`, Spearman's
      :math:`\rho` of the parts' importances and the drops of the logit when each is removed.
    - ``bench_contrastivity`` (Con.), target sensitivity: whether the maps of two classes, each of
      which shares parts with the image, give these parts more than the other class's map does; two
      answers per image, images with a contrast.

    ``bench_completeness`` (Com.) is
    :math:`\tfrac{1}{2}\big(\tfrac{1}{3}(\text{CSDC} + \text{PC} + \text{DC}) + \text{D}\big)` at
    the threshold where it is largest, ``bench_threshold``, at which the four are given, too.
    ``bench_mean`` is the mean of the three axes. Of the classifier alone are ``bench_accuracy``,
    ``bench_background_independence``, the share of distractors whose removal lowers the logit by
    less than 5 %, and ``bench_plain_background``, the share of predictions that stay on a plain
    background.

    Departures. An image whose parts all have the same importance counts as uncorrelated,
    :math:`\rho = 0`, and not as none: a constant map gets 50 % in correctness and not the mean over
    the images where rounding ranks its parts. The predicted class is explained in all scores, where
    they explain the true one in CSDC, single deletion and distractibility. A distractor of which no
    pixel shows is left out.

    Args:
        sufficient: Minimal sets of parts that tell each class, bool (C, M, P); missing ones are
            empty.

    Raises:
        ValueError: If ``sufficient`` does not have three dimensions.
    """

    is_differentiable = False
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset({"parts", "labels"})
    figures: ClassVar[dict[str, Figure]] = {
        "bench_completeness": Figure(True, short="Com."),
        "bench_correctness": Figure(True, short="Cor."),
        "bench_contrastivity": Figure(True, short="Con."),
        "bench_mean": Figure(True, short="mX"),
        "bench_csdc": _FILES,
        "bench_pc": _FILES,
        "bench_dc": _FILES,
        "bench_d": _FILES,
        "bench_threshold": Figure(None, headline=False),
        "bench_contrasts": Figure(None, headline=False),
        "bench_accuracy": Figure(None, headline=False),
        "bench_background_independence": Figure(None, headline=False),
        "bench_plain_background": Figure(None, headline=False),
    }

    sums: Tensor
    counts: Tensor
    checks: Tensor
    checked: Tensor

    def __init__(self, sufficient: Tensor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if sufficient.ndim != 3:
            raise ValueError(f"sufficient must be (C, M, P), got {tuple(sufficient.shape)}")
        first, last, number = _THRESHOLDS
        self.register_buffer("_sufficient", sufficient.bool(), persistent=False)
        steps = torch.linspace(first, last, number, dtype=torch.float64)
        self.register_buffer("_thresholds", steps, persistent=False)
        # Sums of CSDC, PC, DC and D at each threshold, and the numbers of their images.
        self._zeros("checks", 4, number)
        self._zeros("checked", 4)
        # Sums of single deletion, target sensitivity, accuracy, independence and plain background.
        self._zeros("sums", 5)
        self._zeros("counts", 5)

    def _zeros(self, name: str, *shape: int) -> None:
        zeros = torch.zeros(shape, dtype=torch.float64)
        self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(
        self,
        importance: Tensor,
        shown: Tensor,
        effects: PartEffects,
        contrasts: Tensor | None = None,
    ) -> None:
        """Add some images.

        Args:
            importance: Importance of P parts, then D distractors, for the predicted class, (B,
                P + D), see `part_importance`.
            shown: Whether a distractor has a pixel, bool (B, D).
            effects: Logits with parts removed.
            contrasts: Importance of the parts of each set in the maps of each class, of the N
                images with a contrast, (N, 2 sets, 2 classes); None where there is one map per
                image, which leaves ``bench_contrastivity`` as it is.

        Raises:
            ValueError: If the shapes do not fit.
        """
        count, regions = shown.shape[0], effects.parts + shown.shape[1]
        if importance.shape != (count, regions) or len(effects.logits) != count:
            raise ValueError(
                f"expected importance ({count}, {regions}) and {count} images, got "
                f"{tuple(importance.shape)} and {len(effects.logits)}"
            )
        parts = importance[:, : effects.parts]
        self._add_checks(importance, shown, effects)
        drops, lost = effects.drops(), effects.distractor_drops()
        known = (drops != drops[:, :1]).any(1)  # a classifier without any effect ranks no part
        correlation = rank_correlation(parts[known], drops[known])
        self._add(0, (correlation + 1) / 2)
        if contrasts is not None:
            own = torch.stack([contrasts[:, 0, 0], contrasts[:, 1, 1]], 1)
            other = torch.stack([contrasts[:, 0, 1], contrasts[:, 1, 0]], 1)
            self._add(1, (own > other).flatten())
        self._add(2, effects.predicted == effects.labels)
        self._add(3, ~effects.relevant(lost)[shown])
        self._add(4, effects.plain.argmax(1) == effects.predicted)

    def _add(self, place: int, terms: Tensor) -> None:
        self.sums[place] += terms.double().sum().to(self.sums.device)
        self.counts[place] += terms.numel()

    def _add_checks(self, importance: Tensor, shown: Tensor, effects: PartEffects) -> None:
        """Add CSDC, PC, DC and D at all thresholds T."""
        predicted, parts = effects.predicted, effects.parts
        important = importance[:, None] > self._thresholds[:, None]  # (B, T, P + D)
        chosen = important[..., :parts]
        right = predicted == effects.labels
        sets = self._sufficient[effects.labels[right]].double()  # (N, M, P)
        found = chosen[right].double() @ sets.transpose(1, 2)  # (N, T, M)
        shares = (found / sets.sum(2)[:, None].clamp(min=1)).amax(2)
        powers = 2 ** torch.arange(parts, device=chosen.device)
        removed = (chosen * powers).sum(2)  # (B, T), number of the set of important parts
        answers = effects.logits.argmax(2)  # (B, 2^P)
        kept = answers.gather(1, 2**parts - 1 - removed) == predicted[:, None]
        changed = answers.gather(1, removed) != predicted[:, None]
        drops = torch.cat([effects.drops(), effects.distractor_drops()], 1)
        there = torch.cat([torch.ones_like(chosen[:, 0]), shown], 1)
        unimportant = there & ~effects.relevant(drops)  # (B, P + D)
        counted = unimportant.any(1)
        wrong = (important & unimportant[:, None]).sum(2) / unimportant.sum(1)[:, None].clamp(min=1)
        for place, terms in enumerate((shares, kept, changed, 1 - wrong[counted].double())):
            self.checks[place] += terms.double().sum(0).to(self.checks.device)
            self.checked[place] += len(terms)

    def compute(self) -> dict[str, Tensor]:
        """Compute all scores over the images so far; NaN where no image counts."""
        checks = self.checks / self.checked[:, None]
        completeness = (checks[:3].mean(0) + checks[3]) / 2
        best = int(completeness.nan_to_num(nan=0.0).argmax())
        sensitivity = self.sums / self.counts
        axes = torch.stack([completeness[best], sensitivity[0], sensitivity[1]])
        names = ("completeness", "correctness", "contrastivity")
        found = dict(zip(names, axes, strict=True)) | {"mean": axes.mean()}
        found |= dict(zip(("csdc", "pc", "dc", "d"), checks[:, best], strict=True))
        found |= {"threshold": self._thresholds[best], "contrasts": self.counts[1] / 2}
        names = ("accuracy", "background_independence", "plain_background")
        found |= dict(zip(names, sensitivity[2:], strict=True))
        return {f"bench_{name}": value for name, value in found.items()}
