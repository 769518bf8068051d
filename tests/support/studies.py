"""Setting of a study without a data set on disk: a small network and batches of images."""

from types import SimpleNamespace

import torch
from torch import nn

from learned_saliency.attribution import split
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.trainers import PostHocModule

SIDE, CLASSES = 16, 5


def small_network(seed=0):
    """Two convolutions and a linear layer, with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    network[-1].weight.data *= 20  # probabilities that depend on the image
    return network.eval()


def small_module(methods, **options):
    return PostHocModule(classifier=split(small_network(), "3"), methods=methods, **options).eval()


def small_batch(count=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, SIDE // 2, (count, 4), generator=draw)
    return {
        "image": torch.randn(count, 3, SIDE, SIDE, generator=draw),
        "label": torch.randint(CLASSES, (count,), generator=draw),
        "image_id": [f"{i}.png" for i in range(count)],
        "index": torch.arange(count),
        "boxes": [(row + torch.tensor([0, 0, 6, 7]))[None] for row in corners],
    }


def rows_of(batch, *rows):
    """Some images of a batch, as another process or a later batch has them."""
    return {
        key: values[list(rows)] if isinstance(values, torch.Tensor) else [values[r] for r in rows]
        for key, values in batch.items()
    }


class Setting(SimpleNamespace):
    """Stand-in for `studies.Setting` of one process, which has the given batches as its share.

    ``whole`` is what every process may see, as the loader of the split gives it.
    """

    pictures = 0

    def __init__(self, module, *batches, whole=None):
        super().__init__(module=module, shares=batches, whole=whole or batches)
        self.config = compose_checked([], "evaluate", complete=False)

    def note(self, what):
        pass

    def batches(self, scores=None, **parts):
        self.scores = scores
        yield from self.whole if scores is None else self.shares

    def to_device(self, batch):
        return batch


def states(tree, prefix=""):
    """States of all metrics of a tree by their paths."""
    found = {}
    for name, branch in tree.items():
        if hasattr(branch, "metric_state"):
            found |= {f"{prefix}{name}.{k}": v for k, v in branch.metric_state.items()}
        else:
            found |= states(branch, f"{prefix}{name}/")
    return found
