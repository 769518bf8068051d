"""Files, folders and patterns become files and names."""

import os

import pytest

from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.prediction.sources import find_files


@pytest.fixture
def tree(tmp_path):
    for name in ("b.jpg", "a [1].jpg", "sub/a.jpg", "sub/deep/c.png", ".hidden", ".git/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    return tmp_path


def names(*sources, leave_out=None):
    return [found.name for found in find_files([str(source) for source in sources], leave_out)]


def test_a_folder_is_searched_with_its_folders(tree):
    assert names(tree) == ["a [1].jpg", "b.jpg", "sub/a.jpg", "sub/deep/c.png"]
    found = list(find_files([str(tree)]))
    assert all(f.path == tree / f.name for f in found)


def test_a_file_and_a_pattern(tree):
    assert names(tree / "sub" / "a.jpg") == ["a.jpg"]
    assert names(tree / "a [1].jpg") == ["a [1].jpg"]  # a file that looks like a pattern
    assert names(tree / "*.jpg") == ["a [1].jpg", "b.jpg"]
    assert names(tree / "s*" / "*.jpg") == ["sub/a.jpg"]
    assert set(names(tree / "sub" / "d*" / "**")) == {"deep/c.png"}


def test_a_name_never_leads_out_of_the_folder_that_it_is_joined_to(tree):
    """A pattern that goes up behind its wildcard finds files above its fixed part."""
    (tree / "sub" / "x").mkdir()
    found = names(tree / "sub" / "x*" / ".." / ".." / "b.jpg")
    assert found == [str(tree / "b.jpg").lstrip("/")]
    assert names(tree / "sub" / "x*" / ".." / "a.jpg") == ["a.jpg"]


def test_several_sources_keep_apart_what_has_one_name(tree):
    (tree / "sub" / "deep" / "a.jpg").touch()
    assert names(tree / "sub" / "deep", tree / "sub" / "a.jpg") == [
        "deep/a.jpg",
        "deep/c.png",
        "a.jpg",
    ]


def test_the_folder_that_is_written_to_does_not_count(tree):
    assert names(tree, leave_out=tree / "sub") == ["a [1].jpg", "b.jpg"]
    (tree / "sub2").mkdir()
    (tree / "sub2" / "d.jpg").touch()
    assert names(tree, leave_out=tree / "sub") == ["a [1].jpg", "b.jpg", "sub2/d.jpg"]


def test_a_folder_that_cannot_be_read_is_told(tree, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UserWarning, match="deep: not searched"):
        assert names(tree) == ["a [1].jpg", "b.jpg", "sub/a.jpg"]


@pytest.mark.parametrize(
    ("source", "told"), [("nothing.jpg", "no such file"), ("*.docx", "matches no file")]
)
def test_what_is_not_there_is_told_before_the_first_file(tree, source, told):
    with pytest.raises(UserError, match=told):
        find_files([str(tree), str(tree / source)])


def test_shards_of_two_addresses_with_one_name_are_refused():
    with pytest.raises(UserError, match=r"s-1\.tar is named twice"):
        find_files(["https://a.example/s-{0..1}.tar", "https://b.example/s-1.tar"])
