"""First principal component of the activations of each image."""

import torch
from torch import Tensor

from learned_saliency.ops import full_precision

_EXACT = 256  # rows of a Gram matrix up to which all its eigenvectors are found at once
_BLOCK = 8  # vectors that are iterated together: the first converges by the gap to the ninth
_ROUNDS, _STEPS = 12, 6  # most rounds, and products with the matrix in each of them
_TOLERANCE = 1e-5  # residual of an eigenvector that counts as found, relative to its eigenvalue


def first_component(features: Tensor, centered: bool) -> Tensor:
    """Project activations on their first principal component, without a sign.

    With X (N, K) the activations of the N cells, one row each, this is X v_1 = s_1 u_1 of X = U S
    V^T. It is found from the smaller of X X^T and X^T X.

    Args:
        features: Activations A, shape (B, K, h, w), at least float32.
        centered: Whether the mean over the cells is subtracted from each channel first.

    Returns:
        Projections (B, h, w), each up to its sign.
    """
    cells = features.flatten(2).transpose(1, 2)  # (B, N, K)
    if centered:
        cells = cells - cells.mean(dim=1, keepdim=True)
    with full_precision(features.device):
        if cells.shape[1] <= cells.shape[2]:
            values, vectors = _largest(cells @ cells.transpose(1, 2))
            found = values.clamp(min=0).sqrt()[:, None] * vectors
        else:
            found = (cells @ _largest(cells.transpose(1, 2) @ cells)[1][..., None])[..., 0]
    return found.unflatten(1, features.shape[2:])


def _largest(grams: Tensor) -> tuple[Tensor, Tensor]:
    """Find the largest eigenvalue (B,) of Gram matrices (B, M, M) and its vector (B, M)."""
    scale = grams.diagonal(dim1=1, dim2=2).sum(dim=1).clamp(min=torch.finfo(grams.dtype).tiny)
    grams = grams / scale[:, None, None]  # now the trace is 1, the eigenvalues in [0, 1]
    if grams.shape[1] > _EXACT:
        values, vectors, missed = _iterated(grams)
        if bool(missed.any()):  # nearly equal eigenvalues
            exact = torch.linalg.eigh(grams[missed])
            values[missed], vectors[missed] = exact[0][:, -1], exact[1][..., -1]
    else:
        every = torch.linalg.eigh(grams)
        values, vectors = every[0][:, -1], every[1][..., -1]
    return values * scale, vectors


def _iterated(grams: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Iterate a block of vectors towards the largest eigenvalue, see `_largest`.

    Returns:
        Eigenvalues (B,), vectors (B, M), and which images have not converged, bool (B,).
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(grams.shape[1], _BLOCK, generator=generator, dtype=torch.float64)
    block = start.to(grams).expand(len(grams), -1, -1)
    for _ in range(_ROUNDS):
        for _ in range(_STEPS):
            block = grams @ block
            block = block / block.norm(dim=(1, 2), keepdim=True).clamp(min=1e-30)
        basis = torch.linalg.qr(block)[0]  # (B, M, 8)
        images = grams @ basis
        values, mixing = torch.linalg.eigh(basis.transpose(1, 2) @ images)
        block = basis @ mixing
        value, vector = values[:, -1], block[..., -1]
        error = ((images @ mixing)[..., -1] - value[:, None] * vector).norm(dim=1)
        missed = error > _TOLERANCE * value.clamp(min=1e-30)
        if not bool(missed.any()):
            break
    return value, vector, missed
