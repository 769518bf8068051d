"""Training of Real Time Image Saliency by a command, for a given network."""

import pytest
import torch

from learned_saliency import load
from tests.support.own_networks import COMMON, OWN, trained

SMALL = ["model=rtis", "recipe.mask_width=8", "methods=[native]", "pictures.images=0"]


@pytest.mark.filterwarnings("ignore:.*(TreeSpec|in eval mode|has random weights)")
def test_a_given_network_is_masked_class_by_class(small_run):
    own = [*SMALL, f"classifier={OWN}:nonlinear", "layer=last", "test=false"]
    folder = trained([*small_run, *COMMON], *own)
    image = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    (found,) = load(folder, classifier=f"{OWN}:nonlinear", methods=["native"])(image, top_k=3)
    assert found.maps["native"].shape == (3, 40, 50)
    assert not torch.equal(*map(torch.as_tensor, found.maps["native"][:2]))
