import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.shards import expand_braces, find_shards


def test_ranges_are_written_out_with_the_digits_of_their_first_number():
    assert expand_braces("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand_braces("{0..1}/{0..1}.tar") == ["0/0.tar", "0/1.tar", "1/0.tar", "1/1.tar"]
    assert expand_braces("plain{a,b}.tar") == ["plain{a,b}.tar"]
    with pytest.raises(DataError, match=r"3\.\.1 ends before"):
        expand_braces("{3..1}.tar")
    with pytest.raises(DataError, match="more than 1000000"):
        expand_braces("{0..9999}{0..9999}.tar")


def test_shards_are_found_by_patterns_each_once_and_below_the_root(tmp_path):
    for name in ("a-0.tar", "a-1.tar", "sub/b-0.tar", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_shards(tmp_path, ["a-*.tar", "a-{0..1}.tar"]) == ["a-0.tar", "a-1.tar"]
    assert find_shards(tmp_path, ["**/*.tar"]) == ["a-0.tar", "a-1.tar", "sub/b-0.tar"]
    wrong = {"a-{0..2}.tar": "a-2.tar: there is no", "../a.tar": "relative", "/a.tar": "relative"}
    wrong["*.txt"] = "end in .tar"
    for pattern, told in wrong.items():
        with pytest.raises(DataError, match=told):
            find_shards(tmp_path, [pattern])
