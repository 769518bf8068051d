"""Folders of evaluations of maps that a test gives, as evaluate.py and train.py write them."""

import cv2
import numpy as np
import torch

from learned_saliency.metrics import box_iou, boxes_from_saliency
from learned_saliency.pipeline.reports import write_gallery, write_results
from learned_saliency.storage import write_csv
from learned_saliency.trainers import STATES_FILE, GalleryImage, GalleryMap
from learned_saliency.trainers.callbacks.image_states import pack_states, write_image_states
from learned_saliency.trainers.scores import SplitScores
from learned_saliency.visualization import encode_png

SIDE, CLASSES = 16, 3


def made_truth(count, seed=0, side=SIDE):
    """Draw a box in each image, a mask that fills it, labels and names."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, side // 2, (count, 2), generator=generator)
    sizes = torch.randint(3, side // 2, (count, 2), generator=generator)
    boxes = torch.cat([corners, corners + sizes], 1)
    masks = torch.zeros(count, side, side, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.tolist(), strict=True):
        mask[y0 : y1 + 1, x0 : x1 + 1] = 1
    labels = torch.arange(count) % CLASSES
    ids = [f"images/{i:03}.png" for i in range(count)]
    return {"image_id": ids, "label": labels, "boxes": list(boxes[:, None]), "mask": masks}


def made_maps(truth, noise, seed):
    """Draw maps that show the objects as well as the noise lets them, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    maps = truth["mask"].float() + noise * torch.randn(truth["mask"].shape, generator=generator)
    smooth = [cv2.GaussianBlur(found.numpy(), (0, 0), 1.0) for found in maps]
    maps = torch.from_numpy(np.stack(smooth))
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def write_evaluation(folder, truth, maps, *, split="test", pictures=0, right=0.8, **record):
    """Write the folder of an evaluation of maps (N, H, W) by method; return the folder."""
    folder.mkdir(parents=True)
    count = len(truth["image_id"])
    generator = torch.Generator().manual_seed(count + int(1000 * right))
    wrong = torch.rand(count, generator=generator) > right
    predicted = (truth["label"] + wrong) % CLASSES
    logits = torch.nn.functional.one_hot(predicted, CLASSES).float()
    scores = SplitScores(list(maps), tested=True)
    size = truth["mask"].shape[1:]
    batch = {**truth, "image": torch.zeros(count, 3, *size)}
    terms = scores.update(maps, logits, batch)
    rows, states = [], {name: {} for name in maps}
    for i, image in enumerate(truth["image_id"]):
        for name, found in maps.items():
            box = boxes_from_saliency(found[i : i + 1], 0.5)[0]
            row = {"image_id": image, "method": name, "label": int(truth["label"][i])}
            row |= {"predicted": int(predicted[i]), "target": int(truth["label"][i])}
            row |= dict(zip(("x0", "y0", "x1", "y1"), box.tolist(), strict=True))
            row["iou"] = float(box_iou(box.numpy(), truth["boxes"][i].numpy()).max())
            cells = {key: float(values[i]) for key, values in terms[name].items()}
            rows.append(row | {k: "" if np.isnan(v) else v for k, v in cells.items()})
            states[name][image] = pack_states(scores.image_states[name], i)
    write_csv(folder / "images.csv", list(rows[0]), rows)
    write_image_states(folder / STATES_FILE, states)
    write_results(folder, scores.compute(), {"explained": "label", **record}, split)
    drawn = [_picture(truth, maps, int(predicted[i]), i) for i in range(pictures)]
    write_gallery(folder, drawn, [f"class {i}" for i in range(CLASSES)])
    return folder


def _picture(truth, maps, predicted, i):
    height, width = truth["mask"].shape[1:]
    gray = np.full((height, width, 3), 128, dtype=np.uint8)
    found = {
        name: GalleryMap(
            encode_png((values[i].numpy() * 255).astype(np.uint8)),
            boxes_from_saliency(values[i : i + 1], 0.5)[0].tolist(),
            0.5,
        )
        for name, values in maps.items()
    }
    return GalleryImage(
        place=i,
        image_id=truth["image_id"][i],
        label=int(truth["label"][i]),
        predicted=predicted,
        target=int(truth["label"][i]),
        predicted_probability=0.75,
        target_probability=0.5,
        score=None,
        size=(height, width),
        picture=cv2.imencode(".jpg", gray)[1].tobytes(),
        boxes=truth["boxes"][i].tolist(),
        regions=[],
        maps=found,
    )
