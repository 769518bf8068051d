"""Maps and losses of networks in half precision are made in float32.

The reference takes the very numbers that the networks gave under autocast, widened, and computes
the rest in float32 without autocast: only what is rounded after the networks can differ.
"""

import pytest
import timm
import torch
from torch.nn import functional as F

from learned_saliency.attribution import (
    CAM,
    LIFTCAM,
    SHAPCAM,
    AblationCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    OptiCAM,
    RawAttention,
    Rollout,
    ScoreCAM,
    SharedFeatures,
    VanillaGradient,
    XGradCAM,
    split,
)
from learned_saliency.losses import (
    CALMLoss,
    CASMLoss,
    DenseCRFLoss,
    FCAMLoss,
    casm_classifier_loss,
    negative_cross_entropy,
    negative_entropy,
)
from learned_saliency.metrics import insertion_curves, masked_probabilities
from learned_saliency.models import CALM, CASM, FCAM, CAMClassifier
from learned_saliency.trainers import CALMModule, CAMModule
from tests.support.networks import SGD, TinyBackbone

BATCH, CLASSES, SIDE = 3, 4, 32
LABELS = torch.tensor([2, 0, 3])
EXACT = {"rtol": 0, "atol": 0}  # the same operations on the same numbers
ROUNDED = {"rtol": 1e-5, "atol": 1e-6}  # float32 rounds at 1e-7, bfloat16 at 4e-3


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


