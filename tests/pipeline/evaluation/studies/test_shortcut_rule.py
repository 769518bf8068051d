"""Features, clusters and rule of the shortcut finder, against brute force and on planted maps."""

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from skimage.color import rgb2lab

from learned_saliency.pipeline.evaluation.studies.shortcut_clusters import clusters, silhouette
from learned_saliency.pipeline.evaluation.studies.shortcut_features import (
    COLUMNS,
    FeatureTable,
    evidence,
    lab_colors,
    map_features,
)
from learned_saliency.pipeline.evaluation.studies.shortcut_findings import (
    NOWHERE,
    accused,
    find_shortcuts,
)
from learned_saliency.pipeline.evaluation.studies.shortcut_report import sentence
from learned_saliency.pipeline.evaluation.studies.shortcut_tests import (
    PLACES,
    Rule,
    area_strata,
    compare_classes,
    excesses,
    holm,
)

SIDE = 24


def blobs(centers, width=0.1):
    """Maps (B, 24, 24) with a Gaussian at each center (x, y) in [0, 1]."""
    at = (torch.arange(SIDE) + 0.5) / SIDE
    x, y = torch.as_tensor(np.asarray(centers), dtype=torch.float32).T[..., None, None]
    return torch.exp(-((at - x) ** 2 + (at[:, None] - y) ** 2) / (2 * width**2))


def scattered(count, rng, low=0.15, high=0.85):
    return rng.uniform(low, high, (count, 2))


