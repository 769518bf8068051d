"""The example of CASM's Sec. 2.1: images made of two identical halves, of which one would do.

A classifier that reads the left half alone is as good as one that reads the right half. The mask
that is trained against the first has to cover the object on the left; CASM's, trained against
classifiers that go on to learn from what the mask leaves, has to cover both.
"""

import copy
from functools import partial

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from learned_saliency.losses import CASMLoss
from learned_saliency.models import CASM, CAMClassifier
from learned_saliency.trainers import CASMModule, SnapshotPool

SIDE, OBJECT = 16, 6
COLORS = torch.tensor([[2.0, -1.0, -1.0], [-1.0, 2.0, -1.0], [-1.0, -1.0, 2.0], [1.5, 1.5, -2.0]])


class PlaceAwareBackbone(nn.Module):
    """Two levels; the column is an input, so that a half can be told from the other."""

    channels = (16, 32)
    reductions = (1, 4)

    def __init__(self):
        super().__init__()
        self.first = _layer(4, 16, stride=1)
        self.second = nn.Sequential(_layer(16, 32, stride=2), _layer(32, 32, stride=2))

    def forward(self, images):
        batch, _, height, width = images.shape
        columns = torch.linspace(-1, 1, width).expand(batch, 1, height, width)
        first = self.first(torch.cat([images, columns], dim=1))
        return [first, self.second(first)]


def _layer(inputs, outputs, stride):
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def half_images(labels, generator):
    """Noise with a square of the class's color somewhere, and where it is."""
    count = len(labels)
    images = 0.3 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    corners = torch.randint(0, SIDE - OBJECT + 1, (2, count, 1, 1), generator=generator)
    rows, columns = torch.arange(SIDE)[:, None], torch.arange(SIDE)[None]
    found = (rows >= corners[0]) & (rows < corners[0] + OBJECT)
    found = found & (columns >= corners[1]) & (columns < corners[1] + OBJECT)
    return images + COLORS[labels][:, :, None, None] * found[:, None], found


def make_batch(count, generator, same=True):
    """Images of two identical halves; else of two whose classes have nothing to do together."""
    labels = torch.randint(0, len(COLORS), (count,), generator=generator)
    left, found = half_images(labels, generator)
    right = left
    if not same:
        others = torch.randint(0, len(COLORS), (count,), generator=generator)
        right, _ = half_images(others, generator)
    batch = {"image": torch.cat([left, right], dim=3), "label": labels}
    return batch, torch.cat([found, found], dim=2)


@pytest.fixture(scope="module")
def left_reader():
    """A classifier that learned to read the left half, where the right one said nothing."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    classifier = CAMClassifier(PlaceAwareBackbone(), len(COLORS))
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.01)
    for _ in range(120):
        batch, _ = make_batch(48, generator, same=False)
        optimizer.zero_grad()
        functional.cross_entropy(classifier(batch["image"]), batch["label"]).backward()
        optimizer.step()
    return classifier


def covered(classifier, thinning):
    """Train a mask; its mean on the left object, on the right one and on the background."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    module = CASMModule(
        network=CASM(copy.deepcopy(classifier), width=16, map_reduction=None),
        pool=SnapshotPool(thinning),
        loss=CASMLoss(3.0),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        classifier_optimizer=partial(torch.optim.SGD, lr=0.02, momentum=0.9),
    )
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = [make_batch(16, generator)[0] for _ in range(150)]
    trainer.fit(module.train(), DataLoader(batches, batch_size=None))
    batch, found = make_batch(200, torch.Generator().manual_seed(2))
    with torch.no_grad():
        output = module.eval().network(batch["image"])
    assert (output.logits.argmax(1) == batch["label"]).float().mean() > 0.97
    left = found & (torch.arange(2 * SIDE) < SIDE)
    return [float(output.saliency[where].mean()) for where in (left, found & ~left, ~found)]


def test_a_mask_for_one_classifier_covers_one_half_and_one_for_a_pool_covers_both(left_reader):
    left, right, background = covered(left_reader, "F")
    assert left > 0.8
    assert right < 0.2
    assert background < 0.2
    left, right, background = covered(left_reader, "L20")
    assert left > 0.8
    assert right > 0.8
    assert background < 0.35
