"""Choice of the channels of an image that a picture shows."""

from __future__ import annotations

from collections.abc import Sequence


def shown_channels(channels: int, chosen: Sequence[int] | None = None) -> list[int]:
    """Choose the channels that are shown as red, green and blue.

    Args:
        channels: Number of channels of the image, 1 or more.
        chosen: Three of them, counted from 0; None for the first three. One channel is shown three
            times, as gray, and of two the second one is blue, too.

    Raises:
        ValueError: If ``chosen`` are no three channels of the image.
    """
    if chosen is None:
        return [min(index, channels - 1) for index in range(3)]
    if len(chosen) != 3 or not all(0 <= index < channels for index in chosen):
        raise ValueError(f"expected three channels from 0 to {channels - 1}, got {list(chosen)}")
    return list(chosen)
