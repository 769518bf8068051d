"""Predictions with folded BatchNorm and in bfloat16, from the command and from Python."""

import numpy as np
import pytest
from torch import nn

from learned_saliency import load
from learned_saliency.pipeline.cli import UserError


def test_the_index_says_how_the_first_maps_change(fcam_run, photos, predicted):
    folder, names = photos
    words = [f"checkpoint={fcam_run}", f"images={folder}", "methods=[native,gradcam]"]
    words += ["precision=bf16", "fold_batchnorm=true", "batch_size=4"]
    index, _, lines = predicted(*words)
    record = index["explaining"]
    assert (record["precision"], record["fold_batchnorm"]) == ("bf16", True)
    assert record["folded"] > 12
    assert record["effect"]["images"] == 4
    assert record["effect"]["maps"].keys() == {"native", "gradcam"}
    assert [record["image"] for record in index["images"]] == names
    told = "predict.py: precision=bf16 fold_batchnorm=true: 4 images beside plain float32"
    assert sum(line.startswith(told) for line in lines) == 1


def test_a_loaded_model_explains_faster_with_the_same_maps(fcam_run, photos):
    folder, names = photos
    files = [folder / name for name in names]
    plain = load(fcam_run, methods=["native", "gradcam"], device="cpu")
    folded = load(fcam_run, methods=["native", "gradcam"], device="cpu", fold_batchnorm=True)
    assert folded.effect is None
    for old, new in zip(plain(files), folded(files), strict=True):
        np.testing.assert_allclose(new.map, old.map, atol=1e-4)
    assert folded.effect.images == len(names)
    assert folded.effect.maps["native"].largest < 1e-4
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.module.network.modules())
    rough = load(fcam_run, device="cpu", precision="bf16", channels_last=False)
    maps = np.stack([found.map.mean() for found in rough(files)])
    assert 0 < rough.effect.maps["native"].mean < 0.1
    np.testing.assert_allclose(maps, [found.map.mean() for found in plain(files)], atol=0.05)


def test_half_precision_on_a_cpu_is_refused(fcam_run):
    with pytest.raises(UserError, match="precision=fp16: is for GPUs alone; on a CPU choose bf16"):
        load(fcam_run, device="cpu", precision="fp16")
    with pytest.raises(UserError, match="precision=int8: expected one of 32, bf16, fp16 here"):
        load(fcam_run, device="cpu", precision="int8")
