"""The index that several processes write together."""

import json

import pytest
from omegaconf import OmegaConf

from learned_saliency.pipeline.prediction.index import (
    INDEX,
    Part,
    open_folder,
    put_together,
    remove_parts,
)


def parts(folder, processes):
    made = [Part(folder, process) for process in range(processes)]
    for number in range(20):
        part = made[number % processes]
        if number % 7 == 3:
            part.skip(number, f"image {number}", "a reason\nof two lines")
        else:
            part.add(number, {"image": f"image {number}", "maps": [0.1 * number], "ü": "\u2028"})
    for part in made:
        part.close()


@pytest.mark.parametrize("processes", [2, 3, 11])
def test_parts_make_the_index_that_one_process_makes(tmp_path, processes):
    written = []
    for count in (1, processes):
        folder = tmp_path / str(count)
        folder.mkdir()
        parts(folder, count)
        assert put_together(folder, {"methods": ["native"]}) == (17, 3)
        assert [path.name for path in folder.iterdir()] == [INDEX]
        written.append((folder / INDEX).read_bytes())
    assert written[0] == written[1]
    index = json.loads(written[0])
    assert index["methods"] == ["native"]
    order = [n for n in range(20) if n % 7 != 3]
    assert [record["image"] for record in index["images"]] == [f"image {n}" for n in order]
    assert index["images"][1]["maps"] == [0.1]
    assert [record["image"] for record in index["skipped"]] == ["image 3", "image 10", "image 17"]
    assert index["skipped"][0]["reason"] == "a reason\nof two lines"


def test_without_images_the_lists_are_empty(tmp_path):
    Part(tmp_path, 0).close()
    assert put_together(tmp_path, {"refine": None}) == (0, 0)
    index = json.loads((tmp_path / INDEX).read_text())
    assert index == {"refine": None, "images": [], "skipped": []}


def test_a_process_sees_that_the_parts_were_removed(tmp_path):
    part = Part(tmp_path, 1)
    assert part.is_there()
    remove_parts(tmp_path)
    assert not part.is_there()
    part.close()
    assert not list(tmp_path.iterdir())


def test_a_folder_of_an_earlier_call_is_refreshed_when_the_new_index_is_whole(tmp_path):
    config = OmegaConf.create({"out": str(tmp_path / "out")})
    folder = open_folder(config, {"size": 32})
    (folder / INDEX).touch()
    parts(folder, 2)
    left = sorted(path.name for path in open_folder(config, {"size": 64}).iterdir())
    assert left == sorted([INDEX, "predict.yaml"])
    assert OmegaConf.load(folder / "predict.yaml").input.size == 64
