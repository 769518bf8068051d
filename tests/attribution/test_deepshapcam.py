import captum.attr
import pytest
import torch
from torch import nn

from learned_saliency.attribution import LIFTCAM, DeepSHAPCAM, SharedFeatures, split
from learned_saliency.ops import blur
from tests.support.few_channels import few_channels

HEADS = ["linear", "mlp", "flat"]


def references_of(images, samples, seed, blur_sigma, noise_level):
    """The references of each image, as the class describes them, one by one."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, *images.shape[1:], generator=generator).to(images)
    found = []
    for image in images:
        smooth = torch.cat([blur(color[None], blur_sigma) for color in image])
        spread = noise_level * (image.max() - image.min())
        found.append(torch.stack([smooth + spread * one for one in noise]))
    return found


@pytest.mark.parametrize("head", HEADS)
def test_captum_gives_the_same_against_the_same_references(tiny_cnn, images, head):
    classifier, targets = tiny_cnn(head), torch.tensor([3, 1, 4, 1])
    method = DeepSHAPCAM(samples=3, blur_sigma=2.0, noise_level=0.3, seed=5, batch_size=5)
    found = method.coefficients(classifier, images, targets)
    top = {
        "linear": nn.Sequential(classifier.fc),
        "mlp": nn.Sequential(classifier.mlp1, nn.ReLU(), classifier.mlp2),
        "flat": nn.Sequential(classifier.flat1, nn.ReLU(), classifier.flat2),
    }[head]
    pool = nn.Flatten() if head == "flat" else nn.Sequential(nn.AvgPool2d(8), nn.Flatten())
    peer = captum.attr.DeepLiftShap(nn.Sequential(pool, top))
    for i, others in enumerate(references_of(images, 3, 5, 2.0, 0.3)):
        own, base = (classifier.features(batch).detach() for batch in (images[i : i + 1], others))
        shares = peer.attribute(own, base, target=int(targets[i]))
        torch.testing.assert_close(found[i], shares.sum(dim=(0, 2, 3)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("head", HEADS)
def test_without_references_it_is_liftcam(tiny_cnn, liftcam_golden, head):
    images, targets = liftcam_golden["images"].double(), liftcam_golden[f"{head}_targets"]
    found = DeepSHAPCAM(samples=0).coefficients(tiny_cnn(head), images, targets)
    torch.testing.assert_close(found, liftcam_golden[f"{head}_lift"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("affine", [True, False])
def test_weights_sum_to_what_the_score_has_above_that_of_given_references(affine):
    classifier, images = few_channels(6, affine=affine)
    targets, others = torch.tensor([0, 2]), torch.rand(3, 3, 8, 8).double()
    method = DeepSHAPCAM(references=others, batch_size=4)
    found = method.coefficients(classifier, images, targets).sum(1)
    assert classifier.passes == 2 + 3  # once for all images
    with torch.no_grad():
        full = classifier(images).gather(1, targets[:, None])[:, 0]
        expected = full - classifier(others)[:, targets].mean(0)
    torch.testing.assert_close(found, expected)


def test_references_of_a_network_with_inputs_get_the_inputs_of_each_image():
    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, images, question):
            seen = self.conv(images + question[:, None, None, None]).relu()
            return self.last(torch.sigmoid(5 * seen.mean((2, 3)) * question[:, None]))

    torch.manual_seed(0)
    network = Asking().double().eval()
    images, others = torch.rand(2, 3, 6, 6).double(), torch.rand(3, 3, 6, 6).double()
    question = torch.tensor([0.5, -2.0]).double()

    def call(model, images, question):
        return model(images, question)

    classifier = split(network, "conv", call=call).bind(question=question)
    targets = torch.tensor([0, 1])
    for shared in (classifier, SharedFeatures(classifier, images)):
        found = DeepSHAPCAM(references=others).coefficients(shared, images, targets).sum(1)
        for i in range(2):
            base = network(others, question[i].expand(3))[:, targets[i]].mean()
            own = network(images[i : i + 1], question[i : i + 1])[0, targets[i]]
            torch.testing.assert_close(found[i], (own - base).detach())


@pytest.mark.parametrize("options", [{}, {"references": torch.rand(2, 3, 32, 32)}])
def test_map_does_not_depend_on_batch_mates(tiny_cnn, images, options):
    classifier, method = tiny_cnn("flat"), DeepSHAPCAM(samples=2, blur_sigma=3.0, **options)
    together = method(classifier, images)
    for i in range(4):
        alone = method(classifier, images[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-9)


def test_each_reference_is_a_pass_and_the_classifier_is_left_as_found():
    classifier, images = few_channels(6)
    classifier.train()
    state = torch.random.get_rng_state()
    DeepSHAPCAM(samples=3, batch_size=4)(SharedFeatures(classifier, images), images)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert classifier.passes == 2 * (1 + 3)
    assert sum(classifier.rows) == 2 * (1 + 2 * 3)
    assert max(classifier.rows) <= 4
    assert classifier.training
    assert all(weight.requires_grad and weight.grad is None for weight in classifier.parameters())


@pytest.mark.parametrize("affine", [True, False])
def test_references_of_an_image_serve_all_of_its_classes(affine):
    classifier, images = few_channels(6, affine=affine)
    method = DeepSHAPCAM(samples=3, batch_size=4)
    classes = torch.tensor([[0, 2], [1, 0]])
    classifier.passes = 0
    together = method.of_classes(classifier, images, classes)
    assert classifier.passes == 2 * (1 + 3)
    for column in range(2):
        own = method(classifier, images, classes[:, column])
        torch.testing.assert_close(together[:, column], own, rtol=0, atol=1e-9)


def test_blur_and_noise_take_the_evidence_from_the_references():
    """Against copies that are the image itself, nothing is left to share out."""
    classifier, images = few_channels(6)
    method = DeepSHAPCAM(samples=2, blur_sigma=0.0, noise_level=0.0)
    found = method.coefficients(classifier, images)
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-12)
    assert LIFTCAM().coefficients(classifier, images).abs().max() > 0.05


@pytest.mark.parametrize(
    "options",
    [
        {"samples": -1},
        {"blur_sigma": -1.0},
        {"noise_level": -0.1},
        {"batch_size": 0},
        {"references": torch.rand(3, 8, 8)},
        {"references": torch.rand(0, 3, 8, 8)},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DeepSHAPCAM(**options)


def test_references_of_another_size_are_refused():
    classifier, images = few_channels(6)
    with pytest.raises(ValueError, match="of one size"):
        DeepSHAPCAM(references=torch.rand(2, 3, 9, 9))(classifier, images)
