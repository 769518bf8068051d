"""One page that holds the model and what runs it, for a reader without Python."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from learned_saliency.datamodules import (
    COLORS,
    Decoding,
    Size,
    center_crop_of,
    resizes_down_first,
)
from learned_saliency.ops import Activation
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.formats.base import Runner
from learned_saliency.pipeline.export.formats.onnx import Onnx
from learned_saliency.pipeline.export.page import (
    build_page,
    find_gallery,
    find_runtime,
    gallery_pictures,
)
from learned_saliency.pipeline.export.source import ExportSource
from learned_saliency.visualization import colorize


class Html(Onnx):
    """A page around the model of ``format=onnx``, with onnxruntime-web inside; see `Format`.

    What is verified is the ONNX model, by onnxruntime in Python, before it goes into the page.
    """

    suffix = ".html"
    has_box = False
    keys = ("ort", "gallery")

    def check(self, config: DictConfig) -> None:
        """Check ``ort``, ``maps`` and the folder of the gallery, too."""
        super().check(config)
        find_runtime(config.ort)
        if config.maps == "all":
            raise UserError(
                "maps=all: leave it out of format=html; any class can be chosen in the page, and "
                "its map alone is computed."
            )
        if config.gallery:
            find_gallery(config, DictConfig({}))

    def check_source(self, source: ExportSource) -> None:
        """Check that the model tells classes, and looks at colors, which a browser decodes."""
        if source.channels != COLORS:
            raise UserError(
                f"format=html: a browser decodes images to 8-bit colors, but the model takes "
                f"{source.channels} channels at full depth; choose format=onnx."
            )
        if source.module.activation is Activation.IDENTITY:
            raise UserError(
                "format=html: the page shows classes with their probabilities, but the model tells "
                "values; choose format=onnx."
            )

    def finish(self, source: ExportSource, config: DictConfig, path: Path) -> dict[str, Any]:
        """Put the model into a page, which takes its place."""
        graph, runtime = path.read_bytes(), find_runtime(config.ort)
        gallery = find_gallery(config, source.data)
        # photographs of a reader are turned in any case, as predict.py turns them
        decoding = Decoding.of(source.data)._replace(exif_orientation=True)
        pictures = [] if gallery is None else gallery_pictures(gallery, decoding)
        settings = {
            "maps": source.maps,
            "one_run": source.maps == "label"
            and _finds_class(self.load(path, config), source.size),
            "size": source.size.plain,
            "center_crop": center_crop_of(source.data),
            "down_first": resizes_down_first(),
            "box_threshold": source.facts["box_threshold"],
            "class_names": list(source.class_names),
            "colormap": colorize(np.arange(256)[None] / 255).ravel().tolist(),
            "gallery": pictures,
        }
        declared = {"maps": source.maps, "activation": source.module.activation}
        path.write_bytes(build_page(graph, runtime, settings, source.facts | declared))
        page = {
            "onnxruntime_web": runtime.version,
            "graph_sha256": sha256(graph).hexdigest(),
            "gallery_source": None if gallery is None else gallery.source,
            "gallery": [picture["name"] for picture in pictures],
        }
        return {"page": page}


def _finds_class(run: Runner, size: int | Sequence[int]) -> bool:
    """Tell whether a graph explains the predicted class where it is given class -1.

    Those of this project's own models do. Elsewhere -1 may be refused, or mean the last class, and
    the page runs the network a second time.
    """
    images = torch.rand(4, 3, *Size.of(size), generator=torch.Generator().manual_seed(0))
    try:
        found = run(images, torch.full((4,), -1))
    except Exception:  # the errors of onnxruntime have no base of their own
        return False
    classes = found["logits"].shape[1]
    predicted, last = (
        run(images, labels)["saliency"]
        for labels in (found["logits"].argmax(1), torch.full((4,), classes - 1))
    )
    same, other = ((found["saliency"] - maps).abs().amax() for maps in (predicted, last))
    return bool(same < 1e-4 < other)
