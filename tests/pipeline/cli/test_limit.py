"""The number of images of a quick look."""

import pytest
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli import UserError, check_limit


@pytest.mark.parametrize("value", [None, 1, 100])
def test_a_number_of_images_or_all(value):
    check_limit(OmegaConf.create({"limit": value}))


@pytest.mark.parametrize("value", [0, -1, 1.5, "abc", True, [3]])
def test_anything_else_is_refused(value):
    with pytest.raises(UserError, match=r"^limit=.*1 or more"):
        check_limit(OmegaConf.create({"limit": value}))
