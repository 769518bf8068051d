import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics import arcc as grad_cam

from learned_saliency.metrics import (
    ADCC,
    ARCC,
    Coherency,
    L1Complexity,
    RoadProbabilities,
    adcc,
    arcc,
    coherency,
    explain_masked,
    l1_complexity,
)
from tests.support.waves import degenerate_maps, wave_batch

CONSTANT = ("zeros", "half", "ones")


def random_maps(count=6):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, count, 9, 9, generator=generator, dtype=torch.float64)


def probabilities(count=6):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, count, generator=generator, dtype=torch.float64)


def curves(count=6):
    generator = torch.Generator().manual_seed(2)
    return torch.rand(2, count, 4, generator=generator, dtype=torch.float64)


def plain_coherency(first, second):
    first, second = first.flatten().numpy(), second.flatten().numpy()
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return (np.corrcoef(first, second)[0, 1] + 1) / 2


def plain_complexity(saliency):
    return 1.0 if saliency.min() == saliency.max() else saliency.abs().mean().item()


def harmonic(*parts):
    return 0.0 if min(parts) <= 0 else len(parts) / sum(1 / part for part in parts)


def every_pair():
    """Random and degenerate maps, each with each."""
    maps = [*random_maps(2)[0], *(m[0] for m in degenerate_maps().values())]
    return [torch.stack(part) for part in zip(*[(a, b) for a in maps for b in maps], strict=True)]


def test_coherency_complexity_and_adcc_by_plain_loops():
    first, second = every_pair()
    p, o = probabilities(len(first))
    found = coherency(first, second), l1_complexity(first), adcc(p, o, first, second)
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        parts = plain_coherency(a, b), plain_complexity(a)
        drop = max(p[i].item() - o[i].item(), 0) / p[i].item()
        assert found[0][i].item() == pytest.approx(parts[0], abs=1e-9)
        assert found[1][i].item() == pytest.approx(parts[1], abs=1e-12)
        expected = harmonic(parts[0], 1 - parts[1], 1 - drop)
        assert found[2][i].item() == pytest.approx(expected, abs=1e-9)


def test_pytorch_grad_cam_has_the_same_coherency_complexity_and_arcc():
    first, second = random_maps()
    morf, lerf = curves()
    found = RoadProbabilities(morf, lerf)

    def given(value):
        return lambda *arguments: value

    metric = grad_cam.ARCC(base_method=None)
    metric.road = given(((lerf - morf).mean(1) / 2).numpy())
    metric.coherency = given(
        (grad_cam.batch_pearson_coherency(second.numpy(), first.numpy()) + 1) / 2
    )
    np.testing.assert_allclose(coherency(first, second), metric.coherency(), atol=1e-6)
    np.testing.assert_allclose(l1_complexity(first), metric.complexity(first.numpy()))
    expected = metric(None, first.numpy(), None, None)
    np.testing.assert_allclose(arcc(found, first, second), expected, atol=1e-6)


@pytest.mark.parametrize("name", CONSTANT)
def test_a_constant_map_is_the_worst_of_all(name):
    flat, other = degenerate_maps()[name], random_maps(1)[0]
    ones = torch.ones(1, dtype=torch.float64)
    assert coherency(flat, flat).tolist() == coherency(other, flat).tolist() == [0.0]
    assert l1_complexity(flat).tolist() == [1.0]
    assert adcc(ones, ones, flat, flat).tolist() == [0.0]
    best = RoadProbabilities(0 * ones[None], ones[None])
    assert arcc(best, flat, flat).tolist() == [0.0]


def test_the_masked_image_is_explained_as_average_drop_masks_it():
    images, saliency, _ = wave_batch()
    options = {"mean": [0.4, 0.5, 0.3], "std": [0.2, 0.3, 0.25]}
    seen = []

    def explain(images):
        seen.append(images)
        return saliency

    assert explain_masked(explain, images, saliency) is saliency
    explain_masked(explain, images, saliency, **options)
    torch.testing.assert_close(seen[0], images * saliency[:, None])
    mean, std = (torch.tensor(options[k]).double()[:, None, None] for k in ("mean", "std"))
    colors = (images * std + mean) * saliency[:, None]
    torch.testing.assert_close(seen[1], (colors - mean) / std)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        explain_masked(lambda images: 2 * saliency, images, saliency)


@pytest.mark.parametrize("metric", [ADCC, ARCC, Coherency, L1Complexity])
def test_value_is_the_mean_however_the_images_arrive(check_metric, metric):
    first, second = random_maps()
    p, o = probabilities()
    morf, lerf = curves()
    arguments = {
        ADCC: (p, o, first, second),
        ARCC: (morf, lerf, first, second),
        Coherency: (first, second),
        L1Complexity: (first,),
    }[metric]

    def collate(chosen):
        parts = [torch.stack(part) for part in zip(*chosen, strict=True)]
        return (RoadProbabilities(*parts[:2]), *parts[2:]) if metric is ARCC else tuple(parts)

    terms = {ADCC: adcc, ARCC: arcc, Coherency: coherency, L1Complexity: l1_complexity}[metric]
    samples = list(zip(*arguments, strict=True))
    check_metric(metric, samples, collate, terms(*collate(samples)).mean())


def test_wrong_arguments_are_refused():
    maps = random_maps(1)[0]
    with pytest.raises(ValueError, match="one shape"):
        coherency(maps, maps[:, :-1])
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        l1_complexity(maps + 1)
    with pytest.raises(ValueError, match="probabilities"):
        adcc(torch.tensor([2.0]), torch.tensor([0.5]), maps, maps)
