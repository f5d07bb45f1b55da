"""Normalisation: each vector brought to one scale, so that depth neither blows up nor dies out."""

from jaxtyping import Float
from torch import Tensor, nn, ones
from torch.nn import functional

from cloche.model.config import Norm


class RMSNorm(nn.Module):
    """A vector divided by its root mean square, times a learned weight for each dimension.

    The mean square is taken in float32 whatever the dtype of the input.

    Source: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467
    """

    def __init__(self, dim: int, *, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(ones(dim))
        self.eps = eps

    def forward(self, vectors: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The vectors, each with a root mean square of 1 before the weight."""
        return functional.rms_norm(vectors, self.weight.shape, self.weight, self.eps)


def build_norm(kind: Norm, dim: int, *, eps: float) -> nn.Module:
    """A normalisation of `dim` numbers. LayerNorm: https://arxiv.org/abs/1607.06450"""
    if kind == "rmsnorm":
        return RMSNorm(dim, eps=eps)
    return nn.LayerNorm(dim, eps=eps)
