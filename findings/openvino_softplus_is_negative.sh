#!/usr/bin/env bash
# OpenVINO 2026.4.1 on CPUs, with INFERENCE_PRECISION_HINT f32: `Softplus`, log(1 + exp(x)), loses its small
# values. From about -14 down it is 0 at places, and between -31 and -18 negative at places, -1.9e-6; at -7 it
# is wrong by 0.3 %. A logarithm of it, as in networks that multiply probabilities, is minus infinity or NaN
# where float32 has exact values (softplus(-20) is 2e-9). onnxruntime and torch are right to 3e-7 there.
# And a NaN is not passed on: ReLU, Clip and Max make a 0 of it, Exp an infinity, ReduceMax of a row the
# lowest float32 where it stands last. An image with a broken pixel gets plausible classes; sums and
# products do pass the NaN on.
# Seen: zeros and negative values of Softplus, its largest relative error by interval, and what becomes of NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "openvino==2026.4.1" "onnx==1.23.2" "numpy==2.3.5"
"$folder/venv/bin/python" - <<'PY'
import io

import numpy as np
import onnx
import openvino

HEAD = '<ir_version: 8, opset_import: ["": 18]>f (float[1,n] x) => (float[1,m] y) '


def run(body, values):
    model = onnx.parser.parse_model(HEAD + body).SerializeToString()
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(openvino.convert_model(io.BytesIO(model)), "CPU", hint)
    return compiled([values[None]])[0][0]


x = np.linspace(-30, 0, 30_001, dtype=np.float32)
exact = np.log1p(np.exp(x.astype(np.float64)))
found = run("{ y = Softplus (x) }", x)
error = np.abs(found - exact) / exact
for low, high in ((-30, -20), (-20, -16), (-16, -12), (-12, -8), (-8, -4), (-4, 0)):
    part = (x >= low) & (x < high)
    counts = int((found[part] == 0).sum()), int((found[part] < 0).sum())
    print(f"{low} to {high}: zeros and negative values {counts}, relative error {error[part].max():.1e}")
assert (found[(x > -20) & (x < -16)] < 0).any() and (found[(x > -16) & (x < -12)] == 0).any()
assert error[(x > -8) & (x < -4)].max() > 1e-3

row = np.array([1, 2, 3, 4, 5, 6, 7, np.nan], np.float32)
seen = {
    "Relu": run("{ y = Relu (x) }", row)[-1],
    "Exp": run("{ y = Exp (x) }", row)[-1],
    "ReduceMax": run("<int64[1] axis = {1}> { y = ReduceMax (x, axis) }", row)[-1],
    "ReduceSum": run("<int64[1] axis = {1}> { y = ReduceSum (x, axis) }", row)[-1],
}
print("of a NaN:", {name: float(value) for name, value in seen.items()})
assert seen["Relu"] == 0 and np.isinf(seen["Exp"]) and seen["ReduceMax"] < -3e38
assert np.isnan(seen["ReduceSum"])
PY
echo "as described"
