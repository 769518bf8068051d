"""Training of TS-CAM, whose class maps read the attention of a class token."""

from __future__ import annotations

from typing import ClassVar

from learned_saliency.models import TSCAM
from learned_saliency.trainers.cam import CAMModule


class TSCAMModule(CAMModule):
    """Module that trains TS-CAM (Gao et al., ICCV 2021) with cross-entropy, as `CAMModule` does.

    Args:
        network: A `models.TSCAM`.
        **options: See `CAMModule`.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass", "multilabel"})
    network: TSCAM

    @property
    def compile_obstacle(self) -> str | None:
        """Tell that the attention is read by hooks."""
        return "the class token's attention is read by hooks, which compiled code does not see"
