from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn

from learned_saliency.models.answers import Answers
from learned_saliency.models.creation import check_name, one_line
from learned_saliency.models.pooling import GlobalAverage, Pooling
from learned_saliency.ops import full_precision, widen


class CAMClassifier(nn.Module):
    """Backbone, 1x1 convolution to class maps, and a pooling of these: the classifier of CAM.

    Zhou et al. 2016, with global average pooling. That commutes with a 1x1 convolution, so the
    logits are computed by pooling first; ``cams`` computes the class maps, which only some callers
    need. With any other pooling they are what is pooled.

    Args:
        backbone: Network of images (B, 3, H, W) to a list of levels from fine to coarse, with their
            widths in ``channels``, as ``MultiScaleBackbone``.
        num_classes: Number of classes C, at least 1.
        pretrained_head: Name of a timm network with the same last features, whose last layer's
            weights are taken over, for a data set with that network's classes; none by default.
        pooling: Pooling of the class maps; by default `GlobalAverage`.
        answers: Factory, given ``num_classes``, of what the rows of the last layer stand for; by
            default each is a class.

    Raises:
        ValueError: If ``num_classes`` is below 1, timm has no network ``pretrained_head``, or its
            last layer does not fit the features or the classes.
        RuntimeError: If the weights of ``pretrained_head`` cannot be loaded.
    """

    cams_are_probabilities = False

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        pretrained_head: str | None = None,
        pooling: Pooling | None = None,
        answers: Callable[[int], Answers] | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.backbone = backbone
        self.num_classes = num_classes
        self.pooling = GlobalAverage() if pooling is None else pooling
        self.answers = None if answers is None else answers(num_classes)
        self.fc = nn.Linear(backbone.channels[-1], self._num_rows * self.pooling.modalities)
        if pretrained_head:
            self._load_head(pretrained_head)

    @property
    def _num_rows(self) -> int:
        """Number R of rows of the last layer, without the modalities."""
        return self.num_classes if self.answers is None else self.answers.num_rows

    def levels(self, images: Tensor) -> list[Tensor]:
        """Extract feature maps of all scales, for a decoder.

        Args:
            images: Normalized images of shape (B, 3, H, W).

        Returns:
            Maps of shape (B, K_i, h_i, w_i) from fine to coarse; the last one is ``features``.
        """
        return self.backbone(images)

    def features(self, images: Tensor) -> Tensor:
        """Extract the feature maps A of the last level.

        Args:
            images: Normalized images of shape (B, 3, H, W).

        Returns:
            Maps of shape (B, K, h, w).
        """
        return self.levels(images)[-1]

    def head(self, features: Tensor) -> Tensor:
        """Compute class scores from feature maps, pooled of their ``cams``.

        Args:
            features: Maps of shape (B, K, h, w).

        Returns:
            Logits of shape (B, C).

        Raises:
            ValueError: If ``features`` does not have that shape, or too few cells to be pooled.
        """
        self._check(features)
        if self.pooling.is_mean:
            pooled = self.fc(self.pooling(features))
        else:
            pooled = self.pooling(self._row_maps(features))
        return pooled if self.answers is None else self.answers(pooled)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images of shape (B, 3, H, W): logits of shape (B, C)."""
        return self.head(self.features(images))

    def cams(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute class activation maps, neither rectified nor normalized.

        The maps contain the bias of the 1x1 convolution, so that what is pooled of them is the
        logit; a min-max normalized map is the same with and without the bias. They are computed in
        at least float32, also from half-precision features and under autocast.

        Args:
            features: Maps of shape (B, K, h, w).
            labels: One class per image, integers of shape (B,) in 0..C-1; None for all classes.

        Returns:
            Maps of shape (B, h, w) of the given classes, or (B, C, h, w) of all classes.

        Raises:
            ValueError: If a shape is not as above.
            TypeError: If ``labels`` are not integers.
        """
        self._check(features)
        features = widen(features)
        weight, bias = self._weight_and_bias()
        if labels is None:
            return _maps(features, weight, bias)
        self._check_labels(features, labels)
        with full_precision(features.device):
            cams = torch.einsum("bkhw,bk->bhw", features, weight[labels])
        return cams + bias[labels, None, None]

    def head_gradients(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the gradient of each image's logit of a class by the features.

        It is the class's weights times the derivative of the pooling by the class map; with global
        average pooling, the weights divided by the number of cells.

        Args:
            features: Maps of shape (B, K, h, w).
            targets: One class per image, int64 (B,) in 0..C-1.

        Returns:
            Gradients of shape (B, K, h, w), at least float32.
        """
        self._check(features)
        weights = self._weight_and_bias()[0][targets]
        if self.pooling.is_mean:
            weights = weights / features.shape[2:].numel()
            return weights[:, :, None, None].expand_as(features)
        if self.answers is None:
            maps = self.cams(features, targets)
        else:
            rows = self.answers.rows[targets]
            maps = self._row_maps(features)[torch.arange(len(rows), device=rows.device), rows]
        return weights[:, :, None, None] * self.pooling.derivative(maps)[:, None]

    def _row_maps(self, features: Tensor) -> Tensor:
        """Compute the maps (B, R, h, w) of the rows of the last layer, at least float32."""
        return _maps(widen(features), *map(self._of_rows, self.fc.parameters()))

    def _weight_and_bias(self) -> tuple[Tensor, Tensor]:
        """Compute weight (C, K) and bias (C,) of the class maps, at least float32."""
        weight, bias = map(self._of_rows, self.fc.parameters())
        if self.answers is None:
            return weight, bias
        return self.answers.weight_of_scores(weight), self.answers.bias_of_scores(bias)

    def _of_rows(self, parameter: Tensor) -> Tensor:
        """Average a parameter (R M, ...) of the last layer over the modalities of each row."""
        parameter, modalities = widen(parameter), self.pooling.modalities
        if modalities == 1:
            return parameter
        return parameter.unflatten(0, (self._num_rows, modalities)).mean(dim=1)

    def _load_head(self, name: str) -> None:
        """Take over the last layer of a network of timm, for every modality."""
        check_name(name)
        try:
            head = timm.create_model(name, pretrained=True).get_classifier()
        except Exception as error:  # each way of loading has errors of its own
            raise RuntimeError(
                f"the weights of pretrained_head={name} could not be loaded: set it to null, or "
                "fill timm's cache first on a machine with network access. The reason given: "
                f"{one_line(error)}"
            ) from error
        shape = tuple(getattr(head, "weight", torch.empty(0)).shape)
        expected = (self._num_rows, self.fc.in_features)
        if shape != expected:
            raise ValueError(
                f"the last layer of pretrained_head={name} has weights {shape}, the classifier's "
                f"{expected}: it must know the same {self.num_classes} classes and end with the "
                "backbone's features"
            )
        state = head.state_dict()
        modalities = self.pooling.modalities
        self.fc.load_state_dict({k: v.repeat_interleave(modalities, 0) for k, v in state.items()})

    def _check(self, features: Tensor) -> None:
        channels = self.backbone.channels[-1]
        if features.ndim != 4 or features.shape[1] != channels:
            expected = f"(B, {channels}, h, w)"
            raise ValueError(f"features must have shape {expected}, got {tuple(features.shape)}")

    @staticmethod
    def _check_labels(features: Tensor, labels: Tensor) -> None:
        if labels.shape != features.shape[:1]:
            raise ValueError(
                f"labels must have shape ({len(features)},), got {tuple(labels.shape)}"
            )
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise TypeError(f"labels must be integers, got {labels.dtype}")


def _maps(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute the maps (B, R, h, w) of a 1x1 convolution with weight (R, K) and bias (R,)."""
    with full_precision(features.device):
        maps = torch.einsum("bkhw,ck->bchw", features, weight)
    return maps + bias[:, None, None]
