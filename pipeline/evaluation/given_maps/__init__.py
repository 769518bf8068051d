"""Maps of any tool, ``maps=FOLDER``: found, checked, read and placed."""

from learned_saliency.pipeline.evaluation.given_maps.files import MapError, MapFile, read_map
from learned_saliency.pipeline.evaluation.given_maps.finding import find_maps
from learned_saliency.pipeline.evaluation.given_maps.given import (
    FolderMaps,
    MapOptions,
    maps_digest,
    maps_record,
    open_maps,
)

__all__ = [
    "FolderMaps",
    "MapError",
    "MapFile",
    "MapOptions",
    "find_maps",
    "maps_digest",
    "maps_record",
    "open_maps",
    "read_map",
]
