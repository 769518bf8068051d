"""The CAM family by hand, against golden numbers, and its identities."""

import pytest
import torch
from torch import nn

from learned_saliency.attribution import (
    CAM,
    AblationCAM,
    FakeCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
    SmoothGradCAMPlusPlus,
    XGradCAM,
)

# A = [[1, 3]], [[2, 1]]; gradients [[1, 3]], [[-1, 2]]; F(A) = 1 + 9 - 2 + 2 + 1 = 11.
BY_HAND = [
    (GradCAM(), [2.0, 0.5]),
    # 1 / (2 + 4 * 1) + 3 / (2 + 4 * 3), and 2 / (2 + 3 * 2): the negative gradient is cut off.
    (GradCAMPlusPlus(), [1 / 6 + 3 / 14, 0.25]),
    (SmoothGradCAMPlusPlus(noise_std=0.0), [1 / 6 + 3 / 14, 0.25]),
    (XGradCAM(), [(1 * 1 + 3 * 3) / 4, 0.0]),
    (AblationCAM(), [10 / 11, 0.0]),
]


class Pointwise(nn.Module):
    """Activations are the first K colors; logits are sums of a power of them, and a constant."""

    def __init__(self, channels, power):
        super().__init__()
        self.channels, self.power = channels, power

    def features(self, images):
        return images[:, : self.channels]

    def head(self, features):
        score = (features**self.power).sum((1, 2, 3)) / self.power
        return torch.stack([score, torch.zeros_like(score)], dim=1)

    def forward(self, images):
        return self.head(self.features(images))


@pytest.mark.parametrize(("method", "expected"), BY_HAND)
def test_coefficients_by_hand(by_hand, method, expected):
    weights = method.coefficients(*by_hand, torch.tensor([0]))
    torch.testing.assert_close(weights, torch.tensor([expected], dtype=torch.float64))


@pytest.mark.parametrize(
    ("method", "raw"),
    [(HiResCAM(rectify=False), [1 * 1 - 1 * 2, 9 + 2]), (LayerCAM(), [1 * 1 + 0, 9 + 2])],
)
def test_elementwise_maps_by_hand(by_hand, method, raw):
    with method._query(*by_hand, torch.tensor([0])) as query:
        maps = method._cams(query)
    torch.testing.assert_close(maps, torch.tensor([[raw]], dtype=torch.float64))


def test_smooth_gradcampp_averages_powers_of_noisy_gradients():
    image = torch.tensor([1.0, 2.0], dtype=torch.float64).expand(1, 3, 1, 2).contiguous()
    noise = torch.randn(2, 3, 1, 2, generator=torch.Generator().manual_seed(3)).double()
    g = image[0, 0, 0] + 0.1 * noise[:, 0, 0]  # dy/dA is A itself where y = sum A^2 / 2
    first, second, third = g.mean(0), (g**2).mean(0), (g**3).mean(0)
    expected = (second / (2 * second + 3 * third) * first).sum()  # sum of the clean A is 3
    method = SmoothGradCAMPlusPlus(samples=2, noise_std=0.1, seed=3, batch_size=1)
    weights = method.coefficients(Pointwise(1, power=2), image, torch.tensor([0]))
    torch.testing.assert_close(weights, expected.view(1, 1))


def test_gradcampp_survives_tiny_gradients():
    """g^2 and g^3 of these underflow in float32; the weights must be relu(g) / 2 nevertheless."""

    class Faint(Pointwise):
        def head(self, features):
            return super().head(features) * 1e-25

    weights = GradCAMPlusPlus().coefficients(
        Faint(2, power=1), torch.rand(1, 3, 2, 2), torch.tensor([0])
    )
    torch.testing.assert_close(weights, torch.full((1, 2), 4 * 0.5e-25), rtol=1e-5, atol=0)


def test_gradient_methods_cut_off_a_vanishing_denominator():
    """Negative activations can make 2 + S g zero, and S zero; no map may become infinite."""
    image = torch.tensor([[[[-1.0, -1.0]], [[1.0, -1.0]], [[0.0, 0.0]]]])  # S = -2, g = 1
    for method in (GradCAMPlusPlus(), XGradCAM(), SmoothGradCAMPlusPlus(noise_std=0.0)):
        weights = method.coefficients(Pointwise(2, power=1), image, torch.tensor([0]))
        assert torch.isfinite(weights).all()


