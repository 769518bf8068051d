#!/usr/bin/env bash
# torch 2.14.1: what its two helpers that fold BatchNorm into convolutions do with networks in which a
# convolution and a BatchNorm stand behind each other, and are no pair.
# `torch.fx.experimental.optimization.fuse` looks at the calls of the traced graph. A convolution module
# that is called twice, with another BatchNorm behind each call, is folded twice: both calls then have the
# weights of the second, and the result is wrong by more than its own size. The check that nothing else
# reads the convolution's result counts the readers of each call, not the calls of each module. (It does
# leave alone a result that something else reads.)
# `torch.ao.quantization.fuse_modules` folds the two modules that it is given by their names, without
# looking at the graph: a convolution whose result is also added behind the BatchNorm is folded, and
# the addition then gets the normalized result; of one that is called twice both calls are changed.
# Neither raises or warns. Both networks are in evaluation mode, as the helpers ask for.
# Seen: largest differences of the folded networks from themselves, beside a true pair, which is exact.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.14.1" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PY'
import warnings

import torch
from torch import nn
from torch.ao.quantization import fuse_modules
from torch.fx.experimental.optimization import fuse

warnings.simplefilter("ignore", DeprecationWarning)


class Net(nn.Module):
    """A convolution and two BatchNorms, of which a subclass makes something."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        for norm in (self.first, self.second):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)
        self.eval()


class Pair(Net):
    def forward(self, images):
        return self.first(self.conv(images))


class Twice(Net):
    def forward(self, images):
        return self.second(self.conv(self.first(self.conv(images))))


class AlsoRead(Net):
    def forward(self, images):
        found = self.conv(images)
        return self.first(found) + found


torch.manual_seed(0)
images = torch.randn(2, 3, 8, 8)


def differences(network):
    with torch.no_grad():
        plain = network(images)
        return [
            round(float((folded(images) - plain).abs().max()), 4)
            for folded in (fuse(network), fuse_modules(network, [["conv", "first"]]))
        ]


found = {kind.__name__: differences(kind()) for kind in (Pair, Twice, AlsoRead)}
for name, (by_graph, by_name) in found.items():
    print(f"{name:9} fx fuse {by_graph}, fuse_modules {by_name}")
assert max(found["Pair"]) < 1e-5
assert min(found["Twice"]) > 0.5
assert found["AlsoRead"][0] < 1e-5 and found["AlsoRead"][1] > 0.5
PY
echo "as described"
