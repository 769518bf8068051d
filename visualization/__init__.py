"""Pictures of images, maps and boxes; knows no module and writes no file."""

from learned_saliency.visualization.captions import with_caption
from learned_saliency.visualization.channels import shown_channels
from learned_saliency.visualization.colors import (
    COLORMAPS,
    DEFAULT_COLORMAP,
    Picture,
    colorize,
    encode_png,
)
from learned_saliency.visualization.gray_png import decode_gray, encode_gray
from learned_saliency.visualization.grids import grid, side_by_side
from learned_saliency.visualization.overlays import (
    FOUND_BOX,
    REGION,
    TRUE_BOX,
    overlay,
    with_boxes,
    with_contour,
)

__all__ = [
    "COLORMAPS",
    "DEFAULT_COLORMAP",
    "FOUND_BOX",
    "REGION",
    "TRUE_BOX",
    "Picture",
    "colorize",
    "decode_gray",
    "encode_gray",
    "encode_png",
    "grid",
    "overlay",
    "shown_channels",
    "side_by_side",
    "with_boxes",
    "with_caption",
    "with_contour",
]
