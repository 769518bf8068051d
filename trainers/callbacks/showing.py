"""Pictures shown by loggers of any kind."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger

from learned_saliency.trainers.loggers.dashboard import Dashboard
from learned_saliency.visualization import Picture


def show_picture(
    logger: Logger, name: str, path: Path, picture: Picture, epoch: int, step: int
) -> None:
    """Show a picture on a logger; one that cannot show any is passed over.

    Args:
        logger: A logger of this project, TensorBoard's, MLflow's, or one that has a method
            ``log_image(key, images, step)``, as W&B's.
        name: Name of the picture, with ``/`` between its parts.
        path: Its PNG file.
        picture: The picture itself, shape (H, W, 3), red first.
        epoch: The epoch.
        step: Number of optimizer steps so far.
    """
    if isinstance(logger, Dashboard):
        logger.log_picture(name, path, epoch, step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, picture, step, dataformats="HWC")
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, picture, artifact_file=f"{name}/{path.name}")
    elif hasattr(logger, "log_image"):
        logger.log_image(key=name, images=[picture], step=step)
