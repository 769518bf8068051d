"""The creature benchmark: against a loop image by image, its controls, refusals and files."""

import csv
import itertools
import shutil

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from learned_saliency.datamodules import RenderedParts, read_resized, resize_pixels, standardize
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.commands.evaluate import evaluation_words
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.evaluation.studies.bench_views import look
from learned_saliency.pipeline.evaluation.studies.creaturebench import CreatureBench, count_bench
from learned_saliency.pipeline.runs import build_data
from learned_saliency.trainers import Journal
from tests.support.untrained import untrained_run
from tests.support.words import SMALL_DATA

AXES = ("bench_completeness", "bench_correctness", "bench_contrastivity")


@pytest.fixture(scope="module")
def model(creatures, tmp_path_factory):
    return untrained_run(creatures, tmp_path_factory.mktemp("cam") / "run", "model=cam")


@pytest.fixture
def run(model, tmp_path):
    words = [f"checkpoint={model}", f"output_dir={tmp_path}/out", "studies_only=true"]
    words += ["studies=[creaturebench]", "pictures.images=2", "methods=[cam,fakecam]"]

    def run(*more):
        told = evaluation_words([*words, *more])
        return evaluate(compose_checked(told, "evaluate", complete=False))

    return run


@pytest.fixture(scope="module")
def data(creatures):
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    data = build_data(compose_checked([*SMALL_DATA, *place]), "test")
    data.setup("test")
    return data


class Squares(torch.nn.Module):
    """A classifier that looks at the colors of 16 cells."""

    def forward(self, images):
        return 20 * torch.nn.functional.adaptive_avg_pool2d(images.square(), 4).mean(1).flatten(1)


class Recorder:
    """A metric that keeps what it is given."""

    def __init__(self):
        self.given = []

    def update(self, *arguments):
        self.given.append(arguments)


def inside(classifier, images, targets):
    """Maps that depend on image and class."""
    return (images[:, 0] + 0.1 * targets[:, None, None]).sigmoid()


def counted(data, sizes):
    """Arguments of all updates, with batches of some sizes."""
    scores = {name: {"mean": Recorder()} for name in ("inside", "constant_map", "random_map")}
    dataset, batches, start = data.dataloader("test").dataset, [], 0
    for size in sizes:
        batches.append(dataset.__getitems__(list(range(start, start + size))))
        start += size
    options = {"colors": (data.mean, data.std), "batch_size": 7}
    renderer = RenderedParts(data.reader, 32)
    count_bench(Squares(), batches, renderer, {"inside": inside}, scores, **options)
    return {name: kinds["mean"].given for name, kinds in scores.items()}


def means_by_hand(saliency, drawing):
    """Means of a map over no part and the four parts, all at the small size."""
    nearest = np.arange(32) * 48 // 32
    places = torch.from_numpy(drawing.parts[np.ix_(nearest, nearest)])
    return [float(saliency.double()[places == part].mean()) for part in range(5)]


def strongest(logits, label, classes):
    """Two classes that share other parts with the image, and the parts, by counting."""
    best = (-np.inf,)
    for first, second in itertools.combinations(set(range(16)) - {label}, 2):
        a, b = (
            {p for p in range(3) if classes[c][p] == classes[label][p]} for c in (first, second)
        )
        if not a or a & b or len(a) != len(b):
            continue
        x, y = (logits[sum(2**p for p in some)].double() for some in (a, b))
        margin = float(min(y[first] - x[first], x[second] - y[second]))
        if margin > best[0]:
            best = (margin, (first, second), (a, b))
    return best