def gathered(maps, classes, regions=None, colors=None):
    """Features of maps, added in two batches in another order than that of the split."""
    table = FeatureTable(["map"])
    colors = torch.full((len(maps), 3, SIDE, SIDE), 120.0) if colors is None else colors
    order = torch.arange(len(maps)).flip(0)
    for rows in order.split(len(maps) // 2 + 1):
        truth = None if regions is None else regions[rows]
        shown = {"map": maps[rows]}
        table.add(rows, torch.as_tensor(classes)[rows], shown, lab_colors(colors[rows]), truth)
    return table.result()["map"]


def squares(centers, half=4):
    """Objects: squares around centers, of one half side or one each, uint8 (B, 24, 24)."""
    masks = torch.zeros(len(centers), SIDE, SIDE, dtype=torch.uint8)
    halves = np.broadcast_to(half, len(centers))
    for mask, (x, y), h in zip(masks, np.asarray(centers) * SIDE, halves, strict=True):
        rows, columns = (slice(max(int(v) - h, 0), int(v) + h) for v in (y, x))
        mask[rows, columns] = 1
    return masks


def test_features_equal_loops_over_the_pixels():
    rng = torch.Generator().manual_seed(0)
    maps = torch.rand(4, 14, 20, generator=rng)
    colors = 255 * torch.rand(4, 3, 14, 20, generator=rng)
    regions = torch.randint(0, 3, (4, 14, 20), generator=rng).to(torch.uint8)
    regions[regions == 2] = 255
    regions[3] = 0  # no object
    shares, flat = evidence(maps)
    assert not flat.any()
    features, grid, coarse = map_features(shares, lab_colors(colors), regions)
    for i in range(4):
        weights = np.maximum(maps[i].numpy().astype(float) - maps[i].double().mean().item(), 0)
        weights /= weights.sum()
        lab = rgb2lab(colors[i].permute(1, 2, 0).numpy() / 255)
        by_hand = dict.fromkeys(COLUMNS, 0.0)
        cells, on, kept = np.zeros((3, 3)), 0.0, 0.0
        for row, column in itertools.product(range(14), range(20)):
            weight, y, x = weights[row, column], (row + 0.5) / 14, (column + 0.5) / 20
            by_hand["x"] += weight * x
            by_hand["y"] += weight * y
            by_hand["border"] += weight * (min(x, y, 1 - x, 1 - y) <= 1 / 8)
            cells[int(3 * y), int(3 * x)] += weight
            on += weight * (regions[i, row, column] == 1).item()
            kept += weight * (regions[i, row, column] != 255).item()
        by_hand["extent"] = 1 / (280 * (weights**2).sum())
        for channel, name in enumerate("Lab"):
            by_hand[name] = (weights * lab[..., channel]).sum()
            by_hand[f"rest_{name}"] = lab[..., channel][weights == 0].mean()
        by_hand["on_object"] = on / kept if i < 3 else np.nan
        expected = [by_hand[name] for name in COLUMNS]
        np.testing.assert_allclose(features[i], expected, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(grid[i].reshape(3, 3), cells, atol=1e-6)
        assert coarse[i].float().mean() == pytest.approx(1, abs=0.1)


def test_evidence_ignores_scale_and_offset_and_a_flat_map_has_none():
    maps = blobs([(0.2, 0.3), (0.7, 0.7)])
    same = evidence(0.3 * maps + 0.5)[0]
    torch.testing.assert_close(evidence(maps)[0], same, rtol=1e-4, atol=1e-7)
    shares, flat = evidence(torch.stack([torch.full((SIDE, SIDE), 0.4), maps[0]]))
    assert flat.tolist() == [True, False]
    assert shares.sum((1, 2)).tolist() == pytest.approx([0, 1])


def naive_ward(points, number):
    """Merge the two parts whose union adds least to the sum of squares, until some are left."""

    def squares_of(part):
        return ((points[part] - points[part].mean(0)) ** 2).sum()

    parts = [[i] for i in range(len(points))]
    while len(parts) > number:
        a, b = min(
            itertools.combinations(range(len(parts)), 2),
            key=lambda ab: (
                squares_of(parts[ab[0]] + parts[ab[1]])
                - squares_of(parts[ab[0]])
                - squares_of(parts[ab[1]])
            ),
        )
        parts[a] = parts[a] + parts.pop(b)
    return parts


def naive_silhouette(points, parts):
    values = []
    for i, part in ((i, some) for some in parts for i in some):
        if len(part) == 1:
            values.append(0.0)
            continue
        own = sum(np.linalg.norm(points[i] - points[j]) for j in part) / (len(part) - 1)
        other = min(
            np.mean([np.linalg.norm(points[i] - points[j]) for j in others])
            for others in parts
            if others is not part
        )
        values.append((other - own) / max(own, other))
    return np.mean(values)


@pytest.mark.parametrize("seed", range(8))
def test_clusters_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    centers = 4 * rng.standard_normal((1 + seed % 4, 3))
    points = centers[rng.integers(len(centers), size=16)] + 0.5 * rng.standard_normal((16, 3))
    best, value = [list(range(16))], 0.4
    for number in (2, 3, 4):
        parts = naive_ward(points, number)
        found = naive_silhouette(points, parts)
        numbers = np.empty(16, int)
        for k, part in enumerate(parts):
            numbers[part] = k
        assert silhouette(cdist(points, points), numbers) == pytest.approx(found)
        middles = np.stack([points[part].mean(0) for part in parts])
        apart = cdist(middles, middles)[np.triu_indices(number, 1)].min()
        if min(map(len, parts)) >= 3 and found >= value and apart >= 1:
            best, value = parts, found
    got = clusters(points)
    assert {frozenset(np.flatnonzero(got == k)) for k in set(got)} == {frozenset(p) for p in best}
    assert list(np.bincount(got)) == sorted(np.bincount(got), reverse=True)


def test_many_maps_join_the_clusters_of_a_sample():
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0], [9, 0], [0, 9]])
    members = rng.permutation(np.repeat([0, 1, 2], [700, 400, 100]))
    points = centers[members] + rng.standard_normal((1200, 2))
    np.testing.assert_array_equal(clusters(points), members)


def test_ties_and_few_maps_are_one_cluster():
    assert clusters(np.zeros((9, 4))).tolist() == [0] * 9
    assert clusters(np.arange(5.0)[:, None] * 100).tolist() == [0] * 5
    assert clusters(np.array([[1.0]])).tolist() == [0]


def test_clusters_near_each_other_are_one():
    points = np.repeat([[0.0, 0.0], [1.0, 0.0]], 6, axis=0)
    assert clusters(0.99 * points).tolist() == [0] * 12
    assert len(set(clusters(1.01 * points).tolist())) == 2


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.001, 0.6]) == pytest.approx([1, 1, 0.004, 1])


