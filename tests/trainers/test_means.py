"""Means over the images of an epoch."""

import torch

from learned_saliency.trainers.means import EpochMeans


def filled(*batches):
    means = EpochMeans()
    for value, images in batches:
        means.update("loss", torch.tensor(value), images)
    return means


def test_images_count_alike_whatever_their_batch():
    assert filled((1.0, 3), (5.0, 1)).compute() == {"loss": 2.0}
    assert filled().compute() == {}


def test_an_epoch_goes_on_from_a_state():
    first = filled((1.0, 3))
    second = EpochMeans()
    second.load_state_dict(first.state_dict())
    second.update("loss", torch.tensor(5.0), 1)
    assert second.compute() == {"loss": 2.0}
    assert first.compute() == {"loss": 1.0}
    second.reset()
    assert second.compute() == {}


def test_sums_of_processes_are_added_before_they_are_divided():
    others = torch.tensor([[9.0, 1.0]])
    assert filled((1.0, 3)).compute(lambda sums: sums + others) == {"loss": 3.0}


def test_half_precision_is_summed_in_single():
    means = EpochMeans()
    for _ in range(1000):
        means.update("loss", torch.tensor(1.0, dtype=torch.bfloat16), 1)
    assert means.compute() == {"loss": 1.0}
