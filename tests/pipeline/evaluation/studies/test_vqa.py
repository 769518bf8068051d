"""The study of maps of a network that answers questions about the creatures."""

import csv
import json
from types import SimpleNamespace

import cv2
import pytest
import torch
from torch import nn

from learned_saliency.attribution import LIFTCAM, GradCAM
from learned_saliency.datamodules import CUBParts, Look, PartQuestions
from learned_saliency.metrics import drop, drop_in_deletion, increase
from learned_saliency.models import QuestionAnswering
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.evaluation.studies import VQA
from learned_saliency.pipeline.evaluation.studies.answer_scores import (
    FIGURES,
    AnswerScores,
    answer_figures,
    count_answers,
)
from learned_saliency.pipeline.evaluation.studies.answering import Options, trained_answers
from learned_saliency.pipeline.evaluation.studies.vqa import Weights
from tests.support.untrained import untrained_run


@pytest.fixture(scope="module")
def words(creatures, tmp_path_factory):
    run = untrained_run(creatures, tmp_path_factory.mktemp("cam") / "run", "model=cam")
    words = [f"checkpoint={run}", "studies=[vqa]", "studies_only=true", "studies.vqa.epochs=2"]
    return [*words, "studies.vqa.per_answer=1", "studies.vqa.top=2", "pictures.images=3"]


def evaluated(words, folder):
    words = [*words, f"output_dir={folder}"]
    return evaluate(compose_checked(words, "evaluate", complete=False))


def test_the_table_the_csv_and_the_picture_of_the_study(words, tmp_path):
    found = evaluated([*words, "methods=[gradcam,liftcam]"], tmp_path / "out")
    saved = json.loads((found.folder / "results.json").read_text())["test"]
    assert set(saved) == {"gradcam", "liftcam"}
    for values in saved.values():
        assert set(values) == set(FIGURES)
        assert 0 <= values["vqa_energy"] <= 1
        # 17 images of 16 classes: 6 what questions of 4, 4, 4, 4, 2, 2 answers, 10 of yes or no
        assert values["vqa_questions"] == 20 + 20
        assert values["vqa_guessing"] == pytest.approx((4 + 2 + 10) / 40)
    assert saved["gradcam"]["vqa_accuracy"] == saved["liftcam"]["vqa_accuracy"]
    with (found.folder / "vqa.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["answer"]) for row in rows] == [
        (method, rank) for method in ("gradcam", "liftcam") for rank in ("1", "2")
    ]
    both = [float(row["average_drop"]) for row in rows[:2]]
    assert saved["gradcam"]["vqa_average_drop"] == pytest.approx(both[0], abs=1e-6)
    assert saved["gradcam"]["vqa_top_average_drop"] == pytest.approx(sum(both) / 2, abs=1e-6)
    assert float(rows[0]["energy_interval"]) > 0
    assert rows[1]["energy"] == ""
    picture = cv2.imread(str(found.folder / "pictures" / "vqa.png"))
    assert picture.shape[1] > 3 * 160  # the image and two maps side by side


