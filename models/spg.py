from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from learned_saliency.models.cam import CAMClassifier
from learned_saliency.models.pooling import Pooling


class SPGOutput(NamedTuple):
    """Output of all branches of ``SPG``, for its losses.

    Attributes:
        logits: Class scores (B, C).
        features: Maps (B, K, h, w) of the last level.
        shallow: Logits (B, h_1, w_1) of the foreground, of branch B1 on the finer level.
        deep: The same of branch B2 on the coarser level, (B, h_2, w_2).
        last: The same of branch C on the last level, (B, h, w).
    """

    logits: Tensor
    features: Tensor
    shallow: Tensor
    deep: Tensor
    last: Tensor


class SPG(CAMClassifier):
    """CAM classifier whose levels learn to tell object from background by its own maps.

    Zhang et al., Self-produced Guidance for Weakly-supervised Object Localization, ECCV 2018. While
    it is trained, branches B1 and B2 on two levels of the backbone and C on the last one give maps
    of the foreground; B1 and B2 share all layers but the first. What is sure of the class's
    attention map guides B2, B2 guides B1, and both guide C: see `losses.SPGLoss`. The branches
    serve the features alone: logits and class maps are those of the CAM classifier, as in the
    authors' code and the WSOL benchmark, and need no branch.

    Levels: the paper's Inception-v3 has B1 on Mixed_5d, B2 on Mixed_6e and the classes on two
    convolutions above; these are the third-last, second-last and last level of
    ``backbone=inception_v3``. The WSOL benchmark's VGG16 has them on the fourth and fifth block,
    for which ``out_indices`` and ``keep_neck_input`` add levels. Its ResNet-50 has B1 on the first
    block of the third stage; the nearest level here is the end of the second stage.

    Departures: no dropout between the last convolutions, which the authors' code leaves on even for
    a test. All branches have one width, where the benchmark's ResNet-50 has 1024 in B1 and B2.

    Args:
        backbone: Network of images (B, 3, H, W) to a list of at least three levels from fine to
            coarse, with their widths in ``channels``, as ``MultiScaleBackbone``.
        num_classes: Number of classes C, at least 1.
        guide_levels: Indices of the levels that B1 and B2 read, B1's before B2's, counted from 0
            or, negative, from the end; the last level is C's.
        guide_width: Channels of the branches' convolutions, at least 1. None for the paper's 512,
            or as many as the last level has where it has less.
        pretrained_head: See `CAMClassifier`, as for ``pooling``.
        pooling: Pooling of the class maps.

    Raises:
        ValueError: If the backbone has too few levels, or an option does not fit.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        guide_levels: Sequence[int] = (-3, -2),
        guide_width: int | None = None,
        pretrained_head: str | None = None,
        pooling: Pooling | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, pretrained_head, pooling)
        channels = backbone.channels
        self.guide_levels = _positions(guide_levels, len(channels))
        width = min(512, channels[-1]) if guide_width is None else guide_width
        if width < 1:
            raise ValueError(f"guide_width must be at least 1, got {width}")
        shallow, deep = (channels[level] for level in self.guide_levels)
        self.guide_shallow = nn.Sequential(_convolution(shallow, width), nn.ReLU())
        self.guide_deep = nn.Sequential(_convolution(deep, width), nn.ReLU())
        self.guide_shared = nn.Sequential(
            _convolution(width, width), nn.ReLU(), _convolution(width, 1, kernel_size=1)
        )
        self.guide_last = nn.Sequential(
            _convolution(channels[-1], width), nn.ReLU(), _convolution(width, 1, kernel_size=1)
        )

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """List what `head` reads, the last layer's weights; see `MultiScaleClassifier`."""
        yield from self.fc.parameters()

    def branches(self, images: Tensor) -> SPGOutput:
        """Classify images (B, 3, H, W) and find their foreground by each branch."""
        levels = self.levels(images)
        shallow, deep = (levels[level] for level in self.guide_levels)
        maps = (
            self.guide_shared(self.guide_shallow(shallow)),
            self.guide_shared(self.guide_deep(deep)),
            self.guide_last(levels[-1]),
        )
        return SPGOutput(self.head(levels[-1]), levels[-1], *(one[:, 0] for one in maps))


def _positions(levels: Sequence[int], count: int) -> tuple[int, int]:
    """Check the levels of B1 and B2, and count them from 0."""
    if count < 3:
        raise ValueError(f"SPG needs a backbone with at least three levels, this one has {count}")
    found = [level + count if level < 0 else level for level in levels]
    if len(found) != 2 or not 0 <= found[0] < found[1] < count - 1:
        raise ValueError(
            f"guide_levels must be two of the {count} levels, the first before the second and both "
            f"before the last, got {list(levels)}"
        )
    return found[0], found[1]


def _convolution(inputs: int, outputs: int, kernel_size: int = 3) -> nn.Conv2d:
    """Build a convolution that keeps the size, with the authors' initial weights."""
    layer = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
