import numpy as np
import pytest
import torch
from torch import nn

from learned_saliency.losses import IGNORE, BarrierTemperature, FCAMLoss, SeedSampler
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = np.load(FOLDER / "fcam.npz")
SCORES = torch.from_numpy(GOLDEN["size_logits"]).double()
LABELS = torch.from_numpy(GOLDEN["partial_seeds"]).long()
IMAGES = torch.full((3, 3, 16, 16), 128.0, dtype=torch.float64)
SEEDS_LOSS, SIZE_LOSS = float(GOLDEN["partial_loss"]), float(GOLDEN["size_loss"][0])


class WeightedFirstPixel(nn.Module):
    """Stands in for a CRF: reads both inputs, and its gradient is easy to tell."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor(0.5))

    def forward(self, probabilities, images):
        return self.weight * probabilities[:, 1, 0, 0].sum() * images.amax()


@pytest.mark.parametrize(
    ("with_crf", "size_weight", "names"),
    [
        (False, None, ["seeds"]),
        (True, None, ["seeds", "crf"]),
        (False, 0.1, ["seeds", "size"]),
        (True, 0.1, ["seeds", "crf", "size"]),
    ],
    ids=["SR", "SR+CRF", "SR+ASC", "all"],
)
def test_rows_of_the_ablation_are_a_matter_of_configuration(with_crf, size_weight, names):
    loss = FCAMLoss(size_weight=size_weight, crf=WeightedFirstPixel() if with_crf else None)
    terms = loss(SCORES, LABELS, IMAGES if with_crf else None)
    expected = {
        "seeds": SEEDS_LOSS,
        "crf": 0.5 * 128 * SCORES.softmax(1)[:, 1, 0, 0].sum().item(),
        "size": 0.1 * SIZE_LOSS,
    }
    expected = {name: expected[name] for name in names}
    values = {name: value.item() for name, value in terms.parts().items()}
    torch.testing.assert_close(values, expected)
    assert terms.total.item() == pytest.approx(sum(expected.values()), rel=1e-12)


def test_gradient_is_the_weighted_sum_of_published_gradients():
    scores = SCORES.clone().requires_grad_()
    temperature = BarrierTemperature(start=2.0)  # the second golden t
    loss = FCAMLoss(seed_weight=0.3, size_weight=0.7, temperature=temperature)
    loss(scores, LABELS).total.backward()
    expected = torch.from_numpy(0.3 * GOLDEN["partial_grad"] + 0.7 * GOLDEN["size_grad"][1])
    torch.testing.assert_close(scores.grad, expected, rtol=1e-9, atol=1e-16)


def test_crf_gradient_reaches_the_scores():
    scores = SCORES.clone().requires_grad_()
    loss = FCAMLoss(seed_weight=0.0, size_weight=None, crf=WeightedFirstPixel())
    loss(scores, LABELS, IMAGES).total.backward()
    probability = SCORES.softmax(1)[:, 1, 0, 0]
    expected = torch.zeros_like(scores)
    expected[:, 1, 0, 0] = 64 * probability * (1 - probability)
    expected[:, 0, 0, 0] = -expected[:, 1, 0, 0]
    torch.testing.assert_close(scores.grad, expected)


def test_crf_may_be_a_plain_function_and_gets_the_softmax():
    seen = {}

    def crf(probabilities, images):
        seen.update(probabilities=probabilities, images=images)
        return probabilities.new_zeros(())

    FCAMLoss(crf=crf)(SCORES, LABELS, IMAGES)
    torch.testing.assert_close(seen["probabilities"], SCORES.softmax(dim=1))
    torch.testing.assert_close(seen["images"], IMAGES)


def test_size_term_fades_as_the_temperature_rises():
    loss = FCAMLoss()
    before = loss(SCORES, LABELS)
    loss.temperature.step()
    after = loss(SCORES, LABELS)
    torch.testing.assert_close(after.size, before.size / 1.01, rtol=1e-6, atol=0)
    torch.testing.assert_close(after.seeds, before.seeds)


def test_resumed_loss_continues_with_the_same_value():
    loss, resumed = FCAMLoss(crf=WeightedFirstPixel()), FCAMLoss(crf=WeightedFirstPixel())
    for _ in range(5):
        loss.temperature.step()
    assert set(loss.state_dict()) == {"temperature.t", "crf.weight"}
    resumed.load_state_dict(loss.state_dict())
    expected = loss(SCORES, LABELS, IMAGES)
    torch.testing.assert_close(resumed(SCORES, LABELS, IMAGES), expected, rtol=0, atol=0)


@pytest.mark.parametrize("maps", [torch.zeros(1, 16, 16), torch.ones(1, 16, 16)])
@pytest.mark.parametrize("logit", [0.0, 1e4], ids=["undecided", "all background"])
def test_constant_map_in_a_batch_of_one_is_finite(maps, logit):
    scores = torch.zeros(1, 2, 16, 16)
    scores[:, 0] = logit
    scores.requires_grad_()
    labels = SeedSampler()(maps)
    assert (labels == IGNORE).all()
    terms = FCAMLoss()(scores, labels)
    terms.total.backward()
    assert terms.seeds.item() == 0
    assert terms.total.isfinite()
    assert scores.grad.isfinite().all()


def test_terms_keep_the_type_of_the_scores():
    for dtype in (torch.float32, torch.float64):
        assert FCAMLoss()(SCORES.to(dtype), LABELS).total.dtype == dtype


def test_inputs_stay_unchanged():
    before = SCORES.clone(), LABELS.clone(), IMAGES.clone()
    FCAMLoss(crf=WeightedFirstPixel())(SCORES, LABELS, IMAGES)
    torch.testing.assert_close((SCORES, LABELS, IMAGES), before, rtol=0, atol=0)


def test_bad_input_is_rejected():
    with pytest.raises(ValueError, match="seed_weight"):
        FCAMLoss(seed_weight=-1.0)
    with pytest.raises(ValueError, match="size_weight"):
        FCAMLoss(size_weight=float("nan"))
    with pytest.raises(ValueError, match="CRF term needs images"):
        FCAMLoss(crf=WeightedFirstPixel())(SCORES, LABELS)
    with pytest.raises(ValueError, match=r"\(B, R, H, W\)"):
        FCAMLoss()(SCORES[:, :1], LABELS)
