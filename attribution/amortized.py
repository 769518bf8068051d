"""Opti-CAM in one pass, by a trained network."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from learned_saliency.attribution.core.classifier import Classifier, frozen
from learned_saliency.attribution.core.method import PostHocMethod, Query
from learned_saliency.attribution.fitting import fit_weights
from learned_saliency.attribution.objectives import MaskObjective


class MapNetwork(Protocol):
    """Interface of a trained network of maps, an ``nn.Module``; `models.ChannelWeights` is one.

    A network that makes its map by Eq. 8 of paper 000 offers ``weights``, too, with the same
    arguments: u (B, K).
    """

    def __call__(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Map features, at least 0, and gradients, both (B, K, h, w), to maps (B, h', w')."""
        ...


class Amortized(PostHocMethod):
    """Amortized Opti-CAM: the map that a trained network gives instead of some hundred steps.

    The network was trained to maximize Opti-CAM's objective (paper 000, Eq. 10) for a classifier,
    over images, see ``model=amortized``. It costs one pass of the backbone and of the head, a
    backward pass of the head, and the small network. It belongs to the layer of the classifier that
    it was trained on.

    As with Opti-CAM the map is n(S), the very mask that was trained. What it keeps, the logit or
    another score, was chosen in the training; the gradient that it reads is the logit's.

    Args:
        network: A trained `MapNetwork`.
        normalization: n, as in training, see `MaskObjective`.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If ``normalization`` is unknown, or, when called, if the network was made for
            other features.
    """

    needs_gradients = True
    allowed_targets: ClassVar[tuple[str, ...]] = ("logit",)

    def __init__(
        self, network: MapNetwork, *, normalization: str = "range", **options: str
    ) -> None:
        super().__init__(**options)
        self.network = network
        self.mask = MaskObjective(normalization=normalization, interpolation=self.interpolation)

    def __call__(
        self, classifier: Classifier, images: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        """Explain a batch; see `PostHocMethod.__call__`, and for the range of the maps `OptiCAM`.

        Args:
            classifier: A `Classifier`.
            images: Shape (B, 3, H, W).
            targets: Int (B,) in [0, C), or None for the predicted classes.

        Returns:
            Masks (B, H, W) in [0, 1]; zeros where a map is constant.
        """
        with self._query(classifier, images, targets) as query:
            return self.mask.masks(self._cams(query), images.shape[-2:])

    def u(self, query: Query) -> Tensor:
        """Compute u, shape (B, K), from which Opti-CAM may go on.

        Of a network that makes its map in another way than by Eq. 8, these are the channel weights
        whose map correlates best with it, see `fit_weights`.
        """
        if hasattr(self.network, "weights"):
            return self._run(self.network.weights, query)
        return fit_weights(query.features.relu(), self._run(self.network, query))

    def coefficients(
        self, classifier: Classifier, images: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        """Compute the channel weights softmax(u), (B, K), of sum 1; see `u` and `__call__`."""
        with self._query(classifier, images, targets) as query:
            return self.u(query).softmax(dim=1)

    def _cams(self, query: Query) -> Tensor:
        return self._run(self.network, query)

    def _run(self, function: MapNetwork, query: Query) -> Tensor:
        """Run the network or its ``weights`` on the device and in the precision of the features."""
        network: nn.Module = self.network
        network.to(query.features.device)
        own = query.features.dtype
        precision = next((weight.dtype for weight in network.parameters()), own)
        inputs = query.features.relu(), query.gradients_of(self.target)
        with frozen(network):
            found = function(*(numbers.to(precision) for numbers in inputs))
        return found.to(torch.promote_types(precision, own))
