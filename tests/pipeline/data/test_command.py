"""The command from its words to its reports, and what it knows of a data set's reader."""

import json
from pathlib import Path

import pytest

from learned_saliency.datamodules import ByteReader, DataError, Published, Source
from learned_saliency.pipeline.commands import console
from learned_saliency.pipeline.data import Severity, doctor, examine
from learned_saliency.pipeline.data.report import format_examination
from tests.support.commands import run_command
from tests.support.small_set import photograph


class StatedReader:
    """Reader of a set that is there, whose paper states counts and whose page offers its parts."""

    def __init__(self) -> None:
        self.published = {
            "train": Published(images=6, classes=2),
            "test": Published(images=5, boxes=4, masks=4),
        }
        self.sources = [
            Source("train", "training images", "A Page (https://a.example)"),
            Source("lists", "lists of splits", "A Page (https://a.example/lists)"),
            Source("extra", "outlines", "Another Page (https://b.example)", required=False),
        ]

    def prepare(self, root: Path, metadata: Path) -> None:
        """Do nothing."""


class RefusingReader:
    """Reader that cannot read what there is."""

    def prepare(self, root: Path, metadata: Path) -> None:
        """Refuse."""
        raise DataError(f"{root}/lists/train.xml, line 3: is cut off; unpack it again.")


class PackedReader(ByteReader):
    """Reader whose images are bytes of one file, which it opens by their names."""

    root = Path()

    def prepare(self, root: Path, metadata: Path) -> None:
        """Do nothing."""

    def at(self, root: Path) -> "PackedReader":
        """Return a reader of the images below a root."""
        reader = PackedReader()
        reader.root = root
        return reader

    def open(self, image_id: str) -> bytes:
        """Read an image."""
        return (self.root / f"{image_id}.packed").read_bytes()


@pytest.fixture
def examine_by(small_set):
    """Function that examines the small set by a reader of this file."""

    def run(kind):
        config = small_set.config()
        config.data.reader = {"_target_": f"{__name__}.{kind.__name__}"}
        return examine(config, small_set.folder / "report")

    return run


def messages(examination, kind):
    return [str(finding) for finding in examination.findings if finding.kind == kind]


def call(monkeypatch, capsys, *words):
    """Call the installed command; return its exit code, and what it told."""
    code = 0
    monkeypatch.setattr("sys.argv", ["learned-saliency", *words])
    try:
        console()
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr()
    return code, told.out, told.err


def test_a_faultless_set_ends_well_and_its_reports_are_named(small_set):
    done = run_command("data", *small_set.words())
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.splitlines()[-2:]]
    assert paths == [small_set.folder / "report/report.md", small_set.folder / "report/report.json"]
    assert "Nothing was found that would stop a training or falsify its figures." in done.stdout
    rows = {line[:5].strip(): line.split()[1:] for line in done.stdout.splitlines()}
    assert rows["train"] == ["6", "2", "0", "0", "0"]
    assert rows["val"] == ["4", "2", "4", "0", "0"]
    record = json.loads(paths[1].read_text())
    assert record["usable"]
    assert record["findings"] == []
    assert record["counts"]["test"]["boxes"] == 4
    assert "| test | 4 | 2 | 4 | 0 | 0 |" in paths[0].read_text()


def test_faults_end_with_exit_code_2_and_are_named_in_the_reports(small_set):
    small_set.replace("val/localization.txt", 3, "val/2.jpg,60,20,10,70")
    (small_set.root / "train/2.jpg").unlink()
    done = run_command("data", *small_set.words())
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "learned-saliency data: 2 faults were found that would stop a training or falsify its "
        f"figures; {small_set.folder}/report/report.md names them."
    )
    for text in (done.stdout, (small_set.folder / "report/report.md").read_text()):
        assert "images/train/2.jpg: does not exist" in text
        assert "val/localization.txt, line 3: the box 60,20,10,70 of val/2.jpg is inverted" in text
    record = json.loads((small_set.folder / "report/report.json").read_text())
    assert not record["usable"]
    assert {finding["line"] for finding in record["findings"]} == {None, 3}


def test_the_installed_command_takes_the_data_set_as_its_first_word(
    small_set, monkeypatch, capsys, tmp_path
):
    code, out, told = call(monkeypatch, capsys, "data", *small_set.words())
    assert code == 0
    assert told.startswith(f"learned-saliency data: checking wsol in {small_set.root}, into ")
    assert "report.json" in out


