"""Maps of a network of torchvision's, whose LightningModule knows nothing of this project."""

import os
import subprocess
import sys
from types import SimpleNamespace

import cv2
import lightning as L
import pytest
import torch
import torchvision
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from learned_saliency import SaliencyCallback
from learned_saliency.attribution import GradCAM, OptiCAM, split
from learned_saliency.trainers.callbacks.inference_tensors import normal_tensors
from learned_saliency.trainers.callbacks.named_methods import named_methods
from learned_saliency.trainers.callbacks.showing import show_picture
from learned_saliency.trainers.callbacks.shown_images import Drawn, first_images, to_colors
from tests.support.paths import ROOT

LAYER = "model.features.12"
QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


class Own(L.LightningModule):
    """A classifier with BatchNorm and Dropout, as its author wrote it."""

    def __init__(self):
        super().__init__()
        self.model = torchvision.models.mobilenet_v3_small(num_classes=3)

    def forward(self, images):
        return self.model(images)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        self.log("accuracy", (self(images).argmax(1) == labels).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01, momentum=0.9)


def loader(count=8, shuffle=False):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 64, 64, generator=generator)
    return DataLoader(TensorDataset(images, torch.arange(count) % 3), 4, shuffle=shuffle)


class Seen(SaliencyCallback):
    """A callback that keeps what it drew."""

    seen = ()

    def _rows(self, trainer, module, images):
        self.seen = super()._rows(trainer, module, images)
        return self.seen


def fit(tmp_path, *callbacks, module=None, **options):
    L.seed_everything(0, verbose=False)
    module = module or Own()
    options = QUIET | {"logger": False, "max_epochs": 2, "enable_checkpointing": False} | options
    trainer = L.Trainer(default_root_dir=tmp_path, callbacks=list(callbacks), **options)
    trainer.fit(module, loader(shuffle=True), loader())
    return trainer, module


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_is_the_same_to_the_bit_with_and_without(tmp_path, precision):
    methods = {"gradcam": None, "smoothgrad": None, "opticam": {"iterations": 2}}
    options = {"precision": precision, "accumulate_grad_batches": 2, "inference_mode": True}
    callback = SaliencyCallback(LAYER, methods, images=3)
    _, with_maps = fit(tmp_path / "with", callback, **options)
    after = torch.rand(1)
    _, without = fit(tmp_path / "without", **options)
    assert torch.rand(1) == after
    torch.testing.assert_close(with_maps.state_dict(), without.state_dict(), rtol=0, atol=0)
    assert all(weight.requires_grad for weight in with_maps.parameters())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in with_maps.modules()]
    assert not any(hooks)
    pictures = sorted(path.name for path in (tmp_path / "with").rglob("*.png"))
    assert pictures == ["epoch_000_step_000001.png", "epoch_001_step_000002.png"]
    rows, columns, _ = cv2.imread(str(next((tmp_path / "with").rglob("*.png")))).shape
    assert columns > 4 * 160
    assert rows > 3 * 160


def test_gradients_and_modes_are_left_as_found(tmp_path):
    found = {}

    class Watch(L.Callback):
        def on_validation_start(self, trainer, module):
            module.model.features[0].train()
            module.model.features[1].requires_grad_(False)
            found["before"] = state(module)

        def on_validation_end(self, trainer, module):  # called after the other callback's
            found["after"] = state(module)

    def state(module):
        gradients = [None if p.grad is None else p.grad.clone() for p in module.parameters()]
        modes = [m.training for m in module.modules()]
        return modes, [p.requires_grad for p in module.parameters()], gradients

    class Keeping(Own):
        def on_validation_model_zero_grad(self):
            """Keep the gradients, which Lightning would release before each validation."""

    # one batch of an accumulation of three: gradients are there when the validation begins
    options = {"accumulate_grad_batches": 3, "val_check_interval": 1, "max_steps": 1}
    fit(tmp_path, SaliencyCallback(LAYER), Watch(), module=Keeping(), **options)
    before, after = found["before"], found["after"]
    assert before[:2] == after[:2]
    assert any(gradient is not None for gradient in before[2])
    torch.testing.assert_close(after[2], before[2], rtol=0, atol=0)


def test_maps_are_those_of_the_methods(tmp_path):
    callback = Seen("features.12", ["gradcam", OptiCAM(iterations=2)], images=5, network="model")
    _, module = fit(tmp_path, callback, max_epochs=1)
    images = loader().dataset.tensors[0][:5]
    classifier = split(module.model.eval(), "features.12")
    maps = GradCAM()(classifier, images)
    assert list(callback.seen[0][2]) == ["gradcam", "OptiCAM"]
    for row, (image, told, found) in enumerate(callback.seen):
        torch.testing.assert_close(image, images[row])
        torch.testing.assert_close(found["gradcam"], maps[row], rtol=1e-4, atol=1e-4)
        probs = module(images[row : row + 1]).softmax(1)
        assert told == f"{int(probs.argmax())} {float(probs.max()):.1%}"


