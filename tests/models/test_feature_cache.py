"""Features of a frozen backbone on disk: the same values, never stale, never half."""

import copy
import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from learned_saliency.models import FeatureCache, feature_key, is_feature_cache, is_frozen
from tests.support.networks import TinyBackbone


class Trunk(nn.Module):
    """Two levels, of which the second lies in memory as ``order`` says; counts its passes."""

    channels, reductions = (5, 6), (1, 2)

    def __init__(self, order="contiguous"):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 6, 2, stride=2)
        self.order, self.passes = order, []

    def forward(self, images):
        self.passes.append(len(images))
        first = self.first(images).relu()
        second = self.second(first)
        if self.order == "channels_last":
            second = second.contiguous(memory_format=torch.channels_last)
        elif self.order == "tokens":  # a part of the tokens, as a transformer leaves them
            tokens = second.flatten(2).transpose(1, 2)
            tokens = torch.cat([tokens[:, :1], tokens], 1)[:, 1:]
            second = tokens.transpose(1, 2).unflatten(2, second.shape[2:])
        return [first, second]


@pytest.fixture(autouse=True)
def weights():
    torch.manual_seed(0)


@pytest.fixture
def trunk():
    return Trunk().requires_grad_(False).eval()


@pytest.fixture
def attached(tmp_path):
    caches = []

    def attach(backbone, options=""):
        cache = FeatureCache(tmp_path / "features", feature_key(backbone, options))
        cache.attach(backbone)
        caches.append(cache)
        return cache

    yield attach
    for cache in caches:
        cache.detach()


def files(cache):
    return sorted(cache.folder.glob("*/*.safetensors"))


@pytest.mark.parametrize("order", ["contiguous", "channels_last", "tokens"])
def test_kept_levels_are_the_computed_ones_to_the_bit_and_in_memory(attached, order):
    trunk = Trunk(order).requires_grad_(False).eval()
    images = torch.randn(4, 3, 6, 8)
    expected = trunk(images)
    cache = attached(trunk)
    cache.expect(images)
    for _ in range(2):
        for level, wanted in zip(trunk(images), expected, strict=True):
            torch.testing.assert_close(level, wanted, rtol=0, atol=0)
            if order != "tokens":
                assert level.stride() == wanted.stride()
    assert trunk.passes == [4, 4]
    assert (cache.hits, cache.misses, cache.count()) == (4, 4, 4)
    assert cache.image_bytes == 4 * (5 * 6 * 8 + 6 * 3 * 4)
    assert not list(cache.folder.rglob("*.tmp"))


def test_only_images_that_are_missing_are_computed_in_one_pass(trunk, attached):
    images = torch.randn(5, 3, 6, 6)
    expected = trunk(images)
    cache = attached(trunk)
    some, every = images[[1, 3]], images.clone()
    for batch in (some, every):
        cache.expect(batch)
    trunk(some)
    found = trunk(every)
    assert trunk.passes == [5, 2, 3]
    assert (cache.hits, cache.misses) == (2, 5)
    for level, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(level, wanted)


def test_an_image_is_found_in_any_batch_and_by_another_run(trunk, attached):
    images = torch.randn(3, 3, 6, 6)
    cache = attached(trunk)
    cache.expect(images)
    first = trunk(images)
    cache.detach()
    again = copy.deepcopy(trunk)
    others = attached(again)
    turned = images.flip(0)
    others.expect(turned)
    for level, wanted in zip(again(turned), first, strict=True):
        torch.testing.assert_close(level, wanted.flip(0), rtol=0, atol=0)
    assert (others.hits, others.misses) == (3, 0)


def test_images_that_nobody_announced_go_through_the_backbone(trunk, attached):
    images = torch.randn(2, 3, 6, 6)
    cache = attached(trunk)
    cache.expect(images)
    trunk(images.clone())
    trunk(images * 0.5)
    trunk(images[:0])
    wanting = images.clone().requires_grad_()
    cache.expect(wanting)
    trunk(wanting)[1].sum().backward()
    assert wanting.grad is not None
    assert trunk.passes == [2, 2, 0, 2]
    assert not files(cache)


def test_an_image_that_was_written_to_is_another_one(trunk, attached):
    images = torch.randn(2, 3, 6, 6)
    cache = attached(trunk)
    cache.expect(images)
    trunk(images)
    images.mul_(2)
    found = trunk(images)
    assert cache.misses == 4
    torch.testing.assert_close(found[0], trunk(images.clone())[0])


