"""The command from its words to its exit code, its reports and the lines that CI systems read."""

import json
import os
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest

from learned_saliency.pipeline.commands import COMMANDS
from learned_saliency.pipeline.comparison.guard_ci import harmless, verdict_line
from tests.support.commands import run_command
from tests.support.guarded import Told, write_evaluation

ON, CORNER = np.zeros((12, 12), np.uint8), np.zeros((12, 12), np.uint8)
ON[3:5, 3:5] = 200
CORNER[3:5, 3:5] = CORNER[0:2, 10:12] = 100  # half of the mass on the object


def images(lost=(), names="abcdefgh", few=True):
    """Images of two classes of 8 and one of 3, in some of which half of the mass left."""
    found = {}
    for label, count in enumerate((8, 8, 3 if few else 0)):
        for name in names[:count]:
            share = 0.8 + 0.01 * (ord(name) % 5)
            moved = label in lost
            found[f"{label}{name}"] = Told(
                label, share / 2 if moved else share, CORNER if moved else ON
            )
    return found


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    """No system of continuous integration, whichever runs this test."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "TF_BUILD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def guarded(tmp_path):
    """Function that writes two evaluations and guards them by the command."""

    def run(old, new, *words):
        for name, content in (("a=b", old), ("new", new)):
            write_evaluation(tmp_path / name, content)
        places = [str(tmp_path / "a=b"), str(tmp_path / "new")]
        return run_command("guard", *places, f"output_dir={tmp_path}/out", *words)

    return run


def test_a_class_that_lost_its_evidence_fails_with_its_name_and_place(guarded, tmp_path):
    done = guarded(images(), images(lost=[1]), "tolerance=0.3", f"junit={tmp_path}/ci/guard.xml")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("guard: FAILED: evidence moved off the objects: native's mass on the")
    assert "beyond 10 points in 1 of 2 classes: class owl 82.4 -> 41.2 % (-41.2 points" in last
    assert last.endswith("class owl: +50.0 points in the upper right corner (0.0 -> 50.0 %)")
    assert "worst: 1" in done.stdout
    assert "too few images to judge: wren (3)" in done.stdout

    told = json.loads((tmp_path / "out" / "guard.json").read_text())
    assert told["moved"]
    assert not told["overall"]["moved"]
    assert [(found["name"], found["moved"]) for found in told["classes"]] == [
        ("owl", True),
        ("heron", False),
    ]
    owl = told["classes"][0]
    assert owl["places"][0]["place"] == "upper right corner"
    assert {row["image_id"][0] for row in owl["worst"]} == {"1"}
    assert owl["worst"][0]["new"] == pytest.approx(owl["worst"][0]["old"] / 2)
    assert told["object_area"] == pytest.approx(16 / 144)
    page = (tmp_path / "out" / "guard.md").read_text()
    assert "| class owl | 8 | 82.4 | 41.2 | -41.2 |" in page
    assert "| upper right corner | 0.0 | 50.0 | +50.0 |" in page
    by_class = page.partition("## The ninth of the image that gained most, by class")[2]
    assert "| class owl | 8 | upper right corner | 0.0 | 50.0 | +50.0 |" in by_class


def test_a_frame_that_gained_for_certain_is_named(guarded):
    frame = ON.copy()
    frame[3:5, 3:5] = 100
    frame[0, [1, 5, 10]] = frame[11, [1, 5, 10]] = 67  # a twelfth of the mass in each cell
    new = {name: told._replace(share=0.4, map=frame) for name, told in images().items()}
    last = guarded(images(), new).stdout.splitlines()[-1]
    assert "points in the frame (0.0 -> 50." in last


def test_the_junit_file_has_a_test_per_class_and_the_failure_of_each_alarm(guarded, tmp_path):
    guarded(images(), images(lost=[1]), "tolerance=0.3", f"junit={tmp_path}/ci/guard.xml")
    top = ElementTree.parse(tmp_path / "ci" / "guard.xml").getroot()
    cases = {case.get("name"): [child.tag for child in case] for case in top.iter("testcase")}
    assert cases == {
        "all images": [],
        "class owl": ["failure"],
        "class heron": [],
        "class wren": ["skipped"],
    }
    (suite,) = top
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == list("4101")
    assert {case.get("classname") for case in top.iter("testcase")} == {
        "guard.native.energy_pointing_game"
    }
    assert "upper right corner" in next(top.iter("failure")).text


def test_nothing_lost_passes_and_so_does_a_gain(guarded, tmp_path):
    done = guarded(images(lost=[0, 1, 2]), images())
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("guard: passed: no proof that evidence moved")
    assert not json.loads((tmp_path / "out" / "guard.json").read_text())["moved"]


def test_images_that_lost_nothing_are_not_the_worst(guarded, tmp_path):
    new = images()
    new["0a"] = new["0a"]._replace(share=new["0a"].share - 0.1)
    new["0b"] = new["0b"]._replace(share=new["0b"].share + 0.1)
    done = guarded(images(), new, "class_tolerance=0.2")
    assert [line.split()[1] for line in done.stdout.splitlines() if "worst:" in line] == ["0a"]
    told = json.loads((tmp_path / "out" / "guard.json").read_text())
    assert [row["image_id"] for row in told["overall"]["worst"]] == ["0a"]
    words = [str(tmp_path / "new"), str(tmp_path / "new"), f"output_dir={tmp_path}/out"]
    assert "worst:" not in run_command("guard", *words).stdout
    assert "- no image lost\n" in (tmp_path / "out" / "guard.md").read_text()


def test_with_no_tolerance_a_certain_loss_fails_and_equal_shares_pass(guarded, tmp_path):
    words = ["tolerance=0", "class_tolerance=0"]
    less = {name: told._replace(share=told.share - 0.01) for name, told in images().items()}
    assert guarded(images(), images(), *words).returncode == 0
    shutil.rmtree(tmp_path / "a=b")
    shutil.rmtree(tmp_path / "new")
    assert guarded(images(), less, *words).returncode == 1


def test_all_images_together_fail_beyond_the_tolerance_alone(guarded, tmp_path):
    done = guarded(images(), images(lost=[0, 1, 2]), "per_class=false")
    assert done.returncode == 1
    assert "82.5 -> 41.2 % (-41.2 points" in done.stdout.splitlines()[-1]
    words = [str(tmp_path / "a=b"), str(tmp_path / "new"), f"output_dir={tmp_path}/out"]
    assert run_command("guard", *words, "per_class=false", "tolerance=0.45").returncode == 0


def test_without_pictures_the_verdict_stands_without_places(guarded, tmp_path):
    bare = [{k: told._replace(map=None) for k, told in images(lost).items()} for lost in ([], [1])]
    done = guarded(*bare)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].endswith("no pictures of both say where to")


def test_what_cannot_be_compared_ends_with_2_and_no_report(guarded, tmp_path):
    done = guarded(images(), images(), "metric=relevance_mass_accuracy")
    assert done.returncode == 2
    assert "metric=relevance_mass_accuracy: not both have" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_an_earlier_verdict_does_not_outlive_evaluations_that_cannot_be_read(tmp_path):
    for name in ("empty", "out"):
        (tmp_path / name).mkdir()
    old = write_evaluation(tmp_path / "old", images())
    (tmp_path / "out" / "guard.json").write_text("{}")
    words = [str(old), str(tmp_path / "empty"), f"output_dir={tmp_path}/out"]
    done = run_command("guard", *words)
    assert done.returncode == 2
    assert "has no results.json; expected the folder of a finished" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_bare_words_are_old_and_new(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seed=1").mkdir()
    words = COMMANDS["guard"].words
    assert words(["A", "level=0.9", "seed=1"]) == ["old='A'", "level=0.9", "new='seed=1'"]
    assert words(["old=A", "new=B"]) == ["old='A'", "new='B'"]
    assert words(["A", "B", "C"])[-1] == "C"  # which is then refused


def test_github_shows_the_line_and_the_page(guarded, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    line = guarded(images(), images(lost=[1])).stdout.splitlines()[-1]
    assert line.startswith("::error title=Evidence moved off the objects::guard: FAILED: ")
    assert "82.4 -> 41.2 %25 (" in line
    page = (tmp_path / "out" / "guard.md").read_text()
    assert summary.read_text() == f"before\n{page}\n"
    words = [str(tmp_path / "new"), str(tmp_path / "new"), f"output_dir={tmp_path}/out"]
    assert "\n::notice title=No proof that" in run_command("guard", *words).stdout


def test_a_name_of_a_data_set_gives_no_command(guarded, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    evil = {f"::stop-commands::{name} ##[error]x": told for name, told in images().items()}
    lost = {f"::stop-commands::{name} ##[error]x": told for name, told in images([1]).items()}
    done = guarded(evil, lost)
    commands = [line for line in done.stdout.splitlines() if re.match(r"\s*::|.*##\[", line)]
    assert commands == [done.stdout.splitlines()[-1]]


ODD = "50 %\r\n::error::x, 100%25; [y] ##vso[task.complete]"


def unescaped(text, tokens):
    for token, sign in tokens:
        text = text.replace(token, sign)
    return text


def test_lines_are_escaped_as_github_and_azure_read_them():
    github = verdict_line(True, ODD, {"GITHUB_ACTIONS": "true"})
    azure = verdict_line(True, ODD, {"TF_BUILD": "True"})
    plain = verdict_line(True, ODD, {})
    assert "\n" not in github + azure
    assert "\r" not in github + azure
    head, _, message = github[2:].partition("::")
    assert head == "error title=Evidence moved off the objects"
    # the runner undoes line breaks first and the percent sign last
    undone = unescaped(message, (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")))
    assert undone == plain
    head, _, message = azure.partition("]")
    assert head == "##vso[task.logissue type=error"
    assert unescaped(message, (("%0D", "\r"), ("%0A", "\n"), ("%AZP25", "%"))) == plain
    assert verdict_line(False, "x", {"TF_BUILD": "True"}) == "guard: passed: x"
    assert verdict_line(True, "x", {"GITHUB_ACTIONS": "false"}) == "guard: FAILED: x"


def test_harmless_text_has_its_lines_and_no_command():
    assert harmless("a ##[error]b\nc ##vso[x]d\n## e") == "a # #[error]b\nc # #vso[x]d\n## e"
    assert os.linesep not in harmless("a\x1b[31mb")
