"""Class pairs, and where the parts are: the creatures' masks, CUB's keypoints."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.datamodules import CreaturesParts, CUBParts, DataError, class_pairs
from learned_saliency.datamodules.textfile import read_columns

PARTS = [
    *("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing"),
    *("nape", "right eye", "right leg", "right wing", "tail", "throat"),
]
ATTRIBUTES = (
    "has_bill_shape::hooked",  # head
    "has_wing_color::blue",  # wing
    "has_back_color::blue",  # back
    "has_shape::long-legged-like",  # leg
    "has_size::large",  # none
    "has_tail_shape::forked_tail",  # tail
)


def test_pairs_are_those_whose_differing_attributes_lie_in_few_parts():
    """By hand: attributes 0 and 1 belong to part 1, attribute 2 to part 2, 3 to none."""
    parts = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], dtype=bool)
    attributes = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]])
    found = [tuple(pair) for pair in class_pairs(attributes, parts)]
    one = [(0, 1, (1,)), (0, 2, (1,)), (0, 3, (2,)), (1, 2, (1,)), (1, 4, (1,)), (2, 4, (1,))]
    two = [(1, 3, (1, 2)), (2, 3, (1, 2))]
    assert found == sorted([*one, (3, 4, (2,))]) + two  # 0 and 4 differ in no part
    assert [tuple(p) for p in class_pairs(attributes, parts, max_parts=1)] == found[:-2]


def test_the_creatures_pairs_follow_from_their_names(creatures):
    parts = CreaturesParts(creatures, creatures / "metadata")
    _, names = read_columns(creatures / "metadata" / "class_names.txt", "label,name")
    classes = [name.split("-") for name in names]
    expected = {}
    for first in range(len(classes)):
        for second in range(first + 1, len(classes)):
            differing = zip(classes[first], classes[second], strict=True)
            expected[first, second] = tuple(i + 1 for i, (a, b) in enumerate(differing) if a != b)
    assert {(p.first, p.second): p.parts for p in parts.pairs} == expected
    counts = [len(pair.parts) for pair in parts.pairs]
    assert counts == sorted(counts)
    assert set(counts) == {1, 2, 3}
    assert parts.names == ("head", "wing", "tail", "body")


def test_the_creatures_masks_are_resized_like_the_object_masks(creatures):
    parts = CreaturesParts(creatures, creatures / "metadata")
    ids = ["images/test/00003.png", "images/val/00001.png"]
    found = parts.read(ids, 24)
    assert found.shape == (2, 24, 24)
    assert found.dtype == torch.uint8
    original = cv2.imread(str(creatures / "parts/test/00003.png"), cv2.IMREAD_GRAYSCALE)
    assert (found[0].numpy() == original[::2, ::2]).all()  # floor(i * 48 / 24)
    with pytest.raises(DataError, match="has no part mask"):
        parts.read(["images/train/00001.png"], 24)


@pytest.fixture
def cub(tmp_path):
    """A download of 3 classes and 2 images of 40x20 pixels; the file of names lies outside it."""
    root = tmp_path / "CUB_200_2011"
    for folder in ("attributes", "parts", "images/001.A", "segmentations/001.A"):
        (root / folder).mkdir(parents=True)
    (root / "images.txt").write_text("1 001.A/a.jpg\n2 001.A/b.jpg\n")
    for name in ("a", "b"):
        Image.new("RGB", (40, 20)).save(root / f"images/001.A/{name}.jpg")
    bird = np.zeros((20, 40), np.uint8)
    bird[:, :30] = 255
    Image.fromarray(bird).save(root / "segmentations/001.A/a.png")
    (tmp_path / "attributes.txt").write_text(
        "".join(f"{i} {name}\n" for i, name in enumerate(ATTRIBUTES, start=1))
    )
    rows = [[80, 10, 10, 50, 0, 0], [49.9, 10, 10, 50, 90, 0], [20, 60, 55, 0, 0, 0]]
    (root / "attributes/class_attribute_labels_continuous.txt").write_text(
        "".join(" ".join(map(str, row)) + "\n" for row in rows)
    )
    (root / "parts/parts.txt").write_text(
        "".join(f"{i} {name}\n" for i, name in enumerate(PARTS, start=1))
    )
    seen = {"beak": (2, 3), "throat": (6, 5), "tail": (38, 18), "left wing": (20, 10)}
    lines = []
    for number, name in enumerate(PARTS, start=1):
        x, y = seen.get(name, (0.0, 0.0))
        lines.append(f"1 {number} {x} {y} {int(name in seen)}")
        lines.append(f"2 {number} 0.0 0.0 0")
    (root / "parts/part_locs.txt").write_text("\n".join(lines) + "\n")
    return root


def test_birds_with_at_least_half_of_the_answers_have_an_attribute(cub):
    """By hand: A {bill, leg}, B {leg, size}, C {wing, back}; size is no part."""
    found = CUBParts(cub).pairs
    assert [tuple(pair) for pair in found] == [(0, 1, (1,)), (1, 2, (2, 6, 7))]
    names = CUBParts(cub).names
    assert [names[label - 1] for label in found[1].parts] == ["back", "leg", "wing"]


@pytest.mark.parametrize("inside", [True, False])
def test_pixels_belong_to_the_nearest_visible_keypoint_of_the_bird(cub, inside):
    size = 10
    found = CUBParts(cub, segmentations=inside).read(["images/001.A/a.jpg"], size)[0].numpy()
    # Head: mean of (2, 3) and (6, 5) is (4, 4), scaled (1, 2); tail (38, 18) to (9.5, 9); wing
    # (20, 10) to (5, 5).
    points = {1: (1, 2), 5: (9, 9), 7: (5, 5)}
    for y in range(size):
        for x in range(size):
            near = min(points, key=lambda p: (x - points[p][0]) ** 2 + (y - points[p][1]) ** 2)
            if inside and x >= 8:  # 30 of 40 pixels are bird; the border between is resampled
                assert found[y, x] == 0 or x == 8
            elif not inside or x < 7:
                assert found[y, x] == near


def test_a_bird_without_visible_keypoints_has_no_parts(cub):
    found = CUBParts(cub, segmentations=False).read(["images/001.A/b.jpg"], 6)
    assert not found.any()


def test_the_list_of_attributes_may_lie_inside_the_folder(cub):
    expected = CUBParts(cub).pairs
    (cub.parent / "attributes.txt").rename(cub / "attributes" / "attributes.txt")
    assert CUBParts(cub).pairs == expected


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("parts/part_locs.txt", "1 2 2 3 1", "1 99 2 3 1", "not `image part x y visible`"),
        ("parts/parts.txt", "left eye", "third eye", "no part of a bird"),
        ("images.txt", "1 001", "one 001", "line 1: not `number text`"),
        ("attributes/class_attribute_labels_continuous.txt", "49.9", "many", "not a table"),
    ],
)
def test_malformed_files_are_named(cub, name, old, new, told):
    text = (cub / name).read_text()
    assert old in text
    (cub / name).write_text(text.replace(old, new))
    with pytest.raises(DataError, match=told) as caught:
        CUBParts(cub)
    assert name in str(caught.value)


def test_missing_files_are_named(cub):
    with pytest.raises(DataError, match="is not in"):
        CUBParts(cub).read(["images/001.A/c.jpg"], 6)
    (cub / "segmentations/001.A/a.png").write_bytes(b"")
    with pytest.raises(DataError, match="the segmentation does not decode"):
        CUBParts(cub).read(["images/001.A/a.jpg"], 6)
    (cub / "segmentations").rename(cub / "elsewhere")
    with pytest.raises(DataError, match=r"data.parts.segmentations=false"):
        CUBParts(cub)
    (cub / "parts/part_locs.txt").unlink()
    with pytest.raises(DataError, match=r"part_locs.txt: is missing; unpack"):
        CUBParts(cub, segmentations=False)
    with pytest.raises(DataError, match=r"attributes.txt: this metadata file is missing"):
        CreaturesParts(cub, cub)
