"""Images of one channel of 16 bits and of four channels: trained on, scored, predicted, exported.

The class of these images is lost where they become 8-bit colors (see `deep_images`), so that an
accuracy far above chance says that every value reaches the network.
"""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from learned_saliency import load
from tests.support.commands import run_command
from tests.support.deep_images import write_gray, write_image, write_planes

TEST = 24  # images of the test split


def words(root, channels, *others):
    return [
        "data=wsol",
        f"data.root={root}",
        f"data.metadata={root}/metadata",
        f"data.channels={channels}",
        *("data.resize_size=36", "data.crop_size=32", "data.batch_size=8", "data.num_workers=0"),
        *others,
    ]


def train(folder, root, channels, *others):
    options = [
        "model=cam",
        "recipe.classifier_lr=0.02",
        f"output_dir={folder}",
        "pictures.images=2",
    ]
    done = run_command("train", *words(root, channels, *options, *others))
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gray")
    root = write_gray(folder / "images")
    done = train(folder / "run", root, 1, "recipe.classifier_epochs=3", "data.cache=memory")
    return folder / "run", root, done


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    folder = tmp_path_factory.mktemp("four")
    root = write_planes(folder / "images", suffix=".npy")
    done = train(folder / "run", root, 4, "recipe.classifier_epochs=3")
    return folder / "run", root, done


def accuracy_of(run):
    return json.loads((run / "results.json").read_text())["test"]["native"]["accuracy"]


@pytest.mark.parametrize("kind", ["gray", "four"])
def test_the_class_that_colors_lose_is_learned(kind, request):
    run, _, done = request.getfixturevalue(kind)
    assert accuracy_of(run) >= 0.9
    assert "are those of all 48 training images" in done.stderr
    data = OmegaConf.load(run / "config.yaml").data
    assert len(data.mean) == len(data.std) == {"gray": 1, "four": 4}[kind]
    picture = np.asarray(Image.open(next((run / "pictures").glob("test_maps.png"))))
    assert picture.ndim == 3


def test_mean_and_std_are_those_of_the_training_images(gray):
    run, root, _ = gray
    values = [np.asarray(Image.open(root / f"train{i}.png")) / 65535 for i in range(48)]
    data = OmegaConf.load(run / "config.yaml").data
    assert data.mean[0] == pytest.approx(np.mean(values), abs=1e-4)
    assert data.std[0] == pytest.approx(np.std(values), rel=0.2)  # resizing smooths


def test_an_evaluation_reads_what_the_training_read(gray, tmp_path):
    run, root, _ = gray
    options = ["methods=[gradcam]", "pictures.images=0", f"output_dir={tmp_path / 'own'}"]
    options.append("evaluate.faithfulness=[average_drop]")
    done = run_command("evaluate", f"checkpoint={run}", *options)
    assert done.returncode == 0, done.stderr
    assert accuracy_of(tmp_path / "own") == accuracy_of(run)
    other = words(root, 3, f"output_dir={tmp_path / 'other'}", "methods=[native]")
    done = run_command("evaluate", f"checkpoint={run}", *other)
    assert done.returncode != 0
    assert "was trained on images of 1 channels; leave it out" in done.stderr


@pytest.mark.parametrize("kind", ["gray", "four"])
def test_predictions_of_files_and_of_arrays_agree(kind, request, tmp_path):
    run, root, _ = request.getfixturevalue(kind)
    wrong = tmp_path / "images" / "wrong.png"
    wrong.parent.mkdir()
    Image.new("RGB", (9, 9)).save(wrong)
    files = sorted(root.glob("test*.*"))
    for file in files:
        (wrong.parent / file.name).write_bytes(file.read_bytes())
    done = run_command(
        "predict", f"checkpoint={run}", f"images={wrong.parent}", f"out={tmp_path / 'o'}"
    )
    assert done.returncode == 0, done.stderr
    assert "has 3 channels, not" in done.stderr
    found = json.loads((tmp_path / "o" / "predictions.json").read_text())["images"]
    assert len(found) == TEST
    names = [row["predicted"][0]["name"] for row in found]
    truth = [("dark", "bright")[int(row["image"][4:].split(".")[0]) % 2] for row in found]
    assert np.mean([name == true for name, true in zip(names, truth, strict=True)]) >= 0.9
    model = load(run)
    values = np.load(files[0]) if kind == "four" else np.asarray(Image.open(files[0]))
    tensor = torch.from_numpy(values.astype(np.float32) / np.iinfo(values.dtype).max)
    tensor = tensor.movedim(2, 0) if kind == "four" else tensor[None]
    first, second, third = model([files[0], values, tensor])
    np.testing.assert_allclose(first.map, second.map, atol=1e-6)
    np.testing.assert_allclose(first.map, third.map, atol=1e-3)
    with pytest.raises(ValueError, match="expected an array"):
        model(np.zeros((8, 8, 3), np.uint8))


def test_an_exported_graph_takes_the_channels(gray, four, tmp_path):
    for (run, root, _), channels in ((gray, 1), (four, 4)):
        path = tmp_path / f"model{channels}.pt2"
        done = run_command("export", f"checkpoint={run}", "format=pt2", f"out={path}")
        assert done.returncode == 0, done.stderr
        facts = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert facts["inputs"][0]["shape"] == ["batch", channels, 32, 32]
        assert facts["verified"]["source"].startswith("test of wsol")
        assert root.is_dir()
    done = run_command("export", f"checkpoint={four[0]}", "format=html", f"ort={tmp_path}")
    assert done.returncode != 0


def test_a_run_goes_on_with_the_numbers_that_it_began_with(gray, tmp_path):
    _, root, _ = gray
    for epochs in (1, 2):
        extra = [f"resume={tmp_path / 'parts'}"] if epochs == 2 else []
        options = ["test=false", f"recipe.classifier_epochs={epochs}"]
        if extra:
            done = run_command("train", *extra, *options)
            assert done.returncode == 0, done.stderr
            assert "are those of all" not in done.stderr
        else:
            train(tmp_path / "parts", root, 1, *options)
    train(tmp_path / "whole", root, 1, "test=false", "recipe.classifier_epochs=2")
    states = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("parts", "whole")
    ]
    for key, value in states[1].items():
        assert torch.equal(states[0][key], value), key


def test_files_of_another_kind_are_refused_before_any_work(four, tmp_path):
    _, root, _ = four
    done = run_command("train", *words(root, 1, "model=cam", f"output_dir={tmp_path / 'run'}"))
    assert done.returncode != 0
    assert "train0.npy has 4 channels, not 1 as data.channels=1 says" in done.stderr
    write_image(tmp_path / "gray.png", np.zeros((9, 9), np.uint8))
    done = run_command("train", *words(root, 4, "model=cam", "data.fast_decode=true"))
    assert "fast_decode=true is for 3 channels of 8 bits" in done.stderr
    done = run_command("train", *words(root, 4, "model=cam", "data.mean=[0.5]", "data.std=[0.5]"))
    assert "expected 4 means and 4 positive std" in done.stderr
