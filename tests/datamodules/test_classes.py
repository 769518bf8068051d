"""Lists of class names that a person wrote."""

import pytest

from learned_saliency.datamodules import DataError, read_name_list


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
