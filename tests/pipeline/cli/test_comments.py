"""Comments of YAML files as the meaning of their keys."""

import pytest

from learned_saliency.pipeline.cli.comments import read_comments, read_description

TEXT = """\
# @package recipe
# The numbers of a training (Tab. F.3), for
# a small set. More about it.
# python train.py
first: 1        # at the end
second: "a # b"   # goes on
                  # below its beginning
# on the line above
third: 3

# followed by an empty line

fourth: [1, 2]  # a list
fifth:          # a group
  inner: null   # within
  # above, indented
  other: {a: 1, b: 2}  # in braces
  several:
    # of an entry
    - x
  bare: 1
sixth: &shared  # with an anchor
  inner: 2      # shared
seventh: *shared
eighth: |-      # a text
  # no comment
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    return path


def test_every_key_has_its_own_comment(path):
    assert read_comments(path) == {
        "first": "at the end",
        "second": "goes on below its beginning",
        "third": "on the line above",
        "fourth": "a list",
        "fifth": "a group",
        "fifth.inner": "within",
        "fifth.other": "in braces above, indented",
        "sixth": "with an anchor",
        "sixth.inner": "shared",
        "seventh.inner": "shared",
        "eighth": "a text",
    }


def test_a_file_is_described_by_its_first_sentence(path):
    assert read_description(path) == "The numbers of a training (Tab. F.3), for a small set"


def test_a_sentence_ends_with_its_line_where_a_command_follows(path):
    path.write_text("# One process, or several: N.\n# python train.py trainer=x\na: 1\n")
    assert read_description(path) == "One process, or several: N"


def test_a_file_without_keys_or_comments_says_nothing(path):
    path.write_text("")
    assert read_description(path) == ""
    assert read_comments(path) == {}
