"""One page that holds the model and what runs it, for a reader without Python."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from learned_saliency.datamodules import Decoding, resizes_down_first
from learned_saliency.pipeline.cli import UserError
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

    def finish(self, source: ExportSource, config: DictConfig, path: Path) -> dict[str, Any]:
        """Put the model into a page, which takes its place."""
        graph, runtime = path.read_bytes(), find_runtime(config.ort)
        gallery = find_gallery(config, source.data)
        # photographs of a reader are turned in any case, as predict.py turns them
        decoding = Decoding.of(source.data)._replace(exif_orientation=True)
        pictures = [] if gallery is None else gallery_pictures(gallery, decoding)
        settings = {
            "maps": source.maps,
            "size": source.size,
            "center_crop": bool(source.data.center_crop),
            "down_first": resizes_down_first(),
            "box_threshold": source.facts["box_threshold"],
            "class_names": list(source.class_names),
            "colormap": colorize(np.arange(256)[None] / 255).ravel().tolist(),
            "gallery": pictures,
        }
        facts = source.facts | {"maps": source.maps}
        path.write_bytes(build_page(graph, runtime, settings, facts))
        page = {
            "onnxruntime_web": runtime.version,
            "graph_sha256": sha256(graph).hexdigest(),
            "gallery_source": None if gallery is None else gallery.source,
            "gallery": [picture["name"] for picture in pictures],
        }
        return {"page": page}
