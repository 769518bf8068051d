"""Blocks of images against the pixels that the project's one reader gives."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from learned_saliency.datamodules import Decoding, ImageError, read_pixels
from learned_saliency.pipeline.prediction.tiles import sources
from learned_saliency.pipeline.prediction.tiles.sources import Reduced, open_source

SEEN = Decoding(exif_orientation=True)


def values(*shape, dtype=np.uint8):
    most = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, most + 1, shape).astype(dtype)


KINDS = {
    "tiles": (values(90, 130, 3), {"tile": (32, 48), "compression": "zlib"}),
    "strips": (values(90, 130, 3), {"rowsperstrip": 7, "compression": "zlib"}),
    "mapped": (values(90, 130, 3), {}),
    "big-endian": (values(90, 130, dtype=np.uint16), {"byteorder": ">"}),
    "gray": (values(90, 130), {"tile": (32, 48)}),
    "deep": (values(90, 130, dtype=np.uint16), {"tile": (32, 48), "compression": "zlib"}),
    "alpha": (values(90, 130, 4), {"tile": (32, 48), "extrasamples": ["unassalpha"]}),
    "whole": (255 - values(90, 130), {"photometric": "miniswhite"}),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("white", [None, 4095])
def test_blocks_of_a_tiff_are_those_of_the_whole(tmp_path, name, white):
    pixels, options = KINDS[name]
    path, decoding = tmp_path / "a.tif", SEEN._replace(max_value=white)
    colors = {"photometric": "rgb" if pixels.ndim == 3 else "minisblack"} | options
    tifffile.imwrite(path, pixels, **colors)
    expected = read_pixels(path, decoding=decoding)
    with open_source(path, 10**6, decoding) as source:
        assert (source.height, source.width) == expected.shape[:2]
        for top, left, height, width in [(0, 0, 90, 130), (31, 47, 2, 2), (64, 96, 26, 34)]:
            found = source.block(top, left, height, width)
            part = expected[top : top + height, left : left + width]
            np.testing.assert_array_equal(found, part)


def test_few_segments_are_kept(tmp_path, monkeypatch):
    pixels = values(90, 130, 3)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(16, 16), compression="zlib")
    monkeypatch.setattr(sources, "_CACHE", 2 * 16 * 16 * 3)
    with open_source(tmp_path / "a.tif", 1, SEEN) as source:
        np.testing.assert_array_equal(source.block(3, 5, 80, 120), pixels[3:83, 5:125])
        assert len(source._kept) == 2


@pytest.mark.parametrize("shape", [(50, 60), (50, 60, 3), (50, 60, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_are_read_in_blocks(tmp_path, shape, dtype):
    from learned_saliency.pipeline.prediction.images import pixels_of

    array = values(*shape, dtype=dtype)
    np.save(tmp_path / "a.npy", array)
    with open_source(tmp_path / "a.npy", 1, SEEN) as source:
        np.testing.assert_array_equal(source.block(9, 8, 30, 40), pixels_of(array)[9:39, 8:48])


def test_other_images_are_decoded_as_a_whole_up_to_a_size(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(values(40, 50, 3)).save(path)
    with open_source(path, 2000, SEEN) as source:
        np.testing.assert_array_equal(source.block(5, 6, 7, 8), values(40, 50, 3)[5:12, 6:14])
    with pytest.raises(ImageError, match=r"megapixels.*tiled TIFF"), open_source(path, 1999, SEEN):
        pass


def test_a_turned_tiff_is_decoded_as_a_whole(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values(40, 50, 3), tile=(16, 16), extratags=[(274, "H", 1, 6, True)])
    with open_source(path, 2000, SEEN) as source:
        assert (source.height, source.width) == (50, 40)
        np.testing.assert_array_equal(source.block(0, 0, 50, 40), read_pixels(path, decoding=SEEN))
    with pytest.raises(ImageError, match="orientation 6"), open_source(path, 1999, SEEN):
        pass


@pytest.mark.parametrize("name", ["tiles", "strips", "mapped"])
def test_a_damaged_tiff_is_told(tmp_path, name):
    pixels, options = KINDS[name]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", **options)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ImageError), open_source(path, 1, SEEN) as source:
        source.block(0, 0, 90, 130)


def test_segments_that_inflate_beyond_their_pixels_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path) as file:
        place, size = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    import zlib

    bomb = zlib.compress(bytes(30_000_000), 9)
    content = path.read_bytes()
    with path.open("ab") as file:
        file.write(bomb)
    moved = len(content).to_bytes(4, "little")
    content = content.replace(place.to_bytes(4, "little"), moved, 1)
    content = content.replace(size.to_bytes(4, "little"), len(bomb).to_bytes(4, "little"), 1)
    path.write_bytes(content + bomb)
    monkeypatch.setattr(sources, "_SEGMENT", 1 << 20)
    with (
        pytest.raises(ImageError, match="more than its pixels"),
        open_source(path, 1, SEEN) as source,
    ):
        source.block(0, 0, 64, 64)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"\x93NUMPY\1", b"no image at all"])
def test_what_is_no_image_is_told(tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(ImageError), open_source(path, 10, SEEN):
        pass


def test_a_reduced_image_is_made_of_means(tmp_path):
    array = values(51, 62, 3)
    np.save(tmp_path / "a.npy", array)
    with open_source(tmp_path / "a.npy", 1, SEEN) as source:
        image = Reduced(source, 4)
        assert (image.height, image.width) == (13, 16)
        found = image.block(0, 0, 13, 16)
        np.testing.assert_array_equal(found[3:9, 2:7], image.block(3, 2, 6, 5))
    filled = np.pad(array, ((0, 1), (0, 2), (0, 0)), mode="edge").astype(float)
    means = filled.reshape(13, 4, 16, 4, 3).mean((1, 3))
    np.testing.assert_allclose(found, means, atol=0.51)
