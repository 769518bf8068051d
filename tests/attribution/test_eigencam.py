"""Eigen-CAM against numpy's SVD and pytorch-grad-cam up to its sign."""

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
import torchvision
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

from learned_saliency.attribution import EigenCAM, split
from learned_saliency.attribution.core import principal


def activations(channels, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, channels, height, width, generator=generator).relu()


class Fixed(torch.nn.Module):
    """Gives activations (B, K, h, w); its head must not run."""

    def __init__(self, given):
        super().__init__()
        self.given = given

    def features(self, images):
        return self.given[: len(images)]

    def head(self, features):
        raise AssertionError("the head ran")

    def forward(self, images):
        raise AssertionError("the network ran")


def raw(given, **options):
    images = torch.zeros(len(given), 3, *given.shape[2:], dtype=given.dtype)
    return EigenCAM(**options).raw_maps(Fixed(given), images, torch.zeros(len(given)).long())


@pytest.mark.parametrize("shape", [(5, 7, 6), (60, 7, 6), (300, 20, 14), (270, 20, 20)])
@pytest.mark.parametrize("centered", [True, False])
def test_the_map_is_the_first_left_singular_vector_times_its_value(shape, centered):
    given = activations(*shape).double()
    for found, image in zip(raw(given, centered=centered, rectify=False), given, strict=True):
        matrix = image.flatten(1).T.numpy()
        if centered:
            matrix = matrix - matrix.mean(axis=0)
        u, s, _ = np.linalg.svd(matrix, full_matrices=False)
        expected = torch.from_numpy(s[0] * u[:, 0]).view(found.shape)
        expected = expected * (expected * found).sum().sign()
        scale = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3 * scale)


def test_iterations_and_the_full_decomposition_agree_in_float32(monkeypatch):
    given = activations(400, 18, 17, seed=3)
    given[:, :40, 4:9, 5:12] += 1  # an object
    iterated = principal.first_component(given, centered=True)
    monkeypatch.setattr(principal, "_EXACT", 10_000)
    exact = principal.first_component(given, centered=True)
    flips = (iterated * exact).sum((1, 2), keepdim=True).sign()
    scale = exact.abs().max().item()
    torch.testing.assert_close(flips * iterated, exact, rtol=0, atol=1e-4 * scale)


def test_equal_eigenvalues_fall_back_to_the_full_decomposition(monkeypatch):
    monkeypatch.setattr(principal, "_EXACT", 4)
    given = torch.eye(16).view(1, 16, 4, 4)
    found = principal.first_component(given, centered=False)
    torch.testing.assert_close(found.norm(), torch.tensor(1.0))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("layer", ["layer2", "layer4"])
def test_maps_are_those_of_pytorch_grad_cam_up_to_the_sign(layer):
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=6).eval()
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with peer.EigenCAM(network, [network.get_submodule(layer)]) as method:
        expected = torch.from_numpy(method(images, None))
    classifier = split(network, layer)
    method = EigenCAM(rectify=False)
    plain = method.raw_maps(classifier, images)
    for index in range(2):
        signs = [method.finish((s * plain[index]).relu()[None], (96, 96))[0] for s in (1, -1)]
        least = min((found - expected[index]).abs().max().item() for found in signs)
        assert least < 2e-4
    torch.testing.assert_close(
        EigenCAM()(classifier, images), method.finish(plain.relu(), (96, 96))
    )


@pytest.mark.parametrize("place", [(0, 0), (0, 3), (2, 2), (5, 5)])
@pytest.mark.parametrize("centered", [True, False])
def test_the_object_is_bright_wherever_it_lies(place, centered):
    """pytorch-grad-cam's map of the first place is dark at the object, those of the others not."""
    row, column = place
    given = 0.1 * activations(12, 8, 8, seed=5)
    given[:, :6, row : row + 3, column : column + 3] += 2
    maps = raw(given, centered=centered)
    inside = maps[:, row : row + 3, column : column + 3].mean((1, 2))
    assert bool((inside > 5 * maps.mean((1, 2)) / 2).all())
    theirs = torch.from_numpy(get_2d_projection(given.numpy()))
    bright = theirs[:, row : row + 3, column : column + 3].mean((1, 2)) > theirs.mean((1, 2))
    assert bright.tolist() == 3 * [place != (0, 0)]


def test_a_map_depends_on_nothing_but_its_image_and_no_class():
    given = activations(9, 6, 6)
    images = torch.zeros(3, 3, 12, 12)
    together = EigenCAM()(Fixed(given), images)
    for index in range(3):
        alone = EigenCAM()(Fixed(given[index : index + 1]), images[:1])
        torch.testing.assert_close(alone, together[index : index + 1])
    classes = EigenCAM().of_classes(Fixed(given), images, torch.tensor([[0, 1]] * 3))
    torch.testing.assert_close(classes, together[:, None].expand(-1, 2, -1, -1))


def test_constant_activations_give_zeros():
    given = torch.ones(1, 4, 5, 5)
    assert not EigenCAM()(Fixed(given), torch.zeros(1, 3, 10, 10)).any()


class _Normalized(torch.nn.Module):
    """Activations whose channels add up to zero in each cell."""

    def features(self, images):
        mixed = torch.linspace(-1, 1, 3 * 8, dtype=images.dtype).sin().view(8, 3)
        cells = torch.einsum("kc,bchw->bhwk", mixed, images)
        return torch.nn.functional.layer_norm(cells.sin(), (8,)).permute(0, 3, 1, 2)

    def head(self, features):
        return features.mean((2, 3))

    def forward(self, images):
        return self.head(self.features(images))


@pytest.mark.parametrize("centered", [True, False])
def test_the_sign_does_not_hang_on_rounding(centered):
    images = torch.randn(24, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    method = EigenCAM(centered=centered)
    found, exact = (method.raw_maps(_Normalized(), x) for x in (images, images.double()))
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-3)
