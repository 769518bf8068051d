#!/usr/bin/env bash
# zennit 0.5.1 with torch 2.14.1: rules of layer-wise relevance propagation for `nn.Linear`, and the layers
# within torch's `nn.MultiheadAttention` (the attention of torchvision's vision transformers).
# zennit puts hooks on modules. The four linear layers of that attention are computed by one function from
# the module's weights: three of them are no modules at all, and the fourth, `out_proj`, is one, a subclass
# of `nn.Linear`, so that it is found and gets its hooks, but is never called. The composite is registered
# without a word, and what comes out is the plain gradient, to the bit, whatever the rule.
# The same attention written as four `nn.Linear` modules, with the same weights and the same output, follows
# the rule. A relevance map of torchvision's ViT thus mixes rules (its other linear layers are modules),
# and differs from that of the same network in timm's layout.
# Seen: largest difference of the outputs of both networks; for each the modules that got hooks, and the
# difference that a strong gamma rule makes to the plain gradient.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "zennit==0.5.1" "torch==2.14.1" "torchvision==0.29.1" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PY'
import torch
from torch import nn
from zennit.attribution import Gradient
from zennit.composites import LayerMapComposite
from zennit.rules import Gamma

HEADS, WIDTH, TOKENS = 2, 8, 5


class Whole(nn.Module):
    """Attention by torch's module."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, tokens):
        return self.attention(tokens, tokens, tokens, need_weights=False)[0]


class Parts(nn.Module):
    """The same attention by four linear modules."""

    def __init__(self, attention):
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        for layer, weight, bias in zip(self.project, weights, biases):
            layer.load_state_dict({"weight": weight, "bias": bias})
        self.out = nn.Linear(WIDTH, WIDTH)
        self.out.load_state_dict(attention.out_proj.state_dict())

    def forward(self, tokens):
        query, key, value = (
            layer(tokens).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in self.project
        )
        found = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(found.transpose(1, 2).flatten(2))


torch.manual_seed(0)
whole = Whole().eval()
parts = Parts(whole.attention).eval()
tokens = torch.randn(2, TOKENS, WIDTH)
apart = float((whole(tokens) - parts(tokens)).abs().max())
print(f"outputs differ by {apart:.1e}")
assert apart < 1e-5

found = {}
for network in (whole, parts):
    leaf = tokens.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf).sum(), leaf)
    hooked = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    composite = LayerMapComposite([(nn.Linear, Gamma(10.0))])
    with Gradient(network, composite) as attributor:
        _, relevance = attributor(tokens, torch.ones_like)
    name = type(network).__name__
    found[name] = float((relevance - gradient).abs().max())
    print(f"{name}: hooks on {', '.join(hooked)}; the rule changes {found[name]:.3g}")
assert found["Whole"] == 0.0
assert found["Parts"] > 1.0
PY
echo "as described"
