import torch

from learned_saliency.ops import Activation, activation_of


def test_logarithms_belong_to_the_probabilities():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    for activation in (Activation.SOFTMAX, Activation.SIGMOID):
        found = activation.probabilities(logits)
        torch.testing.assert_close(activation.log_probabilities(logits), found.log())
    torch.testing.assert_close(Activation.SOFTMAX.probabilities(logits).sum(1), torch.ones(4))
    two = torch.stack([torch.zeros(4), logits[:, 0]], dim=1)
    torch.testing.assert_close(
        Activation.SIGMOID.probabilities(logits)[:, 0], Activation.SOFTMAX.probabilities(two)[:, 1]
    )


def test_a_classifier_that_is_silent_has_exclusive_classes():
    assert activation_of(torch.nn.Identity()) is Activation.SOFTMAX
