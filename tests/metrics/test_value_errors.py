import pytest
import torch
from torchmetrics.regression import MeanAbsoluteError, R2Score

from learned_saliency.metrics import ValueErrors


def test_both_figures_are_those_of_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, 3, generator=generator, dtype=torch.double) * 5 + 100
    told = values + torch.randn(40, 3, generator=generator, dtype=torch.double)
    metric, r2, error = ValueErrors(3), R2Score(), MeanAbsoluteError()
    for rows in torch.arange(40).split(7):
        metric.update(told[rows], values[rows])
    found = metric.compute()
    torch.testing.assert_close(found["r2"], r2(told, values).double(), rtol=1e-6, atol=0)
    wanted = error(told, values).double()
    torch.testing.assert_close(found["mean_absolute_error"], wanted, rtol=1e-6, atol=0)


def test_no_image_and_one_value_for_all_give_nan():
    metric = ValueErrors()
    assert metric.compute()["r2"].isnan()
    metric.update(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [2.0]]))
    found = metric.compute()
    assert found["r2"].isnan()
    assert found["mean_absolute_error"].item() == 1


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"expected values \(B, 2\)"):
        ValueErrors(2).update(torch.zeros(4, 1), torch.zeros(4, 1))
