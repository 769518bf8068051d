"""Questions about the colors and forms of parts, with their answers, made from attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from learned_saliency.datamodules.parts.base import Look

_PADDING = ""  # the word before a question's first one


class Question(NamedTuple):
    """A question, and what answers it.

    Attributes:
        text: The question, words in lower case.
        part: Label of the part that it asks about.
        answers: Answer for each class, a text; None for classes of which it is not asked.
    """

    text: str
    part: int
    answers: tuple[str | None, ...]


class Asked(NamedTuple):
    """Questions about images, N of them.

    Attributes:
        images: Place of the image in its split, int64 (N,), ascending.
        words: Word numbers of the question, int64 (N, T).
        answers: Number of the true answer, int64 (N,).
        parts: Label of the part that is asked about, int64 (N,).
        questions: Number of the question, int64 (N,).
    """

    images: Tensor
    words: Tensor
    answers: Tensor
    parts: Tensor
    questions: Tensor

    def among(self, images: Tensor) -> Asked:
        """Select the questions about some images, int64 (B,)."""
        chosen = torch.isin(self.images, images)
        return Asked(*(column[chosen] for column in self))

    def chunks(self, size: int) -> list[Asked]:
        """Divide the questions into groups of at most ``size``."""
        return [Asked(*columns) for columns in zip(*(c.split(size) for c in self), strict=True)]


class PartQuestions:
    """The questions that an attribute table allows, with a closed vocabulary.

    "what color is the PART" and "which form has the PART", answered by a color or a form; and "is
    the form of the PART FORM", answered by yes or no. A question with one answer for all classes is
    not asked.

    Args:
        names: Names of the P parts; the label of a part is its position here plus one.
        looks: Look of the parts of each class, C rows of P.

    Attributes:
        questions: The questions.
        words: All words of the questions; number 0 is none, before a question's first word.
        answers: All answers.
        table: Words of each question, int64 (Q, T), right-aligned.

    Raises:
        ValueError: If no question can be asked.
    """

    def __init__(self, names: Sequence[str], looks: Sequence[Sequence[Look]]) -> None:
        columns = zip(*looks, strict=True)
        self.questions = [
            question
            for part, (name, column) in enumerate(zip(names, columns, strict=True), start=1)
            for question in _questions(name, part, column)
            if len(set(question.answers) - {None}) > 1
        ]
        if not self.questions:
            raise ValueError("the classes differ in no color and no form of a part")
        texts = [question.text.split() for question in self.questions]
        self.words = [_PADDING, *sorted({word for text in texts for word in text})]
        self.answers = sorted({a for q in self.questions for a in q.answers if a is not None})
        longest = max(map(len, texts))
        padded = ([_PADDING] * (longest - len(text)) + text for text in texts)
        self.table = torch.tensor([[self.words.index(word) for word in text] for text in padded])

    def ask(self, labels: Tensor, per_answer: int | None, seed: int) -> Asked:
        """Draw questions about the images of a split; a question alone does not tell its answer.

        Each question is asked of as many images for each of its answers: whoever sees the question
        alone cannot do better than to guess among its answers.

        Args:
            labels: Classes of the images of the split, int64 (M,); images of unknown class, -1, are
                not asked about.
            per_answer: Most images for each question and answer; None for all that there are.
            seed: Seed of the draw.

        Returns:
            The questions, by their images.
        """
        generator = torch.Generator().manual_seed(seed)
        rows = []
        for number, question in enumerate(self.questions):
            given = [-1 if a is None else self.answers.index(a) for a in question.answers]
            truth = torch.tensor([*given, -1])[labels]  # the last is that of unknown classes
            found = [torch.nonzero(truth == a)[:, 0] for a in sorted(set(given) - {-1})]
            count = min(map(len, found))
            count = count if per_answer is None else min(count, per_answer)
            for images in found:
                drawn = images[torch.randperm(len(images), generator=generator)[:count]]
                about = torch.full_like(drawn, number)
                rows.append(torch.stack([drawn, about, truth[drawn]], 1))
        drawn = torch.cat(rows)
        order = drawn[:, 0].argsort(stable=True)
        images, numbers, answers = drawn[order].unbind(1)
        parts = torch.tensor([question.part for question in self.questions])
        return Asked(images, self.table[numbers], answers, parts[numbers], numbers)

    def guessing(self) -> Tensor:
        """Compute each question's share of right answers without the image, float32 (Q,)."""
        counts = [len(set(question.answers) - {None}) for question in self.questions]
        return 1 / torch.tensor(counts)


def _questions(name: str, part: int, looks: Sequence[Look]) -> list[Question]:
    """List the questions about a part, whatever their answers."""
    colors, forms = (tuple(column) for column in zip(*looks, strict=True))
    asked = [
        Question(f"what color is the {name}", part, colors),
        Question(f"which form has the {name}", part, forms),
    ]
    for form in sorted(set(forms) - {None}):
        said = tuple(None if f is None else "yes" if f == form else "no" for f in forms)
        asked.append(Question(f"is the form of the {name} {form}", part, said))
    return asked
