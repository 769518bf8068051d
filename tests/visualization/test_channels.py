"""Choice of the channels that pictures show."""

import pytest

from learned_saliency.visualization import shown_channels


@pytest.mark.parametrize(
    ("channels", "wanted"), [(1, [0, 0, 0]), (2, [0, 1, 1]), (3, [0, 1, 2]), (7, [0, 1, 2])]
)
def test_the_first_three_are_shown_by_default(channels, wanted):
    assert shown_channels(channels) == wanted


def test_channels_can_be_chosen():
    assert shown_channels(5, (4, 0, 4)) == [4, 0, 4]
    for wrong in ((0, 1), (0, 1, 5), (-1, 0, 1)):
        with pytest.raises(ValueError, match="three channels from 0 to 4"):
            shown_channels(5, wrong)
