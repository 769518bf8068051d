"""Network that answers questions about images."""

import torch
from torch import Tensor, nn


class QuestionAnswering(nn.Module):
    """Answers by the product of an image's and a question's embedding (Antol et al. 2015).

    The standard network that paper 002 explains (Sec. 4.4): a CNN and a recurrent network in
    parallel, whose embeddings are fused and entered into a classifier of answers::

        v = tanh(W_v mean(A)),  q = tanh(W_q LSTM(question)),  logits = MLP(v * q)

    with A the CNN's activations, and their means standardized. ``answer`` begins at the means, so
    that all but the CNN is trained on what it gave once.

    Args:
        encoder: Network of images (B, 3, H, W) to activations A (B, K, h, w).
        channels: Number of channels K.
        num_words: Number of words; word 0 stands before a question's first word.
        num_answers: Number of answers C, at least 2.
        width: Number of features of the embeddings, at least 1.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self, encoder: nn.Module, channels: int, num_words: int, num_answers: int, width: int = 128
    ) -> None:
        super().__init__()
        if channels < 1 or num_words < 2 or num_answers < 2 or width < 1:
            raise ValueError(
                "expected at least 1 channel, 2 words, 2 answers and width 1, got "
                f"{channels}, {num_words}, {num_answers} and {width}"
            )
        self.encoder = encoder
        self.standardize = nn.BatchNorm1d(channels, affine=False)
        self.image = nn.Linear(channels, width)
        self.words = nn.Embedding(num_words, width // 4 + 1, padding_idx=0)
        self.memory = nn.LSTM(width // 4 + 1, width, batch_first=True)
        self.question = nn.Linear(width, width)
        self.classifier = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_answers)
        )

    def answering(self) -> dict[str, nn.Parameter]:
        """List the weights behind the CNN by their names."""
        weights = self.named_parameters()
        return {name: weight for name, weight in weights if not name.startswith("encoder.")}

    def answer(self, pooled: Tensor, question: Tensor) -> Tensor:
        """Answer from the means of the activations.

        Args:
            pooled: Mean of each channel of A, shape (B, K).
            question: Word numbers, int64 (B, T), right-aligned.

        Returns:
            Logits of the answers, (B, C).
        """
        states, _ = self.memory(self.words(question))
        seen = torch.tanh(self.image(self.standardize(pooled)))
        asked = torch.tanh(self.question(states[:, -1]))
        return self.classifier(seen * asked)

    def forward(self, images: Tensor, question: Tensor) -> Tensor:
        """Answer questions (B, T) about images (B, 3, H, W): logits (B, C)."""
        return self.answer(self.encoder(images).mean(dim=(2, 3)), question)