def test_p_values_are_those_of_all_permutations():
    rng = np.random.default_rng(1)
    maps = gathered(blobs(scattered(10, rng)), [0] * 5 + [1] * 5)
    tests = compare_classes(maps, Rule(confidence=0.9999, least=5), 0)
    outer = [cell for cell in range(9) if cell != 4]
    values = []
    for some in itertools.combinations(range(10), 5):
        members = np.isin(np.arange(10), some)
        values.append(excesses(maps.grid, members)[outer].max())
    chances = []
    for label in (0, 1):
        observed = excesses(maps.grid, maps.classes == label)[outer].max()
        assert tests[label].excess == pytest.approx(observed)
        chances.append(np.mean(np.array(values) >= observed - 1e-12))
    for label, expected in enumerate(holm(chances)):  # 20 hits: a standard error of 22 %
        assert tests[label].p_place == pytest.approx(expected, rel=0.7)


def planted(rng, corner_share=1.0, classes=6, each=12, label=2):
    """Objects anywhere; one class has part of its maps in the upper right corner instead."""
    numbers = np.arange(classes * each) % classes
    objects = scattered(len(numbers), rng, 0.25, 0.7)
    centers = objects.copy()
    own = np.flatnonzero(numbers == label)
    moved = own[: round(corner_share * each)]
    centers[moved] = rng.uniform([0.86, 0.06], [0.94, 0.14], (len(moved), 2))
    halves = rng.integers(3, 6, len(numbers))
    return gathered(blobs(centers), numbers, squares(objects, halves)), numbers


@pytest.mark.parametrize("share", [0.75, 1.0])
def test_a_planted_class_is_found_with_and_without_the_truth_and_no_other(share):
    maps, _ = planted(np.random.default_rng(0), share)
    found = find_shortcuts(maps, Rule(), 0)
    assert [label for label, one in found.items() if one.test.off_object] == [2]
    assert [label for label, one in found.items() if one.test.in_place] == [2]
    assert PLACES[found[2].test.place] == "upper right corner"
    chosen = accused(found[2])
    assert [cluster.place for cluster in chosen] == ["upper right corner"]
    assert sum(len(cluster.images) for cluster in chosen) == 12 * share
    corner = PLACES.index("upper right corner")
    inside = maps.grid[chosen[0].images, corner].mean()
    others = maps.grid[np.flatnonzero(maps.classes != 2), corner].mean()
    told = sentence("owl", found[2])
    assert told.startswith(
        f"class 'owl': in {12 * share:.0f} of its 12 images, one cluster, on average {inside:.0%} "
        f"of the evidence lies in the upper right corner (other classes: {others:.0%}), off the "
        "object (p = 0.0"
    )
    without = maps._replace(area=np.full(72, np.nan))
    blind = find_shortcuts(without, Rule(), 0)
    assert [label for label, one in blind.items() if one.test.flagged] == [2]
    assert blind[2].test.off_object is None
    assert f"upper right corner (other classes: {others:.0%}) (p = 0.0" in sentence("owl", blind[2])


def test_a_cluster_without_a_place_is_told_by_its_share_on_the_object():
    maps, _ = planted(np.random.default_rng(0), 1.0)
    finding = find_shortcuts(maps, Rule(), 0)[2]
    (cluster,) = finding.clusters
    parts = [
        cluster._replace(place=NOWHERE, images=cluster.images[:9], means={"on_object": 0.1}),
        cluster._replace(images=cluster.images[9:], means={"on_object": 0.3}),
    ]
    parts = [part._replace(level=0.5) for part in parts]
    told = sentence("owl", finding._replace(clusters=parts))
    assert told.startswith(
        "class 'owl': in 12 of its 12 images, 2 clusters, on average 15% of the evidence lies on "
        "the object (other classes: 50%), the rest mostly in no place of its own (p = 0.0"
    )