@pytest.mark.parametrize("target", ["margin", lambda logits: logits[:, 2] - logits[:, 1]])
def test_maps_explain_the_target(tmp_path, target):
    callback = Seen(LAYER, ["gradcam"], images=2, target=target, folder=tmp_path)
    module = Own()
    L.Trainer(callbacks=[callback], logger=False, **QUIET).validate(
        module, loader(4), verbose=False
    )
    images = loader(4).dataset.tensors[0][:2]
    if target == "margin":
        expected = GradCAM(target=target)(split(module.eval(), LAYER), images)
    else:
        classifier = split(module.eval(), LAYER, outputs=target)
        expected = GradCAM()(classifier, images)
        scores = [f"score 0: {float(score):.4g}" for score in classifier(images)]
        assert [told for _, told, _ in callback.seen] == scores
    for (_, _, found), wanted in zip(callback.seen, expected, strict=True):
        torch.testing.assert_close(found["gradcam"], wanted, rtol=1e-4, atol=1e-4)


def test_pictures_come_every_few_epochs_and_at_a_validation_alone(tmp_path):
    callback = Seen(LAYER, images=2, every_n_epochs=2, folder=tmp_path / "mine")
    _, module = fit(tmp_path, callback, max_epochs=3, num_sanity_val_steps=0)
    names = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert names == ["epoch_000_step_000002.png", "epoch_002_step_000006.png"]
    shown = Seen(LAYER, folder=tmp_path / "validated")
    L.Trainer(callbacks=[shown], logger=False, **QUIET).validate(module, loader(), verbose=False)
    assert len(list((tmp_path / "validated").iterdir())) == 1
    assert len(shown.seen) == 8


