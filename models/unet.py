from collections.abc import Sequence

import torch
from torch import Tensor, nn

from learned_saliency.models.resizing import resize


class UNetDecoder(nn.Module):
    """U-Net decoder from feature maps of several scales to two maps at image resolution.

    The layout is that of F-CAM's decoder (Belharbi et al. 2022, Fig. 2 and Tab. F.2): every layer
    enlarges the map, appends the next finer level of the encoder and applies two 3x3
    convolutions, each with batch normalization and ReLU. Layers beyond the finest level have no
    skip connection. A last 3x3 convolution gives background and foreground scores.

    Maps are enlarged to the size of their skip connection, whatever it is: odd sizes work, and
    levels of equal size (stages without stride) are not enlarged at all. The mode is nearest
    neighbor, as in the common U-Net implementations: the convolutions that follow do the
    smoothing, and the gradient of nearest neighbor on CUDA is deterministic, while the gradient of
    bilinear mode is not.

    Args:
        encoder_channels: Channels of the levels, from fine to coarse.
        widths: Channels of the decoder's layers, from coarse to fine: one per level but the
            coarsest, and one per doubling from the finest level to the image.
        center: Whether two 3x3 convolutions work on the coarsest level before the first layer.
            Tab. F.2 does not mention them, but only with them the decoder of VGG16 has the 23.1
            million parameters of Tab. F.4; the decoders of ResNet-50 and Inception-v3 have their 9
            and 5.7 million without them.
        regions: Number R of maps of scores, at least 2.

    Raises:
        ValueError: If a width is not positive, or there are too few widths for the levels.
    """

    def __init__(
        self,
        encoder_channels: Sequence[int],
        widths: Sequence[int] = (256, 128, 64, 32, 16),
        center: bool = False,
        regions: int = 2,
    ) -> None:
        super().__init__()
        if not encoder_channels or not widths or min(*encoder_channels, *widths) < 1:
            raise ValueError(
                "encoder_channels and widths must be positive numbers, got "
                f"{list(encoder_channels)} and {list(widths)}"
            )
        if len(widths) < len(encoder_channels) - 1:
            raise ValueError(
                f"{len(encoder_channels)} encoder levels need at least "
                f"{len(encoder_channels) - 1} decoder widths, got {list(widths)}"
            )
        self.encoder_channels = list(encoder_channels)
        *skips, coarsest = encoder_channels
        skip_channels = [*reversed(skips), *[0] * (len(widths) - len(skips))]
        inputs = [coarsest, *widths[:-1]]
        self.center = _convolutions(coarsest, coarsest) if center else nn.Identity()
        self.layers = nn.ModuleList(
            _convolutions(channels + skip, width)
            for channels, skip, width in zip(inputs, skip_channels, widths, strict=True)
        )
        self.scores = nn.Conv2d(widths[-1], regions, 3, padding=1)

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Decode feature maps.

        Args:
            levels: Maps of shape (B, ``encoder_channels[i]``, h_i, w_i) from fine to coarse.
            size: Height and width of the image, (H, W) in pixels.

        Returns:
            Scores of shape (B, R, H, W) before the softmax: channel 0 background, then foreground.

        Raises:
            ValueError: If the levels are not those that the decoder was made for.
        """
        channels = [level.shape[1] for level in levels]
        if channels != self.encoder_channels:
            raise ValueError(f"expected levels of {self.encoder_channels} channels, got {channels}")
        *skips, maps = levels
        maps = self.center(maps)
        for index, layer in enumerate(self.layers):
            if index < len(skips):
                skip = skips[-1 - index]
                maps = torch.cat([resize(maps, skip.shape[-2:]), skip], dim=1)
            elif index < len(self.layers) - 1:
                maps = resize(maps, (2 * maps.shape[-2], 2 * maps.shape[-1]))
            else:
                maps = resize(maps, size)
            maps = layer(maps)
        return self.scores(resize(maps, size))  # no-op unless the last layer has a skip


def _convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    """Build twice a 3x3 convolution, batch normalization and ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        convolution = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers)
