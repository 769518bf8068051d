"""Maps on disk, as any tool may write them."""

import numpy as np

SIZE = 32  # side of the evaluated images in pixels


def write(folder, ids, maps, name="{stem}.npy", save=np.save):
    """Write maps by the ids of their images; return the folder."""
    for image_id, values in zip(ids, maps, strict=True):
        stem = image_id.rpartition(".")[0]
        path = folder / name.format(id=image_id, stem=stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, values)
    return folder
