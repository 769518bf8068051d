"""AttnLRP."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.attention import Attention, AttentionMode, fused
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.rules import BackwardRules, Rule, RuledCall
from learned_saliency.attribution.core.transformer import TransformerMethod, chosen
from learned_saliency.ops import full_precision, widen

_ELEMENTWISE = ("gelu", "relu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "leaky_relu")
_PRODUCTS = ("matmul", "__matmul__", "bmm", "mul", "__mul__")


class AttnLRP(TransformerMethod):
    """AttnLRP (Achtibat et al., ICML 2024): layer-wise relevance propagation with attention.

    The relevance of a value is the value times a gradient that is changed on its way back:

    - linear layers and convolutions z_i = sum_j x_j w_ji + b_i: the epsilon rule,
      R_j = sum_i x_j w_ji R_i / z_i, the ordinary gradient; or with gamma > 0 the gamma rule, in
      which the products x_j w_ji (and the bias) with the sign of z_i count 1 + gamma times;
    - softmax: its first-order Taylor expansion, R_j = x_j (R_j - s_j sum_i R_i), the ordinary
      gradient;
    - products of two values, matrix products among them: the uniform rule, half to each factor;
    - elementwise functions f: the identity rule, R_j = R_i, the gradient f(x) / x;
    - LayerNorm and RMSNorm: the identity rule, with a constant standard deviation.

    The map is the relevance of the pixels, image times gradient, summed over the colors; its sign
    tells evidence for from evidence against the class. `raw_maps` has it, while the scaled map has
    the strongest evidence against at 0.

    For networks of attention that `AttentionMode` sees or that is written out in products and
    softmax: the vision transformers of timm and torchvision, Swin among them, also as backbones.

    Args:
        linear_gamma: gamma of linear layers, at least 0; 0 for the epsilon rule.
        conv_gamma: gamma of convolutions such as the patch embedding, at least 0.
        through_softmax: Whether relevance flows to queries and keys. Without, the attention is a
            constant and all relevance goes to the values, as in CP-LRP (Ali et al. 2022), which the
            released code prefers for vision transformers.
        **options: See `PostHocMethod`.

    Note:
        The paper recommends the gamma rule against noise in vision transformers; the defaults are
        among the values that its released example tries. That example leaves the layers within
        nn.MultiheadAttention out of the gamma rule, because no hook reaches them; here all linear
        layers are alike. Its epsilon, which is about 1e-6, is 0 where no quotient is needed.

    Raises:
        ValueError: If a gamma is below 0; when called, if the network has no attention.
    """

    needs_gradients = True

    def __init__(
        self,
        *,
        linear_gamma: float = 0.05,
        conv_gamma: float = 0.25,
        through_softmax: bool = True,
        **options: str,
    ) -> None:
        super().__init__(**options)
        if linear_gamma < 0 or conv_gamma < 0:
            raise ValueError(
                f"expected gammas of at least 0, got linear_gamma={linear_gamma} and "
                f"conv_gamma={conv_gamma}"
            )
        self.linear_gamma = linear_gamma
        self.conv_gamma = conv_gamma
        self.through_softmax = through_softmax

    def _class_maps(self, query: Query, targets: Tensor | None) -> Tensor:
        images = query.images.clone().requires_grad_()
        seen: list[None] = []

        def attend(attention: Attention) -> Tensor:
            seen.append(None)
            weights = attention.weights()
            return attention.applied(weights if self.through_softmax else weights.detach())

        ruled = BackwardRules(self._rules())
        with fused(query.classifier), torch.enable_grad():
            with ruled, AttentionMode(attend):
                logits = query.run(images)
            if not seen and "softmax" not in ruled.seen:
                raise ValueError(
                    f"{type(query.classifier).__name__} has no attention; use a gradient method, "
                    "or one of the CAM family"
                )
            classes = chosen(query, logits, targets)
            scores = query.class_scores(logits, classes).sum(dim=0).unbind()
        maps = []
        for score in scores:
            with full_precision(images.device):
                (gradient,) = torch.autograd.grad(score, images, retain_graph=True)
            maps.append((widen(query.images) * widen(gradient)).sum(dim=1))
        return torch.stack(maps, dim=1)

    def _rules(self) -> dict[str, Rule]:
        rules: dict[str, Rule] = dict.fromkeys(_ELEMENTWISE, _identity)
        rules |= dict.fromkeys(_PRODUCTS, _uniform)
        rules |= {"layer_norm": _layer_norm, "rms_norm": _rms_norm, "softmax": _plain}
        for name, gamma in (("linear", self.linear_gamma), ("conv2d", self.conv_gamma)):
            if gamma:
                rules[name] = _gamma_rule(gamma)
        return rules


def _plain(call: RuledCall, gradient: Tensor) -> list[Tensor | None]:
    return call.pull_back(gradient)


def _identity(call: RuledCall, gradient: Tensor) -> list[Tensor]:
    (x,) = call.taken
    result = call.run([x])[1].detach()
    return [gradient * torch.where(x == 0, 0.0, result / x)]


def _uniform(call: RuledCall, gradient: Tensor) -> list[Tensor | None]:
    handed = call.pull_back(gradient)
    return handed if len(handed) == 1 else [one / 2 for one in handed]


def _layer_norm(call: RuledCall, gradient: Tensor) -> list[Tensor]:
    (x,) = call.taken
    axes = _last(call.argument(1, "normalized_shape"))
    weight, eps = call.argument(2, "weight"), call.argument(4, "eps")
    std = (x.var(axes, correction=0, keepdim=True) + (1e-5 if eps is None else eps)).sqrt()
    gradient = (gradient if weight is None else gradient * weight) / std
    return [gradient - gradient.mean(axes, keepdim=True)]


def _rms_norm(call: RuledCall, gradient: Tensor) -> list[Tensor]:
    (x,) = call.taken
    weight, eps = call.argument(2, "weight"), call.argument(3, "eps")
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    square = x.square().mean(_last(call.argument(1, "normalized_shape")), keepdim=True)
    return [(gradient if weight is None else gradient * weight) / (square + eps).sqrt()]


def _last(shape: list[int]) -> tuple[int, ...]:
    return tuple(range(-len(shape), 0))


def _gamma_rule(gamma: float) -> Rule:
    """Make the gamma rule of layers z = x w + b, for inputs and outputs of any sign."""

    def rule(call: RuledCall, gradient: Tensor) -> list[Tensor]:
        (x,) = call.taken
        weight, bias = call.argument(1, "weight"), call.argument(2, "bias")
        upper = {(1, "weight"): weight.clamp(min=0), (2, "bias"): None}
        (own,), z = call.run([x])
        (size,), by_size = call.run([x.abs()], upper)
        with torch.no_grad():
            # what is positive in z: |x| w^+ + x^- w + b^+ = x^+ w^+ + x^- w^- + b^+
            positive = by_size + call.run([x.clamp(max=0)], {(2, "bias"): None})[1]
            if bias is not None:
                bias = bias.clamp(min=0)
                positive = positive + (bias if call.name == "linear" else bias[:, None, None])
            whole = z + gamma * torch.where(z > 0, positive, z - positive)
            share = torch.where(whole == 0, 0.0, gradient * z / whole)
            up, down = share.where(z > 0, 0.0), share.where(z <= 0, 0.0)
        # per unit of x, w^+ or w^-, whichever makes a product with the sign of z
        (of_up,) = torch.autograd.grad(z, own, up, retain_graph=True)
        (of_down,) = torch.autograd.grad(z, own, down)
        (apart,) = torch.autograd.grad(by_size, size, up - down)
        boosted = torch.where(x >= 0, of_down + apart, of_up - apart)
        return [of_up + of_down + gamma * boosted]

    return rule
