#!/usr/bin/env bash
# Pillow 12.0.0 and 13.0.0: an uncompressed TIFF of 8- or 16-bit gray or of RGBA, whose Orientation tag asks
# for a quarter turn (5 to 8), is mapped into memory with the width of the turned image. Its rows are cut at
# the wrong places, and what is then turned is scrambled and has the shape of the stored image, although
# `Image.open` announces that of the turned one. Nothing is raised. The same files compressed by LZW, RGB,
# and the half turns and flips (1 to 4) are right; JPEG and PNG are left as they are stored.
# Who reads scans or micrographs that were turned in a viewer gets a picture of the right grays without its
# contents, in the shape that is expected of one that was not turned.
# Seen: by mode and compression, the orientations whose pixels differ from the turned array.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 12.0.0 13.0.0; do
    "$folder/venv/bin/pip" install --quiet "pillow==$version" "numpy==2.3.5"
    "$folder/venv/bin/python" - "$folder" <<'PY'
import sys

import numpy as np
import PIL
from PIL import Image

turns = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
draw = np.random.default_rng(0)
arrays = {
    "L": draw.integers(0, 2**8, (20, 30), dtype=np.uint8),
    "I;16": draw.integers(0, 2**16, (20, 30), dtype=np.uint16),
    "RGBA": draw.integers(0, 2**8, (20, 30, 4), dtype=np.uint8),
    "RGB": draw.integers(0, 2**8, (20, 30, 3), dtype=np.uint8),
}
wrong = {}
for mode, stored in arrays.items():
    for compression in ("raw", "tiff_lzw"):
        wrong[mode, compression] = found = []
        for orientation, turn in turns.items():
            exif = Image.Exif()
            exif[274] = orientation
            path = f"{sys.argv[1]}/image.tif"
            Image.fromarray(stored).save(path, exif=exif, compression=compression)
            with Image.open(path) as image:
                assert image.size == turn(stored).shape[1::-1], image.size
                pixels = np.asarray(image)
            if not np.array_equal(pixels, turn(stored)):
                assert pixels.shape == stored.shape, pixels.shape
                found.append(orientation)
print("pillow", PIL.__version__, wrong)
mapped = {("L", "raw"), ("I;16", "raw"), ("RGBA", "raw")}
assert wrong == {key: [5, 6, 7, 8] if key in mapped else [] for key in wrong}, wrong
PY
done
echo "as described"