def test_logits_and_importance_equal_those_of_one_image_at_a_time(data):
    (found,) = counted(data, [5])["inside"]
    importance, _, effects, contrasts = found
    mean, std = torch.tensor(data.mean), torch.tensor(data.std)
    asked = iter(contrasts)
    for i in range(5):
        drawing, label = data.reader.draw("test", i)

        def logits(drawing=drawing, **without):
            square = resize_pixels(drawing.paint(**without), 32)
            return Squares()(standardize(square[None], mean, std))[0]

        whole = logits()
        assert int(effects.labels[i]) == label
        for number in range(16):
            some = [p + 1 for p in range(4) if number // 2**p % 2]
            torch.testing.assert_close(effects.logits[i, number], logits(parts=some))
        torch.testing.assert_close(effects.plain[i], logits(plain=True))
        masks = drawing.distractors()
        for n in range(len(masks)):
            torch.testing.assert_close(effects.distractors[i, n], logits(distractors=[n]))
        assert effects.distractors[i, len(masks) :].isnan().all()
        image = read_resized(data.root / f"images/test/{i + 1:05d}.png", 32)
        image = standardize(image[None], mean, std)
        means = means_by_hand(inside(None, image, whole.argmax()[None])[0], drawing)
        np.testing.assert_allclose(importance[i, :4], np.array(means[1:]) / sum(means), atol=1e-6)
        margin, *pair = strongest(effects.logits[i], label, data.reader.classes)
        if margin > 0:
            table = next(asked)
            for c, other in enumerate(pair[0]):
                means = means_by_hand(inside(None, image, torch.tensor([other]))[0], drawing)
                expected = [sum(means[p + 1] for p in some) / sum(means) for some in pair[1]]
                assert table[:, c].tolist() == pytest.approx(expected, abs=1e-6)
    assert next(asked, None) is None


def test_batches_of_other_sizes_give_the_same(data):
    one, other = counted(data, [6]), counted(data, [1, 3, 2])
    for name, ((importance, shown, effects, contrasts),) in one.items():
        parts = other[name]
        torch.testing.assert_close(torch.cat([p[0][:, :4] for p in parts]), importance[:, :4])
        torch.testing.assert_close(torch.cat([p[2].logits for p in parts]), effects.logits)
        torch.testing.assert_close(torch.cat([p[3] for p in parts]), contrasts)
        assert sum(int(p[1].sum()) for p in parts) == int(shown.sum())


def test_a_batch_without_contrast_or_distractor_is_counted(data):
    batch = data.dataloader("test").dataset.__getitems__([0, 1])
    rendered = RenderedParts(data.reader, 32).render(batch["image_id"])
    empty = torch.zeros(0, dtype=torch.int64)
    bare = rendered._replace(
        distractors=rendered.distractors[:0], rows=empty, masks=rendered.masks[:0]
    )
    views = look(Squares(), batch, bare, (data.mean, data.std), 64)
    assert views.regions.shape == (2, 4, 32, 32)
    assert views.shown.shape == (2, 0)


def test_without_a_contrast_the_predicted_class_alone_is_explained(data):
    class Same(torch.nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), 16)

    asked = []

    def explain(classifier, images, targets):
        asked.append(len(images))
        return images.new_ones(len(images), 32, 32)

    scores = {name: {"mean": Recorder()} for name in ("it", "constant_map", "random_map")}
    batch = data.dataloader("test").dataset.__getitems__([0, 1])
    options = {"colors": (data.mean, data.std)}
    renderer = RenderedParts(data.reader, 32)
    count_bench(Same(), [batch], renderer, {"it": explain}, scores, **options)
    assert asked == [2]
    assert scores["it"]["mean"].given[0][3].shape == (0, 2, 2)


def test_controls_stand_beside_the_methods_and_show_what_no_information_gets(run):
    found = run()
    assert set(found.results) == {"native", "cam", "fakecam", "constant_map", "random_map"}
    for values in found.results.values():
        assert set(values) <= set(found.figures)
        assert 0 <= values["bench_completeness"] <= 1
    constant, fake = found.results["constant_map"], found.results["fakecam"]
    assert constant["bench_correctness"] == fake["bench_correctness"] == 0.5
    assert constant["bench_contrastivity"] == fake["bench_contrastivity"] == 0
    classifier = ("bench_accuracy", "bench_background_independence", "bench_plain_background")
    for name in classifier:
        assert len({values[name] for values in found.results.values()}) == 1
    with (found.folder / "creaturebench.csv").open() as file:
        rows = list(csv.DictReader(file))
    kinds = [(row["method"], row["importance"]) for row in rows]
    assert kinds == [(name, kind) for name in found.results for kind in ("mean", "sum")]
    cells = {row["method"]: row for row in rows if row["importance"] == "mean"}
    for axis in AXES:
        assert float(cells["cam"][axis]) == pytest.approx(found.results["cam"][axis], abs=1e-6)
    names = {path.name for path in found.written}
    assert {"creaturebench.png", "creaturebench_examples.png"} <= names


