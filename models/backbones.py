import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

from learned_saliency.models.striding import pad_same, unstride
from learned_saliency.storage import WeightsError, find_infinite, fit_state_dict, read_weights


class MultiScaleBackbone(nn.Module):
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
        **timm_kwargs: Passed to the network's constructor, such as ``channels`` of a ResNet.

    Attributes:
        channels: Channels K_i of each level.
        reductions: Pixels of the image per cell of each level, along one side.

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
        **timm_kwargs: Any,
    ) -> None:
        super().__init__()
        if unstrided_stages < 0:
            raise ValueError(f"unstrided_stages must be at least 0, got {unstrided_stages}")
        if keep_neck_input and not neck_channels:
            raise ValueError("keep_neck_input needs neck_channels, got none")
        if out_indices is not None:
            timm_kwargs["out_indices"] = _increasing(out_indices)
        self.network = _create(name, pretrained, timm_kwargs)
        _drop_unread_blocks(self.network)
        self.channels: list[int] = list(self.network.feature_info.channels())
        self.reductions: list[int] = list(self.network.feature_info.reduction())
        if len(self.reductions) > 1 and len(set(self.reductions)) == 1:
            raise ValueError(f"Backbone '{name}' has no multi-scale features: all are equally big")
        if same_padding:
            pad_same(self.network)
        if unstrided_stages > 0:
            self._unstride(name, unstrided_stages)
        self.keep_neck_input = keep_neck_input
        self.neck = _neck(self.channels[-1], neck_channels)
        if neck_channels:
            kept = len(self.channels) if keep_neck_input else -1
            self.channels = [*self.channels[:kept], neck_channels[-1]]
            self.reductions = [*self.reductions[:kept], self.reductions[-1]]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Extract all levels in one pass.

        Args:
            images: Normalized images of shape (B, 3, H, W).

        Returns:
            Feature maps of shape (B, ``channels[i]``, h_i, w_i), from fine to coarse; h_i is
            about H / ``reductions[i]``, a few cells less in networks without padding.

        Raises:
            ValueError: If ``images`` is not 4-D.
            TypeError: If ``images`` is not of a floating type.
        """
        if images.ndim != 4:
            raise ValueError(f"images must have shape (B, 3, H, W), got {tuple(images.shape)}")
        if not images.is_floating_point():
            raise TypeError(f"images must be normalized floats, got {images.dtype}")
        levels = self.network(images)
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            levels = [level.permute(0, 3, 1, 2) for level in levels]
        if len(self.neck) > 0:
            kept = levels if self.keep_neck_input else levels[:-1]
            levels = [*kept, self.neck(levels[-1])]
        return levels

    def _unstride(self, name: str, stages: int) -> None:
        try:
            factor = unstride(self.network, stages)
        except (ValueError, RuntimeError, AssertionError) as error:
            raise ValueError(
                f"Backbone '{name}' cannot lose strides: {_one_line(error)}"
            ) from error
        limit = self.reductions[-1] // factor
        self.reductions = [min(reduction, limit) for reduction in self.reductions]


def _create(name: str, pretrained: bool | str, kwargs: dict[str, Any]) -> nn.Module:
    """Build timm's extractor; turn any error into one sentence that names the remedy."""
    if not timm.is_model(name):
        raise ValueError(f"timm has no network '{name}'.{_nearest(name, timm.list_models())}")
    architecture, _, tag = name.partition(".")
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        raise ValueError(f"timm has no weights '{name}'.{_nearest(name, tagged)}")
    if not pretrained:
        return _create_random(name, kwargs)
    if isinstance(pretrained, str):
        network = _create_random(name, kwargs)
        _load(network, name, Path(pretrained).expanduser())
        return network
    try:
        return timm.create_model(name, pretrained=True, features_only=True, **kwargs)
    except Exception as error:  # each way of loading has errors of its own: network, cache, shapes
        _create_random(name, kwargs)  # raises where the weights are not to blame
        config = timm.get_pretrained_cfg(name)
        weights = config.hf_hub_id or config.url or name
        raise RuntimeError(
            f"The pretrained weights '{weights}' of backbone '{name}' could not be loaded: set "
            "backbone.pretrained=false or to a file of weights, or fill timm's cache first on a "
            f"machine with network access. The reason given: {_one_line(error)}"
        ) from error


def _create_random(name: str, kwargs: dict[str, Any]) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=False, features_only=True, **kwargs)
    except TypeError as error:
        raise ValueError(f"Backbone '{name}' rejects an option: {_one_line(error)}") from error
    except IndexError as error:
        if "out_indices" in kwargs:
            raise ValueError(f"Backbone '{name}' has no levels {kwargs['out_indices']}") from error
        given = ", ".join(f"{key}={value}" for key, value in kwargs.items())
        raise ValueError(f"Backbone '{name}' has more stages than {given} has values") from error
    except (RuntimeError, AttributeError, AssertionError, NotImplementedError) as error:
        reason = _one_line(error)
        raise ValueError(f"Backbone '{name}' has no multi-scale features: {reason}") from error


def _drop_unread_blocks(network: nn.Module) -> None:
    """Drop the blocks after the last level, which timm would run in these families."""
    families = EfficientNetFeatures, MobileNetV3Features
    if isinstance(network, families) and network.feature_hooks is None:
        network.blocks = network.blocks[: max(network._stage_out_idx)]


def _load(network: nn.Module, name: str, path: Path) -> None:
    """Load a file of timm's whole network; names in an extractor may have underscores for dots."""
    own = network.state_dict()
    wanted = {key.removeprefix("model."): value for key, value in own.items()}
    try:
        found = fit_state_dict(
            read_weights(path), wanted, part=True, spelled=lambda key: key.replace(".", "_")
        )
    except WeightsError as error:
        raise ValueError(f"pretrained={path}: {error}; the network is '{name}'") from None
    if infinite := find_infinite(found.state):
        raise ValueError(
            f"pretrained={path}: its weights '{infinite[0]}' hold NaN or infinite numbers"
        )
    if found.report:
        warnings.warn(f"pretrained={path}: {found.report}.", stacklevel=2)
    network.load_state_dict({key: found.state[key.removeprefix("model.")] for key in own})


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _nearest(name: str, candidates: Sequence[str]) -> str:
    matches = get_close_matches(name, candidates, n=4, cutoff=0.5)
    return f" Did you mean {', '.join(matches)}?" if matches else ""


def _increasing(indices: Sequence[int]) -> tuple[int, ...]:
    indices = tuple(indices)
    if not indices or indices[0] < 0 or list(indices) != sorted(set(indices)):
        raise ValueError(f"out_indices must increase and be at least 0, got {list(indices)}")
    return indices


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
