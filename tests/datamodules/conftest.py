from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def tiny(tmp_path):
    """Write a data set of 11 training, 5 validation and 7 test images, 12x10 pixels, 3 classes."""

    def write(folder: Path = tmp_path / "tiny", train: int = 11) -> Path:
        generator = np.random.default_rng(0)
        for split, count in (("train", train), ("val", 5), ("test", 7)):
            place = folder / "metadata" / split
            place.mkdir(parents=True)
            (folder / split).mkdir()
            ids = [f"{split}/{i}.png" for i in range(count)]
            for image_id in ids:
                pixels = generator.integers(0, 256, (10, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / image_id)
            labels = [f"{image_id},{i % 3}" for i, image_id in enumerate(ids)]
            (place / "image_ids.txt").write_text("\n".join(ids) + "\n")
            (place / "class_labels.txt").write_text("\n".join(labels) + "\n")
            if split != "train":
                sizes = [f"{image_id},12,10" for image_id in ids]
                boxes = [f"{image_id},{i},1,{i + 4},8" for i, image_id in enumerate(ids)]
                (place / "image_sizes.txt").write_text("\n".join(sizes) + "\n")
                (place / "localization.txt").write_text("\n".join(boxes) + "\n")
        return folder

    return write