def test_clusters_average_to_their_class():
    maps, _ = planted(np.random.default_rng(7), 0.5, each=20)
    maps.area[::7] = np.nan
    found = find_shortcuts(maps, Rule(), 0)
    assert len(found[2].clusters) > 1
    for label, (test, parts, _) in found.items():
        assert sum(cluster.share for cluster in parts) == pytest.approx(1)
        places = np.concatenate([cluster.images for cluster in parts])
        assert sorted(places) == np.flatnonzero(maps.classes == label).tolist()
        known = [np.isfinite(maps.area[cluster.images]).sum() for cluster in parts]
        level = np.average([cluster.level for cluster in parts], weights=known)
        assert level == pytest.approx(test.level)
        for cluster in parts:
            center = maps.features[cluster.images].mean(0)
            assert cluster.means["x"] == pytest.approx(center[0])


def test_a_place_that_all_classes_share_is_no_shortcut():
    rng = np.random.default_rng(3)
    centers = rng.uniform([0.8, 0.1], [0.9, 0.2], (72, 2))
    maps = gathered(blobs(centers), np.arange(72) % 6, squares(scattered(72, rng, 0.25, 0.6)))
    found = find_shortcuts(maps, Rule(), 0)
    assert not any(one.test.flagged or one.test.in_place for one in found.values())
    assert all(cluster.place == NOWHERE for one in found.values() for cluster in one.clusters)


def test_small_objects_alone_are_no_shortcut():
    """A class of small objects has little evidence on them, as others' small objects have."""
    rng = np.random.default_rng(4)
    numbers = np.arange(120) % 6
    small = (numbers == 0) | (rng.random(120) < 0.3)
    centers = scattered(120, rng, 0.3, 0.7)
    regions = torch.where(
        torch.from_numpy(small)[:, None, None], squares(centers, 1), squares(centers, 6)
    )
    found = find_shortcuts(gathered(blobs(centers), numbers, regions), Rule(), 0)
    assert found[0].test.on_object < 0.5 * found[1].test.on_object
    assert not any(one.test.flagged for one in found.values())


def test_alarms_are_false_as_rarely_as_stated():
    """Without any difference between classes, and with every difference large enough."""
    rule, alarms = Rule(ratio=0.9999, excess=1e-9), np.zeros(2)
    for seed in range(80):
        rng = np.random.default_rng(seed)
        centers, objects = scattered(60, rng), scattered(60, rng, 0.3, 0.7)
        maps = gathered(blobs(centers, 0.2), rng.integers(5, size=60), squares(objects, 6))
        tests = compare_classes(maps, rule, seed)
        flags = [(bool(test.off_object), test.in_place) for test in tests.values()]
        alarms += np.any(flags, axis=0)
    assert (alarms / 80 <= 0.05 + 3 * (0.05 * 0.95 / 80) ** 0.5).all()
    assert alarms.sum() > 0  # the level is used


def test_flat_maps_and_small_classes_are_named_and_not_tested():
    rng = np.random.default_rng(5)
    numbers = np.array([0] * 10 + [1] * 10 + [2] * 3 + [3] * 9 + [-1] * 2)
    maps = blobs(scattered(34, rng))
    maps[numbers == 3] = 0.3
    maps[0] = 0.0
    found = find_shortcuts(gathered(maps, numbers, squares(scattered(34, rng))), Rule(), 0)
    assert sorted(found) == [0, 1, 2, 3]
    assert [found[k].test.images for k in range(4)] == [9, 10, 3, 0]
    assert [found[k].test.flat for k in range(4)] == [1, 0, 0, 9]
    assert [found[k].test.tested for k in range(4)] == [True, True, False, False]
    assert found[3].clusters == []
    assert sum(len(cluster.images) for cluster in found[0].clusters) == 9
    assert 0 not in np.concatenate([cluster.images for cluster in found[0].clusters])
    flat = find_shortcuts(gathered(torch.zeros(6, SIDE, SIDE), [0, 1] * 3), Rule(least=2), 0)
    assert [(one.test.images, one.test.flat, one.clusters) for one in flat.values()] == [
        (0, 3, []),
        (0, 3, []),
    ]


def test_strata_have_as_many_images_and_keep_ties_together():
    area = np.random.default_rng(0).permutation(np.arange(100) / 100)
    assert np.bincount(area_strata(area)).tolist() == [20] * 5
    assert len(set(area_strata(np.full(9, 0.3)))) == 1
