"""Boxes of an exported file's maps; needs numpy and OpenCV alone.

    from box import largest_box
    x0, y0, x1, y1 = largest_box(saliency[0], threshold)

``threshold`` is in the JSON beside the model, under ``box``.
"""

import cv2
import numpy as np


def largest_box(saliency: np.ndarray, threshold: float) -> tuple[int, int, int, int]:
    """Put a box around the largest region of a map, as the WSOL benchmark does (MaxBoxAcc).

    The map becomes 8-bit by truncating 255 times its value. Pixels above the integer part of
    ``threshold`` times its maximum are object. The contour with the largest area counts, the first
    of several in OpenCV's order.

    Args:
        saliency: Shape (H, W), in [0, 1].
        threshold: Fraction of the map's maximum, in [0, 1).

    Returns:
        x0 y0 x1 y1 in pixels, x1 and y1 inside the box, although one pixel beyond the contour
        unless the map ends there; 0 0 0 0 for a map of zeros.
    """
    image = (saliency.astype(np.float64) * 255).astype(np.uint8)
    if not image.any():
        return 0, 0, 0, 0
    binary = (image > int(threshold * int(image.max()))).astype(np.uint8)
    contours = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
    rows, columns = image.shape
    return x, y, min(x + width, columns - 1), min(y + height, rows - 1)
