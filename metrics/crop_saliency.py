from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean
from learned_saliency.metrics.masking import black_level, check_length, check_maps, predict_variants
from learned_saliency.metrics.overlap_localization import boxes_above_mean

_SMALLEST = 0.05  # part of the image below which a smaller box is no better
_TINY = torch.finfo(torch.float32).tiny


class Crops(NamedTuple):
    """Boxes of maps, and the classifier's answers to what is inside.

    Attributes:
        area: Part of the image that the box covers, float64 (B,) in (0, 1].
        p: Probability of the class on the box, cut out and enlarged to the size of the image,
            float64 (B,).
    """

    area: Tensor
    p: Tensor


def crop_probabilities(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    targets: Tensor,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 64,
) -> Crops:
    """Measure the class probability on the tightest box around each map's largest part.

    As in paper 000 (App. C.1), a map is cut at its mean, pixels above it count, and the largest
    connected part (4 neighbors) gives the box. The box is cut out and resized bilinearly to the
    size of the image, as Dabkowski and Gal (NIPS 2017) do.

    A constant map has no pixel above its mean, and no box. It gets the worst of both terms: the
    area of the whole image, and the probability on an image that shows nothing.

    Args:
        model: See `insertion_curves`, as for the other arguments and the errors.
        images: Shape (B, 3, H, W).
        saliency: Maps (B, H, W) in [0, 1].
        targets: Classes, int (B,); paper 000 takes the true ones.
        mean: One value per color channel, or None; what shows nothing is black with them, else 0.
        std: One value per color channel, or None.
        batch_size: Most images per call of the model.

    Returns:
        See `Crops`.
    """
    check_maps(images, saliency)
    check_length(targets, images)
    boxes = boxes_above_mean(saliency)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).double() / saliency[0].numel()
    nothing = black_level(images, mean, std).expand_as(images[:1])

    def vary(part: Tensor) -> Tensor:
        return torch.cat([_cut_out(images[row], boxes[row], nothing) for row in part.tolist()])

    rows = torch.arange(len(images), device=images.device)
    found = predict_variants(model, vary, rows, targets, batch_size=batch_size)
    return Crops(torch.where(area > 0, area, 1.0), found.double())


def crop_saliency(found: Crops) -> Tensor:
    """Compute log(max(0.05, area)) - log p of each image (paper 000, Eq. A7).

    Paper 000 does not say on what image p is measured. It is the crop, as in Dabkowski and Gal: on
    the whole image the value could not exceed -log p, while every method of its Tab. A7 exceeds
    Fake-CAM, whose box is the whole image (ResNet50: 0.98, the others 1.25 to 1.59).

    Args:
        found: From `crop_probabilities`.

    Returns:
        Float64 (B,), at least log 0.05; p counts as at least the smallest normal float32.

    Raises:
        ValueError: If the two are not (B,).
    """
    area, p = found
    if area.dim() != 1 or area.shape != p.shape:
        raise ValueError(f"expected (B,) twice, got {tuple(area.shape)}, {tuple(p.shape)}")
    return area.clamp(min=_SMALLEST).log() - p.detach().double().clamp(min=_TINY).log()


class CropSaliency(ImageMean):
    """Mean saliency metric SM of paper 000 (Eq. A7), of the box's size and what it shows.

    Fake-CAM, whose box is the whole image, is better than every real method in paper 000.
    """

    higher_is_better = False
    figures: ClassVar[Mapping[str, Figure]] = {
        "crop_saliency": Figure(False, short="SM", unit="nats")
    }

    def update(self, found: Crops) -> None:
        """Add a batch; see `crop_saliency` for arguments and errors."""
        self._add(crop_saliency(found))


def _cut_out(image: Tensor, box: Tensor, nothing: Tensor) -> Tensor:
    """Enlarge a box of an image (3, H, W) to its size, (1, 3, H, W)."""
    x0, y0, x1, y1 = box.tolist()
    if x0 == x1:
        return nothing
    inside = image[None, :, y0:y1, x0:x1]
    size = image.shape[-2:]
    return F.interpolate(inside, size=size, mode="bilinear", align_corners=False)
