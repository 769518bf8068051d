"""Training of the question-answering network that the study ``vqa`` explains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learned_saliency.datamodules import Asked, PartQuestions, WSOLDataModule
from learned_saliency.models import QuestionAnswering

_BATCH = 256  # questions in a step, images in a pass


class Options(NamedTuple):
    """Options of the training.

    Attributes:
        epochs: Number of passes over the training questions; the best one on `val` counts.
        learning_rate: Learning rate of Adam.
        width: Number of features of the two embeddings.
        seed: Seed of weights, questions and batches.
    """

    epochs: int
    learning_rate: float
    width: int
    seed: int


class Encoder(nn.Module):
    """The part of a classifier that gives the activations.

    Args:
        classifier: An `attribution.Classifier`.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to activations (B, K, h, w), at least float32."""
        return self.classifier.features(images)


def trained_answers(
    classifier: nn.Module,
    data: WSOLDataModule,
    questions: PartQuestions,
    options: Options,
    note: Callable[[str], None] = lambda what: None,
) -> QuestionAnswering:
    """Train a question-answering network on the activations of a classifier, which stays frozen.

    The activations' means are computed once per image, so that an epoch takes seconds. Of the
    epochs the first with the most right answers on `val` is kept. Random numbers come from the
    options' seed alone.

    Args:
        classifier: The classifier, in evaluation mode.
        data: The data set, whose splits train and val are set up.
        questions: The questions.
        options: See `Options`.
        note: Called with a description of the current work.

    Returns:
        The network, in evaluation mode on the classifier's device.
    """
    splits = {}
    for seed, split in enumerate(("train", "val")):
        note(f"activations of {split}")
        asked = questions.ask(torch.from_numpy(data.labels(split)), None, options.seed + seed)
        splits[split] = pooled(classifier, data, split), asked
    means, asked = splits["train"]
    network = untrained_answers(classifier, means.shape[1], questions, options).to(means.device)
    network.standardize.running_mean = means.mean(dim=0)
    network.standardize.running_var = means.var(dim=0)
    best, kept = -1.0, {}
    for epoch, right in enumerate(_epochs(network, means, asked, splits["val"], options), start=1):
        note(f"epoch {epoch} of {options.epochs}, {100 * right:.1f} % right on val")
        if right > best:
            best = right
            kept = {name: weight.detach().clone() for name, weight in network.answering().items()}
    network.load_state_dict(kept, strict=False)
    return network


def untrained_answers(
    classifier: nn.Module, channels: int, questions: PartQuestions, options: Options
) -> QuestionAnswering:
    """Build the network with random weights behind K channels, in evaluation mode; see there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        words, answers = len(questions.words), len(questions.answers)
        network = QuestionAnswering(Encoder(classifier), channels, words, answers, options.width)
    return network.eval()


def _epochs(
    network: QuestionAnswering,
    means: Tensor,
    asked: Asked,
    val: tuple[Tensor, Asked],
    options: Options,
) -> Iterator[float]:
    """Train; yield the share of right answers on `val` after each epoch."""
    generator = torch.Generator().manual_seed(options.seed)
    optimizer = torch.optim.Adam(network.answering().values(), options.learning_rate)
    device = means.device
    for _ in range(options.epochs):
        for rows in torch.randperm(len(asked.images), generator=generator).split(_BATCH):
            with torch.enable_grad():
                logits = network.answer(
                    means[asked.images[rows].to(device)], asked.words[rows].to(device)
                )
                loss = F.cross_entropy(logits, asked.answers[rows].to(device))
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
        means_val, asked_val = val
        found = network.answer(means_val[asked_val.images.to(device)], asked_val.words.to(device))
        yield float((found.argmax(1).cpu() == asked_val.answers).float().mean())


@torch.no_grad()
def pooled(classifier: nn.Module, data: WSOLDataModule, split: str) -> Tensor:
    """Compute the means of the activations of all images of a split, (M, K), in its order."""
    loader = data.dataloader(split)
    device = next((weight.device for weight in classifier.parameters()), torch.device("cpu"))
    found = []
    for rows in torch.arange(len(loader.dataset)).split(_BATCH):
        images = loader.dataset.__getitems__(rows.tolist())["image"].to(device)
        found.append(classifier.features(images).float().mean(dim=(2, 3)))
    return torch.cat(found)
