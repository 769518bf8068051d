"""Masks: the union of an image's instances, from label images of any kind."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.masks import MaskValues, read_mask, read_object
from tests.support.paths import GOLDEN

OBJECT = np.zeros((9, 12), np.uint8)
OBJECT[2:7, 3:10] = 1


def test_resized_masks_equal_the_published_ones(tmp_path):
    golden = np.load(GOLDEN / "masks.npz")
    for i, name in enumerate(("mask_in_a", "mask_in_b")):
        cv2.imwrite(str(tmp_path / f"{name}.png"), golden[name])
        mask = read_mask([tmp_path / f"{name}.png"], [], 224)
        torch.testing.assert_close(mask, torch.from_numpy(golden["mask_out"][i]))


def test_union_of_instances_wins_over_ignored_regions_as_published(tmp_path):
    golden = np.load(GOLDEN / "masks.npz")
    for image, target in enumerate(golden["target"]):
        paths = []
        for i in np.flatnonzero(golden["instances_image"] == image):
            paths.append(tmp_path / f"{i}.png")
            # 0/1 and 0/255 files are the same
            cv2.imwrite(str(paths[-1]), golden["instances"][i] * (255 if i % 2 else 1))
        ignore = tmp_path / "ignore.png"
        cv2.imwrite(str(ignore), golden["ignore"][image])
        mask = read_mask(paths, [ignore], 224)
        torch.testing.assert_close(mask, torch.from_numpy(target))
        assert set(mask.unique().tolist()) <= {0, 1, 255}


def test_missing_and_broken_masks_are_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.png: the mask is missing"):
        read_mask([tmp_path / "absent.png"], [], 8)
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(DataError, match=r"broken\.png: the mask does not decode"):
        read_mask([], [tmp_path / "broken.png"], 8)


def palette(colors, object_entry=1, background_entry=0):
    image = Image.fromarray(np.where(OBJECT, object_entry, background_entry).astype(np.uint8), "P")
    image.putpalette(np.array(colors, np.uint8).ravel().tolist())
    return image


def colored(blue, alpha):
    """Give an image (H, W, 4) whose blue is as wanted where the object is, and elsewhere."""
    pixels = np.zeros((*OBJECT.shape, 4), np.uint8)
    pixels[..., 2], pixels[..., 3] = np.where(OBJECT, *blue), np.where(OBJECT, *alpha)
    return Image.fromarray(pixels)


KINDS = {
    "8.png": Image.fromarray(OBJECT),
    "1.png": Image.fromarray(OBJECT * 255).convert("1"),
    "16.png": Image.fromarray(OBJECT.astype(np.uint16)),
    "16.tif": Image.fromarray(OBJECT.astype(np.uint16) * 256),
    "32.tif": Image.fromarray(OBJECT.astype(np.int32) * 70000),
    "float.tif": Image.fromarray(OBJECT.astype(np.float32) / 1000),
    "blue.png": Image.fromarray(np.dstack([OBJECT * 0, OBJECT * 0, OBJECT])),
    "cmyk.tif": Image.fromarray(np.dstack([OBJECT * 200] * 3)).convert("CMYK"),
    "dark palette.png": palette([(0, 0, 0), (0, 0, 4)]),
    "black palette.png": palette([(0, 0, 0), (0, 0, 0)]),
    "colored background.png": palette([(128, 64, 128), (1, 1, 1)]),
    "white first.png": palette([(255, 255, 255), (0, 0, 0)], 0, 1),
    "white first.gif": palette([(255, 255, 255), (0, 0, 0)], 0, 1),
    "opaque.png": colored((1, 0), (255, 255)),
    "cut out.png": colored((9, 9), (255, 0)),
    "black cut out.png": colored((0, 0), (1, 0)),
    "gray cut out.png": Image.fromarray(np.dstack([OBJECT * 0, OBJECT * 255]), "LA"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_background_is_object(tmp_path, name):
    KINDS[name].save(tmp_path / name)
    np.testing.assert_array_equal(read_object(tmp_path / name), OBJECT > 0)
    mask = read_mask([tmp_path / name], [], 12)
    Image.fromarray(OBJECT * 255).save(tmp_path / "plain.png")
    torch.testing.assert_close(mask, read_mask([tmp_path / "plain.png"], [], 12))
    ignored = read_mask([], [tmp_path / name], 12)
    torch.testing.assert_close(ignored, mask * 255)


def test_a_transparent_palette_entry_is_background(tmp_path):
    image = palette([(0, 0, 0), (200, 0, 0)])
    image.save(tmp_path / "a.png", transparency=1)
    np.testing.assert_array_equal(read_object(tmp_path / "a.png"), OBJECT == 0)


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_instance_numbers_below_256_in_colors_of_16_bits(tmp_path, kind, channels):
    deep = np.zeros((*OBJECT.shape, channels), np.uint16)
    deep[..., 0] = OBJECT * 3
    deep[..., 3:] = 65535
    cv2.imwrite(str(tmp_path / f"a.{kind}"), deep)
    np.testing.assert_array_equal(read_object(tmp_path / f"a.{kind}"), OBJECT > 0)


def test_masks_of_values_that_are_no_numbers_are_named(tmp_path):
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: the mask does not decode .*no finite numbers"):
        read_mask([tmp_path / "a.tif"], [], 8)


def test_declared_values_tell_object_from_ignored_region_in_one_file(tmp_path):
    """By hand, at the file's own size: trimap of 1 object, 2 background, 3 not classified."""
    trimap = np.full((8, 8), 2, np.uint8)
    trimap[1:7, 1:7] = 3
    trimap[2:6, 2:6] = 1
    Image.fromarray(trimap).save(tmp_path / "trimap.png")
    values = MaskValues(range(1, 2), range(3, 4))
    found = read_mask([tmp_path / "trimap.png"], [], 8, values=values).numpy()
    assert (found == np.choose(trimap, [0, 1, 0, 255])).all()
    assert (read_mask([tmp_path / "trimap.png"], [], 8) == 1).all()  # undeclared: no pixel is 0


