"""Lists of class names that a person wrote."""

import pytest

from learned_saliency.datamodules import DataError, read_groups, read_name_list


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("alpha\nbeta\ngamma\n", ["alpha", "beta", "gamma"]),
        ("alpha, the first\r\nbeta\r\n\r\n", ["alpha, the first", "beta"]),
        ("1,beta\n0,alpha, the first\n", ["alpha, the first", "beta"]),
        ("0,alpha\nbeta", ["0,alpha", "beta"]),
        ("7\n8\n", ["7", "8"]),
        ("\ufeffgrün\n", ["grün"]),
    ],
)
def test_a_line_is_a_name_or_a_label_with_its_name(tmp_path, text, names):
    path = tmp_path / "names.txt"
    path.write_text(text, encoding="utf-8")
    assert read_name_list(path) == names


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "names.txt: holds no class name"),
        (b" \n\n", "names.txt: holds no class name"),
        (b"a\n\nb\n", "line 2: is blank, where the name of class 1"),
        (b"0,a\n2,b\n", "names.txt, line 2: the labels must be 0, 1, 2"),
        (b"\xff\xfe", "names.txt: not a readable UTF-8 text file"),
    ],
)
def test_a_file_that_holds_no_names_is_told(tmp_path, content, told):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_name_list(path)


def test_groups_are_read_by_number_or_name(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("2,cat\n0,cat\n\n1,dog\n")
    assert read_groups(path) == ["cat", "dog", "cat"]
    assert read_groups(path, ["a", "b", "c"]) == ["cat", "dog", "cat"]
    path.write_text("tench, Tinca tinca,fish\n1, bird \n")
    assert read_groups(path, ["tench, Tinca tinca", "crane"]) == ["fish", "bird"]


@pytest.mark.parametrize(
    ("content", "names", "told"),
    [
        ("", None, "is empty"),
        ("0,a\nb\n", None, "line 2: 1 field"),
        ("0,a\nox,b\n", None, "line 2: 'ox' is no number of a class, and names are not known"),
        ("0,a\n\nox,b\n", ["cow", "bull"], "line 3: 'ox' is no class"),
        ("0,a\n5,b\n", ["cow", "bull"], "line 2: '5' is no class"),
        ("0,a\n-1,b\n", None, "line 2: '-1' is no number"),
        ("0,a\n1,\n", None, "line 2: the group is empty"),
        ("0,a\ncow,b\n", ["cow", "bull"], "line 2: class 0 has a group already"),
        ("0,a\n", ["cow", "bull"], r"class 1 \(bull\) has no group"),
        ("0,a\n2,a\n", None, "class 1 has no group"),
        ("1" * 30 + ",a\n", None, "is no number"),
    ],
)
def test_lines_that_put_no_class_into_a_group_are_named(tmp_path, content, names, told):
    path = tmp_path / "groups.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=told):
        read_groups(path, names)
