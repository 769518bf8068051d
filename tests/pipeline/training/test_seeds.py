"""F-CAM starts from the maps of any method that a configuration names."""

import re

import pytest
import torch
import yaml

from learned_saliency.attribution import SharedFeatures
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.runs.build import build_module, build_network
from learned_saliency.pipeline.training.checks import check_pseudo_labels
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
    seen = []
    sample = type(module.sampler).__call__
    monkeypatch.setattr(
        type(module.sampler),
        "__call__",
        lambda self, maps, **options: seen.append(maps) or sample(self, maps, **options),
    )
    module.train()
    module.training_step(batch, 0).backward()
    assert all(p.grad is None for p in module.classifier.parameters())
    assert all(p.grad is not None for p in module.network.decoder.parameters())
    features = module.classifier.features(batch["image"])
    shared = SharedFeatures(module.classifier, batch["image"], features)
    torch.testing.assert_close(seen[0], module.seed_method(shared, batch["image"], batch["label"]))


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
