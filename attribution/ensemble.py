"""Mean and rank-mean of several methods' maps."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from learned_saliency.attribution.core.classifier import Classifier, SharedFeatures
from learned_saliency.attribution.core.method import PostHocMethod, Query

AVERAGES = ("map", "rank")


class Ensemble(PostHocMethod):
    """Mean of the maps of several methods, or of the ranks of their pixels.

    Each method's map S_m is at the size of the image and in [0, 1], as the method gives it. With
    weights v_m of sum 1,

        map:   S = sum_m v_m S_m,
        rank:  S = sum_m v_m (rank of each pixel in S_m) / (H W - 1),

    where ranks count from 0 for the smallest value, and pixels of one value share the mean of their
    ranks. Ranks do not depend on how a method spreads its values: the mean of maps is led by those
    of which most pixels are bright, the mean of ranks by none.

    A constant map changes nothing: it adds 0 to all pixels, or the same rank 1/2. The backbone runs
    once for all methods; what each does besides, costs what it costs alone.

    Args:
        methods: Methods, at least one.
        average: ``"map"`` or ``"rank"``.
        weights: A number for each method, at least 0, of positive sum; None for equal weights.
        target: Score that the methods explain; None for whatever they do.
        **options: See `PostHocMethod`; the maps are resized by the methods themselves.

    Raises:
        TypeError: If something is no method.
        ValueError: If there is no method, a word or a weight does not fit, or ``target`` is not
            that of a method.
    """

    def __init__(
        self,
        methods: Sequence[PostHocMethod],
        *,
        average: str = "map",
        weights: Sequence[float] | None = None,
        target: str | None = None,
        **options: str,
    ) -> None:
        for method in methods:
            if not isinstance(method, PostHocMethod):
                raise TypeError(f"methods must be post-hoc methods, got {method!r}")
        if not methods:
            raise ValueError("methods: name at least one")
        for method in methods:
            if target not in (None, method.target):
                raise ValueError(
                    f"{type(method).__name__} explains the {method.target}, not the {target}: "
                    "give it the target"
                )
        if average not in AVERAGES:
            raise ValueError(f"average must be one of {AVERAGES}: {average!r}")
        given = [1.0] * len(methods) if weights is None else [float(weight) for weight in weights]
        if len(given) != len(methods) or not min(given) >= 0 or not 0 < sum(given) < float("inf"):
            raise ValueError(
                f"weights must be {len(methods)} numbers, at least 0 and not all 0, got {weights}"
            )
        super().__init__(target=methods[0].target, **options)
        self.methods = list(methods)
        self.average = average
        self.weights = [weight / sum(given) for weight in given]
        self.needs_gradients = any(method.needs_gradients for method in methods)

    @property
    def progress(self) -> Callable[[int, int], None] | None:
        """Function that long methods among them tell their steps to, each from 1; None for none."""
        return next((m.progress for m in self.methods if hasattr(m, "progress")), None)

    @progress.setter
    def progress(self, progress: Callable[[int, int], None] | None) -> None:
        for method in self.methods:
            if hasattr(method, "progress"):
                method.progress = progress

    def of_classes(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Explain several classes of each image; each method does it in its own way.

        Args:
            classifier: See `PostHocMethod.of_classes`, as for the errors.
            images: Shape (B, 3, H, W).
            targets: Classes, int (B, T) in [0, C).

        Returns:
            Maps (B, T, H, W).
        """
        with self._query(classifier, images, None) as query:
            shared = self._share(query)
            targets = query.checked(targets)
            maps = (method.of_classes(shared, images, targets) for method in self.methods)
            return self.finish(self._mean(maps), images.shape[-2:])

    def _cams(self, query: Query) -> Tensor:
        shared, images = self._share(query), query.given_images
        return self._mean(method(shared, images, query.targets) for method in self.methods)

    def _share(self, query: Query) -> SharedFeatures:
        """Let the query and all methods share one pass of the backbone."""
        query.classifier = SharedFeatures(query.classifier, query.given_images)
        return query.classifier

    def _mean(self, maps: Iterator[Tensor]) -> Tensor:
        """Average maps (..., H, W), one of each method."""
        total = 0.0
        for weight, one in zip(self.weights, maps, strict=True):
            total = total + weight * (ranks(one) if self.average == "rank" else one)
        return total


def ranks(maps: Tensor) -> Tensor:
    """Compute the rank of each pixel within its map, scaled to [0, 1].

    Args:
        maps: Shape (..., H, W), finite.

    Returns:
        Number of smaller pixels, plus half the number of others that are as large, divided by
        H W - 1; the shape and type of ``maps``, 1/2 everywhere for a constant map.
    """
    flat = maps.flatten(-2).flatten(0, -2).contiguous()  # (N, H W)
    values = flat.sort(dim=1).values
    smaller = torch.searchsorted(values, flat)
    reached = torch.searchsorted(values, flat, right=True)
    places = (smaller + reached - 1).to(maps.dtype) / (2 * max(1, flat.shape[1] - 1))
    return places.view_as(maps)