def test_the_importance_of_the_paper_is_an_option(run):
    found = run("studies.creaturebench.importance=sum", "methods=[]", "pictures.images=0")
    with (found.folder / "creaturebench.csv").open() as file:
        rows = {(row["method"], row["importance"]): row for row in csv.DictReader(file)}
    for name, values in found.results.items():
        cell = float(rows[name, "sum"]["bench_correctness"])
        assert values["bench_correctness"] == pytest.approx(cell, abs=1e-6)


def test_an_ended_benchmark_goes_on_to_the_same_files(run, monkeypatch, tmp_path):
    monkeypatch.setattr(Journal.__init__, "__defaults__", (0.0,))
    words = ["methods=[]", "pictures.images=0"]
    whole = run(*words, f"output_dir={tmp_path}/whole").folder
    done, counted = Journal.done, []

    def killed(journal, index):
        done(journal, index)
        counted.append(len(index))
        if len(counted) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "done", killed)
    with pytest.raises(KeyboardInterrupt):
        run(*words, f"output_dir={tmp_path}/ended")
    again = run(*words, f"output_dir={tmp_path}/ended").folder
    assert counted == [6, 6, 5]
    for name in ("creaturebench.csv", "results.json"):
        first, second = ((folder / name).read_text() for folder in (whole, again))
        assert first == second


def test_data_that_were_not_rendered_are_refused_before_the_work(run, creatures, tmp_path):
    plain = ["data=wsol", f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    with pytest.raises(UserError, match="only the embedded data set can: choose data=creatures"):
        CreatureBench().check_data(build_data(compose_checked(plain), "test"))
    with pytest.raises(UserError, match="expected one of mean, sum"):
        run("studies.creaturebench.importance=max")
    for wrong in ({"importance": "max"}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="must be"):
            CreatureBench(**wrong)
    copy = tmp_path / "copy"
    shutil.copytree(creatures, copy)
    place = [f"data.root={copy}", f"data.metadata={copy}/metadata", "data.cache=none"]
    changed = build_data(compose_checked([*SMALL_DATA, *place]), "test")
    changed.setup("test")
    CreatureBench().check_data(changed)
    shutil.copy(copy / "images/test/00002.png", copy / "images/test/00001.png")
    with pytest.raises(UserError, match="are not those which the renderer draws"):
        CreatureBench().check_data(changed)
    assert not (tmp_path / "out").exists()


def test_the_configuration_names_every_option_of_the_class():
    config = compose_checked(["studies=[creaturebench]"], "evaluate", complete=False)
    options = OmegaConf.to_container(config.studies.creaturebench)
    assert set(options) == {"_target_", "importance", "seed", "batch_size"}


def test_finished_maps_count_as_a_method_does_that_makes_them_but_for_contrasts(data):
    def red(classifier, images, targets):
        return images[:, 0].sigmoid()

    names = ("red", "finished", "constant_map", "random_map")
    scores = {name: {"mean": Recorder()} for name in names}
    batch = data.dataloader("test").dataset.__getitems__([0, 1, 2, 3])
    subject = Squares(), [batch], RenderedParts(data.reader, data.crop_size), {"red": red}
    given = {"finished": lambda batch: batch["image"][:, 0].sigmoid()}
    count_bench(*subject, scores, colors=(data.mean, data.std), given=given)
    (made,), (finished,) = scores["red"]["mean"].given, scores["finished"]["mean"].given
    torch.testing.assert_close(finished[0], made[0])
    assert torch.equal(finished[1], made[1])
    assert torch.equal(finished[2].logits, made[2].logits)
    assert (len(made), len(finished)) == (4, 3)


def test_a_folder_of_maps_is_judged_by_a_network_alone(run, data, tmp_path):
    batch = data.dataloader("test").dataset.__getitems__(list(range(17)))
    for image_id, image in zip(batch["image_id"], batch["image"], strict=True):
        path = (tmp_path / "maps" / image_id).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, image[0].sigmoid().numpy())
    found = run(f"maps.tool={tmp_path}/maps", "methods=[]").results["tool"]
    assert np.isnan(found["bench_contrastivity"])
    assert 0 <= found["bench_correctness"] <= 1
    alone = [word for word in (f"maps.tool={tmp_path}/maps", "studies=[creaturebench]")]
    alone += [f"data.root={data.root}", f"data.metadata={data.metadata}", *SMALL_DATA]
    with pytest.raises(UserError, match="name the network that they explain, checkpoint=RUN"):
        evaluate(compose_checked(evaluation_words(alone), "evaluate", complete=False))
