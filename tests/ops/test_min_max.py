import torch

from learned_saliency.ops import min_max


def test_each_map_spans_0_to_1_and_a_constant_one_is_zero():
    maps = torch.tensor([[[-2.0, 0.0], [2.0, 1.0]], [[5.0, 5.0], [5.0, 5.0]]])
    expected = torch.tensor([[[0.0, 0.5], [1.0, 0.75]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(min_max(maps), expected, rtol=0, atol=0)
    torch.testing.assert_close(min_max(maps.bfloat16()), expected, rtol=0, atol=0)
    assert min_max(maps.double()).dtype == torch.float64


def test_rounding_of_a_constant_map_is_not_blown_up():
    maps = torch.full((1, 3, 3), 1e4)
    maps[0, 1, 1] = torch.nextafter(maps[0, 0, 0], torch.tensor(torch.inf))
    assert min_max(maps).eq(0).all()
