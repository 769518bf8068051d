"""Completeness, correctness and contrastivity of maps, against loops written from the paper."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from learned_saliency.datamodules import shared_parts, sufficient_parts
from learned_saliency.datamodules.creatures.classes import class_attributes
from learned_saliency.metrics import PartEffects, PartFidelity, find_contrasts

CLASSES = class_attributes(16)
COUNT, PARTS, DISTRACTORS = 40, 4, 3
SUFFICIENT, SHARED = sufficient_parts(CLASSES), shared_parts(CLASSES)


@pytest.fixture(scope="module")
def case():
    """Importance, shown distractors, effects and contrasts of random images."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(COUNT) % 16
    logits = torch.randn(COUNT, 16, 16, generator=rng)
    rows = torch.arange(30)
    logits[rows, 0, labels[:30]] += 4
    distractors = torch.randn(COUNT, DISTRACTORS, 16, generator=rng)
    distractors[:, :2] = logits[:, :1] + 0.3 * distractors[:, :2]
    there = torch.rand(COUNT, DISTRACTORS, generator=rng) < 0.7
    distractors[~there] = torch.nan
    plain = logits[:, 0] + torch.randn(COUNT, 16, generator=rng)
    importance = torch.rand(COUNT, PARTS + DISTRACTORS, generator=rng).double() * 0.4
    importance[3, :4] = 0.2  # ties of all parts
    importance[4, :2] = 0.1  # ties of some
    importance[:, 4:] *= there
    effects = PartEffects(logits, distractors, plain, labels)
    contrasts = torch.rand(COUNT, 2, 2, generator=rng).double()
    contrasts[:5] = 0.5  # maps that do not depend on the class
    return importance, there, effects, contrasts


def sets_of(label):
    """Minimal sets of parts of a class, by counting."""
    found = []
    for size in range(1, 5):
        for some in itertools.combinations(range(4), size):
            own = [CLASSES[label][p] for p in some]
            alike = [c for c in CLASSES if [c[p] for p in some] == own]
            if len(alike) == 1 and not any(set(s) <= set(some) for s in found):
                found.append(some)
    return found


def loop(importance, there, effects, contrasts):
    """All scores, image by image and threshold by threshold."""
    steps = np.linspace(0.01, 0.5, 80)
    table = {name: [[] for _ in steps] for name in ("csdc", "pc", "dc", "d")}
    ranked, hits, right, independent, plain = [], [], [], [], []
    for i in range(len(importance)):
        logits, label = effects.logits[i].double().numpy(), int(effects.labels[i])
        predicted = int(logits[0].argmax())
        right.append(predicted == label)
        whole = logits[0, predicted]
        shares = importance[i].numpy()
        drops = [whole - logits[2**p, predicted] for p in range(PARTS)]
        lost = effects.distractors[i, :, predicted].double().numpy()
        regions = list(range(PARTS)) + [PARTS + d for d in range(DISTRACTORS) if there[i, d]]
        effect = dict(enumerate([*drops, *(whole - lost)]))

        def weak(r, effect=effect, whole=whole):
            return abs(effect[r]) < 0.05 * abs(whole) or effect[r] < 0

        idle = [r for r in regions if weak(r)]
        independent += [weak(r) for r in regions[PARTS:]]
        plain.append(int(effects.plain[i].argmax()) == predicted)
        for t, step in enumerate(steps):
            chosen = [r for r in regions if shares[r] > step]
            parts = [r for r in chosen if r < PARTS]
            if predicted == label:
                best = max(len(set(s) & set(parts)) / len(s) for s in sets_of(label))
                table["csdc"][t].append(best)
            others = sum(2**p for p in range(PARTS) if p not in parts)
            gone = sum(2**p for p in parts)
            table["pc"][t].append(float(logits[others].argmax() == predicted))
            table["dc"][t].append(float(logits[gone].argmax() != predicted))
            if idle:
                table["d"][t].append(1 - len(set(chosen) & set(idle)) / len(idle))
        if len(set(shares[:PARTS])) > 1:
            ranked.append(spearmanr(drops, shares[:PARTS]).statistic / 2 + 0.5)
        else:
            ranked.append(0.5)
    for pair in contrasts.tolist():
        hits += [pair[0][0] > pair[0][1], pair[1][1] > pair[1][0]]
    means = {name: np.array([np.mean(v) for v in values]) for name, values in table.items()}
    completeness = ((means["csdc"] + means["pc"] + means["dc"]) / 3 + means["d"]) / 2
    best = int(completeness.argmax())
    found = {name: values[best] for name, values in means.items()}
    found |= {"completeness": completeness[best], "threshold": steps[best]}
    found |= {"correctness": np.mean(ranked), "contrastivity": np.mean(hits)}
    found |= {"contrasts": len(contrasts), "accuracy": np.mean(right)}
    found |= {"background_independence": np.mean(independent), "plain_background": np.mean(plain)}
    axes = ("completeness", "correctness", "contrastivity")
    found["mean"] = np.mean([found[name] for name in axes])
    return {f"bench_{name}": float(value) for name, value in found.items()}


