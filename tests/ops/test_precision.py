import pytest
import torch

from learned_saliency.ops import full_precision, widen

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.int64),
        (torch.bool, torch.bool),
    ],
)
def test_only_half_precision_is_widened(given, wanted):
    assert widen(torch.ones(2, dtype=given)).dtype == wanted


def test_products_are_in_the_precision_of_their_factors():
    matrix = torch.full((2, 2), 1.001)
    with torch.autocast("cpu", torch.bfloat16):
        assert (matrix @ matrix).dtype == torch.bfloat16  # what has to be prevented
        with full_precision(CPU):
            found = matrix @ matrix
        assert (matrix @ matrix).dtype == torch.bfloat16  # as the caller had it
    torch.testing.assert_close(found, torch.full((2, 2), 2 * 1.001**2), rtol=1e-6, atol=0)
