import numpy as np
import pytest
import torch
from torch import nn

from learned_saliency.attribution import OptiCAM
from learned_saliency.attribution.core.targets import TARGETS
from learned_saliency.attribution.objectives import NORMALIZATIONS, OBJECTIVES
from tests.support.paths import GOLDEN

PREFIXES = {"range": "", "max": "max_", "sigmoid": "sigmoid_"}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "opticam.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture
def classifier(tiny_cnn):
    return tiny_cnn("linear")


def select(selector, logits, targets):
    """The selectors once more, image by image."""
    scores = []
    for y, c in zip(logits, targets.tolist(), strict=True):
        others = torch.cat([y[:c], y[c + 1 :]])
        probability = y[c].exp() / y.exp().sum()
        scores.append(
            {
                "logit": y[c],
                "probability": probability,
                "log_probability": probability.log(),
                "margin": y[c] - others.max(),
            }[selector]
        )
    return torch.stack(scores)


def objective_of(name, selector, classifier, images, targets, masks):
    x, s = images, masks[:, None]
    g = [select(selector, classifier(v), targets) for v in (x, x * s, x * (1 - s))]
    return {
        "mask": g[1],
        "diff": -(g[0] - g[1]).abs(),
        "iomask": g[1] - g[2],
        "iodiff": -(g[0] - g[1]).abs() + (g[0] - g[2]).abs(),
    }[name]


@pytest.mark.parametrize("normalization", PREFIXES)
def test_float64_paths_are_the_golden_ones(classifier, golden, normalization):
    prefix = PREFIXES[normalization]
    method = OptiCAM(normalization=normalization)
    result = method.optimize(classifier, golden["images"].double(), golden["targets"])
    torch.testing.assert_close(result.saliency, golden[f"{prefix}map"], rtol=0, atol=1e-8)
    torch.testing.assert_close(
        result.objective[::10], golden[f"{prefix}objective"][:10], rtol=0, atol=1e-8
    )
    assert result.steps.tolist() == [100] * 4
    masked = golden["images"].double() * result.saliency[:, None]
    final = classifier(masked).gather(1, golden["targets"][:, None])[:, 0]
    torch.testing.assert_close(final, golden[f"{prefix}objective"][10], rtol=0, atol=1e-8)
    u, expected = result.u, golden[f"{prefix}u"]  # known up to a constant
    torch.testing.assert_close(u.softmax(dim=1), expected.softmax(dim=1), rtol=0, atol=1e-8)


@pytest.mark.parametrize("normalization", PREFIXES)
def test_float32_paths_stay_close_to_golden(tiny_cnn, golden, normalization):
    # One image at a time: the convolutions of a batch of four round otherwise, and the fourth
    # image is sensitive to that (1.4e-3 of its map instead of 1e-5).
    classifier = tiny_cnn("linear", torch.float32)
    for i in (0, 3):
        image, target = golden["images"][i : i + 1], golden["targets"][i : i + 1]
        result = OptiCAM(normalization=normalization).optimize(classifier, image, target)
        expected = golden[f"{PREFIXES[normalization]}map"][i : i + 1].float()
        torch.testing.assert_close(result.saliency, expected, rtol=0, atol=1e-3)
        values = golden[f"{PREFIXES[normalization]}objective"][:10, i : i + 1].float()
        torch.testing.assert_close(result.objective[::10], values, rtol=1e-4, atol=1e-4)


def test_diff_keeps_the_logit_as_the_official_norm_objective_does(classifier, golden):
    method = OptiCAM(objective="diff")
    found = method.optimize(classifier, golden["images"].double(), golden["targets"]).objective
    logits = golden["logits"].gather(1, golden["targets"][:, None])[:, 0].double()
    expected = -(logits - golden["official_norm_objective"][:10]).abs()
    # The official run is in float32, whose rounding Adam amplifies where the difference is near 0.
    torch.testing.assert_close(found[:31:10], expected[:4], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[::10], expected, rtol=0, atol=5e-4)