def test_scorecam_is_a_softmax_of_masked_logits():
    image = torch.tensor([[[[0.0, 2.0]], [[3.0, 1.0]], [[0.0, 0.0]]]])
    # Masks [0, 1] and [1, 0] leave colors 2, 1 and 0, 3: logits 3 and 3, minus an equal baseline.
    equal = ScoreCAM().coefficients(Pointwise(2, power=1), image, torch.tensor([0]))
    torch.testing.assert_close(equal, torch.tensor([[0.5, 0.5]]))
    # Half the sum of squares: (4 + 1) / 2 and 9 / 2.
    squares = ScoreCAM(batch_size=1).coefficients(Pointwise(2, power=2), image, torch.tensor([0]))
    torch.testing.assert_close(squares, torch.tensor([[2.5, 4.5]]).softmax(1))


def test_fakecam_hides_one_pixel_and_runs_nothing():
    class Broken(Pointwise):
        def features(self, images):
            raise AssertionError("the network ran")

    maps = FakeCAM()(Broken(1, power=1), torch.rand(2, 3, 4, 5))
    assert maps.sum() == 2 * 19
    assert (maps[:, 0, 0] == 0).all()


def test_cam_reads_the_weights_of_the_linear_layer(tiny_cnn, images):
    classifier = tiny_cnn("linear")
    targets = torch.tensor([0, 3, 9, 3])
    weights = CAM().coefficients(classifier, images, targets)
    torch.testing.assert_close(weights, classifier.fc.weight[targets].detach())


@pytest.mark.parametrize("head", ["mlp", "flat"])
def test_cam_refuses_other_heads(tiny_cnn, images, head):
    with pytest.raises(ValueError, match="global average pooling"):
        CAM()(tiny_cnn(head), images)


def test_cam_refuses_a_linear_head_without_pooling(by_hand):
    with pytest.raises(ValueError, match="global average pooling"):
        CAM()(*by_hand)


def test_cam_takes_the_classifiers_own_maps(tiny_cnn, images):
    classifier = tiny_cnn("mlp")
    classifier.cams = lambda features, targets: features[:, 0] * (1 + targets.view(-1, 1, 1))
    with torch.no_grad():
        own = classifier.features(images)[:, 0]
    span = own.amax((1, 2), keepdim=True) - own.amin((1, 2), keepdim=True)
    expected = (own - own.amin((1, 2), keepdim=True)) / span
    maps = CAM(interpolation="nearest")(classifier, images, torch.arange(4))
    torch.testing.assert_close(maps[:, ::4, ::4], expected)


@pytest.mark.parametrize("head", ["linear", "mlp", "flat"])
@pytest.mark.parametrize("method", ["gradcam", "ablation"])
def test_golden_coefficients(tiny_cnn, liftcam_golden, head, method):
    golden = liftcam_golden
    build = {"gradcam": GradCAM, "ablation": AblationCAM}[method]
    images, targets = golden["images"].double(), golden[f"{head}_targets"]
    weights = build().coefficients(tiny_cnn(head), images, targets)
    torch.testing.assert_close(weights, golden[f"{head}_{method}"], rtol=1e-9, atol=1e-9)
    single = build().coefficients(tiny_cnn(head, torch.float32), images.float(), targets)
    scale = golden[f"{head}_{method}"].abs().max().item()
    torch.testing.assert_close(
        single.double(), golden[f"{head}_{method}"], rtol=0, atol=1e-4 * scale
    )


def test_ablation_shortcut_equals_brute_force(tiny_cnn, images):
    """The affine head's derivative against running the head once per missing channel."""
    classifier = tiny_cnn("linear")
    method = AblationCAM(batch_size=5)
    with method._query(classifier, images, None) as query:
        assert query.linear_contributions is not None
        full = query.logits.gather(1, query.targets[:, None])
        brute = (full - method._scores_without(query, query.targets[:, None])[:, 0]) / full
    torch.testing.assert_close(method.coefficients(classifier, images), brute)


def test_methods_agree_where_the_head_is_pooling_and_linear(tiny_cnn, images):
    """Then Grad-CAM = XGrad-CAM = HiRes-CAM, and all are CAM up to scale and its missing ReLU."""
    classifier = tiny_cnn("linear")
    reference = CAM(rectify=True)(classifier, images)
    for method in (GradCAM(), XGradCAM(), HiResCAM()):
        torch.testing.assert_close(method(classifier, images), reference)


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"samples": 0}, {"noise_std": -1.0}],
)
def test_smooth_gradcampp_rejects_options_out_of_range(options):
    with pytest.raises(ValueError, match="expected"):
        SmoothGradCAMPlusPlus(**options)


@pytest.mark.parametrize("method", [ScoreCAM, AblationCAM])
def test_batch_size_does_not_change_a_map(tiny_cnn, images, method):
    classifier = tiny_cnn("flat")
    torch.testing.assert_close(
        method(batch_size=3)(classifier, images), method(batch_size=64)(classifier, images)
    )
    with pytest.raises(ValueError, match="batch_size"):
        method(batch_size=0)
