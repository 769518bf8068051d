"""JSON that is read a record at a time: the same records as from the whole."""

import json

import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.readers import jsonstream
from learned_saliency.datamodules.readers.jsonstream import read_records

CONTENT = {
    "info": {"a": [1, {"b": "]}"}], "c": None},
    "skipped": [1, [2, 3], {"images": []}, -12.5e3],
    "number": 1234567,
    "images": [{"id": k, "name": 'ä "quoted" \\ [' * k} for k in range(40)],
    "empty": [],
    "annotations": [{"id": k, "boxes": [[k, 1.5], []], "deep": {"x": [k]}} for k in range(55)],
}


def read(path, keys=("images", "annotations", "empty")):
    found = {key: [] for key in keys}
    there = read_records(path, {key: _adder(found[key]) for key in keys})
    assert there == {key for key in keys if key in CONTENT}
    return found


def _adder(records):
    def add(number, record):
        assert number == len(records)
        records.append(record)

    return add


@pytest.mark.parametrize("chunk", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
def test_records_are_those_of_the_whole_file(tmp_path, monkeypatch, chunk, indent):
    monkeypatch.setattr(jsonstream, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert read(path) == {key: CONTENT[key] for key in ("images", "annotations", "empty")}


def test_few_characters_are_held_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonstream, "_CHUNK", 200)
    path, most = tmp_path / "a.json", 0
    path.write_text(json.dumps({"images": [{"id": k} for k in range(5000)]}))
    more = jsonstream._Scanner._more

    def measure(self):
        nonlocal most
        found = more(self)
        most = max(most, len(self._text))
        return found

    monkeypatch.setattr(jsonstream._Scanner, "_more", measure)
    read_records(path, {"images": lambda number, record: None})
    assert most < 500


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        (" ", "at the top: is cut off"),
        ("[1]", r"at the top: has '\[' where '{' is expected"),
        ('{"images": 3}', "images: is no list of records"),
        ('{"images": [3]}', r"images\[0\]: is no record"),
        ('{"images": [{"a": 1}, {"a": 2}', r"images\[1\]: is cut off"),
        ('{"images": [{"a": 1}, {"a": ', r"images\[1\]: is no JSON"),
        ('{"images": [{"a": 1} {"a": 2}]}', r"images\[0\]: misses a comma behind it"),
        ('{"images": [] "b": 1}', "behind images: misses a comma"),
        ("{1: 2}", "at the top: has a key that is no text"),
        ('{"images" 2}', "at the top: has '2' where ':' is expected"),
        ('{"images": [' + "[" * 100000, r"images\[0\]: cannot be read|is no JSON"),
        ('{"images": [{"a": ' + "9" * 5000 + "}]}", r"images\[0\]: cannot be read"),
        (b"\xff\xfe", "is no readable JSON"),
    ],
)
def test_faults_are_named_by_their_record(tmp_path, text, told):
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=rf"a\.json.*{told}"):
        read_records(path, {"images": lambda number, record: None})


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"b\.json: this file of annotations is missing"):
        read_records(tmp_path / "b.json", {})
    with pytest.raises(DataError, match="is no readable JSON"):
        read_records(tmp_path, {})
