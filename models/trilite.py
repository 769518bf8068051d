from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from learned_saliency.models.classifier import MultiScaleClassifier
from learned_saliency.models.resizing import resize
from learned_saliency.ops import full_precision, widen

AMBIGUOUS, FOREGROUND, BACKGROUND = range(3)  # channels of the regions


class TriLiteOutput(NamedTuple):
    """Output of one pass of ``TriLite``.

    Attributes:
        logits: Class scores of the classification branch, (B, C).
        features: Feature maps F of the frozen trunk, (B, K, h, w).
        regions: Maps M of the three regions, (B, 3, h, w): ambiguous, foreground, background. They
            are in [0, 1] and add up to 1 in each cell.
    """

    logits: Tensor
    features: Tensor
    regions: Tensor


class TriLite(nn.Module):
    """Frozen trunk with two light branches: TriLite (Sabaghi and Oramas, CVPR 2026).

    The classification branch scores the image. The localization branch, TriHead, turns the trunk's
    last features F by a convolution, batch normalization and a softmax over channels into maps M of
    three regions: the object, the background, and what is neither clearly. A region's features are
    the mean of F over its cells, weighted by its map:

        f^c = sum_i M^c_i F_i / (sum_i M^c_i + epsilon),

    which a linear layer scores; losses read the scores of foreground and background alone, so that
    the ambiguous region takes what fits neither. The trunk is frozen for good: its parameters need
    no gradient, it runs in evaluation mode whatever ``train`` says, and no graph is recorded for
    it.

    The equations of f^c and of the background's loss, the layers of TriHead and the number of
    trained parameters (below 800,000 for a ViT-S and 1000 classes) were at hand, the rest of the
    text was not. Ours are therefore: the kernel of 3x3 cells, without bias; the linear layer of the
    regions being another than that of the image, which the number of parameters allows; epsilon;
    equal weights of the three losses; the optimizer and its rates.

    Departure: the paper's classification branch reads the class token of a vision transformer. Here
    it is the head of the given classifier, for a `CAMClassifier` a linear layer on the mean of F.
    It serves any trunk, and post-hoc methods can explain it: of scores that are computed from the
    class token behind the last block, the gradient by F is zero.

    Args:
        classifier: Classifier, an ``nn.Module``, whose backbone is the trunk; taken over. What its
            head reads is trained; its backbone and all others are frozen in place.
        kernel_size: Side of the convolution's kernel in cells, odd.

    Raises:
        ValueError: If a part of the backbone is frozen and another part is not, or ``kernel_size``
            is not odd and positive.
    """

    epsilon = 1e-6

    def __init__(self, classifier: MultiScaleClassifier, kernel_size: int = 3) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        needs = {weight.requires_grad for weight in classifier.backbone.parameters()}
        if len(needs) > 1:
            raise ValueError("TriLite's trunk is frozen, so that backbone.trainable must be null")
        self.classifier = classifier
        classifier.backbone.requires_grad_(False).eval()
        if hasattr(classifier, "head_parameters"):  # no loss reaches its other layers
            read = set(classifier.head_parameters())
            for weight in set(classifier.parameters()) - read:
                weight.requires_grad_(False)
        channels = classifier.backbone.channels[-1]
        self.tri_head = nn.Sequential(
            nn.Conv2d(channels, 3, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(3),
            nn.Softmax(dim=1),
        )
        self.region_fc = nn.Linear(channels, classifier.num_classes)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the branches; the trunk stays in evaluation mode."""
        super().train(mode)
        self.classifier.backbone.eval()
        return self

    def forward(self, images: Tensor) -> TriLiteOutput:
        """Classify and localize images of shape (B, 3, H, W)."""
        with torch.no_grad():
            features = self.classifier.levels(images)[-1]
        logits = self.classifier.head(features)
        return TriLiteOutput(logits, features, self.tri_head(features))

    def region_logits(self, features: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Score the features of foreground and background.

        Args:
            features: Feature maps F, (B, K, h, w).
            regions: Maps M of the regions, (B, 3, h, w).

        Returns:
            Class scores (B, C) of both.
        """
        foreground, background = (
            self.region_fc(region_features(features, regions[:, region], self.epsilon))
            for region in (FOREGROUND, BACKGROUND)
        )
        return foreground, background

    @staticmethod
    def foreground(regions: Tensor, size: tuple[int, int]) -> Tensor:
        """Enlarge the foreground's map to the image, bilinearly.

        Args:
            regions: Maps of the regions, (B, 3, h, w).
            size: Height H and width W in pixels.

        Returns:
            Maps of shape (B, H, W) in [0, 1], at least float32.
        """
        return resize(widen(regions[:, FOREGROUND, None]), size, "bilinear")[:, 0]


def region_features(features: Tensor, region: Tensor, epsilon: float) -> Tensor:
    """Compute the mean of features over a region, weighted by its map.

    Args:
        features: Feature maps F, (B, K, h, w).
        region: Map of the region, (B, h, w) in [0, 1].
        epsilon: What the sum of the map is increased by, above 0.

    Returns:
        sum_i M_i F_i / (sum_i M_i + epsilon), (B, K), in at least float32.
    """
    features, region = widen(features), widen(region)
    with full_precision(features.device):
        total = torch.einsum("bkhw,bhw->bk", features, region)
    return total / (region.sum((1, 2)) + epsilon)[:, None]
