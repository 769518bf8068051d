"""CALM's training objectives: marginal likelihood and expectation-maximization."""

import torch
from torch import Tensor, nn

from learned_saliency.ops import widen

OBJECTIVES = ("em", "ml")


def marginal_likelihood(log_joint: Tensor, labels: Tensor) -> Tensor:
    """Compute the negative log-likelihood of the labels, summed over locations (CALM, Eq. 3-4).

    Args:
        log_joint: log p(y, z|x) of shape (B, C, h, w), at most 0.
        labels: Classes, int64 (B,) in 0..C-1.

    Returns:
        Mean over the batch of -log sum_z p(y, z|x), a scalar, at least 0.

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If ``log_joint`` is not floating point or ``labels`` are not integers.
    """
    return -_of_labels(log_joint, labels).flatten(1).logsumexp(1).mean()


def expectation_maximization(log_joint: Tensor, labels: Tensor, pseudo_target: Tensor) -> Tensor:
    """Compute the cross-entropy of p(y, z|x) under a pseudo-target of location (CALM, Eq. 5-6).

    For every pseudo-target it is an upper bound of `marginal_likelihood` (App. B). With the
    pseudo-target of the same ``log_joint`` the bound exceeds the marginal likelihood by the
    target's entropy, and both have the same gradient (Fisher's identity).

    Args:
        log_joint: log p(y, z|x) of shape (B, C, h, w), at most 0.
        labels: Classes, int64 (B,) in 0..C-1.
        pseudo_target: p'(z|x, y) of shape (B, h, w), at least 0, of sum 1 per image; no gradient
            passes it.

    Returns:
        Mean over the batch of -sum_z p'(z|x, y) log p(y, z|x), a scalar, at least 0.

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If ``log_joint`` is not floating point or ``labels`` are not integers.
    """
    log_maps = _of_labels(log_joint, labels)
    if pseudo_target.shape != log_maps.shape:
        expected = tuple(log_maps.shape)
        raise ValueError(f"pseudo_target must be {expected}, got {tuple(pseudo_target.shape)}")
    return -(pseudo_target.detach() * log_maps).sum(dim=(1, 2)).mean()


def location_posterior(log_joint: Tensor, labels: Tensor) -> Tensor:
    """Compute the pseudo-target p(z|x, y) for the location (CALM, Eq. 17-18), detached.

    Args:
        log_joint: log p(y, z|x) of shape (B, C, h, w), of the parameters theta'.
        labels: Classes, int64 (B,) in 0..C-1.

    Returns:
        Probabilities of shape (B, h, w), of sum 1 per image.

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If ``log_joint`` is not floating point or ``labels`` are not integers.
    """
    log_maps = _of_labels(log_joint.detach(), labels)
    return log_maps.flatten(1).softmax(1).view_as(log_maps)


class CALMLoss(nn.Module):
    """One of CALM's two objectives (Sec. 4.1.2).

    Args:
        objective: ``"em"`` for `expectation_maximization`, ``"ml"`` for `marginal_likelihood`.

    Raises:
        ValueError: If ``objective`` is neither.
    """

    def __init__(self, objective: str = "em") -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {OBJECTIVES}, got {objective!r}")
        self.objective = objective

    def forward(
        self, log_joint: Tensor, labels: Tensor, target_log_joint: Tensor | None = None
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            log_joint: log p(y, z|x) of shape (B, C, h, w) of the parameters theta.
            labels: Classes, int64 (B,) in 0..C-1.
            target_log_joint: log p(y, z|x) of the parameters theta', from which EM's pseudo-target
                comes; by default theta' = theta, the paper's practice. ML ignores it.

        Returns:
            A scalar, at least 0.
        """
        if self.objective == "ml":
            return marginal_likelihood(log_joint, labels)
        source = log_joint if target_log_joint is None else target_log_joint
        return expectation_maximization(log_joint, labels, location_posterior(source, labels))


def _of_labels(log_joint: Tensor, labels: Tensor) -> Tensor:
    """Check the arguments; return log p(y, z|x) of the labels, (B, h, w), at least float32."""
    if not log_joint.is_floating_point():
        raise TypeError(f"log_joint must be floating point, got {log_joint.dtype}")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if log_joint.ndim != 4 or labels.shape != log_joint.shape[:1]:
        raise ValueError(
            "expected log_joint (B, C, h, w) and labels (B,), got "
            f"{tuple(log_joint.shape)} and {tuple(labels.shape)}"
        )
    return widen(log_joint[torch.arange(len(labels), device=labels.device), labels])
