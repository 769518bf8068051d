"""The doctor on labels of other kinds than one class of several."""

import pytest

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.data import examine
from tests.support.valued import write_valued_set


def told(folder, task):
    words = ["data=wsol", f"data.root={folder}/images", f"data.metadata={folder}/metadata"]
    examination = examine(
        compose_checked([*words, f"data.task={task}"], "doctor"), folder / "report"
    )
    return examination, [str(f) for f in examination.findings if f.severity.word == "error"]


def test_one_of_two_classes_is_examined_like_others(small_set):
    examination, found = told(small_set.folder, "binary")
    assert not found
    assert examination.counts["val"].classes == 2


@pytest.fixture
def valued(tmp_path):
    write_valued_set(tmp_path, {"train": 5, "val": 3, "test": 2})
    return tmp_path


def test_values_have_no_classes_to_count(valued):
    examination, found = told(valued, "regression")
    assert not found
    assert examination.counts["val"]._asdict() | {"published": None} == {
        **{"images": 3, "classes": 0, "boxes": 3, "masks": 0, "ignores": 0},
        "published": None,
    }


def test_every_line_that_holds_no_values_is_told(valued):
    path = valued / "metadata" / "val" / "values.txt"
    first, second, third = path.read_text().splitlines()
    path.write_text(f"{first}\n{second.rsplit(',', 1)[0]},inf\n{first}\n{third}\nval/9.png,1,2\n")
    _, found = told(valued, "regression")
    assert [line.partition("values.txt")[2] for line in found] == [
        ", line 2: 'inf' is no finite number; write `id,value`.",
        ", line 3: val/0.png is listed twice; remove one.",
        ", line 5: 'val/9.png' is not in image_ids.txt; add it there or remove it here.",
    ]
    path.unlink()
    _, found = told(valued, "regression")
    assert any("values.txt: this metadata file is missing" in line for line in found)


@pytest.mark.parametrize(
    ("name", "task"),
    [("folder", "regression"), ("webdataset", "multilabel"), ("labels", "multiclass")],
)
def test_a_task_of_other_labels_is_refused_before_anything_is_read(tmp_path, name, task):
    words = [f"data={name}", f"data.root={tmp_path}/nowhere", f"data.task={task}"]
    found = examine(compose_checked(words, "doctor"), tmp_path / "report").findings
    (wrong,) = [str(finding) for finding in found]
    assert f"data.task={task}: data={name} is of multi" in wrong
    assert "leave data.task out" in wrong
