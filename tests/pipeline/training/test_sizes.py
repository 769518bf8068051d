"""Runs on images that are no squares: trained, resumed, evaluated, applied and exported."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency import load
from learned_saliency.datamodules import read_resized, standardize
from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.export.export import export
from learned_saliency.pipeline.runs import load_module, read_checkpoint
from learned_saliency.pipeline.training import train
from learned_saliency.trainers import CAMModule
from tests.support.commands import run_command
from tests.support.untrained import untrained_run
from tests.support.words import of_model

SIZES = ["data.resize_size=[30,44]", "data.crop_size=[24,40]"]


@pytest.fixture(scope="module")
def cam(creatures, tmp_path_factory):
    """An untrained classifier for images of 24 x 40 pixels."""
    return untrained_run(creatures, tmp_path_factory.mktemp("cam") / "run", "model=cam", *SIZES)


@pytest.mark.parametrize("model", ["cam", "fcam", "calm", "casm", "tscam"])
def test_a_method_trains_and_gives_maps_of_this_size(small_run, tmp_path, model):
    few = ["+trainer.limit_train_batches=2", "pictures.images=2"]
    run = train(compose_checked([*of_model(small_run, model), *SIZES, *few])).folder
    found = json.loads((run / "results.json").read_text())["test"]["native"]
    assert all(np.isfinite(value) for name, value in found.items() if name != "le")
    module = load_module(read_checkpoint(run / "checkpoints/best.ckpt")).eval()
    images = torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    maps = module.maps(images, torch.tensor([0, 1]))[0]["native"].detach()
    assert maps.shape == (2, 24, 40)
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert (run / "pictures").is_dir()


class Killed(BaseException):
    """Not an Exception, as a kill is not."""


def test_a_killed_run_goes_on_bit_for_bit(small_run, tmp_path, monkeypatch):
    words = [*small_run, *SIZES, "model=cam", "model.epochs=2", "test=false", "pictures.images=0"]
    words.append("data.cache=disk")
    whole = train(compose_checked([*words, f"output_dir={tmp_path}/whole"]))
    step = CAMModule.training_step

    def dying(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 2:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(CAMModule, "training_step", dying)
    with pytest.raises(Killed):
        train(compose_checked([*words, f"output_dir={tmp_path}/killed"]))
    monkeypatch.undo()
    resumed = train(compose_checked([*words, f"resume={tmp_path}/killed/checkpoints/last.ckpt"]))
    ours, theirs = (
        read_checkpoint(f.folder / "checkpoints" / "last.ckpt").content for f in (resumed, whole)
    )
    for part in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(ours[part], theirs[part], rtol=0, atol=0)


def test_a_run_is_evaluated_at_another_size(cam, tmp_path):
    words = [f"checkpoint={cam}", "methods=[native,gradcam]", f"output_dir={tmp_path}/out"]
    found = run_command("evaluate", *words, "data.crop_size=[28,20]", "pictures.images=2")
    assert found.returncode == 0, found.stderr
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert result["test"]["gradcam"]["max_box_acc"] > 0


def test_maps_of_photographs_are_the_modules_in_the_photographs_place(cam, tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    model = load(cam, device="cpu")
    assert model.size == [24, 40]
    assert "input 24 x 40" in repr(model)
    (found,) = model(tmp_path / "photo.png")
    seen = read_resized(tmp_path / "photo.png", (24, 40))
    images = standardize(seen[None], model.mean, model.std)
    expected = model.module.maps(images, torch.tensor([found.classes[0].index]))[0]["native"][0]
    assert found.map.shape == (48, 80)
    # each pixel became four: their mean weighs the neighbors of the pixel symmetrically
    inner = found.map.reshape(24, 2, 40, 2).mean((1, 3))[1:-1, 1:-1]
    kernel = torch.tensor([1.0, 6.0, 1.0]) / 8
    smooth = torch.nn.functional.conv2d(
        expected.detach()[None, None], (kernel[:, None] * kernel)[None, None]
    )[0, 0]
    np.testing.assert_allclose(inner, smooth, atol=1e-5)


def test_a_foreign_network_is_applied_at_a_given_size(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo).save(tmp_path / "photos" / "a.png")
    words = ["classifier=tests.support.own_networks:convolutional", "layer=last"]
    words += [f"images={tmp_path}/photos", f"out={tmp_path}/out", "input.size=[32,48]"]
    found = run_command("predict", *words)
    assert found.returncode == 0, found.stderr
    assert json.loads((tmp_path / "out/predictions.json").read_text())["input_size"] == [32, 48]
    with Image.open(next(tmp_path.glob("out/a.png*.map.png"))) as made:
        assert made.size == (50, 30)


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_an_exported_graph_takes_images_of_this_size(cam, tmp_path, kind):
    pytest.importorskip("onnxscript" if kind == "onnx" else "torch")
    words = [f"checkpoint={cam}", f"format={kind}", f"out={tmp_path}", "maps=predicted"]
    made = export(compose_checked(words, "export"))
    facts = json.loads(made.file.with_name(f"{made.file.name}.json").read_text())
    assert facts["input_size"] == [24, 40]
    assert facts["inputs"][0]["shape"] == ["batch", 3, 24, 40]
    assert facts["outputs"][-1]["shape"] == ["batch", 24, 40]
    assert facts["inputs"][0]["resize"].startswith("to the size, without regard to the aspect")


def test_a_size_that_patches_do_not_divide_is_refused(small_run):
    words = of_model(small_run, "tscam")
    told = r"data\.crop_size=\[24,36\].*24 x 36 pixels do not divide into patches of 8 x 8"
    with pytest.raises(UserError, match=told):
        train(compose_checked([*words, "data.resize_size=[30,44]", "data.crop_size=[24,36]"]))


def test_positions_for_no_whole_patches_are_refused(small_run):
    words = [*of_model(small_run, "tscam"), *SIZES, "backbone.img_size=[24,36]"]
    told = r"^backbone\.img_size=\[24,36\]: 24 x 36 pixels do not divide into .* multiples of 8\.$"
    with pytest.raises(UserError, match=told):
        train(compose_checked(words))
