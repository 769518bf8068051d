"""Folders as evaluations write them, of a few drawn images."""

import csv

import cv2
import numpy as np
import torch

from learned_saliency.metrics import Localization, PxAP, box_iou, boxes_from_saliency
from learned_saliency.pipeline.reports import write_gallery, write_intervals, write_results
from learned_saliency.trainers import GalleryImage, GalleryMap
from learned_saliency.visualization import encode_png

SIZE = 48
THRESHOLD = 0.4
RECORD = {
    "checkpoint": "/home/someone/secret/run",
    "explained": "label",
    "target": "logit",
    "box_threshold": THRESHOLD,
    "limit": 6,
}


class Drawn:
    """Maps, boxes and masks of N images by methods, and the folder that holds them.

    Attributes:
        folder: The folder.
        maps: Maps (N, H, W) in [0, 1] by method.
        ious: IoU of each image's box, by method.
        results: Metrics by method, as in ``results.json``.
    """

    def __init__(self, folder, methods, image_ids, class_names, record=RECORD, seed=0):
        self.folder, generator = folder, torch.Generator().manual_seed(seed)
        count = len(image_ids)
        corners = torch.randint(2, 16, (count, 2), generator=generator)
        self.boxes = [torch.cat([at, at + 20])[None] for at in corners]
        self.masks = torch.zeros(count, SIZE, SIZE, dtype=torch.uint8)
        for mask, ((x0, y0, x1, y1),) in zip(self.masks, self.boxes, strict=True):
            mask[y0 : y1 + 1, x0 : x1 + 1] = 1
        self.maps = {name: self._blobs(generator, count) for name in methods}
        self.labels = torch.arange(count) % len(class_names)
        self.predicted = torch.where(torch.arange(count) % 3 == 0, 0, self.labels)
        self.ids, self.class_names = image_ids, class_names
        self._score()
        self.record = {**record, "tested_on": {"split": "test", "images": count, "boxes": count}}
        write_results(folder, self.results, self.record)
        self._write_tables()
        write_intervals(folder)
        write_gallery(folder, list(self._gallery()), class_names)

    @staticmethod
    def _blobs(generator, count):
        """Draw a bump per image on a little noise."""
        at = torch.rand(count, 2, 1, 1, generator=generator) * SIZE
        y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
        far = (x - at[:, 0]).square() + (y - at[:, 1]).square()
        noise = torch.rand(count, SIZE, SIZE, generator=generator)
        return (0.9 * torch.exp(-far / 200) + 0.1 * noise).clamp(0, 1)

    def _score(self):
        self.results, self.states, self.ious, self.found = {}, {}, {}, {}
        for name, maps in self.maps.items():
            boxes, pixels = Localization(), PxAP()
            boxes.update(maps, self.boxes)
            pixels.update(maps, self.masks)
            found = {key: float(value) for key, value in boxes.compute().items()}
            self.results[name] = found | {"pxap": float(pixels.compute())}
            self.states[name] = {f"boxes/{k}": v for k, v in boxes.image_states.items()}
            self.states[name] |= {f"pixels/{k}": v for k, v in pixels.image_states.items()}
            self.found[name] = boxes_from_saliency(maps, THRESHOLD)
            pairs = zip(self.found[name], self.boxes, strict=True)
            self.ious[name] = [float(box_iou(f.numpy(), true.numpy()).max()) for f, true in pairs]
        self.results["full_image"] = {"max_box_acc": 0.25, "max_box_acc_v2": 0.25, "pxap": 0.2}

    def _write_tables(self):
        with (self.folder / "images.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            head = "image_id,method,label,predicted,target,x0,y0,x1,y1,iou,average_drop"
            writer.writerow(head.split(","))
            for i, image_id in enumerate(self.ids):
                for name in self.maps:
                    classes = [int(self.labels[i]), int(self.predicted[i]), int(self.labels[i])]
                    terms = [f"{self.ious[name][i]:.4f}", f"{i / 10:g}"]
                    row = [image_id, name, *classes, *self.found[name][i].tolist(), *terms]
                    writer.writerow(row)
        arrays = {"image_ids": np.array(self.ids), "methods": np.array(list(self.maps))}
        for number, states in enumerate(self.states.values()):
            arrays |= {f"{number}/{key}": value.numpy() for key, value in states.items()}
        np.savez_compressed(self.folder / "image_states.npz", **arrays)

    def _gallery(self):
        photo = cv2.imencode(".jpg", np.full((SIZE, SIZE, 3), 128, np.uint8))[1].tobytes()
        for i, image_id in enumerate(self.ids):
            maps = {
                name: GalleryMap(
                    encode_png((maps[i].numpy() * 255).round().astype(np.uint8)),
                    self.found[name][i].tolist(),
                    self.ious[name][i],
                )
                for name, maps in self.maps.items()
            }
            label, predicted = int(self.labels[i]), int(self.predicted[i])
            yield GalleryImage(
                *(i, image_id, label, predicted, label, 0.75, 0.5, None, (SIZE, SIZE), photo),
                boxes=self.boxes[i].tolist(),
                regions=[[[2, 2], [20, 2], [20, 20]]],
                maps=maps,
            )
