"""Training of TriLite: its step, and maps of all methods from one pass."""

import pytest
import torch

from learned_saliency.attribution import CAM, GradCAM
from learned_saliency.losses import TriLiteLoss
from learned_saliency.models import CAMClassifier, MultiScaleClassifier, TriLite
from learned_saliency.trainers import NATIVE, TriLiteModule
from tests.support.networks import SGD, TinyBackbone

TERMS = ("classification", "foreground", "background")


@pytest.fixture
def module():
    torch.manual_seed(0)
    return TriLiteModule(
        network=TriLite(CAMClassifier(TinyBackbone(), 3)),
        loss=TriLiteLoss(background_weight=0.5),
        optimizer=SGD,
        methods={"cam": CAM(), "gradcam": GradCAM()},
    )


@pytest.fixture
def batch():
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"image": images, "label": torch.tensor([0, 1, 2, 1]), "image_id": list("abcd")}


def test_a_step_follows_the_loss_of_both_branches_and_leaves_the_trunk(module, batch):
    logged = {}
    module.log_point = lambda name, value, **options: logged.update({name: float(value)})
    trunk = {k: v.clone() for k, v in module.classifier.backbone.state_dict().items()}
    module.train()
    (group,) = module.parameter_groups()
    assert all(weight.requires_grad for weight in group["params"])
    before = {name: weight.clone() for name, weight in module.network.named_parameters()}
    optimizer = module.configure_optimizers()["optimizer"]
    loss = module.training_step(batch, 0)
    loss.backward()
    optimizer.step()
    changed = {n for n, weight in module.network.named_parameters() if (weight != before[n]).any()}
    assert changed == {n for n in before if not n.startswith("classifier.backbone.")}
    torch.testing.assert_close(dict(module.classifier.backbone.state_dict()), trunk)
    terms = {name: logged[f"train/loss_{name}_step"] for name in TERMS}
    assert sum(terms.values()) == pytest.approx(loss.item(), rel=1e-5)
    # scores of three classes that are near each other: -log(1/3), and half of -log(2/3)
    assert terms == pytest.approx(dict(zip(TERMS, (1.1, 1.1, 0.2), strict=True)), abs=0.35)


def test_the_map_of_the_foreground_serves_all_classes_from_one_pass(module, batch):
    module.eval()
    assert isinstance(module.classifier, MultiScaleClassifier)
    passes = []
    module.classifier.backbone.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        maps, logits = module.maps(batch["image"], batch["label"])
        found = module.predict_step(batch | {"top_k": 2}, 0)
    assert len(passes) == 2
    assert list(maps) == [NATIVE, "cam", "gradcam"]
    torch.testing.assert_close(
        maps["cam"], CAM()(module.classifier, batch["image"], batch["label"])
    )
    torch.testing.assert_close(logits, module.classifier(batch["image"]))
    torch.testing.assert_close(found.maps[NATIVE][:, 0], maps[NATIVE])
    assert not module.native.per_class