def part_of(case, rows):
    importance, there, effects, contrasts = case
    return importance[rows], there[rows], PartEffects(*(v[rows] for v in effects)), contrasts[rows]


def counted(*cases):
    metric = PartFidelity(SUFFICIENT)
    for some in cases:
        metric.update(*some)
    return {name: float(value) for name, value in metric.compute().items()}


def test_all_scores_equal_a_loop_image_by_image(case):
    expected = loop(*case)
    assert 0.2 < expected["bench_accuracy"] < 1
    assert counted(case) == pytest.approx(expected, abs=1e-12)


def test_batches_and_processes_give_the_scores_of_one(case):
    whole, cut = counted(case), (slice(0, 7), slice(7, 8), slice(8, COUNT))
    assert counted(*(part_of(case, rows) for rows in cut)) == pytest.approx(whole, abs=1e-12)
    metrics = [PartFidelity(SUFFICIENT) for _ in cut]
    for metric, rows in zip(metrics, cut, strict=True):
        metric.update(*part_of(case, rows))
    for other in metrics[1:]:
        metrics[0].merge_state(other.metric_state)
    found = {name: float(value) for name, value in metrics[0].compute().items()}
    assert found == pytest.approx(whole, abs=1e-12)


def test_a_map_without_a_difference_gets_no_more_than_a_guess(case):
    _, there, effects, contrasts = case
    for value in (0.0, 0.2):
        flat = torch.full((COUNT, PARTS + DISTRACTORS), value, dtype=torch.float64)
        found = counted((flat, there, effects, torch.full_like(contrasts, value)))
        assert found["bench_correctness"] == 0.5
        assert found["bench_contrastivity"] == 0
        # None or all of the regions are important: D is 1 and CSDC 0, or the other way round.
        assert found["bench_d"] in (0, 1)
        assert found["bench_csdc"] == 1 - found["bench_d"]
        assert found["bench_completeness"] < 0.7


def test_the_exact_effects_as_importance_are_correct_and_their_opposite_is_not(case):
    _, there, effects, contrasts = case
    drops = torch.cat([effects.drops(), effects.distractor_drops().nan_to_num()], 1)
    for sign in (1, -1):
        found = counted((sign * drops, there, effects, contrasts))
        assert found["bench_correctness"] == pytest.approx((1 + sign) / 2)


def test_without_contrasts_that_axis_and_the_mean_are_nan(case):
    importance, there, effects, _ = case
    found = counted((importance, there, effects))
    assert np.isnan([found["bench_contrastivity"], found["bench_mean"]]).all()
    assert found["bench_correctness"] == pytest.approx(counted(case)["bench_correctness"])


def test_nothing_seen_is_nan_and_what_does_not_fit_is_refused(case):
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert PartFidelity(SUFFICIENT).compute()["bench_correctness"].isnan()
    importance, there, effects, _ = case
    with pytest.raises(ValueError, match="expected importance"):
        PartFidelity(SUFFICIENT).update(importance[:, :5], there, effects)
    with pytest.raises(ValueError, match="must be"):
        PartFidelity(SUFFICIENT[0])


def test_contrasts_are_the_strongest_pair_that_shares_other_parts(case):
    _, _, effects, _ = case
    found = find_contrasts(effects, SHARED)
    for i, label in enumerate(effects.labels.tolist()):
        logits, best = effects.logits[i].double(), (-np.inf, None)
        for first, second in itertools.combinations(range(16), 2):
            if label in (first, second):
                continue
            a, b = (
                [p for p in range(3) if CLASSES[c][p] == CLASSES[label][p]] for c in (first, second)
            )
            if not a or len(a) != len(b) or set(a) & set(b):
                continue
            without_a, without_b = (logits[sum(2**p for p in some)] for some in (a, b))
            margin = min(
                float(without_b[first] - without_a[first]),
                float(without_a[second] - without_b[second]),
            )
            if margin > best[0]:
                best = (margin, (first, second, a, b))
        first, second, a, b = best[1]
        assert found.classes[i].tolist() == [first, second]
        assert torch.nonzero(found.parts[i, 0])[:, 0].tolist() == a
        assert torch.nonzero(found.parts[i, 1])[:, 0].tolist() == b
        assert bool(found.valid[i]) == (best[0] > 0)


def test_classes_that_share_nothing_have_no_contrast(case):
    _, _, effects, _ = case
    shared = shared_parts(class_attributes(16, "redundant"))
    assert not find_contrasts(effects, shared).valid.any()
