#!/usr/bin/env bash
# onnxruntime 1.32.0 on CPUs, float32: `Sigmoid` is a rational approximation that is good to 2e-7 as a
# difference, and no more. It is exactly 0 at places from -15.84 down and everywhere from -18 down, where
# the sigmoid is 1.5e-8; between -18 and -14 it jumps between 0 and a few steps of 3e-8, so that it falls
# where its argument rises; and near 17.84 it is 1.0000001. float32 has values for all but the last. Who
# takes the logarithm of a mask, 1 - p of a probability, or checks that a map lies in [0, 1], meets
# infinities, a small negative number, or an error, for a network that is right elsewhere.
# 1 / (1 + exp(-x)) as four operators is right to the last bits in the same program.
# `ReduceMax` of a row with a NaN gives a NaN where that comes first. Elsewhere it does not only pass over
# the NaN: it also passes over finite values that share a place with it in a vector register, so that the
# maximum of 0 to 7 with a NaN in place of 1 is 6.
# Seen: zeros, falls and the largest value of Sigmoid, its error relative to float64, that of the four
# operators, and maxima of a row of 0 to 7 by the place of a NaN in it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "onnxruntime==1.32.0" "onnx==1.23.2" "numpy==2.3.5"
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime

GRAPHS = {
    "sigmoid": "f (float[1,n] x) => (float[1,n] y) { y = Sigmoid (x) }",
    "steps": "f (float[1,n] x) => (float[1,n] y) <float[1] one = {1}> "
    "{ a = Neg (x) b = Exp (a) c = Add (b, one) y = Reciprocal (c) }",
    "largest": "f (float[1,n] x) => (float[1,1] y) <int64[1] axis = {1}> { y = ReduceMax (x, axis) }",
}


def run(name, values):
    head = '<ir_version: 8, opset_import: ["": 18]>'
    model = onnx.parser.parse_model(head + GRAPHS[name]).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": values[None]})[0][0]


x = np.linspace(-30, 30, 600_001, dtype=np.float32)
exact = 1 / (1 + np.exp(-x.astype(np.float64)))
found, steps = run("sigmoid", x), run("steps", x)
error = np.abs(found - exact) / exact
print("0 up to", x[found == 0].max(), "and largest", found.max(), "; falls:", (np.diff(found) < 0).sum())
print("relative error, own", error[x > -17.9].max(), "steps", (np.abs(steps - exact) / exact).max())
assert (found[x <= -18] == 0).all() and exact[x <= -18].max() > 1e-8
assert (found[x > -18] == 0).any() and (np.diff(found) < 0).sum() > 1000 and found.max() > 1
assert (np.abs(steps - exact) / exact).max() < 3e-7 and (np.diff(steps) >= 0).all()

maxima = []
for place in range(8):
    row = np.arange(8, dtype=np.float32)
    row[place] = np.nan
    maxima.append(float(run("largest", row)[0]))
print("largest of 0 to 7 by the place of a NaN:", maxima)
assert np.isnan(maxima[0]) and maxima[1] == 6 and maxima[2] == 7 and not np.isnan(maxima[1:]).any()
PY
echo "as described"
