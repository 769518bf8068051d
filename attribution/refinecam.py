"""Refine-CAM."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from learned_saliency.attribution.core.level_gradients import (
    LevelGradients,
    gradients_of_levels,
    gradients_of_own_levels,
    levels_of,
    split_of,
)
from learned_saliency.attribution.core.maps import normalize, resize
from learned_saliency.attribution.core.method import PostHocMethod, Query
from learned_saliency.attribution.core.scales import Level
from learned_saliency.attribution.gradcam import GradCAM
from learned_saliency.attribution.gradcampp import GradCAMPlusPlus
from learned_saliency.attribution.hirescam import HiResCAM
from learned_saliency.attribution.layercam import LayerCAM
from learned_saliency.attribution.xgradcam import XGradCAM

#: Methods of one layer whose maps are multiplied, by their words.
BASES: dict[str, type[PostHocMethod]] = {
    "gradcam": GradCAM,
    "gradcampp": GradCAMPlusPlus,
    "xgradcam": XGradCAM,
    "hirescam": HiResCAM,
    "layercam": LayerCAM,
}


class RefineCAM(PostHocMethod):
    """Refine-CAM (Domeniconi et al. 2026, arXiv 2605.14641): the product of maps of several layers.

    The map of each level is resized to the image and min-max normalized; the maps are multiplied,
    prod_l n(up(S_l)), so that a fine layer shows detail where the coarse ones see the class. All
    levels come from one pass of the whole network and one backward pass, down
    to the finest level.

    The classifier's layer is the coarsest level. Finer ones are named by ``layers``, or found: for
    each doubling of the layer's grid, the last output with such a grid before the layer; of these
    the ``finer`` coarsest count. Where no grid is finer (a vision transformer) they are three
    blocks of the same grid. That takes a few trial passes for a network that is new. It needs a
    `split` network, or a classifier with ``levels`` as those of this project have.

    Note:
        pytorch-grad-cam does the same; torchcam normalizes before it resizes, and multiplies at the
        finest level's resolution instead of the image's. A level without positive evidence is
        constant, and makes the map constant, that is zeros.

    Args:
        base: Method of one layer that is refined: ``"gradcam"``, ``"gradcampp"`` (as in both
            implementations), ``"xgradcam"``, ``"hirescam"`` or ``"layercam"``.
        layers: Names of the layers of the finer levels, from fine to coarse; None to find them.
        finer: Number of finer levels that are taken of those that are found, at least 1.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If an option is out of its range, or, when called, if the classifier has no
            finer level or a name is none.
    """

    needs_gradients = True
    export_obstacle = "it needs the activations of several layers and the network's derivative"

    def __init__(
        self,
        *,
        base: str = "gradcampp",
        layers: Sequence[str] | None = None,
        finer: int = 2,
        **options: str,
    ) -> None:
        super().__init__(**options)
        if base not in BASES:
            raise ValueError(f"base must be one of {tuple(BASES)}, got {base!r}")
        if finer < 1 or (layers is not None and (isinstance(layers, str) or not len(layers))):
            raise ValueError(
                "expected finer >= 1 and layers a list of at least one name, or None, got "
                f"{finer} and {layers!r}"
            )
        self.base = BASES[base]()
        self.layers = None if layers is None else list(layers)
        self.finer = finer
        self._known: WeakKeyDictionary = WeakKeyDictionary()  # levels by network and layer

    def _cams(self, query: Query) -> Tensor:
        size = query.images.shape[-2:]
        product = None
        for level in self._levels(query):
            maps = normalize(resize(self.base._cams(level), size, self.interpolation))
            product = maps if product is None else product * maps
        return product

    def _levels(self, query: Query) -> list[LevelGradients]:
        split = split_of(query.classifier)
        if split is not None:
            levels = self._find(split, query.images)
            _check_finer(levels)
            return gradients_of_levels(query, split, levels)
        own = [m.levels for m in query.classifier.modules() if hasattr(m, "levels")]
        if not own:
            raise ValueError(
                "RefineCAM needs the levels of a network: make the classifier by "
                "attribution.split(model, layer), or use a method of one layer"
            )
        if self.layers is not None:
            raise ValueError("layers names those of a split network; this one gives its own levels")
        levels = gradients_of_own_levels(query, own[0])
        _check_finer(levels)
        return levels[-1 - self.finer :]

    def _find(self, split: torch.nn.Module, images: Tensor) -> list[Level]:
        """Find the levels of a split network, once for each network and layer."""
        known = self._known.setdefault(split.model, {})
        if split.layer not in known:
            known[split.layer] = levels_of(split, images, self.layers)
        levels = known[split.layer]
        return levels if self.layers is not None else levels[-1 - self.finer :]


def _check_finer(levels: Sequence[object]) -> None:
    if len(levels) < 2:
        raise ValueError(
            "no layer before the explained one has a grid of its own: name some, layers=[...], or "
            "explain a later layer"
        )
