"""Names from anywhere show in Markdown as they are, and do nothing."""

import html
import re

import pytest

from learned_saliency.pipeline.reports.markdown import escaped, markdown_table
from learned_saliency.pipeline.reports.model_card import model_card
from tests.pipeline.reports.test_model_card import FACTS

NAMES = [
    "<b>cat</b>",
    "![dog](picture.png)",
    "[a](javascript:alert(1))",
    "a|b",
    "`code`",
    "**bold** _it_ ~~out~~ $x$",
    "&lt;i&gt;",
    "<!-- hidden",
    "\\",
    "\\|",
    "https://example.org/x www.example.org a@example.org",
    "# head",
]


def shown(text):
    """Undo escapes as a reader of Markdown does: backslashes before signs, then entities."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text))


@pytest.mark.parametrize("name", [*NAMES, "plain name", "max_box_acc", "001.Black_footed", "café"])
def test_escaped_names_show_as_they_are(name):
    assert shown(escaped(name)) == name


@pytest.mark.parametrize("name", NAMES)
def test_escaped_names_do_nothing(name):
    line = escaped(name)
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", line)  # what is left of signs that mean something
    assert not re.search(r"[<>`*\[\]|~#$\\@]|://|www\.", bare.replace("&#", ""))
    assert not re.search(r"&(?!amp;|lt;|gt;|#\d+;)", bare)


def test_plain_names_stay_readable():
    for name in ("max_box_acc", "Black-footed albatross", "n02085620 (Chihuahua)", "3.5 %"):
        assert escaped(name) == name


def test_names_stay_on_their_line_and_steer_no_terminal():
    line = escaped("a\nb\r\n# c\x1b[31md\x00e\u2028f\u202eg\ud800")
    assert line.isprintable()
    assert line == "a b \\# c\ufffd\\[31md\ufffde f\ufffdg\ufffd"


def test_a_cell_is_a_cell():
    table = markdown_table([("a|b", ""), ("1\n2", "<x>")])
    assert table.splitlines() == ["| a\\|b |  |", "| --- | --- |", "| 1 2 | &lt;x&gt; |"]


@pytest.mark.parametrize("key", ["class_names", "data", "backbone"])
def test_nothing_in_a_card_is_raw(key):
    for name in NAMES:
        facts = {**FACTS, key: [name, "cow"] if key == "class_names" else name}
        page = model_card("best.ckpt", facts)
        assert escaped(name) in page
        assert page.count("\n") == model_card("best.ckpt", FACTS).count("\n")
