"""The doctor tells channels and depth, and finds files of other kinds."""

import numpy as np

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.data import examine
from tests.support.deep_images import write_gray, write_image


def findings(root, folder, *words):
    config = compose_checked(
        ["data=wsol", f"data.root={root}", f"data.metadata={root}/metadata", *words], "doctor"
    )
    return {finding.kind: str(finding) for finding in examine(config, folder).findings}


def test_channels_and_depth_are_told_and_other_files_found(tmp_path):
    root = write_gray(tmp_path / "gray", {"train": 6, "val": 2, "test": 2})
    found = findings(root, tmp_path / "one", "data.channels=1")
    assert found["form"].endswith("gray: 10 of 1 channel, 16-bit.")
    assert "channels" not in found
    write_image(root / "val1.png", np.zeros((48, 48, 3), np.uint8))
    found = findings(root, tmp_path / "one", "data.channels=1")
    assert "val1.png: has 3 channels, not 1; convert it" in found["channels"]
    assert found["form"].endswith("9 of 1 channel, 16-bit; 1 of 3 channels, 8-bit.")
    found = findings(root, tmp_path / "three")
    assert "more than 8 bits are cut, unless data.channels=1" in found["form"]
    assert "channels" not in found


def test_a_deeper_look_opens_files_of_other_channels_that_are_known(tmp_path):
    root = write_gray(tmp_path / "gray", {"train": 6, "val": 2, "test": 2})
    (root / "val0.png").write_bytes((root / "val0.png").read_bytes()[:-60])  # its header is whole
    words = "data.channels=1", "near_duplicates=false"
    assert "image-damaged" not in findings(root, tmp_path / "one", *words)
    found = findings(root, tmp_path / "one", *words, "full_decode=true")
    assert "val0.png" in found["image-damaged"]
