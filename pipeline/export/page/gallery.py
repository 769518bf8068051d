"""Photographs that come with the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from PIL import Image

from learned_saliency.datamodules import Decoding, ImageError, read_picture
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.images import Files, files_of_data, files_of_folder

_COUNT = 3
_MOST_SIDE = 640  # pixels
_MOST_BYTES = 200_000  # above this size a picture becomes JPEG instead of PNG
_QUALITY = 90


def find_gallery(config: DictConfig, data: DictConfig) -> Files | None:
    """Find the images that the gallery is chosen from.

    Args:
        config: The command's configuration: ``gallery``, else ``verify_images``, names a folder;
            False leaves the gallery out.
        data: The model's data set, whose images serve where no folder is named.

    Returns:
        The images; None for no gallery, also where the data set is not on this machine.

    Raises:
        UserError: If a folder holds no images.
    """
    if config.gallery is False:
        return None
    for key in ("gallery", "verify_images"):
        if config[key] is not None:
            return files_of_folder(key, config[key])
    return files_of_data(data)


def gallery_pictures(files: Files, decoding: Decoding) -> list[dict[str, Any]]:
    """Encode up to three pictures for the page.

    They are decoded and encoded anew, so that nothing but pixels goes into the page: no place and
    no camera of EXIF data.

    Args:
        files: Images of which some from all over the list are taken.
        decoding: How files are read.

    Returns:
        ``name``, ``type`` and ``content`` (base64) per picture.

    Raises:
        UserError: If an image does not decode.
    """
    pictures = []
    for path in files.some(_COUNT):
        try:
            picture = read_picture(path, decoding=decoding)
        except ImageError as error:
            raise UserError(
                f"gallery: {path} does not decode ({error}); replace it, or name other "
                "photographs by gallery=FOLDER."
            ) from None
        picture.thumbnail((_MOST_SIDE, _MOST_SIDE))
        kind, content = "png", _encoded(picture, format="PNG")
        if len(content) > _MOST_BYTES:
            kind, content = "jpeg", _encoded(picture, format="JPEG", quality=_QUALITY)
        pictures.append(
            {
                "name": Path(str(path)).name,
                "type": f"image/{kind}",
                "content": base64.b64encode(content).decode(),
            }
        )
    return pictures


def _encoded(picture: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, **options)
    return file.getvalue()