def test_declared_values_of_several_files_and_ignore_masks_are_united(tmp_path):
    files = []
    for name, column, value in (("a", 0, 200), ("b", 1, 128), ("c", 2, 127), ("ignore", 1, 9)):
        pixels = np.zeros((4, 4), np.uint8)
        pixels[:, column] = value
        pixels[3] = 9 if name == "ignore" else 0
        files.append(tmp_path / f"{name}.png")
        Image.fromarray(pixels).save(files[-1])
    found = read_mask(files[:3], files[3:], 4, values=MaskValues(range(128, 256)))
    assert found.tolist() == [[1, 1, 0, 0]] * 3 + [[255] * 4]


@pytest.mark.parametrize("mode", ["RGB", "LA", "P", "1"])
def test_declared_values_are_read_from_files_of_any_mode_of_8_bits(tmp_path, mode):
    gray = np.where(OBJECT, 255, 0).astype(np.uint8)
    image = palette([(9, 9, 9)] * 256, 255) if mode == "P" else Image.fromarray(gray).convert(mode)
    image.save(tmp_path / "mask.png")
    found = read_mask([tmp_path / "mask.png"], [], 12, True, values=MaskValues(range(255, 256)))
    assert found.sum() == read_mask([saved_gray(tmp_path, gray)], [], 12, True).sum() > 0


def saved_gray(folder, gray):
    Image.fromarray(gray).save(folder / "gray.png")
    return folder / "gray.png"


def test_declared_values_of_more_than_8_bits_are_refused(tmp_path):
    Image.fromarray(OBJECT.astype(np.uint16) * 300).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png: the mask does not decode \(its values have"):
        read_mask([tmp_path / "deep.png"], [], 8, values=MaskValues(range(1, 2)))
