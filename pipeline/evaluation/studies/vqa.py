"""Study of the maps of a network that answers questions about images (paper 002, Sec. 4.4)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from learned_saliency.attribution import SharedFeatures
from learned_saliency.datamodules import Asked, PartQuestions, WSOLBatch, WSOLDataModule
from learned_saliency.models import QuestionAnswering
from learned_saliency.pipeline.cli import UserError, first_sentence
from learned_saliency.pipeline.evaluation.studies.answer_scores import (
    FIGURES,
    AnswerScores,
    answer_figures,
    answering,
    count_answers,
    rows_of,
    write_answers,
)
from learned_saliency.pipeline.evaluation.studies.answering import (
    Options,
    trained_answers,
    untrained_answers,
)
from learned_saliency.pipeline.evaluation.studies.base import Outcome, Setting, Study
from learned_saliency.pipeline.runs import make_data
from learned_saliency.storage import write_bytes
from learned_saliency.trainers import Kept, SaliencyModule, place, spread
from learned_saliency.visualization import DEFAULT_COLORMAP, Picture, encode_png, grid, overlay

_LINE = 26  # letters of a question in a line below a picture


class Weights(Kept):
    """The network's weights: an evaluation that goes on explains the very network of before.

    Args:
        network: The network, trained.
    """

    def __init__(self, network: QuestionAnswering) -> None:
        self.network = network

    def kept(self) -> dict[str, Tensor]:
        """Return the weights behind the CNN."""
        return {name: weight.detach() for name, weight in self.network.answering().items()}

    def take(self, kept: dict[str, Tensor]) -> None:
        """Take the weights of before."""
        self.network.load_state_dict(kept, strict=False)


class VQA(Study):
    """Faithfulness of the maps of answers to questions about parts (paper 002, Tab. 6 and Fig. 4).

    The evaluated classifier becomes the CNN of a question-answering network: it stays as it is, and
    the rest is trained on the training images, see `trained_answers`. The maps are those of its
    activations, for the answer that the network gives, with the question held fixed.

    The values of the table are means over questions: ``vqa_average_increase`` and so on for the
    network's answer, as in Tab. 6; ``vqa_top_...`` the same averaged over its most probable
    answers, each with a map and a drop of its own; ``vqa_energy`` the share of the answer's map
    that lies on the part that was asked about, where the part is to be seen (Eq. 14 with the part
    for the box); ``vqa_accuracy`` the share of right answers, and ``vqa_guessing`` what the best
    answer to each question would reach without the image.

    Args:
        top: Number of most probable answers, at least 1; each costs a map and passes of its own.
        per_answer: Most images for each question and answer in the evaluated split, at least 1.
        epochs: Passes over the training questions, at least 1; the best on `val` counts.
        learning_rate: Learning rate of the training, above 0.
        width: Number of features of the embeddings, at least 1.
        seed: Seed of weights, questions and batches.

    Raises:
        ValueError: If a number is out of range.
    """

    name = "vqa"
    needs_exclusive = True

    def __init__(
        self,
        top: int = 5,
        per_answer: int = 20,
        epochs: int = 20,
        learning_rate: float = 0.001,
        width: int = 128,
        seed: int = 0,
    ) -> None:
        if min(top, per_answer, epochs, width) < 1 or not learning_rate > 0:
            raise ValueError(
                "top, per_answer, epochs and width must be at least 1, learning_rate above 0, got "
                f"{top}, {per_answer}, {epochs}, {width} and {learning_rate}"
            )
        self.top, self.per_answer = top, per_answer
        self.options = Options(epochs, learning_rate, width, seed)
        self._module: SaliencyModule | None = None
        self._questions: PartQuestions | None = None

    def check_module(self, module: SaliencyModule) -> None:
        """Check that there is a post-hoc method.

        Raises:
            UserError: If there is none.
        """
        if not module.methods:
            raise UserError(
                "studies=[vqa] explains a network of its own: name methods=[gradcam,liftcam]."
            )
        self._module = module

    def check_data(self, data: WSOLDataModule) -> None:
        """Make the questions, and try every method on one of them.

        Raises:
            UserError: If nothing can be asked about the data set, or a method does not fit.
            DataError: If images or part labels are missing.
        """
        parts = data.parts()
        if parts.looks is None:
            raise UserError(
                f"studies=[vqa] asks about colors and forms of parts, which data={data.name} does "
                "not tell: choose data=creatures."
            )
        try:
            self._questions = PartQuestions(parts.names, parts.looks)
        except ValueError as error:
            raise UserError(f"studies=[vqa]: {error}; give data.reader.num_classes=64.") from None
        if not data.has_split("train"):
            if data.reader is not None and not data.read_only:
                make_data(data, "fit")
            data.setup("fit")
        image = data.dataloader("train").dataset.__getitems__([0])["image"]
        classifier = self._module.classifier
        with torch.no_grad():
            channels = classifier.features(image).shape[1]
        network = untrained_answers(classifier, channels, self._questions, self.options)
        bound = answering(network).bind(question=self._questions.table[:1])
        for name, method in self._module.methods.items():
            try:
                method(bound, image, torch.zeros(1, dtype=torch.int64))
            except (ValueError, TypeError, AttributeError) as error:
                raise UserError(
                    f"methods: '{name}' does not fit the network of studies=[vqa]: "
                    f"{first_sentence(error)}; leave it out."
                ) from None

    def run(self, setting: Setting) -> Outcome:
        """Train the network, explain its answers and measure the maps."""
        module, data = setting.module, setting.data
        questions, parts = self._questions, data.parts()
        network = trained_answers(module.classifier, data, questions, self.options, setting.note)
        split = setting.config.split
        labels = torch.from_numpy(data.labels(split))
        asked = questions.ask(labels, self.per_answer, self.options.seed + 2)
        top = min(self.top, len(questions.answers))
        scores = AnswerScores(module.methods, top).to(module.device)
        options = {
            "masking": module.masking,
            "guessing": questions.guessing(),
            "note": setting.note,
        }
        for batch in setting.batches(scores, network=Weights(network)):
            about = asked.among(batch["index"].cpu())
            places = parts.read(batch["image_id"], batch["image"].shape[-2:])
            for some in about.chunks(len(batch["image"])):
                count_answers(network, batch, some, places, module.methods, scores, **options)
        found = scores.compute()
        files = {"vqa.csv": partial(write_answers, found=found)}
        if setting.pictures and place().rank == 0:
            batch = setting.to_device(spread(data.dataloader(split), setting.pictures))
            rows = examples(network, batch, asked.among(batch["index"].cpu()), module, questions)
            draw = partial(draw_answers, rows=rows, methods=list(module.methods))
            files |= {"pictures/vqa.png": draw} if rows else {}
        return Outcome(answer_figures(found), FIGURES, files)


class Example(NamedTuple):
    """A question about an image, the network's answer and the answer's maps.

    Attributes:
        image: Colors, uint8 (H, W, 3).
        words: Lines of the question, and the answer, with the true one where it is another.
        maps: Map (H, W) of each method.
    """

    image: Picture
    words: Sequence[str]
    maps: Sequence[Tensor]


def examples(
    network: QuestionAnswering,
    batch: WSOLBatch,
    about: Asked,
    module: SaliencyModule,
    questions: PartQuestions,
) -> list[Example]:
    """Explain the answer to one question about each image of a batch that there is one about."""
    rows = rows_of(batch, about).tolist()
    first = [n for n, row in enumerate(rows) if row not in rows[:n]]
    if not first:
        return []
    some = Asked(*(column[first] for column in about))
    images = batch["image"][rows_of(batch, some).to(batch["image"].device)]
    bound = answering(network).bind(question=some.words.to(images.device))
    shared = SharedFeatures(bound, images)
    with torch.no_grad():
        given = shared(images).argmax(dim=1)
    maps = [method(shared, images, given).float().cpu() for method in module.methods.values()]
    colors = module.colors(images).permute(0, 2, 3, 1).round().byte().cpu().numpy()
    found = []
    for i, (answer, truth) in enumerate(zip(given.tolist(), some.answers.tolist(), strict=True)):
        said = questions.answers[answer]
        said += "" if answer == truth else f" (not {questions.answers[truth]})"
        asked = f"{questions.questions[int(some.questions[i])].text}?"
        lines = [*textwrap.wrap(asked, _LINE), said]
        found.append(Example(colors[i], lines, [of_one[i] for of_one in maps]))
    return found


def draw_answers(path: Path, rows: Sequence[Example], methods: Iterable[str]) -> None:
    """Draw images with question, answer and the answer's maps (paper 002, Fig. 4) as PNG."""
    pictures = [
        [row.image, *(overlay(row.image, saliency.numpy()) for saliency in row.maps)]
        for row in rows
    ]
    captions = [[row.words, *([] for _ in row.maps)] for row in rows]
    titles = ["image", *methods]
    drawn = grid(pictures, titles, captions=captions, colormap=DEFAULT_COLORMAP)
    write_bytes(path, encode_png(drawn))
