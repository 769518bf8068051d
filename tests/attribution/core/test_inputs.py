"""Networks that take more than images: a question, several views, a text embedding."""

import warnings

import pytest
import torch
from torch import nn

from learned_saliency.attribution import (
    LIFTCAM,
    SHAPCAM,
    AblationCAM,
    GradCAM,
    GradCAMPlusPlus,
    IntegratedGradients,
    LayerCAM,
    LayerError,
    OptiCAM,
    ScoreCAM,
    SharedFeatures,
    SmoothGradCAMPlusPlus,
    split,
)
from learned_saliency.metrics import deletion_curves, masked_probabilities, removal_hits

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(3, 3, 16, 20, generator=GENERATOR, dtype=torch.float64)
QUESTIONS = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0], [6, 1, 7, 2]])
METHODS = {
    type(method).__name__: method
    for method in (
        *(GradCAM(), GradCAMPlusPlus(), LayerCAM(), LIFTCAM(), ScoreCAM(batch_size=5)),
        *(AblationCAM(batch_size=5), SHAPCAM(orderings=2, batch_size=7), OptiCAM(iterations=3)),
        *(SmoothGradCAMPlusPlus(batch_size=5), IntegratedGradients(steps=3, batch_size=5)),
    )
}


class Answers(nn.Module):
    """Image and question in parallel, their embeddings multiplied, and a classifier of answers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Conv2d(6, 5, 3))
        self.words, self.memory = nn.Embedding(8, 4), nn.LSTM(4, 6, batch_first=True)
        self.image, self.question = nn.Linear(5, 7), nn.Linear(6, 7)
        self.answer = nn.Sequential(nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 4))

    def forward(self, images, question):
        seen = self.image(self.conv(images).relu().mean((2, 3))).tanh()
        asked = self.question(self.memory(self.words(question))[1][0][-1]).tanh()
        return self.answer(seen * asked)


class Asked(nn.Module):
    """A network of images alone: one question is part of it."""

    def __init__(self, network, question):
        super().__init__()
        self.network = network
        self.register_buffer("question", question)

    def forward(self, images):
        return self.network(images, self.question.expand(len(images), -1))


def ask(model, images, question):
    return model(images, question)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Answers().double().eval()


@pytest.fixture(scope="module")
def bound(network):
    return split(network, "conv", call=ask).bind(question=QUESTIONS)


@pytest.mark.parametrize("name", METHODS)
def test_maps_are_those_of_networks_with_one_question_each(name, network, bound):
    """Against a network without further inputs per image: batch mates have other questions."""
    method, targets = METHODS[name], torch.tensor([2, 0, 3])
    hooked = split(network, "conv", call=ask, tracing=False).bind(question=QUESTIONS)
    alone = [
        method(
            split(Asked(network, QUESTIONS[i : i + 1]), "network.conv", tracing=False),
            IMAGES[i : i + 1],
            targets[i : i + 1],
        )
        for i in range(3)
    ]
    assert bound.traced
    assert not hooked.traced
    for classifier in (bound, hooked, SharedFeatures(bound, IMAGES)):
        maps = method(classifier, IMAGES, targets)
        torch.testing.assert_close(maps, torch.cat(alone), rtol=1e-7, atol=1e-9)
    assert maps.amax() > 0


def test_the_question_decides_what_is_explained(bound, network):
    other = split(network, "conv", call=ask).bind(question=QUESTIONS.roll(1, 0))
    targets = torch.tensor([2, 0, 3])
    maps, others = (GradCAM()(classifier, IMAGES, targets) for classifier in (bound, other))
    assert (maps - others).abs().amax() > 0.1


def test_metrics_show_each_masked_copy_with_its_own_question(bound, network):
    maps = torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets = torch.tensor([1, 2, 0])
    alone = [Asked(network, question[None]).eval() for question in QUESTIONS]
    measured = {
        "masked": lambda *batch: torch.stack(masked_probabilities(*batch, batch_size=4), 1),
        "deletion": lambda *batch: deletion_curves(*batch, steps=3, batch_size=4),
        "removal": lambda *batch: removal_hits(*batch, (0.3, 0.6), batch_size=2),
    }
    for name, measure in measured.items():
        found = measure(bound, IMAGES, maps, targets)
        parts = [(IMAGES[i : i + 1], maps[i : i + 1], targets[i : i + 1]) for i in range(3)]
        expected = [measure(one, *part) for one, part in zip(alone, parts, strict=True)]
        torch.testing.assert_close(found, torch.cat(expected), msg=name)


class Views(nn.Module):
    """One tower for all views, (B, V, 3, H, W) or a tuple; the head looks at their maximum."""

    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(3, 5, 3, 2), nn.ReLU())
        self.out = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4))

    def vector(self, view):
        return self.tower(view).mean((2, 3))

    def forward(self, views):
        if isinstance(views, torch.Tensor):
            vectors = self.vector(views.flatten(0, 1)).unflatten(0, views.shape[:2])
            return self.out(vectors.amax(1))
        return self.out(torch.stack([self.vector(view) for view in views], 1).amax(1))


def test_one_of_several_views_is_explained_with_the_others_as_inputs():
    torch.manual_seed(0)
    network = Views().double().eval()
    others = torch.randn(3, 2, 3, 16, 20, generator=GENERATOR, dtype=torch.float64)
    views = torch.cat([others[:, :1], IMAGES[:, None], others[:, 1:]], 1)  # explained: the second

    def apart(model, images, left, right):
        return model((left, images, right))

    def stacked(model, images, others):  # a (B, V, ...) pass mixes the views: run it by its parts
        rest = model.vector(others.flatten(0, 1)).unflatten(0, others.shape[:2])
        return model.out(torch.cat([model.vector(images)[:, None], rest], 1).amax(1))

    one = split(network, "tower", call=apart).bind(left=others[:, 0], right=others[:, 1])
    two = split(network, "tower", call=stacked).bind(others=others)
    leaf = network.tower(views.flatten(0, 1)).detach().unflatten(0, (3, 3)).requires_grad_()
    logits = network.out(leaf.mean((3, 4)).amax(1))
    (gradients,) = torch.autograd.grad(logits[:, 1].sum(), leaf)
    for classifier in (one, two):
        assert classifier.traced
        torch.testing.assert_close(classifier(IMAGES), network(views))
        weights = GradCAM().coefficients(classifier, IMAGES, torch.ones(3, dtype=torch.int64))
        torch.testing.assert_close(weights, gradients[:, 1].mean((2, 3)))

    def mixed(model, images, others):
        return model(torch.cat([images[:, None], others], 1))

    with pytest.raises(LayerError, match="not one grid for each"):
        split(network, "tower", call=mixed, tracing=False).bind(others=others).features(IMAGES)


class Similarities(nn.Module):
    """Image tower, and cosine similarities to text embeddings as logits."""

    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(3, 5, 3, 2), nn.ReLU())
        self.projection = nn.Linear(5, 6)

    def forward(self, images, texts):
        seen = nn.functional.normalize(self.projection(self.tower(images).mean((2, 3))), dim=1)
        return 10 * (nn.functional.normalize(texts, dim=-1) @ seen[:, :, None])[..., 0]


def test_text_embeddings_of_all_images_are_held_by_call_and_those_of_each_are_bound():
    torch.manual_seed(0)
    network = Similarities().double().eval()
    texts = torch.randn(3, 4, 6, generator=GENERATOR, dtype=torch.float64)
    own = split(network, "tower", call=lambda model, images, texts: model(images, texts))
    bound = own.bind(texts=texts)
    targets = torch.tensor([1, 3, 0])
    for method in (GradCAM(), LIFTCAM(), AblationCAM()):
        maps = method(bound, IMAGES, targets)
        for i, text in enumerate(texts):
            shared = split(network, "tower", call=lambda model, images, t=text: model(images, t))
            expected = method(shared, IMAGES, targets)[i]  # no bind: like any other classifier
            torch.testing.assert_close(maps[i], expected, rtol=1e-7, atol=1e-9)


def test_flags_and_numbers_are_for_all_images_and_fixed_in_the_cut(network):
    def call(model, images, question, parts, scale=1.0, negate=None):
        found = model(images + parts["shift"], question) * scale
        return found if negate is None else -found

    classifier = split(network, "conv", call=call)
    parts = {"shift": torch.full((3, 1, 1, 1), 0.5, dtype=torch.float64)}
    expected = network(IMAGES + 0.5, QUESTIONS)
    for options, factor in (({}, 1), ({"scale": 3.0}, 3), ({"scale": 3.0, "negate": True}, -3)):
        bound = classifier.bind(question=QUESTIONS, parts=parts, **options)
        assert bound.traced
        features, head = bound.encode(IMAGES)
        torch.testing.assert_close(head(features), factor * expected)
        rows = torch.tensor([2, 2, 0, 1])
        torch.testing.assert_close(head(features[rows], rows), factor * expected[rows])
        torch.testing.assert_close(bound.of_rows(rows)(IMAGES[rows]), factor * expected[rows])


class Attending(nn.Module):
    """Hands the words around the layer, time first."""

    def __init__(self):
        super().__init__()
        self.conv, self.words, self.out = nn.Conv2d(3, 5, 3), nn.Embedding(8, 5), nn.Linear(5, 4)

    def forward(self, images, question):
        words = self.words(question.transpose(0, 1))  # (T, B, K)
        seen = self.conv(images).mean((2, 3))
        return self.out(((words * seen).sum(2, keepdim=True).softmax(0) * words).sum(0) + seen)


def test_an_axis_of_words_is_not_taken_for_the_images():
    """Four images and four words: the length alone does not tell them apart."""
    torch.manual_seed(0)
    network = Attending().double().eval()
    images = torch.cat([IMAGES, IMAGES[:1].flip(3)])
    questions = torch.cat([QUESTIONS, QUESTIONS[:1].flip(1)])
    traced = split(network, "conv", call=ask).bind(question=questions)
    hooked = split(network, "conv", call=ask, tracing=False).bind(question=questions)
    assert traced.traced
    torch.testing.assert_close(GradCAM()(traced, images), GradCAM()(hooked, images))
    with pytest.raises(RuntimeError, match=r"\(4, 1, 5\).*one entry for each of the 1 images"):
        AblationCAM()(traced, images)
    alone = split(network, "conv", call=ask, tracing=False).bind(question=questions[2:3])
    targets = torch.tensor([0, 1, 2, 3])
    expected = AblationCAM()(alone, images[2:3], targets[2:3])
    torch.testing.assert_close(AblationCAM()(hooked, images, targets)[2:3], expected)


def test_the_layout_is_recognized_once_and_untraceable_networks_are_hooked_with_one_warning():
    torch.manual_seed(0)
    network = Answers().double().eval()

    def call(model, images, question):
        return model(images, question if question.amax() < 100 else -question)

    classifier = split(network, "conv", call=call)
    with pytest.warns(UserWarning, match="cannot be traced"):
        first = classifier.bind(question=QUESTIONS)
    passes = []
    handle = network.register_forward_hook(lambda *_: passes.append(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first.features(IMAGES)
        many = len(passes)
        second = classifier.bind(question=QUESTIONS.flip(0))
        second.features(IMAGES)
    handle.remove()
    assert many >= 1
    assert len(passes) == many + 1
    torch.testing.assert_close(first(IMAGES), network(IMAGES, QUESTIONS))
    torch.testing.assert_close(second(IMAGES), network(IMAGES, QUESTIONS.flip(0)))


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({}, TypeError, r"missing a required argument: 'question'.*inputs are question"),
        ({"question": QUESTIONS, "lenght": 3}, TypeError, "unexpected keyword argument 'lenght'"),
        ({"question": QUESTIONS[0, 0]}, ValueError, "question is a tensor without axes"),
        ({"question": [1, 2, 3]}, TypeError, r"question\[0\] must be a tensor"),
        ({"question": QUESTIONS.numpy()}, TypeError, "question must be a tensor.* got ndarray"),
        (
            {"question": (QUESTIONS, QUESTIONS[:2])},
            ValueError,
            r"one entry for each image, got 3 of question\[0\], 2 of question\[1\]",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, error, message, network):
    with pytest.raises(error, match=message):
        split(network, "conv", call=ask).bind(**inputs)


def test_calls_without_the_right_inputs_are_refused(network, bound):
    classifier = split(network, "conv", call=ask)
    for run in (classifier, classifier.encode, lambda images: GradCAM()(classifier, images)):
        with pytest.raises(TypeError, match=r"classifier\.bind\(question=\.\.\.\) first"):
            run(IMAGES)
    for run in (bound, bound.encode):
        with pytest.raises(ValueError, match="inputs question are bound for 3 images, not for 2"):
            run(IMAGES[:2])
    with pytest.raises(TypeError, match="unexpected keyword argument 'question'; it takes images"):
        split(Views(), "tower", tracing=False).bind(question=QUESTIONS)
    with pytest.raises(TypeError, match="call must be a function"):
        split(network, "conv", call="ask")
