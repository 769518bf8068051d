"""Parts of F-CAM's loss terms in the gradient at the foreground scores."""

import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import nn

from learned_saliency.losses import DenseCRFLoss, FCAMLoss
from learned_saliency.models import FCAM, CAMClassifier
from learned_saliency.trainers.gradient_shares import gradient_norms, norm_shares
from tests.support.learned import fit, make_batches, make_module
from tests.support.networks import TinyBackbone

TERMS = ("seeds", "crf", "size")


class Kept(Logger):
    """A logger that keeps what it gets."""

    name, version = "kept", ""

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        shares = {k: v for k, v in metrics.items() if k.startswith("train/gradient_share/")}
        if shares:
            self.rows.append((step, shares))

    def log_hyperparams(self, *args, **kwargs):
        """Keep nothing."""


def fcam(**options):
    module = make_module("fcam")
    module.loss = FCAMLoss(crf=DenseCRFLoss(weight=1e-6))
    for name, value in options.items():
        setattr(module, name, value)
    return module


def trained(module, batches=None, **options):
    logger = Kept()
    fit(module, batches or make_batches(4, 4, 2), epochs=2, logger=logger, **options)
    return logger.rows, module.network.state_dict()


def quadratic_terms(scores):
    background, foreground = scores[:, 0], scores[:, 1]
    return {"a": 3 * foreground.square().sum(), "b": background.sum() + foreground.sum()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_norms_are_those_of_the_gradient_at_the_foreground(dtype):
    values = torch.tensor([[[[5.0]], [[2.0]]], [[[7.0]], [[-1.0]]]], dtype=dtype)
    scores = (values.requires_grad_() * 1).float()
    norms = gradient_norms(quadratic_terms(scores), scores)
    torch.testing.assert_close(norms, torch.tensor([18.0, 2.0]))  # 6 * (2, -1) and (1, 1)
    torch.testing.assert_close(norm_shares(norms).sum(), torch.tensor(1.0))
    assert values.grad is None


def test_small_gradients_of_half_precision_are_not_lost():
    scores = torch.zeros(1, 2, 1, 1, dtype=torch.float16, requires_grad=True)
    terms = {"small": 1e-9 * scores[:, 1].float().sum(), "large": 2.0 * scores[:, 1].float().sum()}
    torch.testing.assert_close(
        gradient_norms(terms, scores), torch.tensor([1e-9, 2.0]), rtol=0.05, atol=0
    )


def test_terms_without_any_gradient_have_no_share():
    assert norm_shares(torch.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "options", [{}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}]
)
def test_the_training_is_the_same_to_the_bit(options):
    rows, weights = trained(fcam(gradient_shares=1), **options)
    nothing, plain = trained(fcam(), **options)
    assert nothing == []
    assert rows
    torch.testing.assert_close(dict(weights), dict(plain), rtol=0, atol=0)
    for _, shares in rows:
        assert set(shares) == {f"train/gradient_share/{term}" for term in TERMS}
        assert min(shares.values()) > 0
        assert sum(shares.values()) == pytest.approx(1)


def test_every_nth_step_is_logged_whatever_lightning_writes():
    rows, _ = trained(fcam(gradient_shares=2), log_every_n_steps=1000)
    assert [step for step, _ in rows] == [0, 2, 4]
    rows, _ = trained(fcam(gradient_shares=1), accumulate_grad_batches=2)
    assert [step for step, _ in rows] == [0, 1, 2, 3]


class Only(nn.Module):
    """A loss whose total is one of its terms."""

    def __init__(self, loss, term):
        super().__init__()
        self.loss, self.term = loss, term
        self.temperature = loss.temperature

    def forward(self, *given):
        terms = self.loss(*given)
        return terms._replace(total=getattr(terms, self.term))


def test_shares_are_those_of_trainings_with_one_term_each():
    batch, seen = make_batches(4), {}

    def watch(network, images, output):
        if output.scores.requires_grad:
            output.scores.retain_grad()
            seen["scores"] = output.scores

    norms = []
    for term in TERMS:
        module = fcam()
        module.loss = Only(module.loss, term)
        module.network.register_forward_hook(watch)
        fit(module, batch)
        norms.append(float(seen["scores"].grad[:, 1:].abs().sum()))
    rows, _ = trained(fcam(gradient_shares=1), batch)
    expected = [norm / sum(norms) for norm in norms]
    assert list(rows[0][1].values()) == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 1e-4


def test_a_foreground_of_each_class_and_fewer_terms():
    torch.manual_seed(0)
    module = fcam(gradient_shares=1)
    module.network = FCAM(CAMClassifier(TinyBackbone(), 3), widths=(4, 4), foreground="class")
    module.loss = FCAMLoss(crf=None)
    rows, _ = trained(module)
    assert len(rows) == 6
    for _, shares in rows:
        assert set(shares) == {"train/gradient_share/seeds", "train/gradient_share/size"}
        assert sum(shares.values()) == pytest.approx(1)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="gradient_shares must be at least 1 or None, got 0"):
        make_module("fcam", gradient_shares=0)
