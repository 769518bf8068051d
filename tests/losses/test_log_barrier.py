import math

import numpy as np
import pytest
import torch

from learned_saliency.losses import BarrierTemperature, log_barrier
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = np.load(FOLDER / "fcam.npz")


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("index", range(4))
def test_value_and_slope_equal_published_barrier(index, dtype, rtol):
    z = torch.from_numpy(GOLDEN["elb_z"]).to(dtype).requires_grad_()
    value = log_barrier(z, GOLDEN["elb_t"][index])
    value.sum().backward()
    expected = torch.from_numpy(GOLDEN["elb_value"][index]).to(dtype)
    torch.testing.assert_close(value, expected, rtol=rtol, atol=rtol)
    slope = torch.from_numpy(GOLDEN["elb_slope"][index]).to(dtype)
    torch.testing.assert_close(z.grad, slope, rtol=rtol, atol=0)


def test_value_by_hand():
    # t = 2: the branches meet at -1/4 with value log(4)/2 and slope 2.
    z = torch.tensor([-1.0, -0.25, 0.0, 1.0], dtype=torch.float64)
    meet = math.log(4) / 2
    expected = torch.tensor([0.0, meet, meet + 0.5, meet + 2.5], dtype=torch.float64)
    torch.testing.assert_close(log_barrier(z, 2.0), expected)


@pytest.mark.parametrize("t", [0.3, 1.0, 7.7])
def test_branches_meet_with_equal_value_and_slope(t):
    z = (-1 / t**2) * torch.tensor([1 + 1e-9, 1 - 1e-9], dtype=torch.float64)
    z.requires_grad_()
    value = log_barrier(z, t)
    value.sum().backward()
    torch.testing.assert_close(value[0], value[1], rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(z.grad, torch.full_like(z, t), rtol=1e-7, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_slope_are_finite_everywhere(dtype):
    z = torch.tensor([-1e30, -1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 1e30], dtype=dtype)
    z.requires_grad_()
    value = log_barrier(z, 10.0)
    value.sum().backward()
    assert value.isfinite().all()
    assert z.grad.isfinite().all()
    assert (z.grad > 0).all()


def test_gradient_is_that_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    z = (2 * torch.rand(40, generator=generator, dtype=torch.float64) - 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: log_barrier(z, 2.5), z)


def test_parameter_may_be_a_tensor():
    z = torch.linspace(-2, 1, 9)
    torch.testing.assert_close(log_barrier(z, torch.tensor(2.5)), log_barrier(z, 2.5))


def test_input_stays_unchanged_and_empty_stays_empty():
    z = torch.linspace(-2, 1, 9)
    before = z.clone()
    log_barrier(z, 1.0)
    torch.testing.assert_close(z, before, rtol=0, atol=0)
    assert log_barrier(torch.zeros(0, 2), 1.0).shape == (0, 2)


@pytest.mark.parametrize("t", [0.0, -1.0, math.nan, math.inf, torch.tensor(0.0), torch.ones(2)])
def test_bad_parameter_is_rejected(t):
    with pytest.raises(ValueError, match="t must be"):
        log_barrier(torch.zeros(3), t)


def test_integer_input_is_rejected():
    with pytest.raises(TypeError, match="floating point"):
        log_barrier(torch.zeros(3, dtype=torch.int64), 1.0)


def test_temperature_follows_published_schedule():
    temperature, course = BarrierTemperature(), []
    for _ in range(300):
        course.append(temperature().item())
        temperature.step()
    expected = torch.from_numpy(GOLDEN["elb_schedule"])
    torch.testing.assert_close(torch.tensor(course).double(), expected, rtol=1e-5, atol=0)
    assert temperature().item() == 10.0


def test_temperature_continues_from_a_checkpoint():
    temperature, resumed = BarrierTemperature(2.0, 1.5, 50.0), BarrierTemperature(2.0, 1.5, 50.0)
    for _ in range(3):
        temperature.step()
    resumed.load_state_dict(temperature.state_dict())
    resumed.step()
    torch.testing.assert_close(resumed(), torch.tensor(2.0 * 1.5**4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 0.0}, "start"),
        ({"start": 11.0}, "start"),
        ({"maximum": math.inf}, "maximum"),
        ({"growth": 0.99}, "growth"),
        ({"growth": math.nan}, "growth"),
    ],
)
def test_bad_schedule_is_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        BarrierTemperature(**options)
