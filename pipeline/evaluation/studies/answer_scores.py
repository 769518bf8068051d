"""Scores of the maps of a question-answering network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, SumMetric

from learned_saliency.attribution import PostHocMethod, SharedFeatures, SplitClassifier, split
from learned_saliency.datamodules import Asked, WSOLBatch
from learned_saliency.metrics import EnergyProportion, Figure, declared, energy
from learned_saliency.models import QuestionAnswering
from learned_saliency.storage import write_csv
from learned_saliency.trainers import TEST_FIGURES, FaithfulnessScores, Trial

_TABLE = {"average_increase": "IC", "average_drop": "AD", "average_drop_in_deletion": "ADD"}
_ENERGY = "energy"

#: Declarations of the values of the study.
FIGURES: dict[str, Figure] = {
    **{f"vqa_{k}": TEST_FIGURES[k]._replace(short=f"VQA {short}") for k, short in _TABLE.items()},
    **{
        f"vqa_top_{k}": TEST_FIGURES[k]._replace(short=f"top {short}", headline=short == "AD")
        for k, short in _TABLE.items()
    },
    "vqa_energy": declared(EnergyProportion)[_ENERGY]._replace(short="on part"),
    "vqa_accuracy": Figure(True, short="answers"),
    "vqa_guessing": Figure(None, short="guesses"),
    "vqa_questions": Figure(None, headline=False),
}


def answering(network: QuestionAnswering) -> SplitClassifier:
    """Split a question-answering network at its CNN's activations; its input is ``question``."""

    def call(model: nn.Module, images: Tensor, question: Tensor) -> Tensor:
        return model(images, question)

    return split(network, "encoder", layout="channels_first", call=call)


class AnswerScores(nn.Module):
    """Counter of everything that is measured of the answers and their maps.

    Args:
        methods: Names of the methods.
        top: Number of most probable answers that are explained.
    """

    def __init__(self, methods: Iterable[str], top: int) -> None:
        super().__init__()
        names = list(methods)
        self.ranks = nn.ModuleList(FaithfulnessScores(names, list(_TABLE)) for _ in range(top))
        self.energy = nn.ModuleDict({name: EnergyProportion() for name in names})
        terms = (*_TABLE, _ENERGY)
        self.squares = nn.ModuleDict(
            {name: nn.ModuleDict({term: MeanMetric() for term in terms}) for name in names}
        )
        self.accuracy, self.guessing, self.questions = MeanMetric(), MeanMetric(), SumMetric()

    def update(self, method: str, rank: int, trial: Trial) -> None:
        """Count the drops of the answers of one rank, from 0, under one method's maps."""
        terms = self.ranks[rank].update(method, trial)
        if rank == 0:
            for name, values in terms.items():
                self.squares[method][name].update(values.square())

    def update_energy(self, method: str, saliency: Tensor, region: Tensor) -> None:
        """Count the mass of maps (N, H, W) on the part of each, bool (N, H, W), if it is there."""
        seen = region.flatten(1).any(dim=1)
        if seen.any():
            self.energy[method].update(saliency[seen], region[seen])
            terms = energy(saliency[seen], region[seen])
            self.squares[method][_ENERGY].update(terms.square())

    def compute(self) -> dict[str, list[dict[str, float]]]:
        """Compute by method and rank; all processes have to call this.

        Returns:
            By method, for each rank: the values of Tab. 6 as fractions; for the first also
            ``energy``, for each of its values the half width of its 95 % interval as
            ``VALUE_interval``, and ``accuracy``, ``guessing`` and ``questions``.
        """
        ranks = [scores.compute() for scores in self.ranks]
        common = {name: float(getattr(self, name).compute()) for name in _COMMON}
        found = {}
        for method, squares in self.squares.items():
            metric = self.energy[method]
            first = ranks[0][method] | {_ENERGY: float(metric.compute())}
            counts = dict.fromkeys(_TABLE, common["questions"]) | {_ENERGY: float(metric.images)}
            widths = {
                f"{name}_interval": _half_width(first[name], float(square.compute()), counts[name])
                for name, square in squares.items()
            }
            found[method] = [first | widths | common, *(rank[method] for rank in ranks[1:])]
        return found


_COMMON = ("accuracy", "guessing", "questions")


def _half_width(mean: float, square: float, count: float) -> float:
    """Compute 1.96 standard errors of a mean, from that of the squares; NaN below two values."""
    return 1.96 * math.sqrt(max(square - mean**2, 0) / (count - 1)) if count > 1 else math.nan


def count_answers(
    network: QuestionAnswering,
    batch: WSOLBatch,
    about: Asked,
    places: Tensor,
    methods: Mapping[str, PostHocMethod],
    scores: AnswerScores,
    *,
    guessing: Tensor,
    masking: Mapping[str, Any],
    note: Callable[[str], None] = lambda what: None,
) -> None:
    """Explain the most probable answers to some questions, and count what masking does to them.

    Args:
        network: The network, in evaluation mode.
        batch: Images on the network's device.
        about: Questions about images of the batch, N of them.
        places: Part of every pixel of the batch's images, uint8 (B, H, W).
        methods: Methods by name.
        scores: Counter that the questions are added to.
        guessing: Share of right guesses of each question, (Q,).
        masking: Options of `metrics.masked_probabilities`.
        note: Called with a description of the current work.
    """
    device = batch["image"].device
    rows = rows_of(batch, about)
    images = batch["image"][rows.to(device)]
    bound = answering(network).bind(question=about.words.to(device))
    shared = SharedFeatures(bound, images)
    with torch.no_grad():
        best = shared(images).topk(len(scores.ranks)).indices
    scores.accuracy.update((best[:, 0].cpu() == about.answers).float())
    scores.guessing.update(guessing[about.questions])
    scores.questions.update(len(rows))
    region = (places[rows] == about.parts[:, None, None]).to(device)
    for name, method in methods.items():
        for rank, answers in enumerate(best.unbind(1)):
            note(f"{name}, answer {rank + 1} of {len(rows)} questions")
            maps = method(shared, images, answers).float()
            scores.update(name, rank, Trial(bound, images, maps, answers, **masking))
            if rank == 0:
                scores.update_energy(name, maps, region)


def rows_of(batch: WSOLBatch, about: Asked) -> Tensor:
    """Find the row of each question's image in a batch, int64 (N,)."""
    known = {int(index): row for row, index in enumerate(batch["index"])}
    return torch.tensor([known[image] for image in about.images.tolist()], dtype=torch.int64)


def answer_figures(found: Mapping[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Name the values of `AnswerScores.compute` as `FIGURES` does, with means over ranks."""
    results = {}
    for method, ranks in found.items():
        first = ranks[0]
        results[method] = {f"vqa_{name}": first[name] for name in (*_TABLE, _ENERGY, *_COMMON)}
        for name in _TABLE:
            results[method][f"vqa_top_{name}"] = sum(rank[name] for rank in ranks) / len(ranks)
    return {method: {name: values[name] for name in FIGURES} for method, values in results.items()}


def write_answers(path: Path, found: Mapping[str, list[dict[str, float]]]) -> None:
    """Write one row per method and rank as CSV; what only the first rank has is empty elsewhere."""
    rows = []
    for method, ranks in found.items():
        for rank, values in enumerate(ranks, start=1):
            cells = {k: "" if math.isnan(v) else f"{v:.6f}" for k, v in values.items()}
            rows.append({"method": method, "answer": rank} | cells)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(path, columns, [{name: row.get(name, "") for name in columns} for row in rows])
