"""Check of the number of images of a quick look."""

from omegaconf import DictConfig

from learned_saliency.pipeline.cli.errors import UserError


def check_limit(config: DictConfig) -> None:
    """Check that ``limit`` is a number of images, or null for all.

    Raises:
        UserError: If it is not.
    """
    limit = config.limit
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise UserError(f"limit={limit}: it must be a number of images, 1 or more; null for all.")