def test_updates_are_those_of_torch_adam(classifier, images):
    features = classifier.features(images).detach()
    targets = classifier(images).argmax(dim=1)
    for i in range(len(images)):
        u = torch.zeros(1, features.shape[1], dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([u], lr=0.3)
        for _ in range(15):
            maps = (u.softmax(dim=1)[:, :, None, None] * features[i : i + 1]).sum(dim=1)
            maps = nn.functional.interpolate(maps[:, None], (32, 32), mode="bilinear")
            masks = (maps - maps.min()) / (maps.max() - maps.min())
            adam.zero_grad()
            (-classifier(images[i : i + 1] * masks)[0, targets[i]]).backward()
            adam.step()
        found = OptiCAM(iterations=15, learning_rate=0.3).optimize(classifier, images).u[i]
        torch.testing.assert_close(found, u.detach()[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("selector", TARGETS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_choice_improves_its_own_objective(
    tiny_cnn, golden, objective, selector, normalization
):
    classifier = tiny_cnn("mlp")
    images, targets = golden["images"].double(), golden["targets"]
    method = OptiCAM(
        objective=objective, selector=selector, normalization=normalization, iterations=30
    )
    result = method.optimize(classifier, images, targets)
    assert result.saliency.min() >= 0
    assert result.saliency.max() <= 1
    # The first value is that of equal weights, the last that of the returned map.
    equal = classifier.features(images).mean(dim=1, keepdim=True)
    equal = nn.functional.interpolate(equal, (32, 32), mode="bilinear")[:, 0]
    equal = NORMALIZATIONS[normalization](equal)
    first, last = (
        objective_of(objective, selector, classifier, images, targets, masks)
        for masks in (equal, result.saliency)
    )
    torch.testing.assert_close(result.objective[0], first, rtol=0, atol=1e-9)
    assert last.sum() > first.sum()
    assert result.objective[-1].sum() > result.objective[0].sum()


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_normalizations_by_hand(name):
    maps = torch.tensor([[[1.0, 3.0, 2.0]], [[4.0, 4.0, 4.0]], [[0.0, 0.0, 0.0]]])
    e = [torch.tensor(v).sigmoid().item() for v in (1.0, 3.0, 2.0)]
    first = {"range": [0.0, 1.0, 0.5], "max": [1 / 3, 1.0, 2 / 3], "sigmoid": e}[name]
    expected = torch.tensor([[first], [[0.0] * 3], [[0.0] * 3]])
    torch.testing.assert_close(NORMALIZATIONS[name](maps), expected)


@pytest.mark.parametrize("name", TARGETS)
def test_selectors_by_hand(name):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    targets = torch.tensor([0, 1, 2, 3, 0])
    found = TARGETS[name](logits, targets)
    torch.testing.assert_close(found, select(name, logits, targets))


@pytest.mark.parametrize("tolerance", [1e-10, 1e-3])
def test_map_does_not_depend_on_batch_mates(classifier, golden, images, tolerance):
    batch = torch.cat([golden["images"].double(), images, torch.zeros_like(images[:1])])
    method = OptiCAM(iterations=40, tolerance=tolerance)
    together = method.optimize(classifier, batch)
    assert tolerance < 1e-5 or len(set(together.steps.tolist())) > 2  # images stop at other times
    for i in (0, 2, 3, 8):
        alone = method.optimize(classifier, batch[i : i + 1])
        assert alone.steps.item() == together.steps[i].item()
        torch.testing.assert_close(alone.saliency[0], together.saliency[i], rtol=0, atol=1e-9)


def test_each_image_stops_at_its_first_small_change(classifier, golden):
    images, targets = golden["images"].double(), golden["targets"]
    free = OptiCAM(tolerance=0.0).optimize(classifier, images, targets)
    changes = free.objective.diff(dim=0).abs()
    tolerance = 2e-3
    stopped = OptiCAM(tolerance=tolerance).optimize(classifier, images, targets)
    for i in range(4):
        small = (changes[:, i] < tolerance).nonzero().flatten().tolist()
        expected = small[0] + 1 if small else 100
        assert stopped.steps[i].item() == expected
        path = OptiCAM(tolerance=0.0, iterations=expected).optimize(classifier, images, targets)
        torch.testing.assert_close(stopped.u[i], path.u[i], rtol=0, atol=1e-9)
        held = stopped.objective[expected:, i]
        torch.testing.assert_close(held, free.objective[expected, i].expand_as(held))
    assert stopped.steps.min() < stopped.steps.max()


class Counting(nn.Module):
    """Counts the images that reach the network and its body."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.passes, self.bodies = [], []

    def features(self, images):
        self.bodies.append(len(images))
        return self.inner.features(images)

    def head(self, features):
        return self.inner.head(features)

    def forward(self, images):
        self.passes.append(len(images))
        return self.inner(images)


def test_one_pass_an_iteration_and_stopped_images_leave_the_batch(classifier, images):
    images = torch.cat([images[:2], torch.zeros_like(images[:1])])
    counting = Counting(classifier)
    dead = OptiCAM(iterations=5).optimize(counting, images)
    assert counting.bodies == [3]
    # A black image has no gradient: its objective does not change, and it stops at the second look.
    assert dead.steps.tolist() == [5, 5, 1]
    assert counting.passes == [3, 3, 2, 2, 2]


def test_a_batch_that_stopped_costs_nothing_more(classifier):
    counting = Counting(classifier)
    black = torch.zeros(2, 3, 32, 32, dtype=torch.float64)
    OptiCAM().optimize(counting, black)
    assert counting.passes == [2, 2]


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_constant_features_give_zeros(by_hand, objective, normalization):
    classifier, image = by_hand
    with torch.no_grad():
        classifier.fixed.fill_(0.7)
    saliency = OptiCAM(objective=objective, normalization=normalization)(classifier, image)
    torch.testing.assert_close(saliency, torch.zeros_like(saliency))


def test_negative_features_are_cut_off_as_in_the_released_code(by_hand):
    classifier, image = by_hand  # its logits do not depend on the image: equal weights stay
    with torch.no_grad():
        classifier.fixed.copy_(torch.tensor([[[-5.0, 1.0]], [[2.0, -3.0]]]))
    expected = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(OptiCAM()(classifier, image), expected)
    literal = OptiCAM(rectify=False, normalization="max")  # Eq. 8 as it is: -1.5, -1
    torch.testing.assert_close(literal(classifier, image), torch.zeros_like(expected))


def test_mean_and_std_mask_the_color_image(classifier, golden):
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
    shift = torch.tensor(mean, dtype=torch.float64)[:, None, None]
    scale = torch.tensor(std, dtype=torch.float64)[:, None, None]

    class Normalizing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = classifier
            self.head = classifier.head

        def features(self, images):
            return self.inner.features((images - shift) / scale)

        def forward(self, images):
            return self.inner((images - shift) / scale)

    colors, targets = golden["images"].double(), golden["targets"]
    expected = OptiCAM(iterations=10)(Normalizing(), colors, targets)
    normalized = (colors - shift) / scale
    found = OptiCAM(iterations=10, mean=mean, std=std)(classifier, normalized, targets)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    other = OptiCAM(iterations=10)(classifier, normalized, targets)
    assert (other - expected).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_and_autocast_stay_finite_and_close(tiny_cnn, golden, dtype):
    images, targets = golden["images"][:2], golden["targets"][:2]
    method = OptiCAM(iterations=10)
    expected = method(tiny_cnn("linear", torch.float32), images, targets)
    half = method(tiny_cnn("linear", dtype), images.to(dtype), targets)
    with torch.autocast("cpu", dtype):
        mixed = method(tiny_cnn("linear", torch.float32), images, targets)
    for found in (half, mixed):
        assert found.dtype == torch.float32
        assert (found - expected).abs().mean() < 0.05


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "masks"},
        {"selector": "logits"},
        {"normalization": "softmax"},
        {"iterations": 0},
        {"learning_rate": 0.0},
        {"tolerance": -1.0},
        {"tolerance": float("nan")},
        {"mean": [0.5] * 3},
        {"mean": [0.5] * 3, "std": [0.5] * 2},
        {"mean": [0.5] * 3, "std": [0.5, 0.5, 0.0]},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        OptiCAM(**options)


def test_mean_of_another_number_of_channels_is_refused(classifier, images):
    with pytest.raises(ValueError, match="channels"):
        OptiCAM(mean=[0.5], std=[0.5])(classifier, images)
