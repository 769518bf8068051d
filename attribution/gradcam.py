"""Grad-CAM."""

from torch import Tensor

from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query


class GradCAM(ChannelWeightedMethod):
    """Grad-CAM (Selvaraju et al. 2017; Eq. 2 of paper 000): w_k = mean over positions of dy_c/dA_k.

    Args:
        center: Whether the logit minus the mean of all classes' logits is explained, y_c - mean_l
            y_l. A loss with a softmax does not see what the weights of all classes have in common,
            but the map shows it, see `CAM`. The other targets are free of it by themselves, and so
            are the logits of a sigmoid, for which it is refused.
        **options: See `ChannelWeightedMethod`.

    Raises:
        ValueError: If ``center`` is asked for with another target than the logit.
    """

    needs_gradients = True
    weights_of_means = True
    export_obstacle = None

    def __init__(self, *, center: bool = False, **options: object) -> None:
        super().__init__(**options)
        if center and self.target != "logit":
            raise ValueError(
                f"center=True is for the logit: the {self.target} is free of what all classes' "
                "weights have in common"
            )
        self.center = center

    def _coefficients(self, query: Query) -> Tensor:
        gradients = query.centered_gradients if self.center else query.gradients
        return gradients.mean(dim=(2, 3))
