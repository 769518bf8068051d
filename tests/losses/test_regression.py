import pytest
import torch

from learned_saliency.losses import standardized_error


def test_errors_count_in_deviations_and_large_ones_by_their_size():
    predicted = torch.tensor([[3.0, 10.0], [5.0, 70.0]], requires_grad=True)
    values, deviations = torch.tensor([[3.5, 30.0], [5.0, 20.0]]), torch.tensor([1.0, 10.0])
    loss = standardized_error(predicted, values, deviations)
    assert loss.item() == pytest.approx((0.5 * 0.5**2 + 1.5 + 0 + 4.5) / 2)
    (gradient,) = torch.autograd.grad(loss, predicted)
    torch.testing.assert_close(gradient * deviations, torch.tensor([[-0.25, -0.5], [0.0, 0.5]]))
    with pytest.raises(ValueError, match="expected values of"):
        standardized_error(predicted, values[:, :1], deviations)
