"""Maps of several classes of an image: those of each class alone, from one pass."""

import pytest
import torch

from learned_saliency.attribution import GradCAM, OptiCAM
from learned_saliency.losses import CALMLoss, CASMLoss, DenseCRFLoss, FCAMLoss, SeedSampler
from learned_saliency.metrics import boxes_from_saliency
from learned_saliency.models import CALM, CASM, FCAM, CAMClassifier
from learned_saliency.trainers import (
    NATIVE,
    CALMModule,
    CAMModule,
    CASMModule,
    FCAMModule,
    NativeMap,
    PostHocModule,
    SaliencyModule,
    SnapshotPool,
    outputs,
)
from tests.support.networks import SGD, TinyBackbone

METHODS = {"gradcam": GradCAM(), "opticam": OptiCAM(iterations=3)}


def cam():
    return CAMModule(network=CAMClassifier(TinyBackbone(), 4), optimizer=SGD, methods=METHODS)


def calm(superset="class"):
    network = CALM(CAMClassifier(TinyBackbone(), 4))
    loss = CALMLoss("em")
    return CALMModule(network=network, loss=loss, optimizer=SGD, methods=METHODS, superset=superset)


def fcam():
    return FCAMModule(
        network=FCAM(CAMClassifier(TinyBackbone(), 4), widths=(4, 4)),
        optimizer=SGD,
        seed_method=GradCAM(),
        sampler=SeedSampler(erosion=0),
        loss=FCAMLoss(crf=DenseCRFLoss()),
        methods=METHODS,
    )


def post_hoc():
    return PostHocModule(classifier=CAMClassifier(TinyBackbone(), 4), methods=METHODS)


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", [cam, calm, fcam, post_hoc])
def test_maps_of_several_classes_are_those_of_each(make, images):
    torch.manual_seed(0)
    module = make().eval()
    passes = []
    module.classifier.backbone.register_forward_hook(lambda *_: passes.append(len(_[1][0])))
    targets = torch.tensor([[2, 0], [1, 3], [0, 1]])
    module.methods = {"gradcam": METHODS["gradcam"]}  # which alone sees the images as they are
    found = module.explain_classes(images, targets)
    assert passes == [3]
    module.methods = METHODS
    found = module.explain_classes(images, targets)
    torch.testing.assert_close(found.targets, targets)
    for column in range(2):
        alone, logits = module.maps(images, targets[:, column])
        torch.testing.assert_close(found.logits, logits)
        assert list(found.maps) == list(alone)
        for name, maps in alone.items():
            shared = name == NATIVE and not module.native.per_class
            assert found.maps[name].shape == (3, 1 if shared else 2, 32, 32)
            torch.testing.assert_close(found.maps[name][:, 0 if shared else column], maps)


@pytest.mark.parametrize("make", [cam, post_hoc])
def test_the_most_probable_classes_come_first(make, images):
    torch.manual_seed(0)
    module = make().eval()
    found = module.explain_classes(images, top_k=3)
    order = found.logits.sort(1, descending=True).indices[:, :3]
    torch.testing.assert_close(found.targets, order)
    torch.testing.assert_close(found.maps, module.explain_classes(images, order).maps)


def test_a_module_that_cannot_reuse_features_runs_again(images):
    torch.manual_seed(0)
    module = cam().eval()

    class Plain(SaliencyModule):
        """Minimal new method: everything that it has to give, and no more."""

        classifier = module.network
        native = NativeMap(per_class=True, probabilities=False)

        def explain(self, images, labels):
            return module.explain(images, labels)

    plain = Plain(network=module.network, optimizer=SGD, methods=METHODS).eval()
    targets = torch.tensor([[2, 0], [1, 3], [0, 1]])
    expected = module.explain_classes(images, targets).maps
    torch.testing.assert_close(plain.explain_classes(images, targets).maps, expected)


def casm():
    return CASMModule(
        network=CASM(CAMClassifier(TinyBackbone(), 4), width=4, map_reduction=2),
        pool=SnapshotPool("L"),
        loss=CASMLoss(1.0),
        optimizer=SGD,
        classifier_optimizer=SGD,
        methods=METHODS,
    )


def batch_of(images, **entries):
    return {"image": images, "image_id": [f"{i}.png" for i in range(len(images))], **entries}


@pytest.mark.parametrize("make", [cam, calm, fcam, post_hoc])
def test_prediction_explains_what_the_batch_asks_for(make, images):
    torch.manual_seed(0)
    module = make().eval()
    targets = torch.tensor([[2, 0], [1, 3], [0, 1]])
    for entries, options in [
        ({"targets": targets}, {"targets": targets}),
        ({"top_k": 3}, {"top_k": 3}),
        ({}, {}),
    ]:
        found = module.predict_step(batch_of(images, **entries), 0)
        expected = module.explain_classes(images, **options)
        assert found.image_ids == ["0.png", "1.png", "2.png"]
        torch.testing.assert_close((found.logits, found.targets, found.maps), expected[:3])
        assert list(found.maps) == module.map_names
        assert not any(maps.requires_grad for maps in found.maps.values())


def test_boxes_are_found_only_when_they_are_read(images, monkeypatch):
    module = cam().eval()
    module.box_threshold.fill_(0.7)
    calls = []

    def counted(maps, threshold):
        calls.append(threshold)
        return boxes_from_saliency(maps, threshold)

    monkeypatch.setattr(outputs, "boxes_from_saliency", counted)
    found = module.predict_step(batch_of(images, top_k=2), 0)
    assert not calls
    expected = boxes_from_saliency(found.maps[NATIVE][:, 0], calls[0] if calls else 0.7)
    torch.testing.assert_close(found.boxes, expected)
    assert calls == [pytest.approx(0.7)]


@pytest.mark.parametrize("make", [cam, calm, fcam, casm, post_hoc])
def test_predictions_are_float32_in_half_precision(make, images):
    """A map whose last step ran in bfloat16 would have values of eight bits."""
    torch.manual_seed(0)
    module = make().eval()
    with torch.autocast("cpu", torch.bfloat16):
        found = module.predict_step(batch_of(images, top_k=2), 0)
    assert found.logits.dtype == torch.float32
    for name, maps in found.maps.items():
        assert maps.dtype == torch.float32, name
        fine = (maps != maps.bfloat16().float()).float().mean()
        assert fine > 0.3, name


def test_calm_with_one_superset_for_all_has_one_map():
    assert not calm("all").native.per_class
    assert calm("class").native.per_class


def test_parameters_keep_their_flags_and_get_no_gradient(images):
    module = cam().eval()
    next(module.parameters()).requires_grad_(False)
    flags = [p.requires_grad for p in module.parameters()]
    with torch.enable_grad():
        found = module.explain_classes(images, top_k=2)
    assert not any(maps.requires_grad for maps in found.maps.values())
    assert [p.requires_grad for p in module.parameters()] == flags
    assert all(p.grad is None for p in module.parameters())
