"""Several classes of each image by one call: the maps of one call for each."""

import pytest
import timm
import torch
from torch import Tensor

from learned_saliency.attribution import (
    LIFTCAM,
    AblationCAM,
    GradCAM,
    OptiCAM,
    RandomStart,
    ScoreCAM,
    SharedFeatures,
    split,
)
from learned_saliency.attribution.core.altered import run_size

TARGETS = torch.tensor([[3, 0, 9], [1, 1, 2], [8, 4, 0], [5, 6, 7]])
METHODS = {
    "gradcam": GradCAM(),
    "liftcam": LIFTCAM(),
    "scorecam": ScoreCAM(),
    "scorecam, margin": ScoreCAM(target="margin", batch_size=3),
    "ablationcam": AblationCAM(),
    "ablationcam, few": AblationCAM(target="log_probability", batch_size=5),
    "opticam": OptiCAM(iterations=8),
    "opticam, few": OptiCAM(iterations=8, batch_size=1, objective="iodiff", tolerance=1e-3),
    "opticam, start": OptiCAM(iterations=5, start=RandomStart(seed=0)),
}


class Counting(torch.nn.Module):
    """A classifier that counts the images of its runs, and the rows of its head."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier
        self.images, self.rows = [], []

    def features(self, images: Tensor) -> Tensor:
        return self.classifier.features(images)

    def head(self, features: Tensor) -> Tensor:
        self.rows.append(len(features))
        return self.classifier.head(features)

    def forward(self, images: Tensor) -> Tensor:
        self.images.append(len(images))
        return self.classifier(images)


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("name", METHODS)
def test_maps_are_those_of_each_class_alone(tiny_cnn, images, name, head):
    classifier, method = tiny_cnn(head), METHODS[name]
    given = images[: len(TARGETS)]
    shared = SharedFeatures(classifier, given)
    maps = method.of_classes(shared, given, TARGETS)
    alone = [method(classifier, given, column) for column in TARGETS.unbind(1)]
    torch.testing.assert_close(maps, torch.stack(alone, dim=1), rtol=1e-7, atol=1e-7)


def test_a_head_that_reads_more_than_the_activations_gets_the_rows_of_its_images():
    torch.manual_seed(0)
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=10, **options).double().eval()
    classifier, given = split(network, "blocks.1.norm1"), torch.randn(4, 3, 32, 32).double()
    for method in (AblationCAM(), OptiCAM(iterations=4)):
        maps = method.of_classes(classifier, given, TARGETS)
        alone = [method(classifier, given, column) for column in TARGETS.unbind(1)]
        torch.testing.assert_close(maps, torch.stack(alone, dim=1), rtol=1e-7, atol=1e-7)


def test_altered_images_and_activations_run_once_for_all_classes(tiny_cnn, images):
    classifier = Counting(tiny_cnn("mlp"))
    ScoreCAM().of_classes(classifier, images[:2], TARGETS[:2])
    assert sum(classifier.images) == 2 * 8
    classifier.rows.clear()
    AblationCAM().of_classes(classifier, images[:2], TARGETS[:2])
    assert sum(classifier.rows) == 2 + 2 * 3 + 2 * 8  # logits, a look at the head, channels


def test_opticams_masks_of_several_classes_run_in_batches_of_bounded_size(tiny_cnn, images):
    classifier = Counting(tiny_cnn("linear"))
    OptiCAM(iterations=2, batch_size=4).of_classes(classifier, images[:2], TARGETS[:2])
    assert classifier.images == [4, 4, 2, 2]
    classifier.images.clear()
    OptiCAM(iterations=2, batch_size=1).of_classes(classifier, images[:2], TARGETS[:2])
    assert classifier.images == [2] * 6  # never fewer than there are images
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        OptiCAM(batch_size=0)


@pytest.mark.parametrize("method", [OptiCAM(iterations=1), ScoreCAM(), GradCAM()])
def test_classes_that_do_not_exist_are_refused(tiny_cnn, images, method):
    with pytest.raises(ValueError, match=r"targets must be in \[0, 10\)"):
        method.of_classes(tiny_cnn("linear"), images[:1], torch.tensor([[0, 10]]))


def test_more_small_inputs_than_large_ones_go_into_one_run():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert run_size(3 * 224 * 224, cpu) == 8
    assert run_size(3 * 224 * 224, gpu) == 64
    assert run_size(3 * 32 * 32, cpu) == 392
    assert run_size(3 * 4000 * 4000, cpu) == 1
