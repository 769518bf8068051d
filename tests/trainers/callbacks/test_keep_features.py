"""Kept features of a network from outside, unless its head needs more of an image than them."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from learned_saliency.attribution import GradCAM, SharedFeatures, split_levels
from learned_saliency.losses import FCAMLoss, SeedSampler
from learned_saliency.models import FCAM
from learned_saliency.trainers import FCAMModule, KeepFeatures, unkept
from tests.support.networks import SGD


class Network(nn.Module):
    """A network from outside, whose last block may be skipped around."""

    def __init__(self, skips):
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)
        self.last, self.fc = nn.Conv2d(6, 6, 3, 1, 1), nn.Linear(6, 5)
        self.skips = skips

    def forward(self, images):
        before = self.block(self.stem(images).relu()).relu()
        after = self.last(before)
        return self.fc((after + before if self.skips else after).relu().mean((2, 3)))


@pytest.fixture(params=[False, True])
def module(request):
    torch.manual_seed(0)
    classifier = split_levels(Network(request.param), "last", ["stem"], size=(32, 32))
    return FCAMModule(
        network=FCAM(classifier, widths=(4, 4)),
        seed_method=GradCAM(),
        sampler=SeedSampler(erosion=0),
        loss=FCAMLoss(),
        optimizer=SGD,
    )


def test_features_of_a_given_network_are_kept_unless_its_head_needs_more(module, tmp_path, capsys):
    network, passes = module.classifier.model, []
    network.stem.register_forward_hook(lambda *_: passes.append(1))
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    expected = module.network(images)
    expected_maps = module.seed_method(module.classifier, images, torch.tensor([0, 1, 4]))
    callback = KeepFeatures(tmp_path / "features", "cut: last", images=3, title="fcam")
    trainer = SimpleNamespace(
        is_global_zero=True, strategy=SimpleNamespace(reduce=lambda counts, reduce_op: counts)
    )
    callback.on_train_start(trainer, module)
    batch = {"image": images}
    passes.clear()
    for _ in range(2):
        callback.on_train_batch_start(trainer, module, batch, 0)
        found = module.network(images)
        shared = SharedFeatures(module.classifier, images, found.features)
        maps = module.seed_method(shared, images, torch.tensor([0, 1, 4]))
        callback.on_train_batch_end(trainer, module, None, batch, 0)
        for value, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(value, wanted)
        torch.testing.assert_close(maps, expected_maps)
    callback.on_train_end(trainer, module)
    told = capsys.readouterr().err
    assert len(passes) == (2 if network.skips else 1)
    if network.skips:
        assert unkept(module).startswith("its head reads more of an image")
        assert "fcam: no features are kept: its head reads more" in told
        assert not (tmp_path / "features").exists()
    else:
        assert not unkept(module)
        assert "0.0056 MB per image" in told
        assert "features were found 3 times and computed 3 times" in told
    torch.testing.assert_close(module.network(images).logits, network(images))