def test_a_method_that_does_not_fit_is_refused_before_the_test(words, tmp_path):
    with pytest.raises(UserError, match="'rawattention' does not fit"):
        evaluated([*words, "methods=[rawattention]"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_without_looks_or_differences_are_refused():
    study = VQA()
    with pytest.raises(UserError, match="name methods"):
        study.check_module(SimpleNamespace(methods={}))
    for looks, message in {
        None: "asks about colors and forms of parts, which data=birds",
        (("red", "round"),) * 2: "differ in no color and no form",
    }.items():
        table = None if looks is None else [[Look(*look)] for look in looks]
        parts = SimpleNamespace(names=("head",), looks=table)
        data = SimpleNamespace(parts=lambda parts=parts: parts, name="birds")
        with pytest.raises(UserError, match=message):
            study.check_data(data)
    assert CUBParts.__doc__.count("looks: None")
    with pytest.raises(ValueError, match="at least 1"):
        VQA(top=0)


LOOKS = [[Look(color, form)] for color in ("red", "blue") for form in ("round", "square")]


class Grid(nn.Module):
    """A classifier whose activations are convolutions of the image."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2)

    def features(self, images):
        return self.conv(images).relu()


@pytest.fixture
def answers():
    """Questions about one part, a network, and four images with questions about them."""
    torch.manual_seed(0)
    questions = PartQuestions(["head"], LOOKS)
    encoder = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.ReLU())
    sizes = len(questions.words), len(questions.answers)
    network = QuestionAnswering(encoder, 5, *sizes, width=8).double().eval()
    images = torch.randn(4, 3, 12, 12, dtype=torch.float64)
    batch = {"image": images, "index": torch.arange(20, 24), "image_id": list("abcd")}
    labels = torch.cat([torch.full((20,), -1), torch.tensor([0, 1, 2, 3])])
    return questions, network, batch, questions.ask(labels, None, 0)


def test_each_question_counts_as_if_it_were_alone(answers):
    """Against runs of the network itself, one question at a time, without any batch."""
    questions, network, batch, about = answers
    places = torch.zeros(4, 12, 12, dtype=torch.uint8)
    places[1:, 3:7, 2:9] = 1  # the part of the first image is hidden
    methods = {"gradcam": GradCAM(), "liftcam": LIFTCAM()}
    scores = AnswerScores(methods, 2)
    guessing = questions.guessing()
    for some in about.chunks(4):
        count_answers(network, batch, some, places, methods, scores, guessing=guessing, masking={})
    found = scores.compute()

    terms = {(name, rank): [] for name in methods for rank in range(2)}
    shares, right, guesses = {name: [] for name in methods}, [], []
    for image, words, truth, number in zip(
        about.images, about.words, about.answers, about.questions, strict=True
    ):
        shown = batch["image"][image - 20][None]

        def probability(x, answer, words=words):
            return network(x, words[None]).softmax(1)[:, answer]

        best = network(shown, words[None]).topk(2).indices[0].tolist()
        right.append(best[0] == truth)
        guesses.append(1 / len(set(questions.questions[number].answers)))
        for name in methods:
            for rank, answer in enumerate(best):
                saliency = _map(name, network, shown, words, answer)
                p = probability(shown, answer)
                o, d = (probability(shown * mask, answer) for mask in (saliency, 1 - saliency))
                terms[name, rank].append((increase(p, o), drop(p, o), drop_in_deletion(p, d)))
                if rank == 0 and image > 20:
                    inside = saliency[0, 3:7, 2:9].sum() / saliency.sum().clamp(min=1e-12)
                    shares[name].append(float(inside.detach()))
    for name in methods:
        for rank in range(2):
            means = torch.tensor([[float(v) for v in row] for row in terms[name, rank]]).mean(0)
            values = [found[name][rank][key] for key in ("average_increase", "average_drop")]
            values.append(found[name][rank]["average_drop_in_deletion"])
            torch.testing.assert_close(torch.tensor(values), means, rtol=1e-5, atol=1e-6)
        first = found[name][0]
        assert first["energy"] == pytest.approx(sum(shares[name]) / len(shares[name]), abs=1e-6)
        deviation = torch.tensor(shares[name]).std().item()
        width = 1.96 * deviation / len(shares[name]) ** 0.5
        assert first["energy_interval"] == pytest.approx(width, rel=1e-3)
        assert first["accuracy"] == pytest.approx(sum(right) / len(right))
        assert first["guessing"] == pytest.approx(sum(guesses) / len(guesses))
    named = answer_figures(found)["liftcam"]
    mean = (found["liftcam"][0]["average_drop"] + found["liftcam"][1]["average_drop"]) / 2
    assert named["vqa_top_average_drop"] == pytest.approx(mean)


def _map(name, network, image, words, answer):
    """Grad-CAM by autograd, LIFT-CAM by the rescale rule written out for this head."""
    activations = network.encoder(image).detach().requires_grad_()
    pooled = activations.mean((2, 3))
    if name == "gradcam":
        (gradient,) = torch.autograd.grad(
            network.answer(pooled, words[None])[0, answer], activations
        )
        weights = gradient.mean((2, 3))
    else:
        weights = _rescaled(network, pooled.detach(), words, answer)
    maps = torch.einsum("bk,bkhw->bhw", weights, activations.detach()).relu()
    maps = nn.functional.interpolate(maps[:, None], (12, 12), mode="bilinear")[:, 0]
    low, high = maps.amin(), maps.amax()
    return (maps - low) / (high - low) if high > low else torch.zeros_like(maps)


def _rescaled(network, pooled, words, answer):
    hidden, relu, out = network.classifier
    asked = network.question(network.memory(network.words(words[None]))[0][:, -1]).tanh()
    before = [network.image(network.standardize(x)) for x in (pooled, torch.zeros_like(pooled))]
    ahead = [hidden(x.tanh() * asked) for x in before]
    later = (relu(ahead[0]) - relu(ahead[1])) / (ahead[0] - ahead[1])
    tanh = (before[0].tanh() - before[1].tanh()) / (before[0] - before[1])
    multiplier = (out.weight[answer] * later) @ hidden.weight * asked * tanh @ network.image.weight
    deviation = (network.standardize.running_var + network.standardize.eps).sqrt()
    return (multiplier / deviation * pooled).detach()  # (1, K): sums of contributions over cells


def test_the_training_learns_what_the_activations_tell_and_leaves_the_classifier():
    """Four plain colors as classes: the answers follow from the colors, and only with the image."""
    colors = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0], [2.0, 2.0, 0]])
    labels = torch.arange(40) % 4
    noise = 0.1 * torch.randn(40, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    images = (colors[labels][:, :, None, None] + noise).expand(-1, -1, 9, 9)
    dataset = type("Images", (), {"__len__": lambda self: 40})()
    dataset.__getitems__ = lambda rows: {"image": images[rows]}
    data = SimpleNamespace(
        dataloader=lambda split: SimpleNamespace(dataset=dataset),
        labels=lambda split: labels.numpy(),
    )
    torch.manual_seed(1)
    classifier = Grid().eval()
    before = {name: weight.clone() for name, weight in classifier.named_parameters()}
    questions = PartQuestions(["head"], LOOKS)
    options = Options(epochs=40, learning_rate=0.01, width=16, seed=0)
    said = []
    networks = [
        trained_answers(classifier, data, questions, options, said.append) for _ in range(2)
    ]
    for (name, one), other in zip(
        networks[0].answering().items(), networks[1].answering().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0, msg=name)
    for name, weight in classifier.named_parameters():
        assert weight.requires_grad
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)
    about = questions.ask(labels, None, 5)
    with torch.no_grad():
        found = networks[0](images[about.images], about.words).argmax(1)
        blind = networks[0](torch.zeros_like(images)[about.images], about.words).argmax(1)
    assert (found == about.answers).float().mean() > 0.95
    guessing = questions.guessing()[about.questions].mean()
    assert (blind == about.answers).float().mean() == pytest.approx(float(guessing))
    assert any("right on val" in line for line in said)


def test_an_evaluation_that_goes_on_explains_the_network_of_before(answers):
    _, network, batch, about = answers
    torch.manual_seed(5)
    other = QuestionAnswering(
        network.encoder, 5, network.words.num_embeddings, network.classifier[2].out_features, 8
    )
    other = other.double().eval()
    images = batch["image"][about.images - 20]
    assert not torch.equal(other(images, about.words), network(images, about.words))
    Weights(other).take(Weights(network).kept())
    assert torch.equal(other(images, about.words), network(images, about.words))
