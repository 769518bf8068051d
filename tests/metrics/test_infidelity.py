import pytest
import torch
from captum.metrics import infidelity as captum_infidelity

from learned_saliency.metrics import Infidelity, RemovedSquares, infidelity, remove_squares
from tests.support.waves import WaveClassifier, degenerate_maps, generators, wave_batch


def probability(model, images, targets):
    return model(images).softmax(1).gather(1, targets[:, None])[:, 0]


def squares(model, images, maps, targets, seed=0, **options):
    clean = probability(model, images, targets)
    drawn = generators(len(images), seed)
    return remove_squares(model, images, maps, targets, clean, generators=drawn, **options)


def shown_squares(images, maps, targets, **options):
    """The perturbed images of a run and, for each, whether a pixel is perturbed."""
    model, shown = WaveClassifier(), []

    def recording(images):
        shown.append(images)
        return model(images)

    found = squares(recording, images, maps, targets, **options)
    perturbed = torch.cat(shown[1:])  # the first are the whole images
    return found, perturbed, (perturbed == 0).all(1)


@pytest.mark.parametrize("name", ["wave", "peak", "edge", "ties", "zeros"])
def test_captum_and_a_plain_loop_have_the_same_infidelity(name):
    """captum gets our squares; its forwards at equal samples are as many as ours and one more."""
    images, saliency, targets = wave_batch()
    images, targets, maps = images[:1] + 2.0, targets[:1], degenerate_maps().get(name, saliency[:1])
    found, perturbed, gone = shown_squares(images, maps, targets, samples=20)
    model = WaveClassifier()
    values = captum_infidelity(
        lambda inputs: probability(model, inputs, targets.expand(len(inputs))),
        lambda inputs: (gone[:, None].double().expand_as(perturbed) / 3, perturbed),
        images,
        maps[:, None].expand_as(images),
        n_perturb_samples=20,
        normalize=True,
    )
    assert 1.1 * model.seen >= 20 + 1
    torch.testing.assert_close(infidelity(found), values.double(), rtol=1e-6, atol=1e-12)
    drops = [
        (probability(model, images, targets) - probability(model, one[None], targets)).item()
        for one in perturbed
    ]
    mass = [maps[0][where].sum().item() for where in gone]
    over = sum(m * m for m in mass)
    beta = sum(m * d for m, d in zip(mass, drops, strict=True)) / over if over else 0.0
    plain = sum((beta * m - d) ** 2 for m, d in zip(mass, drops, strict=True)) / 20
    assert infidelity(found).item() == pytest.approx(plain, rel=1e-6)


def test_squares_lie_inside_with_a_quarter_of_the_side_at_every_place():
    images, saliency, targets = wave_batch(9, 12)
    model = WaveClassifier(9, 12)
    shown = []

    def recording(images):
        shown.append(images)
        return model(images)

    squares(recording, images + 2.0, saliency, targets, samples=600)
    gone = (torch.cat(shown[1:]) == 0).all(1)
    assert gone.flatten(1).sum(1).unique().tolist() == [4]
    corners = {tuple(where.nonzero()[0].tolist()) for where in gone}
    assert corners == {(y, x) for y in range(8) for x in range(11)}


def test_a_map_of_zeros_has_the_largest_value_of_all():
    model, (images, _, targets) = WaveClassifier(), wave_batch()
    generator = torch.Generator().manual_seed(0)
    zeros = torch.zeros(2, 9, 9)
    worst = infidelity(squares(model, images, zeros, targets))
    for _ in range(20):
        maps = torch.rand(2, 9, 9, generator=generator)
        assert (infidelity(squares(model, images, maps, targets)) <= worst).all()


def test_the_scale_of_a_map_does_not_count():
    model, (images, saliency, targets) = WaveClassifier(), wave_batch()
    whole, half = (
        infidelity(squares(model, images, maps, targets)) for maps in (saliency, saliency / 2)
    )
    torch.testing.assert_close(whole, half)


def test_an_image_does_not_depend_on_its_batch_mates():
    model, (images, saliency, targets) = WaveClassifier(), wave_batch()
    both = squares(model, images, saliency, targets, batch_size=7)
    second = squares(model, images[1:], saliency[1:], targets[1:], seed=1)
    torch.testing.assert_close(both.drop[1:], second.drop)
    torch.testing.assert_close(both.mass[1:], second.mass)


def test_value_is_the_mean_however_the_images_arrive(check_metric):
    given = torch.rand(2, 7, 5, generator=torch.Generator().manual_seed(0)).double()

    def collate(chosen):
        return (RemovedSquares(*(torch.stack(part) for part in zip(*chosen, strict=True))),)

    expected = infidelity(RemovedSquares(*given)).mean()
    check_metric(Infidelity, list(zip(*given, strict=True)), collate, expected)


def test_wrong_arguments_are_refused():
    model, batch = WaveClassifier(), wave_batch()
    with pytest.raises(ValueError, match="samples"):
        squares(model, *batch, samples=0)
    with pytest.raises(ValueError, match=r"side must be in \[1, 9\], got 10"):
        squares(model, *batch, side=10)
    with pytest.raises(ValueError, match="2 generators, got 1"):
        remove_squares(model, *batch, torch.ones(2), generators=generators(1))
    with pytest.raises(ValueError, match=r"\(B, N\) twice"):
        infidelity(RemovedSquares(torch.rand(2), torch.rand(2)))
