#!/usr/bin/env bash
# onnxruntime 1.32.0, `onnxruntime.transformers.float16.convert_float_to_float16`: nodes that `op_block_list`
# or `node_block_list` leaves in float32 are computed in float32, but each of their results is rounded to
# float16 and back, also between two of them. A sum of 128000 over an image (float16 ends at 65504) is
# infinite although the sum and the division after it are both left out; a small number is 0. The nodes that
# convert are appended at the end of the graph, which onnx.checker refuses (nodes before those they read), and
# importing the module puts the folder of onnxruntime's transformers on sys.path, with modules of such
# general names as `float16`, `benchmark` and `quantize_helper`.
# Seen: the mean of 64 values of 2000 as a sum and a division that are left out, the checker's verdict, sys.path.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "onnxruntime==1.32.0" "onnx==1.23.2" "numpy==2.3.5" packaging
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime

before = list(sys.path)
from onnxruntime.transformers.float16 import convert_float_to_float16

added = [path for path in sys.path if path not in before]
TEXT = """<ir_version: 8, opset_import: ["": 18]>
f (float[1,n] x) => (float[1,1] y) <int64[1] axis = {1}, float[1] count = {64}, float[1] one = {1}>
{ [a] a = Mul (x, one) [sum] s = ReduceSum (a, axis) [mean] m = Div (s, count) [b] y = Mul (m, one) }
"""
model = onnx.parser.parse_model(TEXT)
made = convert_float_to_float16(model, keep_io_types=True, node_block_list=["sum", "mean"])
session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
found = float(session.run(None, {"x": np.full((1, 64), 2000, np.float32)})[0][0, 0])
try:
    onnx.checker.check_model(made)
    verdict = "valid"
except onnx.checker.ValidationError as error:
    verdict = str(error).splitlines()[0]
print("mean of 64 times 2000:", found, "|", verdict[:70], "|", len(added), "folder on sys.path")
assert np.isinf(found), found
assert "topologically sorted" in verdict, verdict
assert len(added) == 1 and added[0].endswith("onnxruntime/transformers")
PY
echo "as described"