def randn(*shape, scale=4.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def images():
    return randn(BATCH, 3, SIDE, SIDE, scale=1.0)


def classifier():
    torch.manual_seed(0)
    return CAMClassifier(TinyBackbone(), CLASSES).eval()


def test_fcam_has_the_float32_softmax_of_its_scores(images):
    network = FCAM(classifier(), widths=(4, 4)).eval()
    largest = network(images).scores.diff(dim=1).abs().max().item()
    network.decoder.scores.weight.data *= 12 / largest  # as decided as a trained decoder
    with autocast():
        scores = network(images).scores
        assert scores.dtype == torch.bfloat16
        found = network.foreground(scores)
        assert (scores.softmax(1) == 1).any()  # what has to be prevented
    torch.testing.assert_close(found, scores.float().softmax(1)[:, 1], **EXACT)
    assert ((found > 0) & (found < 1)).all()


@pytest.mark.parametrize("term", ["seeds", "crf", "size"])
def test_fcam_losses_are_those_of_float32(term):
    scores, colors = randn(BATCH, 2, SIDE, SIDE).bfloat16(), 255 * torch.rand(BATCH, 3, SIDE, SIDE)
    labels = torch.randint(0, 2, (BATCH, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    loss = FCAMLoss(crf=DenseCRFLoss())
    wanted = getattr(loss(scores.float(), labels, colors), term)
    with autocast():
        found = getattr(loss(scores, labels, colors), term)
    torch.testing.assert_close(found, wanted, **ROUNDED)


def test_a_large_map_does_not_overflow_float16():
    """The area of a map of 260 x 260 pixels is above float16's largest number."""
    scores = torch.zeros(1, 2, 260, 260, dtype=torch.float16)
    scores[:, 1] = 20
    labels = torch.ones(1, 260, 260, dtype=torch.long)
    terms = FCAMLoss()(scores, labels)
    assert terms.total.dtype == torch.float32
    assert terms.total.isfinite()
    wanted = FCAMLoss()(scores.float(), labels)
    torch.testing.assert_close(terms.size, wanted.size, **ROUNDED)


def test_casm_has_the_float32_sigmoid_of_its_scores(images):
    network = CASM(classifier(), width=4, map_reduction=2).eval()
    largest = network(images).saliency.logit().abs().max().item()
    network.decoder.score.weight.data *= 12 / largest
    kept = {}
    taps = network.decoder._taps
    network.decoder._taps = lambda parts: kept.setdefault("taps", taps(parts))
    with autocast():
        found = network(images).saliency
        shifts = torch.eye(9, dtype=kept["taps"].dtype).view(1, 9, 3, 3)
        score = F.conv2d(kept["taps"], shifts, network.decoder.score.bias, padding=1)
    assert score.dtype == torch.bfloat16
    wanted = F.interpolate(score.float().sigmoid(), size=(SIDE, SIDE), mode="bilinear")[:, 0]
    torch.testing.assert_close(found, wanted, **EXACT)
    assert (score.float().abs() > 6).any()
    assert ((found > 0) & (found < 1)).all()


@pytest.mark.parametrize("score", [negative_entropy, negative_cross_entropy])
def test_casm_losses_are_those_of_float32(score):
    logits, masked = randn(2, BATCH, CLASSES).bfloat16()
    saliency = torch.rand(BATCH, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).bfloat16()
    wide = [part.float() for part in (saliency, logits, masked)]
    wanted = CASMLoss(1.0, score)(*wide, LABELS), casm_classifier_loss(LABELS, *wide[1:])
    with autocast():
        found = CASMLoss(1.0, score)(saliency, logits, masked, LABELS)
        found = found, casm_classifier_loss(LABELS, logits, masked)
    torch.testing.assert_close(found, wanted, **ROUNDED)


@pytest.mark.parametrize("superset", ["class", "all"])
def test_calm_maps_are_those_of_float32(images, superset):
    network = CALM(classifier()).eval()
    loss = CALMLoss("em")
    module = CALMModule(network=network, loss=loss, optimizer=SGD, superset=superset).eval()
    with autocast(), torch.no_grad():
        features = network.features(images)
        scores = network.class_branch(features), network.location_branch(features)
        assert scores[0].dtype == torch.bfloat16
        found = module.explain(images, LABELS)
        of_all = module.explain_all(images)
    joint = scores[0].float().softmax(1) * F.softplus(scores[1].float())
    joint = joint / joint.sum((1, 2, 3), keepdim=True)
    members = torch.eye(CLASSES) if superset == "class" else torch.ones(CLASSES, CLASSES)
    maps = torch.einsum("dc,bchw->bdhw", members, joint)
    maps = F.interpolate(maps, size=(SIDE, SIDE), mode="bilinear")
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    wanted = (maps - low) / (high - low)
    torch.testing.assert_close(
        of_all.saliency, wanted, rtol=0, atol=1e-4
    )  # the maps of untrained networks are narrow
    torch.testing.assert_close(found.saliency, wanted[range(BATCH), LABELS], rtol=0, atol=1e-4)
    torch.testing.assert_close(found.logits, joint.sum((2, 3)).log(), **ROUNDED)


@pytest.mark.parametrize("objective", ["em", "ml"])
def test_calm_losses_are_those_of_float32(objective):
    log_joint = randn(BATCH, CLASSES, 7, 7).flatten(1).log_softmax(1).view(BATCH, CLASSES, 7, 7)
    half, loss = log_joint.bfloat16(), CALMLoss(objective)
    wanted = loss(half.float(), LABELS)
    with autocast():
        torch.testing.assert_close(loss(half, LABELS), wanted, **ROUNDED)


def test_cam_maps_are_those_of_float32(images):
    module = CAMModule(network=classifier(), optimizer=SGD).eval()
    with autocast(), torch.no_grad():
        features = module.network.features(images)
        assert features.dtype == torch.bfloat16
        found = module.explain(images, LABELS).saliency, module.explain_all(images).saliency
    shared = SharedFeatures(module.network, images, features.float())
    wanted = torch.stack([module.cam(shared, images, LABELS * 0 + c) for c in range(CLASSES)], 1)
    torch.testing.assert_close(found[0], wanted[range(BATCH), LABELS], **ROUNDED)
    torch.testing.assert_close(found[1], wanted, **ROUNDED)


class Bent(torch.nn.Module):
    """Classifier whose head is not affine, so that methods cannot take a short cut."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.body = TinyBackbone()
        self.hidden, self.last = torch.nn.Linear(6, 16), torch.nn.Linear(16, CLASSES)

    def features(self, images):
        return self.body(images)[-1]

    def head(self, features):
        return self.last(self.hidden(features.mean((2, 3))).relu())

    def forward(self, images):
        return self.head(self.features(images))


HEAD_ONLY = [
    AblationCAM(),
    GradCAM(),
    GradCAMPlusPlus(),
    HiResCAM(),
    LIFTCAM(),
    LayerCAM(),
    SHAPCAM(orderings=3),
    XGradCAM(),
]


CASES = [(network, method) for network in (Bent, classifier) for method in HEAD_ONLY]
CASES.append((classifier, CAM()))  # which needs a linear head


@pytest.mark.parametrize(
    ("network", "method"), CASES, ids=[f"{n.__name__}-{type(m).__name__}" for n, m in CASES]
)
def test_methods_on_the_head_are_those_of_float32(images, network, method):
    network = network().eval()
    with autocast(), torch.no_grad():
        features = network.features(images)
        found = method(SharedFeatures(network, images, features), images, LABELS)
    wanted = method(SharedFeatures(network, images, features.float()), images, LABELS)
    torch.testing.assert_close(
        found, wanted, rtol=0, atol=1e-4
    )  # the maps of untrained networks are narrow
    assert found.unique().numel() > 100


class Around(torch.nn.Module):
    """Network with a branch around the layer, which autocast leaves in bfloat16."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.layer = torch.nn.Conv2d(3, 6, 3, 2, 1), torch.nn.Conv2d(6, 6, 3, 1, 1)
        self.past, self.after = torch.nn.Conv2d(6, 6, 1), torch.nn.Conv2d(6, 6, 1)
        self.last = torch.nn.Linear(6, CLASSES)

    def forward(self, images):
        before = self.stem(images)
        joined = (self.after(self.layer(before).relu()) + self.past(before)).relu()
        return self.last(joined.mean((2, 3)))


@pytest.mark.parametrize("tracing", [True, False])
@pytest.mark.parametrize("method", [GradCAM(), AblationCAM(), LIFTCAM()])
def test_heads_that_read_more_than_the_layer_run_in_float32(images, method, tracing):
    network = split(Around().eval(), "layer", tracing=tracing)
    with autocast():
        found = method(network, images, LABELS)
    assert found.unique().numel() > 100
    assert (found - method(network, images, LABELS)).abs().mean() < 0.03


@pytest.mark.parametrize("method", [RawAttention(), Rollout()], ids=lambda m: type(m).__name__)
def test_attention_of_half_precision_is_followed_in_float32(images, method):
    torch.manual_seed(0)
    options = {"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3}
    network = timm.models.VisionTransformer(num_classes=CLASSES, qk_norm=True, **options).eval()
    network = split(network, "blocks.2.norm1")
    wanted = method(network, images, LABELS)
    with autocast():
        found = method(network, images, LABELS)
    assert found.dtype == torch.float32
    assert (found != found.bfloat16().float()).float().mean() > 0.5
    assert (found - wanted).abs().mean() < 0.05


@pytest.mark.parametrize(
    "method", [OptiCAM(iterations=5), ScoreCAM(), VanillaGradient()], ids=lambda m: type(m).__name__
)
def test_methods_that_run_the_network_give_fine_maps(images, method):
    """Their masked images go through a network in bfloat16; the map itself is not rounded."""
    network = Bent().eval()
    with autocast():
        found = method(network, images, LABELS)
    assert found.dtype == torch.float32
    assert (found != found.bfloat16().float()).float().mean() > 0.5
    assert (found - method(network, images, LABELS)).abs().mean() < 0.05


def test_faithfulness_takes_the_float32_softmax_of_the_logits(images):
    network, saliency = Bent().eval(), torch.rand(BATCH, SIDE, SIDE)
    with autocast(), torch.no_grad():
        found = masked_probabilities(network, images, saliency, LABELS)
        logits = network(images)
        assert logits.dtype == torch.bfloat16
        curve = insertion_curves(network, images, saliency, LABELS, steps=4)
    wanted = logits.float().softmax(1)[range(BATCH), LABELS]
    torch.testing.assert_close(found.p, wanted, **EXACT)
    torch.testing.assert_close(curve[:, -1], wanted, **EXACT)