def test_a_folder_of_other_things_is_not_written_into(small_set):
    (small_set.folder / "report").mkdir()
    (small_set.folder / "report" / "report.md").write_text("mine")
    done = run_command("data", *small_set.words())
    assert done.returncode == 2
    assert "the folder holds other files (it has no files.jsonl)" in done.stderr
    assert (small_set.folder / "report" / "report.md").read_text() == "mine"


def test_nothing_of_the_data_set_is_changed(small_set):
    def state():
        files = [p for p in sorted(small_set.folder.rglob("*")) if "report" not in p.parts]
        return {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in files}

    small_set.save("train/1.jpg", photograph(60, 90, 120))
    before = state()
    run_command("data", *small_set.words())
    assert state() == before


def test_published_counts_stand_beside_those_that_there_are(examine_by):
    examination = examine_by(StatedReader)
    assert messages(examination, "count") == [
        f"{examination.metadata}/test: has 4 images instead of 5; see whether the download is "
        "complete.",
        f"{examination.metadata}/test: has 0 masks instead of 4; see whether the download is "
        "complete.",
    ]
    rows = {line.split()[0]: line for line in format_examination(examination).splitlines() if line}
    assert rows["train"].split()[1:4] == ["6", "(6)", "2"]
    assert "4 (5 !)" in rows["test"]
    assert "4 (4)" in rows["test"]


def test_missing_parts_of_a_download_come_with_the_page_that_offers_them(examine_by):
    examination = examine_by(StatedReader)
    assert messages(examination, "download") == [
        f"{examination.root}/lists: is missing: lists of splits; to be had from A Page "
        "(https://a.example/lists)."
    ]
    optional = [f for f in examination.findings if f.kind == "option"]
    assert [(f.place, f.severity) for f in optional] == [
        (f"{examination.root}/extra", Severity.NOTE)
    ]


def test_a_readers_refusal_is_a_finding_and_the_rest_is_checked(examine_by, small_set):
    (small_set.root / "train/2.jpg").write_bytes(b"")
    examination = examine_by(RefusingReader)
    assert messages(examination, "reader") == [
        f"{examination.root}/lists/train.xml, line 3: is cut off; unpack it again."
    ]
    assert len(messages(examination, "image-damaged")) == 1
    assert list(examination.counts) == ["train", "val", "test"]


def test_without_metadata_all_images_that_there_are_are_looked_at(examine_by, small_set):
    small_set.metadata.rename(small_set.folder / "elsewhere")
    for name in ("train/2.jpg", "test/1.jpg"):
        (small_set.root / name).write_bytes(b"broken")
    examination = examine_by(RefusingReader)
    assert examination.files == 14
    assert messages(examination, "image-damaged") == [
        f"{examination.root}/{name}: no image of a known kind; replace it."
        for name in ("test/1.jpg", "train/2.jpg")
    ]


def test_metadata_of_another_root_is_left_alone(examine_by, small_set):
    stamp = small_set.metadata / "refusing_reader.json"
    stamp.write_text(json.dumps({"root": str(small_set.root)}))
    assert list(examine_by(RefusingReader).counts) == ["train", "val", "test"]
    stamp.write_text(json.dumps({"root": "/another"}))
    examination = examine_by(RefusingReader)
    assert examination.counts == {}
    assert [finding.kind for finding in examination.findings] == ["reader"]


def test_images_that_are_parts_of_a_file_are_looked_at_and_known_until_it_changes(
    examine_by, small_set
):
    for path in list(small_set.root.rglob("*.jpg")):
        path.rename(f"{path}.packed")
    first = examine_by(PackedReader)
    assert list(first.findings) == []
    assert first.opened == 14
    assert examine_by(PackedReader).opened == 0
    broken = small_set.root / "val/1.jpg.packed"
    broken.write_bytes(broken.read_bytes()[:-50])
    again = examine_by(PackedReader)
    assert again.opened == 14
    assert [finding.kind for finding in again.findings] == ["image-damaged"]


def test_a_missing_root_of_a_reader_is_a_finding(examine_by, small_set):
    small_set.root.rename(small_set.folder / "elsewhere")
    examination = examine_by(StatedReader)
    assert len(messages(examination, "download")) == 2
    assert len(messages(examination, "image-missing")) == 14


def test_near_duplicates_are_not_looked_for_among_very_many_images(small_set, monkeypatch):
    monkeypatch.setattr(doctor, "_MOST_COMPARED", 13)
    kinds = [finding.kind for finding in small_set.examine().findings]
    assert kinds == ["unsearched"]
    assert not list(small_set.examine("near_duplicates=true").findings)