def test_the_first_process_of_two_draws(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(
        "import sys, torch\n"
        "from tests.trainers.callbacks.test_saliency import LAYER, SaliencyCallback, fit\n"
        "torch.set_num_threads(1)\n"
        "class Say(SaliencyCallback):\n"
        "    def on_fit_end(self, trainer, module):\n"
        "        total = sum(float(p.double().sum()) for p in module.parameters())\n"
        "        print(f'rank {trainer.global_rank} {total!r}\\n', end='', flush=True)\n"  # at once
        "class Quiet(Say):\n"
        "    def _draws(self, trainer):\n"
        "        return False\n"
        "for kind in (Say, Quiet):\n"
        "    fit(sys.argv[1], kind(LAYER, images=3), devices=2, strategy='ddp_fork')\n"
    )
    words = [sys.executable, str(script), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    said = [line.split() for line in done.stdout.splitlines() if line.startswith("rank")]
    assert len(said) == 4
    assert len({total for _, _, total in said}) == 1  # equal on both, with and without maps
    assert len(list((tmp_path / "saliency" / LAYER).iterdir())) == 2


class Cached(nn.Module):
    """A network that fills a table at its first pass, and a buffer then, too."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.table = nn.Conv2d(3, 4, 3), nn.Linear(4, 3), None
        self.register_buffer("scale", None, persistent=False)

    def forward(self, images):
        features = self.conv(images)
        if self.table is None:
            self.table = [torch.rand(features.shape[-2:])]
            self.scale = torch.ones(4)
        return self.fc((features * self.table[0]).exp().mean((2, 3)) * self.scale)


def test_tables_that_were_made_under_inference_mode_are_no_hindrance():
    network = Cached()
    with torch.inference_mode():
        network(torch.rand(1, 3, 8, 8))
    table, scale = network.table, network.scale
    assert table[0].is_inference()
    classifier = split(network, "conv", tracing=False, layout="channels_first")
    with normal_tensors(classifier):
        maps = GradCAM()(classifier, torch.rand(2, 3, 8, 8))
    assert maps.max() == 1
    assert network.table is table
    assert network.scale is scale


class Untrained(Own):
    """A module whose training never begins."""

    def training_step(self, batch, batch_idx):
        raise AssertionError


def test_a_wrong_layer_network_or_batch_is_told_before_the_training(tmp_path):
    for callback, told in (
        (
            SaliencyCallback("model.features.21"),
            r"no layer 'model.features.21'; there are, nearest",
        ),
        (
            SaliencyCallback("features.12", network="net"),
            "network='net' is no module of Untr",
        ),
        (SaliencyCallback(LAYER, batch_to_images=lambda b: first_images(b[1])), "batch_to_images="),
        (SaliencyCallback(LAYER, ["rollout"]), "attention"),
    ):
        with pytest.raises(ValueError, match=told):
            fit(tmp_path, callback, module=Untrained())


def test_a_module_without_a_forward_is_told_to_name_its_network(tmp_path):
    class Closed(L.LightningModule):
        training_step, configure_optimizers = Own.training_step, Own.configure_optimizers
        validation_step = Own.validation_step

        def __init__(self):
            super().__init__()
            self.model = nn.Linear(2, 2)

    with pytest.raises(ValueError, match=r"Closed has no forward.*network=, one of model"):
        fit(tmp_path, SaliencyCallback("model"), module=Closed())


def test_networks_that_are_spread_over_processes_are_left_alone():
    callback = SaliencyCallback(LAYER)
    trainer = SimpleNamespace(is_global_zero=True, strategy=object.__new__(FSDPStrategy))
    callback.on_validation_batch_start(trainer, None, "no batch", 0)
    callback.on_validation_end(trainer, None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"methods": ["gradcan"]}, "no method is named 'gradcan'; the nearest is gradcam"),
        ({"methods": []}, "name at least one"),
        ({"methods": [GradCAM(), GradCAM()]}, "has a title twice"),
        ({"methods": {"opticam": {"iterations": 0}}}, "opticam: "),
        ({"methods": ["amortized"]}, "amortized: its options do not fit .*'network'"),
        ({"images": 0}, "of 1 or more, got 0 and 1"),
        ({"every_n_epochs": 0}, "of 1 or more"),
        ({"mean": (0.5, 0.5, 0.5)}, "together or not at all"),
    ],
)
def test_wrong_arguments_are_told(arguments, told):
    with pytest.raises(ValueError, match=told):
        SaliencyCallback("layer4", **arguments)


def test_methods_have_the_options_of_the_configuration():
    found = named_methods(["cam", "scorecam", "camsuperset"])
    assert found["cam"].interpolation == "bicubic"
    assert list(named_methods({"fast": "gradcam", "opticam": {"iterations": 7}})) == [
        "fast",
        "opticam",
    ]
    found = named_methods({"gradcam": None, "hirescam": {"target": "logit"}}, "margin")
    assert [method.target for method in found.values()] == ["margin", "logit"]
    with pytest.raises(ValueError, match="cam: CAM explains the logit, not the margin"):
        named_methods("cam", "margin")
    with pytest.raises(TypeError, match="x is no method but int"):
        named_methods({"x": 3})


def test_images_are_the_first_ones_or_drawn_by_a_seed():
    batches = torch.arange(40.0).view(10, 4, 1, 1, 1).expand(10, 4, 3, 2, 2)

    def drawn(seed, batches):
        some = Drawn(5, seed)
        for batch in batches:
            some.add(batch)
        return [float(image[0, 0, 0]) for image in some.images()]

    assert drawn(None, batches) == [0, 1, 2, 3, 4]
    chosen = drawn(3, batches)
    assert chosen == sorted(chosen) != [0, 1, 2, 3, 4]
    assert drawn(3, batches.reshape(5, 8, 3, 2, 2)) == chosen  # whatever the batches
    assert drawn(4, batches) != chosen
    assert drawn(None, batches[:1]) == [0, 1, 2, 3]


def test_images_are_found_in_batches_of_any_form():
    images = torch.rand(2, 3, 4, 4)
    masks, labels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2)
    for batch in (images, (labels, images), {"y": labels, "m": masks, "x": [images]}):
        assert first_images(batch) is images
    with pytest.raises(ValueError, match="finds no images"):
        first_images((labels, masks))


def test_colors_are_those_before_the_normalization():
    colors = torch.tensor([[[0.0, 1.0]], [[0.2, 0.4]], [[0.6, 0.8]]])
    wanted = [[[0, 51, 153], [255, 102, 204]]]
    assert to_colors(colors, None, None).tolist() == wanted
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    shape = (3, 1, 1)
    normal = (colors - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    assert to_colors(normal, mean, std).tolist() == wanted
    assert to_colors(torch.tensor([[[-1.0, 3.0]]]), None, None).tolist() == [[[0] * 3, [255] * 3]]


def test_loggers_of_several_kinds_show_the_picture(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    fit(tmp_path, SaliencyCallback(LAYER, images=2), logger=logger, max_epochs=1)
    logger.experiment.flush()
    (events,) = tmp_path.rglob("events.out*")
    assert b"saliency/model.features.12" in events.read_bytes()
    (picture,) = tmp_path.rglob("*.png")
    assert picture.parent == tmp_path / "lightning_logs/version_0/saliency" / LAYER
    told = {}
    colors = cv2.imread(str(picture))
    like_wandb = SimpleNamespace(log_image=lambda **given: told.update(given))
    show_picture(like_wandb, "saliency/x", picture, colors, 1, 7)
    assert (told["key"], told["step"], len(told["images"])) == ("saliency/x", 7, 1)
    show_picture(SimpleNamespace(), "saliency/x", picture, colors, 1, 7)  # which shows no pictures

    class LikeMLflow(MLFlowLogger):
        run_id, experiment = "run", SimpleNamespace(log_image=lambda *a, **k: told.update(k, of=a))

        def __init__(self):
            """Do without a server."""

    show_picture(LikeMLflow(), "saliency/x", picture, colors, 1, 7)
    assert told["artifact_file"] == f"saliency/x/{picture.name}"
    assert told["of"][0] == "run"
