"""Images and masks: every reader of them gives pixels, or says why it cannot."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from learned_saliency.datamodules import DataError, Decoding, ImageError
from learned_saliency.datamodules.checks import read_sizes
from learned_saliency.datamodules.decoding import read_pixels
from learned_saliency.datamodules.masks import read_mask, read_object
from learned_saliency.datamodules.opening import opened
from learned_saliency.datamodules.transforms import read_resized
from tests.fuzz.guards import budget, outcome
from tests.fuzz.pictures import endings, pictures

_MOST_PIXELS = 1 << 22
_REFUSED = {"EPS", "PDF", "WMF", "GRIB", "HDF5", "BUFR", "IPTC", "MPEG"}  # other programs' matters
DECODINGS = st.builds(
    Decoding,
    st.booleans(),
    st.sampled_from([None, 1, 255, 4095, 65535, 1e-300, 0.5, 1e299]),
    channels=st.just(3),
    array_axes=st.just("hwc"),
)


def format_of(path):
    with opened(path) as image:
        return image.format


@budget(50)
@given(content=pictures(), ending=endings(), decoding=DECODINGS, crop=st.booleans())
def test_images(place, content, ending, decoding, crop):
    path = place / "input" / f"picture{ending}"
    path.write_bytes(content)
    pixels = outcome(lambda: read_pixels(path, _MOST_PIXELS, decoding), place, (), ImageError).value
    square = outcome(lambda: read_resized(path, 8, crop, decoding), place, [path.name], DataError)
    sizes, broken = outcome(lambda: read_sizes([path], decoding), place, ()).value
    if pixels is not None:
        height, width, channels = pixels.shape
        assert (pixels.dtype, channels) == (np.uint8, 3)
        assert height * width > 0
        assert square.value.shape == (3, 8, 8)
        assert square.value.dtype == torch.uint8
        assert format_of(path) not in _REFUSED
        assert not broken
        assert sizes.tolist() == [[width, height]]


@budget(50)
@given(content=pictures(), ending=endings(), decoding=DECODINGS, crop=st.booleans())
def test_masks(place, content, ending, decoding, crop):
    path = place / "input" / f"mask{ending}"
    path.write_bytes(content)
    found = outcome(lambda: read_object(path, decoding), place, (), ImageError).value
    mask = outcome(
        lambda: read_mask([path], [path], 8, crop, decoding), place, [path.name], DataError
    )
    if found is not None:
        assert found.dtype == bool
        assert found.ndim == 2
        assert mask.value.shape == (8, 8)
        assert mask.value.dtype == torch.uint8
        assert set(mask.value.unique().tolist()) <= {0, 1}
    else:
        assert mask.message
