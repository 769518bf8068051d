"""A classifier with the map of one post-hoc method, as a module that can be exported."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from learned_saliency.attribution import (
    Classifier,
    PostHocMethod,
    SharedFeatures,
)
from learned_saliency.datamodules import Size, standardize
from learned_saliency.pipeline.export.recording import record, state_of
from learned_saliency.pipeline.runs import try_methods
from learned_saliency.trainers import Explanation, NativeMap, PostHocModule


class ExplainedClassifier(PostHocModule):
    """A classifier whose native map is that of its one post-hoc method.

    Args:
        **options: See `PostHocModule`; ``methods`` has one entry.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Pooling of channels-last features has strides that no format but torch's knows.
        self.network.to(memory_format=torch.contiguous_format)

    @property
    def method(self) -> PostHocMethod:
        """The method."""
        (method,) = self.methods.values()
        return method

    @property
    def native(self) -> NativeMap:
        """Declaration of the method's map."""
        return NativeMap(True, self.method.gives_probabilities(self.classifier))

    @property
    def export_obstacle(self) -> str | None:
        """Reason why no graph can hold the method, as a sentence without its full stop."""
        if self.method.export_obstacle is None:
            return None
        (name,) = self.methods
        return f"method={name} is none for a graph, as {self.method.export_obstacle}"

    def try_on(self, pixels: Tensor) -> int:
        """Run the network and the method on images levels 0..255 (N, C, S, S).

        Returns:
            The number of classes.

        Raises:
            UserError: If the network does not take the images, or the method does not fit it.
        """
        images = standardize(pixels, self.mean.flatten(), self.std.flatten())
        return try_methods(self, images, key="method")

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute the method's maps of the given classes; see `SaliencyModule.explain`."""
        shared = SharedFeatures(self.classifier, images)
        with torch.no_grad():
            logits = shared(images)
        targets = self.known_targets(labels, logits)
        return Explanation(self.method(shared, images, targets), logits, shared.features(images))


class _Pass(nn.Module):
    """Logits, raw maps and features of a batch, all from one pass up to the layer."""

    def __init__(self, classifier: Classifier, method: PostHocMethod) -> None:
        super().__init__()
        self.classifier = classifier
        self.method = method

    def forward(
        self, images: Tensor, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        shared = SharedFeatures(self.classifier, images)
        with torch.no_grad():
            logits = shared(images)
        targets = PostHocModule.known_targets(targets, logits)
        return logits, self.method.raw_maps(shared, images, targets), shared.features(images)


class RecordedClassifier(nn.Module):
    """An `ExplainedClassifier` without calls of autograd, for torch.export.

    Args:
        explained: The classifier with its method, in evaluation mode.
        size: Height and width of the images.
        has_labels: Whether the classes to explain are given, instead of being the predicted ones.

    Raises:
        Exception: Whatever the network or the method raises where values are not known.
    """

    export_obstacle = None

    def __init__(self, explained: ExplainedClassifier, size: Size, has_labels: bool) -> None:
        super().__init__()
        self.native, self.activation = explained.native, explained.activation
        self.register_buffer("mean", explained.mean, persistent=False)
        self.register_buffer("std", explained.std, persistent=False)
        self.finish = explained.method.finish
        self.pass_ = _Pass(explained.classifier, explained.method)
        inputs = [torch.rand(2, len(explained.mean), *Size.of(size))]
        if has_labels:
            inputs.append(torch.zeros(2, dtype=torch.int64))
        self.graph = record(self.pass_, *inputs)

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute maps as `ExplainedClassifier.explain` does."""
        given = [] if labels is None else [labels]
        logits, raw, features = self.graph(state_of(self.pass_), images, *given)
        saliency = self.finish(raw, images.shape[-2:])
        return Explanation(saliency, logits, features)
