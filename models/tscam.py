from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from learned_saliency.models.cam import CAMClassifier
from learned_saliency.models.transformer import TransformerBackbone
from learned_saliency.ops import full_precision, widen


class TSCAM(CAMClassifier):
    """TS-CAM: semantic maps of a vision transformer, times the attention of its class token.

    Gao et al., ICCV 2021. A 3x3 convolution turns the patch tokens of the last block into a
    semantic map per class, whose mean is the class's logit. The class map is the semantic map times
    the class token's attention to the patches, the mean over heads, summed over all blocks; nothing
    is trained through that attention.

    ``features`` are the K channels of the patch tokens and, as one more, the attention: `head`
    reads the first K, `cams` all of them, so that one pass of the backbone serves both.

    Departure from the released code: class maps are there in training mode, too.

    Args:
        backbone: A vision transformer with a class token, taken over: its last level gets the
            attention as a further channel.
        num_classes: Number of classes C, at least 1.

    Raises:
        ValueError: If the backbone is another network, has no class token, or attention of another
            kind than DeiT's.
    """

    def __init__(self, backbone: nn.Module, num_classes: int) -> None:
        if not isinstance(backbone, TransformerBackbone):
            raise ValueError(
                "TS-CAM reads the attention of a class token, which this backbone does not have: "
                "choose a vision transformer, backbone=vit backbone.name=deit_small_patch16_224"
            )
        backbone.append_class_attention()
        super().__init__(backbone, num_classes)
        self.fc = nn.Conv2d(backbone.channels[-1] - 1, num_classes, 3, padding=1)

    def head(self, features: Tensor) -> Tensor:
        """Compute class scores: the means of the semantic maps.

        Args:
            features: Maps of shape (B, K + 1, h, w), of which the last channel is not read.

        Returns:
            Logits of shape (B, C), at least float32.

        Raises:
            ValueError: If ``features`` does not have that shape.
        """
        return self.pooling(self.semantic_maps(features))

    def semantic_maps(self, features: Tensor) -> Tensor:
        """Compute the semantic maps of all classes, which do not know the attention.

        Args:
            features: Maps of shape (B, K + 1, h, w).

        Returns:
            Maps of shape (B, C, h, w), at least float32.
        """
        self._check(features)
        tokens, weight, bias = (widen(x) for x in (features[:, :-1], *self.fc.parameters()))
        with full_precision(features.device):
            return F.conv2d(tokens, weight, bias, padding=1)

    def cams(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute semantic maps times the attention; see `CAMClassifier.cams`.

        Args:
            features: Maps of shape (B, K + 1, h, w).
            labels: One class per image, integers of shape (B,) in 0..C-1; None for all classes.

        Returns:
            Maps of shape (B, h, w) of the given classes, or (B, C, h, w) of all classes.
        """
        maps = self.semantic_maps(features) * widen(features[:, -1:])
        if labels is None:
            return maps
        self._check_labels(features, labels)
        chosen = labels[:, None, None, None].expand(-1, 1, *maps.shape[2:])
        return maps.gather(1, chosen)[:, 0]

    def head_gradients(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the gradient of each image's logit of a class by the features.

        It is the class's kernel, summed at each cell over the neighbors that exist, over their
        number h w; zero for the attention.

        Args:
            features: Maps of shape (B, K + 1, h, w).
            targets: One class per image, int64 (B,) in 0..C-1.

        Returns:
            Gradients of shape (B, K + 1, h, w), at least float32.
        """
        self._check(features)
        height, width = features.shape[2:]
        kernels = widen(self.fc.weight)[targets].flip(2, 3).flatten(2)  # (B, K, 9)
        even = kernels.new_full((1, 1, height, width), 1 / (height * width))
        neighbors = F.unfold(even, 3, padding=1)[0]  # (9, h w)
        with full_precision(features.device):
            gradients = (kernels @ neighbors).unflatten(2, (height, width))
        return F.pad(gradients, (0, 0, 0, 0, 0, 1))
