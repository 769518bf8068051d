"""Small maps with boxes and masks, random ones and those on which metrics break."""

import torch

HEIGHT, WIDTH = 9, 12
_BOXES = [
    [[3, 2, 7, 6]],
    [[0, 0, 11, 2]],  # at the border
    [[9, 6, 11, 8]],  # in a corner
    [[-3, 5, 4, 13]],  # beyond the image
    [[0, 0, 12, 9]],  # all of it, one pixel beyond
    [[1, 1, 5, 4], [4, 3, 10, 7]],  # overlapping
    [[5, 4, 5, 4]],  # a pixel
    [[-9, -9, -2, -2], [2, 2, 6, 5]],  # one without pixels
]


def degenerate_maps():
    """List maps (9, 12), float64, by name."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for index in range(12):
        values = torch.rand(HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
        found[f"random {index}"] = values ** (1 + index % 4)
    for levels in (2, 4):
        values = torch.rand(HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
        found[f"{levels} levels"] = (values * levels).floor() / levels
    for value in (0.0, 0.3, 1.0):
        found[f"constant {value}"] = torch.full((HEIGHT, WIDTH), value, dtype=torch.float64)
    point = torch.zeros(HEIGHT, WIDTH, dtype=torch.float64)
    point[8, 11] = 1
    parts = torch.zeros(HEIGHT, WIDTH, dtype=torch.float64)
    parts[1:3, 1:3] = parts[5:7, 6:8] = 0.75
    return found | {"corner": point, "all but one pixel": 1 - point, "equal parts": parts}


def maps_with_boxes():
    """List pairs of a map and true boxes (n, 4), each map with four choices of boxes."""
    maps, boxes = list(degenerate_maps().values()), [torch.tensor(b) for b in _BOXES]
    return [
        (saliency, boxes[(index + shift) % len(boxes)])
        for index, saliency in enumerate(maps)
        for shift in (0, 2, 5, 7)
    ]


def maps_with_masks():
    """List pairs of a map and a mask: some ignore pixels, one ignores all, one has no object."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for saliency in degenerate_maps().values():
        for kind in range(4):
            draws = torch.rand(HEIGHT, WIDTH, generator=generator)
            mask = (draws > 0.6).to(torch.uint8)
            if kind == 1:
                mask[draws < 0.2] = 255
            found.append((saliency, mask))
    found[4][1][:] = 255
    found[9][1][:] = 0
    found[13][1][:] = 1
    return found


def pixels_of(boxes):
    """List, row by row, whether each pixel of a map is in one of the boxes."""
    return [
        [any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in boxes) for x in range(WIDTH)]
        for y in range(HEIGHT)
    ]


def object_of(mask):
    """List, row by row, whether each pixel of a mask is object, and whether it counts."""
    rows = mask.tolist()
    return [[v == 1 for v in row] for row in rows], [[v != 255 for v in row] for row in rows]


def collate_boxes(samples):
    """Arguments of ``update`` for pairs of a map and boxes."""
    maps, boxes = zip(*samples, strict=True)
    return torch.stack(maps), list(boxes)


def collate_masks(samples):
    """Arguments of ``update`` for pairs of a map and a mask."""
    return tuple(torch.stack(part) for part in zip(*samples, strict=True))


def mean_of(terms):
    """Mean of the terms of those images that count: a term is None where one does not."""
    known = [term for term in terms if term is not None]
    assert known
    return torch.tensor(sum(known) / len(known), dtype=torch.float64)
