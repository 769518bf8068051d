"""Post-hoc methods as graphs of plain operations, against the methods themselves."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from learned_saliency import attribution
from learned_saliency.attribution import split
from learned_saliency.pipeline.export.explained import ExplainedClassifier, RecordedClassifier
from tests.support.own_networks import convolutional

deeplift_module = sys.modules["learned_saliency.attribution.core.deeplift"]
liftcam_module = sys.modules["learned_saliency.attribution.liftcam"]
SIZE = 32
AFFINE = ["CAM", "GradCAM", "GradCAMPlusPlus", "HiResCAM", "LayerCAM", "LIFTCAM", "XGradCAM"]


class Mixed(nn.Module):
    """A head with most of what heads have: skips, norms, pooling, in-place and smooth activations.

    Args:
        layout: Layout of what the layer ``last`` gives.
        asks: Whether the head asks for sizes, so that it cannot be traced.
    """

    def __init__(self, layout="channels_first", asks=False):
        super().__init__()
        self.layout, self.asks = layout, asks
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 8, 5, stride=2)
            self.last = nn.Identity()
            self.first = nn.Conv2d(8, 8, 3, padding=1, groups=2)
            self.batch_norm = nn.BatchNorm2d(8)
            nn.init.uniform_(self.batch_norm.running_var, 0.5, 2.0)
            self.group_norm = nn.GroupNorm(2, 8)
            self.relu = nn.ReLU(inplace=True)
            self.fc = nn.Linear(8, 5)

    def forward(self, images):
        grid = self.stem(images)  # (B, 8, 14, 14)
        x = {"channels_first": grid, "channels_last": grid.permute(0, 2, 3, 1)}.get(self.layout)
        x = self.last(grid.flatten(2).transpose(1, 2) if x is None else x)
        if self.layout == "channels_last":
            x = x.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            x = x.transpose(1, 2).unflatten(2, (14, 14))
        if self.asks and images.shape[3] < 0:  # symbols of torch.fx have no truth
            x = -x
        x = F.max_pool2d(x + self.relu(self.batch_norm(self.first(x))), 3, 2, padding=1)
        x = F.silu(F.avg_pool2d(self.group_norm(x), 3, 2, ceil_mode=True)) + grid.mean(
            (2, 3), keepdim=True
        )
        return self.fc(F.hardswish(F.adaptive_avg_pool2d(x, (3, 2))).mean((2, 3)))


def explained(network, layer, method, **options):
    method = getattr(attribution, method)()
    classifier = split(network.eval().requires_grad_(False), layer, **options)
    return ExplainedClassifier(classifier=classifier, methods={"it": method}).eval()


class Attending(nn.Module):
    """A class token that looks at a grid of tokens, between norms."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 8, 8, stride=8)
            self.last, self.norm = nn.LayerNorm(8), nn.LayerNorm(8)
            self.qkv, self.fc = nn.Linear(8, 24), nn.Linear(8, 5)
        self.num_prefix_tokens = 1

    def forward(self, images):
        tokens = self.stem(images).flatten(2).transpose(1, 2)  # (B, 16, 8)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
        q, k, v = self.qkv(self.last(tokens)).unflatten(2, (3, 1, 8)).permute(2, 0, 3, 1, 4)
        tokens = tokens + F.scaled_dot_product_attention(q, k, v)[:, 0]
        return self.fc(F.gelu(self.norm(tokens))[:, 0])


CASES = {
    **{f"affine, {name}": (convolutional, "last", name, {}) for name in AFFINE},
    "channels last": (lambda: Mixed("channels_last"), "last", "LayerCAM", {}),
    "tokens, hook": (lambda: Mixed("tokens", asks=True), "last", "LayerCAM", {"tracing": False}),
    "attention, liftcam": (Attending, "last", "LIFTCAM", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_graph_gives_the_maps_of_the_method(case, monkeypatch):
    # Fewer nodes of the quadrature are less to record, and miss the sum.
    monkeypatch.setattr(deeplift_module, "_NODES", 3)
    monkeypatch.setattr(liftcam_module, "check_sum", lambda *_: None)
    build, layer, method, options = CASES[case]
    live = explained(build(), layer, method, **options)
    generator = torch.Generator().manual_seed(0)
    images = 3 * torch.randn(5, 3, 4, 4, generator=generator)
    images = F.interpolate(images, (SIZE, SIZE), mode="bicubic")
    labels = torch.arange(5) % 3
    expected = live.explain(images, labels)
    assert expected.saliency.amax((1, 2)).sum() >= 3  # others have no positive evidence
    recorded = RecordedClassifier(live, SIZE, has_labels=True)
    for size in (1, 5):
        found = recorded.explain(images[:size], labels[:size])
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs[:size], rtol=1e-5, atol=2e-5)
