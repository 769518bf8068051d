"""Training step and declarations of the supervised bound."""

import pytest
import torch

from learned_saliency.losses import SupervisedLoss, box_masks, pixel_cross_entropy
from learned_saliency.models import FCAM, CAMClassifier
from learned_saliency.trainers import LearnedShare, SupervisedModule
from tests.support.learned import make_module
from tests.support.networks import SGD, TinyBackbone


def make(**options):
    torch.manual_seed(0)
    network = FCAM(CAMClassifier(TinyBackbone(), 3), widths=(4, 4))
    return SupervisedModule(network=network, loss=SupervisedLoss(), optimizer=SGD, **options)


def batch():
    generator = torch.Generator().manual_seed(0)
    values = torch.tensor([0, 1, 255], dtype=torch.uint8)
    return {
        "image": torch.randn(2, 3, 16, 16, generator=generator),
        "label": torch.tensor([0, -1]),
        "image_id": ["a", "b"],
        "boxes": [torch.tensor([[2, 3, 9, 9]]), torch.tensor([[0, 0, 4, 4], [3, 3, 12, 30]])],
        "mask": values[torch.randint(0, 3, (2, 16, 16), generator=generator)],
    }


def test_a_step_compares_the_decoders_scores_with_masks_or_else_boxes():
    module, images = make(), batch()
    scores = module.network(images["image"]).scores
    loss = module.training_step(images, 0)
    torch.testing.assert_close(loss, pixel_cross_entropy(scores, images.pop("mask")))
    loss.backward()
    trained = [p for p in module.parameters() if p.grad is not None]
    assert trained
    assert not any(p.requires_grad for p in module.classifier.parameters())
    drawn = box_masks(images["boxes"], 16, 16)
    torch.testing.assert_close(module.training_step(images, 0), pixel_cross_entropy(scores, drawn))


def test_the_module_declares_what_it_learns_from_and_others_learn_from_labels():
    assert make().learned_share == LearnedShare(0.8, 0)
    assert make(share=0.5, split_seed=3).learned_share == LearnedShare(0.5, 3)
    assert not make().needs_labels
    for method in ("cam", "calm", "fcam", "casm", "trilite", "amortized"):
        assert make_module(method).learned_share is None


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.0}, {"split_seed": -1}])
def test_values_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        make(**options)
