from collections.abc import Sequence
from typing import Any

from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

from learned_saliency.models.creation import create, of_channels, one_line
from learned_saliency.models.first_layer import COLORS
from learned_saliency.models.striding import pad_same, unstride
from learned_saliency.models.trunk import Trunk, increasing


class MultiScaleBackbone(Trunk):
    """A timm network as an extractor of feature maps at several scales.

    Options of this one class give the paper's three networks (F-CAM, Tab. F.2 and F.4): the
    28x28 maps of ResNet-50 by ``unstrided_stages=2``, the 28x28 maps of VGG16 and Inception-v3 by
    ``unstrided_stages=1``, and the 1024 channels on top of these two by ``neck_channels``.

    Args:
        name: Name of a timm network, with the tag of its weights or without (``resnet50``,
            ``resnet50.tv_in1k``).
        pretrained: True loads the weights that timm lists for ``name``, from timm's cache or,
            where they are not in it, over the network. A path loads that file instead, safetensors
            or a state dict of torch.save with timm's names; a classification layer in it is left
            out. Random weights and files never touch the network.
        unstrided_stages: Number of last size-reducing stages that get stride 1 instead of 2; each
            doubles the size of the last map. Unlike timm's ``output_stride`` this adds no
            dilation, as CALM and the WSOL benchmark have it. At least 0.
        out_indices: Indices of timm's levels to keep, in increasing order; all by default.
        same_padding: Pad the layers that have no padding (Inception-v3), so that maps are aligned
            with the image and shrink by strides alone.
        neck_channels: Widths of 3x3 convolutions, each with a ReLU, on top of the last level.
        keep_neck_input: Keep the level that the neck reads as a level of its own. Without it the
            neck's map takes that level's place.
        img_size: Side of the images in pixels, or height and width, for networks that are made for
            one size (Swin, MaxViT, Hiera): their windows follow it, and timm resamples the
            positions of pretrained weights. Other networks ignore it, and None keeps the size of
            the pretraining.
        frozen: See `Trunk`; new layers of ``neck_channels`` would learn nothing.
        trainable: See `Trunk`; ``neck_channels`` are always trained.
        in_chans: Number C of channels of the images. Of other numbers than 3, timm sums up the
            first layer's pretrained weights for one channel and repeats them for more.
        **timm_kwargs: Passed to the network's constructor, such as ``channels`` of a ResNet.

    Attributes:
        channels: Channels K_i of each level.
        reductions: Pixels of the image per cell of each level, along one side; networks without
            padding have a few cells less.

    Raises:
        ValueError: If timm has no such network, no such weights or no multi-scale features for
            it, if an option does not fit the network, or if a file is missing, damaged or of
            another network.
        RuntimeError: If the pretrained weights cannot be loaded.
    """

    def __init__(
        self,
        name: str,
        pretrained: bool | str = False,
        unstrided_stages: int = 0,
        out_indices: Sequence[int] | None = None,
        same_padding: bool = False,
        neck_channels: Sequence[int] = (),
        keep_neck_input: bool = False,
        img_size: int | Sequence[int] | None = None,
        frozen: bool = False,
        trainable: str | None = None,
        in_chans: int = COLORS,
        **timm_kwargs: Any,
    ) -> None:
        if unstrided_stages < 0:
            raise ValueError(f"unstrided_stages must be at least 0, got {unstrided_stages}")
        if keep_neck_input and not neck_channels:
            raise ValueError("keep_neck_input needs neck_channels, got none")
        if frozen and neck_channels:
            raise ValueError("frozen=true leaves nothing to train the new layers of neck_channels")
        if out_indices is not None:
            timm_kwargs["out_indices"] = increasing(out_indices)
        options = {"features_only": True, **of_channels(in_chans), **timm_kwargs}
        network, used = create(name, pretrained, options, {"img_size": img_size})
        _drop_unread_blocks(network)
        channels, reductions = network.feature_info.channels(), network.feature_info.reduction()
        if len(reductions) > 1 and len(set(reductions)) == 1:
            raise ValueError(
                f"Backbone '{name}' has no multi-scale features, all levels are equally big: it is "
                f"a case for backbone=vit backbone.name={name}"
            )
        if same_padding:
            pad_same(network)
        if unstrided_stages > 0:
            limit = reductions[-1] // _unstride(network, name, unstrided_stages)
            reductions = [min(reduction, limit) for reduction in reductions]
        super().__init__(network, name, used, frozen, trainable)
        self.channels, self.reductions = list(channels), list(reductions)
        self.keep_neck_input = keep_neck_input
        self.neck = _neck(self.channels[-1], neck_channels)
        if neck_channels:
            kept = len(self.channels) if keep_neck_input else -1
            self.channels = [*self.channels[:kept], neck_channels[-1]]
            self.reductions = [*self.reductions[:kept], self.reductions[-1]]

    def _levels(self, images: Tensor) -> list[Tensor]:
        try:
            levels = self.network(images)
        except (RuntimeError, AssertionError) as error:
            height, width = images.shape[-2:]
            cell = self.reductions[-1]
            if height % cell == 0 and width % cell == 0:
                raise
            raise ValueError(
                f"{height} x {width} pixels do not divide into cells of {cell} x {cell} pixels, "
                f"which this network needs ({one_line(error)})"
            ) from error
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            levels = [level.permute(0, 3, 1, 2) for level in levels]
        if len(self.neck) > 0:
            kept = levels if self.keep_neck_input else levels[:-1]
            levels = [*kept, self.neck(levels[-1])]
        return levels


def _unstride(network: nn.Module, name: str, stages: int) -> int:
    """Remove the last strides of a network; name it in the error where that fails."""
    try:
        return unstride(network, stages)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise ValueError(f"Backbone '{name}' cannot lose strides: {one_line(error)}") from error


def _drop_unread_blocks(network: nn.Module) -> None:
    """Drop the blocks after the last level, which timm would run in these families."""
    families = EfficientNetFeatures, MobileNetV3Features
    if isinstance(network, families) and network.feature_hooks is None:
        network.blocks = network.blocks[: max(network._stage_out_idx)]


def _neck(in_channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Build 3x3 convolutions with ReLU, which the WSOL benchmark adds to VGG16 and Inception-v3."""
    layers: list[nn.Module] = []
    for width in widths:
        convolution = nn.Conv2d(in_channels, width, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(convolution.bias)
        layers += [convolution, nn.ReLU()]
        in_channels = width
    return nn.Sequential(*layers)
