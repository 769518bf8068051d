"""Batches whose gradients make one step: as if they were one batch, for every method."""

import pytest
import torch

from learned_saliency.losses import AlternativeImages
from learned_saliency.trainers.accumulation import AccumulationWindow
from tests.support.learned import (
    METHODS,
    EvenSampler,
    cut,
    fit,
    freeze_statistics,
    make_batches,
    make_module,
)

OPTIONS = {
    "fcam": {"sampler": EvenSampler},
    "rtis": {"alternatives": AlternativeImages(1.0), "fake_probability": 0.0},  # nothing is drawn
}


def trained(method, batches, accumulated=1):
    module = freeze_statistics(make_module(method, **OPTIONS.get(method, {})))
    trainer = fit(module, batches, epochs=2, accumulate_grad_batches=accumulated)
    return module, trainer.global_step


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (2, 4, 5, 1)], ids=["equal", "unequal"])
def test_accumulated_batches_are_one_batch(method, sizes):
    """Equal within rounding, where images of a batch do not see each other through BatchNorm."""
    batches = make_batches(6, 6)
    whole, steps = trained(method, batches)
    parts, steps_of_parts = trained(method, cut(batches, *sizes), 2)
    assert steps_of_parts == steps
    torch.testing.assert_close(
        dict(parts.network.state_dict()), dict(whole.network.state_dict()), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_last_batches_of_an_epoch_count_like_others(method):
    """Two steps an epoch: of 6 images in three batches, and of 3 images in two."""
    batches = make_batches(6, 3)
    whole, steps = trained(method, batches)
    parts, steps_of_parts = trained(method, cut(batches, 2, 2, 2, 2, 1), 3)
    assert steps_of_parts == steps
    torch.testing.assert_close(
        dict(parts.network.state_dict()), dict(whole.network.state_dict()), rtol=1e-4, atol=1e-6
    )


def test_full_windows_of_equal_batches_are_left_to_lightning():
    window, weight = AccumulationWindow(), torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([0.1, 0.2])
    for _ in range(2):
        for _ in range(3):
            window.add(7)
            assert window.weight == 1
        window.close([weight], 3)
        assert weight.grad.tolist() == torch.tensor([0.1, 0.2]).tolist()
    window.add(2)
    window.add(4)
    assert window.weight == 2
    window.close([weight, torch.nn.Parameter(torch.zeros(1))], 3)
    torch.testing.assert_close(weight.grad, torch.tensor([0.1, 0.2]))  # 3 * 2 / (2 + 4) = 1
    window.add(2)
    window.close([weight], 3)
    torch.testing.assert_close(weight.grad, torch.tensor([0.3, 0.6]))
