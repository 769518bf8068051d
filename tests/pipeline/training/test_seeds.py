"""F-CAM starts from the maps of any method that a configuration names."""

import re

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

from learned_saliency.attribution import SharedFeatures
from learned_saliency.models import MultiScaleBackbone
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.runs.build import build_module, build_network
from learned_saliency.pipeline.runs.methods import build_evaluation
from learned_saliency.pipeline.training.checks import check_pseudo_labels
from learned_saliency.pipeline.training.trial import try_to_build
from tests.support.paths import CONFIGS
from tests.support.words import SMALL_RUN

SEEDS = {
    "cam": "CAM",
    "gradcam": "GradCAM",
    "gradcampp": "GradCAMPlusPlus",
    "smoothgradcampp": "SmoothGradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(3, 3, 32, 32, generator=generator),
        "label": torch.tensor([0, 5, 9]),
        "image_id": ["a", "b", "c"],
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_one_step_with_each_seed(batch, seed, monkeypatch):
    """Pseudo-labels come from the seed's maps of the true class; the decoder alone learns."""
    config = compose_checked([*SMALL_RUN, "model=fcam", f"model.pseudo_labels={seed}"])
    assert list(config.methods) == ["native", seed]
    torch.manual_seed(0)
    module = build_module(config.model, build_network(config.model, 16))
    assert type(module.seed_method).__name__ == SEEDS[seed]
    module.log_losses = lambda *args: None
    passed = []
    module.classifier.backbone.register_forward_pre_hook(lambda _, x: passed.append(len(x[0])))
    seen = []
    sample = type(module.sampler).__call__
    monkeypatch.setattr(
        type(module.sampler),
        "__call__",
        lambda self, maps, **options: seen.append(maps) or sample(self, maps, **options),
    )
    module.train()
    module.training_step(batch, 0).backward()
    # One pass of the batch serves decoder and seeds; noisy images need passes of their own.
    assert sum(passed) == len(batch["label"]) * (5 if seed == "smoothgradcampp" else 1)
    assert all(p.grad is None for p in module.classifier.parameters())
    assert all(p.grad is not None for p in module.network.decoder.parameters())
    features = module.classifier.features(batch["image"])
    shared = SharedFeatures(module.classifier, batch["image"], features)
    torch.testing.assert_close(seen[0], module.seed_method(shared, batch["image"], batch["label"]))


class OwnMaps(nn.Module):
    """A classifier that is no CAMClassifier: its head is no linear one, its maps are its own."""

    cams_are_probabilities = False

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.num_classes = backbone, 16
        self.score = nn.Conv2d(backbone.channels[-1], 16, 1)

    def levels(self, images):
        return self.backbone(images)

    def features(self, images):
        return self.levels(images)[-1]

    def head(self, features):
        return self.score(features).amax((2, 3))

    def forward(self, images):
        return self.head(self.features(images))

    def cams(self, features, labels=None):
        maps = self.score(features).sigmoid()
        return maps if labels is None else maps[range(len(labels)), labels]


@pytest.mark.parametrize("seed", ["cam", "layercam"])
def test_fcam_stands_on_any_classifier_and_draws_from_its_own_maps(batch, seed):
    config = compose_checked([*SMALL_RUN, "model=fcam", f"model.pseudo_labels={seed}"])
    torch.manual_seed(0)
    classifier = OwnMaps(build_network(config.model.first_stage, 16).backbone)
    module = build_module(config.model, build_network(config.model, 16, classifier))
    module.log_losses = lambda *args: None
    seen, sample = [], module.sampler
    module.sampler = lambda maps, **options: seen.append(maps) or sample(maps, **options)
    module.train()
    module.training_step(batch, 0).backward()
    assert not any(part.training for part in classifier.modules())
    assert all(p.grad is not None for p in module.network.decoder.parameters())
    if seed == "cam":
        own = classifier.cams(classifier.features(batch["image"]), batch["label"])
        size = batch["image"].shape[-2:]
        expected = functional.interpolate(own[:, None], size, mode="bicubic")[:, 0]
        expected -= expected.amin((1, 2), keepdim=True)
        torch.testing.assert_close(seen[0], expected / expected.amax((1, 2), keepdim=True))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.pseudo_labels=legrad"], r"pseudo_labels=legrad: does not fit .*=resnet10t: LeG"),
        (["methods=[native,rawattention]"], r"methods=rawattention: .* has no attention"),
        (["model.first_stage.pictures=[calm_joint]"], r"first_stage\.pictures=calm_joint: .*CALM"),
    ],
)
def test_a_method_of_other_networks_is_refused_before_training(words, told):
    config = compose_checked([*SMALL_RUN, "model=fcam", *words])
    with pytest.raises(UserError, match=told):
        try_to_build(config, 16, build_evaluation(config))


def test_pseudo_labels_by_a_slow_method_are_tried_briefly_and_their_cost_is_told(capsys):
    config = compose_checked([*SMALL_RUN, "model=fcam", "model.pseudo_labels=rise"])
    passed = []
    handle = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, x: (
            passed.append(len(x[0])) if isinstance(module, MultiScaleBackbone) else None
        )
    )
    try:
        try_to_build(config, 16, build_evaluation(config))
    finally:
        handle.remove()
    assert sum(passed) < 1000  # not its 4000
    assert "pseudo-labels: rise runs the classifier on more than 32" in capsys.readouterr().err


def test_pseudo_labels_of_averaged_maps_are_refused_in_one_sentence():
    config = compose_checked([*SMALL_RUN, "model=fcam", "model.pseudo_labels=meanmap"])
    with pytest.raises(UserError, match="name one of them: gradcam, liftcam, layercam"):
        check_pseudo_labels(config)
    for words in (["model=fcam"], ["model=cam"]):
        check_pseudo_labels(compose_checked([*SMALL_RUN, *words]))


def test_each_row_of_paper_003_is_its_plain_recipe_with_other_seeds():
    """Tab. 1 has two data sets, three networks and, beside CAM, five methods."""
    files = sorted((CONFIGS / "experiment").glob("fcam_*_*cam*.yaml"))
    rows = [file for file in files if file.stem.rpartition("_")[2] in SEEDS]
    assert len(rows) == 2 * 3 * 5
    for file in rows:
        plain, _, seed = file.stem.rpartition("_")
        assert (CONFIGS / "experiment" / f"{plain}.yaml").is_file()
        text = file.read_text()
        assert yaml.safe_load(text) == {
            "defaults": [plain, "_self_"],
            "model": {"pseudo_labels": seed},
        }
        first = text.splitlines()[1]
        ours, alone = map(
            float, re.search(r"(?:Acc|PxAP) ([\d.]+) from \S+ (\d+\.\d)", first).groups()
        )
        assert ours > alone, first
        assert f" experiment={file.stem} " in text
