"""A person's photographs in one command, and what becomes of the run when the folder changes."""

import json
import shutil
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from learned_saliency.datamodules import read_split
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.runs.places import located_data
from tests.support.commands import run_command
from tests.support.photos import fill, save

WORDS = [
    *("data=folder", "model=cam", "backbone=resnet10", "backbone.channels=[4,4,8,8]"),
    *("data.resize_size=36", "data.crop_size=32", "data.num_workers=0", "data.batch_size=8"),
    *("recipe.classifier_epochs=1", "recipe.monitor=accuracy", "pictures.images=0"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on photographs without boxes; its folder, that of the photographs, and the output."""
    place = tmp_path_factory.mktemp("photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEARNED_SALIENCY_CACHE", str(place / "cache"))
        photos = fill(place / "photos", cat=10, dog=10)
        done = run_command("train", *WORDS, f"data.root={photos}", f"output_dir={place / 'run'}")
    assert done.returncode == 0, done.stderr
    return place, done


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A copy of the run, its photographs and its cache, which a test may change."""
    there, _ = trained
    moved = tmp_path / "moved"
    shutil.copytree(there, moved)
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(moved / "cache"))
    return moved


def test_photographs_without_boxes_are_trained_on_in_one_command(trained):
    place, done = trained
    assert "images of val, 4 images of test; val and test drawn with seed 0" in done.stderr
    results = json.loads((place / "run" / "results.json").read_text())
    assert 0 <= results["test"]["native"]["accuracy"] <= 1
    (metadata,) = (p for p in (place / "cache" / "folder").iterdir() if p.is_dir())
    assert (metadata / "class_names.txt").read_text() == "0,cat\n1,dog\n"
    assert not any(path.suffix == ".txt" for path in (place / "photos").rglob("*"))


def test_an_evaluation_reads_the_recorded_folder_or_makes_its_metadata_anew(trained, place):
    run, moved = place / "run", place / "photos"
    wanted = json.loads((run / "results.json").read_text())["test"]["native"]["accuracy"]
    for words in ([], [f"data.root={moved}"]):
        out = place / f"evaluated{len(words)}"
        done = run_command("evaluate", f"checkpoint={run}", f"output_dir={out}", *words)
        assert done.returncode == 0, done.stderr
        found = json.loads((out / "results.json").read_text())
        assert found["test"]["native"]["accuracy"] == pytest.approx(wanted)


def test_two_folders_of_one_name_have_metadata_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    places = set()
    for words in ([], ["data.reader.seed=1"], ["data.exif_orientation=false"]):
        for root in ("a/photos", "b/photos"):
            data = compose_checked(["data=folder", f"data.root={tmp_path / root}", *words]).data
            places.add(data.metadata)
            assert data.reader.exif_orientation == data.exif_orientation
    assert len(places) == 6
    assert all(name.startswith(f"{tmp_path}/cache/folder/photos-") for name in places)


def test_a_checkpoint_whose_metadata_is_gone_makes_it_in_this_machines_cache(place):
    config = compose_checked([*WORDS, f"data.root={place / 'photos'}"]).data
    own = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    own.metadata = str(place / "gone")
    data = located_data(own, OmegaConf.create({}), "x.ckpt")
    assert data.metadata == config.metadata
    assert not data.read_only


def test_a_run_goes_on_with_its_own_images_or_says_that_they_have_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    photos, run = fill(tmp_path / "photos", cat=6, dog=6), tmp_path / "run"
    words = [*WORDS, f"data.root={photos}"]
    done = run_command("train", *words, f"output_dir={run}", "test=false")
    assert done.returncode == 0, done.stderr
    for i in range(20, 30):  # after the metadata was made, which the run keeps
        save(photos / f"cat/cat_{i}.jpg", i)
    done = run_command("train", f"resume={run}", "recipe.classifier_epochs=2")
    assert done.returncode == 0, done.stderr
    data = compose_checked(words).data
    instantiate(data.reader).prepare(photos, Path(data.metadata))  # as another run does
    done = run_command("train", f"resume={run}", "recipe.classifier_epochs=3")
    assert done.returncode == 2
    told = f"the training images in {photos} are others than when the run began; restore the folder"
    assert told in done.stderr


def test_kvasir_is_a_recipe_over_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    root = fill(tmp_path / "kvasir-dataset-v2", esophagitis=8, polyps=8)
    data = instantiate(compose_checked(["data=kvasir", f"data.root={root}"]).data)
    data.prepare_data()
    data.setup()
    images = [data.supervision(split)["images"] for split in ("train", "val", "test")]
    assert images == [12, 2, 2]
    assert data.reader.published["train"].images == 6000
    assert len(data.reader.sources) == 8
    assert data.reader.sources[0].where.startswith("kvasir-dataset-v2.zip of https://")


def test_chest_x_rays_of_one_person_stay_together(tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "chest_xray"
    for i in range(24):
        save(root / f"train/PNEUMONIA/person{i // 3}_virus_{i}.jpeg", i)
        save(root / f"train/NORMAL/IM-{i // 3:04d}-{i}.jpeg", 100 + i)
    save(root / "test/NORMAL/IM-9000-1.jpeg", 200)
    save(root / "test/PNEUMONIA/person9000_virus_1.jpeg", 201)
    config = compose_checked(["data=chestxray", f"data.root={root}"]).data
    instantiate(config.reader).prepare(root, Path(config.metadata))
    drawn = read_split(Path(config.metadata) / "val", localization=True).image_ids
    assert len(drawn) == 6
    assert len({name[: name.rindex("_" if "person" in name else "-")] for name in drawn}) <= 3
