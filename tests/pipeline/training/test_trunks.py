"""All methods on a plain and on a hierarchical transformer, from training to prediction."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.errors import Stopped
from learned_saliency.pipeline.cli import UserError, compose_checked, end_on_signals
from learned_saliency.pipeline.commands.evaluate import evaluation_words
from learned_saliency.pipeline.evaluation import evaluate
from learned_saliency.pipeline.export import export
from learned_saliency.pipeline.prediction import predict
from learned_saliency.pipeline.runs import load_module, read_checkpoint
from learned_saliency.pipeline.training import resumed_config, train
from learned_saliency.trainers import SaliencyModule
from tests.support.words import SMALL_DATA
from tests.support.words import TRANSFORMER as VIT

SWIN = [
    "backbone=timm",
    "backbone.name=swin_tiny_patch4_window7_224",
    "+backbone.embed_dim=8",
    "+backbone.depths=[1,1,1,1]",
    "+backbone.num_heads=[1,1,1,1]",
    "data.resize_size=72",
    "data.crop_size=64",
]
METHODS = {
    "cam": ["model=cam", "backbone.trainable=blocks:1", "recipe.layer_decay=0.5"],
    "calm": ["model=calm", "model.first_stage.epochs=0", "recipe.layer_decay=0.5"],
    "fcam": [
        "model=fcam",
        "model.first_stage.epochs=0",
        "backbone.frozen=true",
        "recipe.decoder_widths=[16,8]",
    ],
    "casm": ["model=casm", "model.first_stage.epochs=0", "model.pool.thinning=L2"],
    "tscam": ["model=tscam"],
}
SHORT = [
    "recipe.classifier_epochs=2",
    "++recipe.epochs=2",
    "+trainer.limit_train_batches=2",
    "+trainer.limit_val_batches=1",
    "pictures.images=0",
]


@pytest.fixture(scope="module")
def start(creatures):
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    return lambda folder, *words: train(
        compose_checked([*SMALL_DATA, *place, *SHORT, *words, f"output_dir={folder}"])
    )


@pytest.fixture(scope="module")
def runs(start, tmp_path_factory):
    """Folders of trained vision transformers by method."""
    folder = tmp_path_factory.mktemp("vit")
    for method, words in METHODS.items():
        start(folder / method, *VIT, *words)
    return folder


def stopped_in_the_second_epoch(start, folder, words, monkeypatch):
    """Train until the third of four steps, then go on."""
    steps, log = [0], SaliencyModule.log_losses

    def stopping(self, *args):
        steps[0] += 1
        if steps[0] == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return log(self, *args)

    monkeypatch.setattr(SaliencyModule, "log_losses", stopping)
    before = signal.getsignal(signal.SIGTERM)
    end_on_signals()
    try:
        with pytest.raises(Stopped):
            start(folder, *words)
    finally:
        signal.signal(signal.SIGTERM, before)
    monkeypatch.undo()
    words = [f"resume={folder}"]
    train(resumed_config(compose_checked(words), words))


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_training_goes_on_to_the_same_weights(method, start, runs, tmp_path, monkeypatch):
    words = [*VIT, *METHODS[method]]
    stopped_in_the_second_epoch(start, tmp_path / "run", words, monkeypatch)
    found, expected = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (tmp_path / "run", runs / method)
    )
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch"):
        torch.testing.assert_close(found[part], expected[part], rtol=0, atol=0)


def exported(run, folder, kind="onnx"):
    """Largest difference of an exported file from its checkpoint."""
    if kind == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    words = [f"checkpoint={run}", f"out={folder}", f"format={kind}"]
    return max(export(compose_checked(words, "export")).differences.values())


@pytest.mark.parametrize(
    ("method", "kind"),
    [("cam", "pt2"), ("calm", "onnx"), ("fcam", "onnx"), ("casm", "pt2"), ("tscam", "onnx")],
)
def test_exported_vision_transformers_equal_the_checkpoint(method, kind, runs, tmp_path):
    assert exported(runs / method, tmp_path, kind) < 1e-4


def test_swin_is_trained_at_another_size_and_exported(start, tmp_path):
    one = ["recipe.classifier_epochs=1", "recipe.epochs=1", "trainer.limit_train_batches=1"]
    start(tmp_path / "run", *SWIN, "model=fcam", "recipe.layer_decay=0.5", *one, "test=false")
    assert exported(tmp_path / "run", tmp_path) < 1e-4


def test_post_hoc_methods_explain_a_vision_transformer(runs, tmp_path):
    methods = ["native", "cam", "gradcam", "opticam", "liftcam", "scorecam"]
    words = [
        f"output_dir={tmp_path}/evaluation",
        f"checkpoint={runs}/cam",
        f"methods=[{','.join(methods)}]",
        "attribution.opticam.iterations=2",
        "evaluate.faithfulness=[]",
    ]
    found = evaluate(compose_checked(evaluation_words(words), "evaluate", complete=False))
    assert set(methods) <= set(found.results)
    assert found.results["native"] == found.results["cam"]


@pytest.mark.parametrize("method", METHODS)
def test_predictions_have_the_size_of_their_image(method, runs, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 31, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    words = [f"checkpoint={runs}/{method}", f"images={tmp_path}/photos"]
    words += [f"out={tmp_path}/out", "arrays=true", "trainer=cpu"]
    folder = predict(compose_checked(words, "predict", complete=False)).folder
    (record,) = json.loads((folder / "predictions.json").read_text())["images"]
    assert (record["width"], record["height"]) == (31, 50)
    (drawn,) = record["maps"]
    assert np.load(folder / drawn["array"]).shape == (50, 31)


def test_what_is_not_trained_keeps_its_initial_weights(runs):
    """The frozen trunk of F-CAM, and all but the last block of CAM."""
    states = {
        name: load_module(read_checkpoint(runs / name, "best.ckpt")).state_dict()
        for name in ("cam", "fcam")
    }
    inner = {key for key in states["cam"] if "backbone.network." in key}
    lower = {key for key in inner if ".blocks.1." not in key and ".blocks.2." not in key}
    for key in lower - {
        "network.backbone.network.norm.weight",
        "network.backbone.network.norm.bias",
    }:
        theirs = states["fcam"][key.replace("network.", "network.classifier.", 1)]
        torch.testing.assert_close(states["cam"][key], theirs, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [*VIT, "model=cam", "data.crop_size=28"],
            "data.crop_size=28: backbone=vit_tiny_patch16_224 does not .*: 28 x 28 pixels do not",
        ),
        (
            ["backbone=timm", "backbone.name=vit_tiny_patch16_224", "model=cam"],
            "case for backbone=vit backbone.name=vit_tiny_patch16_224",
        ),
        (
            ["backbone=resnet18", "model=tscam"],
            "choose a vision transformer, backbone=vit backbone.name=deit_small_patch16_224",
        ),
        (
            [*VIT, "model=tscam", "trainer.compile=default"],
            "trainer.compile=default: model=tscam is not compiled: the class token's attention",
        ),
        (
            [*VIT, "model=casm", "backbone.frozen=true", "model.network.shared=false"],
            "shared=false trains a copy of the backbone",
        ),
        (
            [*VIT, "model=cam", "backbone.frozen=true", "backbone.trainable=blocks:1"],
            "frozen=true and trainable=blocks:1 exclude each other",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_the_training(words, message, start, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        start(tmp_path / "run", *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
