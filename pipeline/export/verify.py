"""Check that an exported file and its checkpoint give the same results, on real images."""

from __future__ import annotations

import torch
from torch import Tensor

from learned_saliency.datamodules import standardize
from learned_saliency.pipeline.export.formats import Runner
from learned_saliency.pipeline.export.graph import OUTPUTS
from learned_saliency.pipeline.export.images import BATCH_SIZES
from learned_saliency.trainers import SaliencyModule

_CLASSES = 8  # number of classes whose maps are compared


@torch.no_grad()
def differences(
    run: Runner, module: SaliencyModule, maps: str | None, pixels: Tensor
) -> dict[str, float]:
    """Compare a file with the module that it was made from, in batches of 1 and of 5 images.

    The module sees images as evaluation prepares them. Every image is explained with another class.

    Args:
        run: Runner of the file.
        module: The module of the checkpoint, in evaluation mode.
        maps: See `ExportedModel`.
        pixels: Levels 0..255 of shape (N, C, S, S).

    Returns:
        The largest difference per output; for logits relative to the largest logit, if above 1.
    """
    worst = torch.zeros(len(OUTPUTS))
    for batch_size in BATCH_SIZES:
        for first in range(0, len(pixels), batch_size):
            batch = pixels[first : first + batch_size]
            images = standardize(batch, module.mean.flatten(), module.std.flatten())
            logits = module.explain(images, None).logits
            classes = logits.shape[1]
            labels = (logits.argmax(1) + first + torch.arange(len(batch))) % classes
            found = run(batch / 255, *([labels] if maps == "label" else []))
            saliency = found["saliency"]
            if maps == "all":
                compared = torch.linspace(0, classes - 1, min(classes, _CLASSES)).long()
                each = [module.explain(images, c.expand(len(batch))).saliency for c in compared]
                expected, saliency = torch.stack(each, 1), saliency[:, compared]
            else:
                expected = module.explain(images, labels if maps == "label" else None).saliency
            unit = logits.abs().amax().clamp_min(1)
            pairs = [
                (found["probabilities"], module.activation.probabilities(logits)),
                (found["logits"] / unit, logits / unit),
                (saliency, expected),
            ]
            worst = torch.maximum(worst, torch.stack([_largest(*pair) for pair in pairs]))
    return dict(zip(OUTPUTS, worst.tolist(), strict=True))


def _largest(ours: Tensor, theirs: Tensor) -> Tensor:
    if ours.shape != theirs.shape:
        raise ValueError(f"expected {tuple(theirs.shape)}, got {tuple(ours.shape)}")
    return (ours - theirs).abs().amax()
