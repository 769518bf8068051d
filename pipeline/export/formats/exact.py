"""Functions that runtimes compute roughly, as steps that all of them compute to the last bits."""

from __future__ import annotations

from typing import Any

import torch

# atanh(z) / z - 1 by powers of z^2 up to z = 1/3, where the next term is below 1e-9
_ATANH = [1 / (2 * k + 1) for k in range(9)]


def exact_functions() -> dict[Any, Any]:
    """Return the translations, for ``custom_translation_table`` of torch's ONNX exporter.

    The float32 sigmoid of onnxruntime 1.32 leaves [0, 1], falls in places, and is 0 from about -16
    down. The softplus of OpenVINO 2026.4 is 0 or negative at places from about -14 down, so that a
    logarithm of it has no value, and wrong by 0.3 % at -7.
    """
    return {
        torch.ops.aten.sigmoid.default: _sigmoid,
        torch.ops.aten.softplus.default: _softplus,
    }


def _sigmoid(self: Any) -> Any:
    from onnxscript import opset18 as op

    return op.Reciprocal(op.Add(op.Exp(op.Neg(self)), 1.0))


def _softplus(self: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """Compute max(x, 0) + log1p(exp(-|x|)), with log1p(t) = 2 atanh(t / (2 + t)) by its series.

    Beyond ``threshold`` both terms round to x without a case of their own.
    """
    from onnxscript import opset18 as op

    scaled = op.Mul(self, float(beta))
    small = op.Exp(op.Neg(op.Abs(scaled)))
    ratio = op.Div(small, op.Add(small, 2.0))
    square = op.Mul(ratio, ratio)
    series = op.Mul(square, _ATANH[-1])
    for coefficient in _ATANH[-2:0:-1]:
        series = op.Mul(square, op.Add(series, coefficient))
    log1p = op.Mul(op.Mul(ratio, 2.0), op.Add(series, 1.0))
    return op.Div(op.Add(op.Relu(scaled), log1p), float(beta))
