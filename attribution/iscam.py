"""IS-CAM."""

from collections.abc import Iterator

from torch import Tensor

from learned_saliency.attribution.scorecam import ScoreCAM

PATHS = ("cumulative", "linear")


class ISCAM(ScoreCAM):
    """IS-CAM (Naidu et al. 2020, arXiv 2010.03023): Score-CAM averaged on a way to the full mask.

    w = softmax(u) over channels, u_k = 1/N sum_i f(x * t_i n(up(A_k)))_c for i = 1 to N. The factor
    is t_i = sum_{j=1..i} j / N, which ends at (N + 1) / 2: with the paper's 10 steps most of the
    masked images are brighter than any image, up to 5.5 times. ``path="linear"`` has t_i = i / N
    instead, an integral from nothing to the mask. The method costs N K runs of the network per
    image, however many of its classes are explained.

    Note:
        In the paper's equation the inner sum ends at i - 1; the sum here is that of torchcam,
        whose code the first author reviewed. The two differ in the last factor. The logit of the
        baseline cancels in the softmax, see `ScoreCAM`.

    Args:
        steps: Number N of steps, at least 1. With 1 this is Score-CAM.
        path: ``"cumulative"`` or ``"linear"``.
        **options: See `AlteringMethod`.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(self, *, steps: int = 10, path: str = "cumulative", **options: object) -> None:
        super().__init__(**options)
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if path not in PATHS:
            raise ValueError(f"path must be one of {PATHS}, got {path!r}")
        self.steps = steps
        self.path = path

    def _variants(self, masks: Tensor) -> Iterator[Tensor]:
        for step in range(1, self.steps + 1):
            factor = step if self.path == "linear" else step * (step + 1) / 2
            yield factor / self.steps * masks
