"""Questions about parts: their answers, and that a question alone does not tell its answer."""

from collections import Counter

import pytest
import torch

from learned_saliency.datamodules import CreaturesParts, Look, PartQuestions
from learned_saliency.datamodules.parts.creatures import _look
from learned_saliency.datamodules.textfile import read_columns

LOOKS = [
    [Look("red", "round"), Look(None, None)],
    [Look("red", "square"), Look(None, None)],
    [Look("blue", "square"), Look("green", None)],
]
LABELS = torch.tensor([0, 1, 2, 2, 2, -1, 1, 0])


def test_questions_and_answers_by_hand():
    found = PartQuestions(["head", "wing"], LOOKS)
    assert {q.text: (q.part, q.answers) for q in found.questions} == {
        "what color is the head": (1, ("red", "red", "blue")),
        "which form has the head": (1, ("round", "square", "square")),
        "is the form of the head round": (1, ("yes", "no", "no")),
        "is the form of the head square": (1, ("no", "yes", "yes")),
    }  # the wing's color has one answer
    assert found.answers == ["blue", "no", "red", "round", "square", "yes"]
    words = [[found.words[n] for n in row] for row in found.table.tolist()]
    assert words[0] == ["", "", "what", "color", "is", "the", "head"]
    assert words[2] == ["is", "the", "form", "of", "the", "head", "round"]
    assert found.guessing().tolist() == [0.5] * 4


def test_each_answer_to_a_question_is_as_frequent_as_the_others():
    questions = PartQuestions(["head", "wing"], LOOKS)
    asked = questions.ask(LABELS, None, 0)
    counts = Counter(zip(asked.questions.tolist(), asked.answers.tolist(), strict=True))
    # colors: 4 red, 3 blue images; forms: 2 round, 5 square
    assert set(counts.values()) == {3, 2}
    for number, question in enumerate(questions.questions):
        sizes = [size for (of, _), size in counts.items() if of == number]
        assert sizes == [3 if "color" in question.text else 2] * 2
    assert asked.images.tolist() == sorted(asked.images.tolist())
    for image, words, answer, part, number in zip(*asked, strict=True):
        question = questions.questions[number]
        label = int(LABELS[image])
        assert label >= 0
        assert questions.answers[answer] == question.answers[label]
        assert part == question.part
        assert torch.equal(words, questions.table[number])


def test_the_draw_depends_on_the_seed_alone_and_can_be_limited():
    questions = PartQuestions(["head", "wing"], LOOKS)
    labels = torch.arange(60) % 3
    first, again, other = (questions.ask(labels, 5, seed) for seed in (3, 3, 4))
    assert len(first.images) == 4 * 2 * 5
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.images, other.images)
    some = first.among(torch.tensor([7, 11, 12]))
    assert set(some.images.tolist()) <= {7, 11, 12}
    assert len(some.images) == sum(int(i) in (7, 11, 12) for i in first.images)
    assert [len(chunk.images) for chunk in first.chunks(16)] == [16, 16, 8]
    assert torch.equal(torch.cat([c.answers for c in first.chunks(16)]), first.answers)


def test_what_differs_in_nothing_is_refused():
    with pytest.raises(ValueError, match="no color and no form"):
        PartQuestions(["head"], [[Look("red", "round")]] * 3)


def test_looks_of_creatures_are_those_of_their_attribute_table(creatures):
    looks = CreaturesParts(creatures, creatures / "metadata").looks
    columns = read_columns(creatures / "metadata" / "attributes.txt", "label,head,wing,tail,body")
    for (_, *values), row in zip(list(zip(*columns, strict=True))[1:], looks, strict=True):
        assert [look.form for look in row] == [*values[:3], None]
    assert looks[0][0] == ("yellow", "round")  # a round head is yellow unless it is said
    assert _look("head", "green horned") == ("green", "horned")
    assert _look("wing", "ringed red eyed") == ("red", "eyed")
    assert _look("body", "mark spots") == (None, "spots")
