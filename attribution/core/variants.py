"""Variants of the images of a batch, in passes of bounded size."""

from collections.abc import Iterator

import torch
from torch import Tensor


def gaussian_noise(samples: int, images: Tensor, seed: int) -> Tensor:
    """Draw unit Gaussian noise for images; the same on every device.

    Args:
        samples: Number of draws S.
        images: Shape (B, 3, H, W); gives shape, type and device.
        seed: Seed of the generator, which is local to the call.

    Returns:
        Noise (S, 3, H, W), to be shared by all images of the batch.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, *images.shape[1:], generator=generator)
    return noise.to(images.device, images.dtype)


def pair_batches(
    images: int, variants: int, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through all pairs of an image and one of its variants, some at a time.

    Args:
        images: Number of images B.
        variants: Number V of variants per image (noisy copies, channels).
        batch_size: Largest number of pairs at a time, at least 1.
        device: Device of the indices.

    Yields:
        Image indices and variant indices, int64 (R,) each, R <= ``batch_size``; image by image.
    """
    for start in range(0, images * variants, batch_size):
        pairs = torch.arange(start, min(start + batch_size, images * variants), device=device)
        yield pairs // variants, pairs % variants
