#!/usr/bin/env bash
# quantus 0.6.0 with numpy 2.4.6: what a map that says nothing, the same value everywhere, gets from its
# metrics of localization, with the options that they have by default.
# The relevance rank accuracy takes the order of equal values from `argsort`, which leaves them as they
# lie: an object of the upper rows has 1.0, the best, and any object that begins below them less, down to
# 0.0. The object's share of the image, which is what chance gives, is 0.45 for both here.
# The pointing game is a hit if any of the tied maxima lies on the object, so that a constant map hits
# every object, however small; of an image without any object pixel it is a hit, too, where the comment in
# the source says NaN: NaN becomes True in an array of booleans. With `weighted=True` it raises a TypeError.
# A batch in which all maps are constant is refused ("uniformly distributed"); one constant map among
# others, as a method that fails on some images makes it, is not.
# Seen: both metrics of three constant maps and one that is not, the pointing game of an empty mask, and
# the error of `weighted=True`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "quantus==0.6.0" "numpy==2.4.6" "scipy==1.17.1" \
    "scikit-image==0.26.0" "scikit-learn==1.9.1" "pandas==3.1.1" "opencv-python==5.0.0.93"
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import quantus

SIDE = 224
maps = np.full((4, 1, SIDE, SIDE), 0.5, np.float32)
maps[3] = np.random.default_rng(0).random((SIDE, SIDE))
masks = np.zeros((4, 1, SIDE, SIDE), np.uint8)
masks[0, :, :100] = masks[1, :, 124:] = masks[3, :, :100] = 1
masks[2, :, 200:203, 200:203] = 1


def score(metric, masks, **options):
    metric = metric(disable_warnings=True, display_progressbar=False, **options)
    images, classes = np.zeros((4, 3, SIDE, SIDE), np.float32), np.zeros(4, int)
    found = metric(None, images, classes, a_batch=maps.copy(), s_batch=masks.copy())
    return [round(float(value), 3) for value in found]


rank = score(quantus.RelevanceRankAccuracy, masks)
hits = score(quantus.PointingGame, masks)
print("objects' shares of the image", masks.mean(axis=(1, 2, 3)).round(4).tolist())
print("rank accuracy: above, below, nine pixels, a random map", rank)
print("pointing game, likewise", hits)
assert rank[:3] == [1.0, 0.0, 0.0] and 0.4 < rank[3] < 0.5
assert hits[:3] == [1.0, 1.0, 1.0]

empty = masks.copy()
empty[3] = 0
found = score(quantus.PointingGame, empty)
print("pointing game of a random map without an object", found[3])
assert found[3] == 1.0

try:
    score(quantus.PointingGame, masks, weighted=True)
except TypeError as error:
    print("weighted:", error)
else:
    raise AssertionError("weighted=True gave values")
PY
echo "as described"