def test_other_weights_and_training_mode_are_not_answered_for(trunk, attached):
    images = torch.randn(2, 3, 6, 6)
    cache = attached(trunk)
    cache.expect(images)
    trunk(images)
    trunk.train()
    trunk(images)
    trunk.frozen = True  # its parts are in evaluation mode whatever it says of itself
    trunk(images)
    trunk.eval()
    with torch.no_grad():
        trunk.first.weight.mul_(2)
    found = trunk(images)[0]
    torch.testing.assert_close(found, trunk.first(images).relu())
    assert (cache.hits, cache.misses) == (2, 2)


def test_statistics_that_changed_are_noticed_and_equal_ones_are_not_a_change(attached):
    trunk = TinyBackbone().requires_grad_(False).eval()
    images = torch.randn(2, 3, 8, 8)
    cache = attached(trunk)
    cache.expect(images)
    trunk(images)
    mean = trunk.network[0][1].running_mean
    mean.copy_(mean.clone())  # as DDP does before each validation
    trunk(images)
    assert (cache.hits, cache.misses) == (2, 2)
    mean.add_(1)
    torch.testing.assert_close(trunk(images)[0], trunk(images.clone())[0])
    assert (cache.hits, cache.misses) == (2, 2)


def test_nothing_is_kept_while_a_graph_is_recorded(trunk, attached, monkeypatch):
    images = torch.randn(2, 3, 6, 6)
    cache = attached(trunk)
    cache.expect(images)
    torch.jit.trace(lambda x: trunk(images), images, check_trace=False)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    trunk(images)
    assert trunk.passes == [2, 2]
    assert not files(cache)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def _change(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _empty(path):
    path.write_bytes(b"")


def _scribble(path):
    path.write_bytes(b"\xff" * 99)


@pytest.mark.parametrize("damage", [_cut, _change, _empty, _scribble, Path.unlink])
def test_a_damaged_file_is_made_again(trunk, attached, damage):
    images = torch.randn(3, 3, 6, 6)
    cache = attached(trunk)
    cache.expect(images)
    expected = trunk(images)
    damage(files(cache)[1])
    for _ in range(2):
        for level, wanted in zip(trunk(images), expected, strict=True):
            torch.testing.assert_close(level, wanted)
    assert trunk.passes == [3, 1]
    assert len(files(cache)) == 3


def test_each_network_and_each_precision_has_features_of_its_own(trunk, attached):
    images = torch.randn(2, 3, 6, 6)
    scaled, named = copy.deepcopy(trunk), copy.deepcopy(trunk)
    scaled.second.bias.add_(1)
    caches = [attached(trunk), attached(scaled), attached(named, "stride: 2")]
    assert len({cache.folder for cache in caches}) == 3
    caches[0].expect(images)
    trunk(images)
    with torch.autocast("cpu", torch.bfloat16):
        low = trunk(images)[1]
        assert torch.equal(trunk(images)[1], low)
    assert low.dtype == torch.bfloat16
    assert (caches[0].hits, caches[0].misses) == (2, 4)
    assert is_feature_cache(caches[0].folder.parent)
    assert "Trunk" in (caches[0].folder / "about.txt").read_text()


def test_a_trained_backbone_is_refused_and_a_frozen_one_left_as_it_was(trunk, tmp_path):
    trained = Trunk()
    assert not is_frozen(trained)
    assert not is_frozen(nn.ReLU())
    with pytest.raises(ValueError, match="frozen backbone only"):
        FeatureCache(tmp_path / "features", "key").attach(trained)
    assert not is_feature_cache(tmp_path / "features")
    cache = FeatureCache(tmp_path / "features", feature_key(trunk, ""))
    names = set(trunk.state_dict())
    cache.attach(trunk)
    with pytest.raises(RuntimeError, match="already"):
        cache.attach(trunk)
    assert set(trunk.state_dict()) == names
    cache.detach()
    cache.detach()
    assert "forward" not in vars(trunk)
    trunk(torch.randn(1, 3, 6, 6))
    assert trunk.passes == [1]


def test_several_writers_share_a_folder(trunk, attached):
    batches = [torch.randn(1, 3, 6, 6).expand(4, -1, -1, -1).contiguous() for _ in range(2)]
    trunks = [copy.deepcopy(trunk) for _ in range(6)]
    caches = [attached(each) for each in trunks]

    def use(number):
        for images in batches:
            caches[number].expect(images)
            for level, wanted in zip(trunks[number](images), trunk(images), strict=True):
                torch.testing.assert_close(level, wanted)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(use, range(6)))
    assert caches[0].count() == 2
    assert not list(caches[0].folder.rglob("*.tmp"))


def test_a_full_disk_is_told_with_the_file(trunk, attached, monkeypatch):
    images = torch.randn(2, 3, 6, 6)
    cache = attached(trunk)
    cache.expect(images)

    def refuse(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OSError, match="safetensors") as caught:
        trunk(images)
    assert caught.value.errno == errno.ENOSPC
    assert not files(cache)
