"""Poolings are chosen by words, also below other models, and refused before a training."""

import pytest
from omegaconf import open_dict

from learned_saliency.models import GlobalAverage, LogSumExp, Wildcat
from learned_saliency.pipeline.cli import UserError, check_command_line, compose_checked
from learned_saliency.pipeline.runs import build_network
from learned_saliency.pipeline.training import train
from tests.support.words import SMALL_RUN


def network(*words):
    config = compose_checked([*SMALL_RUN, *words])
    return build_network(config.model, num_classes=3)


def test_the_word_chooses_a_pooling_with_its_options():
    assert isinstance(network("model=cam").pooling, GlobalAverage)
    lse = network("model=cam", "model.head.pooling=lse", "model.head.lse.r=4").pooling
    assert isinstance(lse, LogSumExp)
    assert lse.r == 4
    below = network("model=fcam", "model.first_stage.head.pooling=wildcat").classifier.pooling
    assert isinstance(below, Wildcat)
    assert below.modalities == 4


def test_a_configuration_without_a_pooling_is_global_average():
    model = compose_checked([*SMALL_RUN, "model=cam"]).model
    with open_dict(model):
        del model["head"], model.network["pooling"], model.network["answers"]
    assert isinstance(build_network(model, num_classes=3).pooling, GlobalAverage)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.head.pooling=mean", "expected one of gap, max, lse, wildcat"),
        ("model.head.lse.r=0", "model.head.lse.r=0: expected a number above 0"),
        ("model.head.wildcat.highest=-1", "model.head.wildcat.highest=-1: expected a number"),
    ],
)
def test_other_values_are_refused(word, message):
    with pytest.raises(UserError, match=message):
        check_command_line([*SMALL_RUN, "model=cam", word])


def test_more_cells_than_there_are_are_refused_before_the_training(small_run, tmp_path):
    words = ["model=cam", "model.head.pooling=wildcat", "model.head.wildcat.highest=5"]
    message = "head.wildcat.highest=5 takes more cells than the 4 of a class map"
    with pytest.raises(UserError, match=message) as caught:
        train(compose_checked([*small_run, *words]))
    assert "\n" not in str(caught.value)
