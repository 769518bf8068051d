#!/usr/bin/env bash
# OpenCV 5.0.0: a TIFF of several channels that are no colors (photometric "minisblack", as tifffile and ImageJ
# write microscopy) is read by imread(..., IMREAD_UNCHANGED) as one channel, without an error or a warning:
# - 3 or 4 channels of 16 bits: the first three are taken for colors and mixed to gray by their weights;
# - 2 to 4 channels of 8 bits: the first channel alone;
# - 2 channels of 16 bits: an array of 8 bits;
# - 3 or 4 channels of 32-bit floats: all of them, as they are.
# Who trains on such files sees images of the right size and plausible values with the other channels lost or
# mixed in; imread's word says that nothing is changed.
# Seen: by depth and number of channels, the shape, the type, and what the values are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "opencv-python-headless==5.0.0.93" "tifffile==2025.10.16" "numpy==2.3.5"
"$folder/venv/bin/python" - "$folder" <<'PY'
import sys

import cv2
import numpy as np
import tifffile

path = f"{sys.argv[1]}/channels.tif"
draw = np.random.default_rng(0)
weights = np.array([0.299, 0.587, 0.114])


def told(read, true):
    if read.shape == true.shape:
        return "all"
    if read.dtype == true.dtype and np.array_equal(read, true[..., 0]):
        return "first"
    if read.dtype == true.dtype and true.shape[2] > 2:
        gray = true[..., :3].astype(float) @ weights
        if np.abs(gray - read).max() < 3:
            return "gray"
    return "other"


seen = {}
for dtype, high in ((np.uint8, 2**8), (np.uint16, 2**16), (np.float32, None)):
    for channels in (2, 3, 4):
        if (dtype, channels) == (np.float32, 2):
            continue
        shape = (20, 30, channels)
        image = draw.random(shape, np.float32) if high is None else draw.integers(0, high, shape, dtype=dtype)
        tifffile.imwrite(path, image, photometric="minisblack", planarconfig="contig")
        assert np.array_equal(tifffile.imread(path), image)
        read = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        seen[np.dtype(dtype).name, channels] = (read.ndim, read.dtype.name, told(read, image))
print(cv2.__version__, seen)
assert cv2.__version__ == "5.0.0"
assert seen == {
    ("uint8", 2): (2, "uint8", "first"),
    ("uint8", 3): (2, "uint8", "first"),
    ("uint8", 4): (2, "uint8", "first"),
    ("uint16", 2): (2, "uint8", "other"),
    ("uint16", 3): (2, "uint16", "gray"),
    ("uint16", 4): (2, "uint16", "gray"),
    ("float32", 3): (3, "float32", "all"),
    ("float32", 4): (3, "float32", "all"),
}, seen
PY
echo "seen as described"
