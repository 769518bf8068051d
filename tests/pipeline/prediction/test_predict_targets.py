"""Prediction of what is no class, and of other scores of one."""

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.attribution import GradCAM
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.prediction.loading import load
from tests.support import own_networks
from tests.support.own_networks import OWN

SEGMENTED = [f"classifier={OWN}:segmentation", "layer=body", f"target={OWN}:upper_half"]


@pytest.fixture
def photo(colors, saved):
    return saved(np.kron(colors, np.ones((6, 6, 1), np.uint8)), "photo.png")


def test_a_region_of_a_segmentation(predicted, photo):
    """The score is the function's, no class or probability is invented."""
    index, folder, _ = predicted(*SEGMENTED, f"images={photo}", "input.size=32", "top_k=2")
    assert index["target"] == f"{OWN}:upper_half"
    (image,) = index["images"]
    assert set(image) == {"image", "width", "height", "scores", "maps"}
    assert [set(score) for score in image["scores"]] == [{"index", "name", "score"}] * 5
    assert [found["score"] for found in image["maps"]] == image["scores"][:2]
    assert image["scores"] == sorted(image["scores"], key=lambda score: -score["score"])
    assert all("class" not in found for found in image["maps"])
    assert (folder / image["maps"][1]["overlay"]).is_file()


def test_a_regression(predicted, photo):
    words = [f"classifier={OWN}:regression", "layer=body", f"images={photo}", "input.size=32"]
    words += ["input.mean=[0,0,0]", "input.std=[1,1,1]", "methods=[gradcam,scorecam]"]
    index, _, _ = predicted(*words, "target=learned_saliency.attribution:RawScores")
    (image,) = index["images"]
    with Image.open(photo) as opened:
        pixels = opened.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    images = torch.from_numpy(np.asarray(pixels).copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = float(own_networks.regression()(images))
    assert image["scores"] == [{"index": 0, "name": "0", "score": pytest.approx(expected, 1e-4)}]
    assert {found["method"] for found in image["maps"]} == {"gradcam", "scorecam"}


@pytest.fixture(scope="module")
def loaded(cam):
    return load(cam, methods=["native", "gradcam"], target="probability")


def test_the_classifier_of_a_run(cam, loaded, predicted, photo):
    """Scores of its logits, whose class names are not the scores'."""
    index, _, _ = predicted(
        f"classifier={cam}", f"images={photo}", f"target={OWN}:difference", "methods=[gradcam]"
    )
    (score,) = index["images"][0]["scores"]
    first, second = loaded(photo, classes=[3, 5])[0].classes
    assert score["name"] == "0"
    assert score["score"] == pytest.approx(np.log(first.probability / second.probability), abs=1e-4)


def test_probabilities_of_a_run_s_classes(cam, loaded):
    """The trained map stays as it is."""
    module = loaded.module
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps, _ = module.maps(images, None)
    expected = GradCAM(target="probability")(module.classifier, images)
    torch.testing.assert_close(maps["gradcam"], expected)
    assert not torch.allclose(maps["gradcam"], GradCAM()(module.classifier, images))
    torch.testing.assert_close(maps["native"], module.saliency(images))
    with pytest.raises(UserError, match="give it to the methods themselves"):
        load(cam, methods={"mine": GradCAM()}, target="margin")


def test_annotations_name_classes(predicted, photo):
    with pytest.raises(UserError, match=r"labels=coco: name classes, but target=.*upper_half"):
        predicted(*SEGMENTED, f"images={photo}", "labels=coco")


def test_a_function_that_fails_is_named(predicted, photo):
    words = [f"classifier={OWN}:regression", "layer=body", f"images={photo}", "input.size=32"]
    with pytest.raises(UserError, match="target: upper_half fails on what the network returns, a"):
        predicted(*words, f"target={OWN}:upper_half")
