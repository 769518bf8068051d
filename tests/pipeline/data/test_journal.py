"""The journal of facts, and checks that go on by it."""

import os

import pytest

from learned_saliency.datamodules import ImageFacts, inspection
from learned_saliency.pipeline.data.journal import Entry, Journal, Stamp
from tests.support.small_set import photograph

ENTRY = Entry(
    "image", "/a/b.jpg", Stamp(10, 20), ImageFacts("", 3, 4, 1, "ab", "cd", True, 0.5, 0.0)
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "files.jsonl"


@pytest.fixture
def opens(monkeypatch):
    """Paths of the files that are opened as images or masks, in any order."""
    found = []

    def noting(source, *rest):
        found.append(str(source))
        return opened(source, *rest)

    opened = inspection.opened
    monkeypatch.setattr(inspection, "opened", noting)
    return found


def test_entries_are_there_again_and_later_ones_count(path):
    Journal(path).add([ENTRY, ENTRY._replace(name="other")])
    newer = ENTRY._replace(stamp=Stamp(10, 21), facts=ImageFacts("", 5, 6))
    Journal(path).add([newer])
    journal = Journal(path)
    assert journal.find("image", "other", ENTRY.stamp) == ENTRY.facts
    assert journal.find("image", ENTRY.name, newer.stamp) == newer.facts
    assert journal.find("image", ENTRY.name, ENTRY.stamp) is None
    assert journal.find("mask", ENTRY.name, newer.stamp) is None


@pytest.mark.parametrize("left", [1, 20, -1, -2])
def test_half_a_line_is_passed_over_and_what_follows_is_not_lost(path, left):
    Journal(path).add([ENTRY, ENTRY._replace(name="second")])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:left])
    journal = Journal(path)
    assert journal.find("image", ENTRY.name, ENTRY.stamp) == ENTRY.facts
    assert journal.find("image", "second", ENTRY.stamp) is None
    journal.add([ENTRY._replace(name="third")])
    assert Journal(path).find("image", "third", ENTRY.stamp) == ENTRY.facts


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{}", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000, b'["image"]', b'"image"'),
        b'["image", "/a/b.jpg", 10, 20, "", "3", 4, 1, "ab", "cd", true, 0.5, 0.1]',
        b'["image", "/a/b.jpg", 10, 20, "", 3, 4, 1, "ab", "cd", 1, 0.5, 0.1]',
        b'[["image"], "/a/b.jpg", 10, 20, "", 3, 4, 1, "ab", "cd", true, 0.5, 0.1]',
    ],
)
def test_lines_of_another_kind_are_passed_over(path, line):
    Journal(path).add([ENTRY])
    path.write_bytes(line + b"\n" + path.read_bytes())
    journal = Journal(path)
    assert journal.find("image", ENTRY.name, ENTRY.stamp) == ENTRY.facts
    assert len(journal._entries) == 1


def test_a_repeated_check_opens_no_file(masked_set, opens):
    first = masked_set.examine()
    assert first.opened == first.files == 14 + 16
    assert len(set(opens)) == 14 + 16
    opens.clear()
    again = masked_set.examine()
    assert opens == []
    assert again.opened == 0
    assert again._replace(findings=None, opened=0) == first._replace(findings=None, opened=0)


def test_only_what_has_changed_is_opened(masked_set, opens):
    masked_set.examine()
    opens.clear()
    masked_set.save("val/1.jpg", photograph(50, 90, 120))
    os.utime(masked_set.masks / "test-1.png", ns=(1, 1))
    examination = masked_set.examine()
    assert set(opens) == {f"{masked_set.root}/val/1.jpg", f"{masked_set.masks}/test-1.png"}
    assert examination.opened == 2
    assert [finding.kind for finding in examination.findings] == ["mask-shape"] * 2


def test_a_file_that_could_not_be_read_is_looked_at_again(small_set, opens):
    broken = small_set.root / "val/1.jpg"
    content = broken.read_bytes()
    broken.write_bytes(bytes(len(content)))
    state = os.stat(broken)
    assert len(list(small_set.examine().findings)) == 1
    broken.write_bytes(content)  # mended, and dated back
    os.utime(broken, ns=(state.st_atime_ns, state.st_mtime_ns))
    opens.clear()
    assert not list(small_set.examine().findings)
    assert set(opens) == {str(broken)}


def test_a_deeper_look_opens_the_files_and_a_shallower_one_after_it_does_not(small_set):
    assert small_set.examine("near_duplicates=false").opened == 14
    assert small_set.examine("near_duplicates=true").opened == 14
    assert small_set.examine("near_duplicates=true", "full_decode=true").opened == 14
    assert small_set.examine("near_duplicates=false").opened == 0
    assert small_set.examine("near_duplicates=true").opened == 0


def test_an_interrupted_check_goes_on(small_set, monkeypatch):
    """The journal holds what was read before the interruption."""
    from learned_saliency.pipeline.data import reading

    monkeypatch.setattr(reading, "_BATCH", 2)
    inspect, calls = reading.inspect_image, []

    def interrupted(source, **options):
        calls.append(source)
        if len(calls) > 9:
            raise KeyboardInterrupt
        return inspect(source, **options)

    monkeypatch.setattr(reading, "inspect_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_set.examine("workers=1")
    monkeypatch.setattr(reading, "inspect_image", inspect)
    examination = small_set.examine("workers=1")
    assert 14 - 9 <= examination.opened < 14
    assert not list(examination.findings)
