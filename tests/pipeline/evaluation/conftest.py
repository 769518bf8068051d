"""Fixtures of evaluations: a trained run, a foreign network, finished maps, the call itself."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.commands.evaluate import evaluation_words
from learned_saliency.pipeline.evaluation.evaluate import CONFIG_NAME, evaluate
from learned_saliency.pipeline.runs import build_data
from learned_saliency.pipeline.training.fit import train
from tests.support.given_maps import SIZE
from tests.support.words import SMALL_RUN

DROP = "evaluate.faithfulness=[average_drop]"
NONE = "evaluate.faithfulness=[]"
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(scope="module")
def run(creatures, tmp_path_factory):
    """A trained F-CAM; its best checkpoint is its last one, after one epoch."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    words = [*SMALL_RUN, "model=fcam", "pictures.images=0", *place, f"output_dir={folder}"]
    return train(compose_checked(words))


@pytest.fixture
def evaluated(tmp_path):
    def call(*words):
        words = [f"output_dir={tmp_path}/evaluation", *words]
        return evaluate(compose_checked(evaluation_words(words), CONFIG_NAME, complete=False))

    return call


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=16).eval()


@pytest.fixture
def foreign(creatures, network, tmp_path):
    """Words of an evaluation of a network with weights in a file."""
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    return [
        "classifier=timm:resnet10t",
        "num_classes=16",
        "layer=layer2",
        f"weights={tmp_path}/weights.safetensors",
        "data=wsol",
        f"data.root={creatures}",
        f"data.metadata={creatures}/metadata",
        "data.crop_size=32",
        "data.batch_size=6",
        "data.num_workers=0",
    ]


@pytest.fixture(scope="module")
def words(creatures):
    """Words of the data set."""
    return [
        "data=wsol",
        f"data.root={creatures}",
        f"data.metadata={creatures}/metadata",
        f"data.crop_size={SIZE}",
        "data.batch_size=6",
        "data.num_workers=0",
        "pictures.images=2",
    ]


@pytest.fixture(scope="module")
def split_of_images(words):
    """The evaluated images, whole."""
    data = build_data(compose_checked([*words[:-1], "seed=0"]), "test")
    data.eval_batch_size = 100
    return next(iter(data.dataloader("test")))


@pytest.fixture(scope="module")
def maps(split_of_images):
    """Smooth maps at the evaluated size; the second one is constant, the third zero."""
    torch.manual_seed(0)
    coarse = torch.rand(len(split_of_images["image_id"]), 1, 5, 5)
    found = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")[:, 0]
    found[1], found[2] = 0.7, 0.0
    return found.numpy()
