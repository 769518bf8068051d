import pytest
import torch
from torch import nn

from learned_saliency.models import QuestionAnswering


@pytest.fixture
def network():
    torch.manual_seed(0)
    return QuestionAnswering(nn.Conv2d(3, 4, 3), 4, num_words=6, num_answers=3, width=8).eval()


def test_logits_are_those_of_the_equations(network):
    """Against the formulas, with the LSTM's cells written out."""
    network.standardize.running_mean = torch.rand(4)
    network.standardize.running_var = torch.rand(4) + 0.5
    images, question = torch.randn(2, 3, 7, 7), torch.tensor([[0, 2, 5], [3, 1, 4]])
    means = network.encoder(images).mean((2, 3))
    means = (means - network.standardize.running_mean) / (
        network.standardize.running_var + network.standardize.eps
    ).sqrt()
    memory = network.memory
    hidden = cell = torch.zeros(2, 8)
    for word in network.words.weight[question].unbind(1):
        gates = word @ memory.weight_ih_l0.T + memory.bias_ih_l0
        gates = gates + hidden @ memory.weight_hh_l0.T + memory.bias_hh_l0
        enter, forget, new, leave = gates.chunk(4, 1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        hidden = leave.sigmoid() * cell.tanh()
    fused = network.image(means).tanh() * network.question(hidden).tanh()
    torch.testing.assert_close(network(images, question), network.classifier(fused))


def test_what_is_trained_is_all_but_the_cnn(network):
    names = set(network.answering())
    assert not any(name.startswith("encoder") for name in names)
    assert len(names) + 2 == len(list(network.parameters()))


@pytest.mark.parametrize("sizes", [(0, 6, 3, 8), (4, 1, 3, 8), (4, 6, 1, 8), (4, 6, 3, 0)])
def test_sizes_are_checked(sizes):
    with pytest.raises(ValueError, match="at least 1 channel"):
        QuestionAnswering(nn.Identity(), *sizes)
