"""Normalisation: each vector brought to one scale, so that depth neither blows up nor dies out."""

from jaxtyping import Float
from torch import Tensor, nn, no_grad, ones, zeros
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


class BatchNorm(nn.Module):
    """Each dimension brought to mean 0 and variance 1 over all vectors of a batch.

    In training by the batch's own mean and variance, which also move the running averages; in
    evaluation by those averages. A decoder cannot use it (`build_norm` does not offer it): in
    training every token would see, through mean and variance, the tokens after it and those of
    other texts, and at writing there is no batch to take them from.

    Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167
    """

    def __init__(self, dim: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(ones(dim)), nn.Parameter(zeros(dim))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", zeros(dim))
        self.register_buffer("running_var", ones(dim))
        self.eps, self.momentum = eps, momentum

    def forward(self, vectors: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The vectors, normalised over all leading axes; ValueError for one vector in training."""
        if self.training:
            mean, variance = self._of_batch(vectors.flatten(0, -2))
        else:
            mean, variance = self.running_mean, self.running_var
        return (vectors - mean) / (variance + self.eps).sqrt() * self.weight + self.bias

    def _of_batch(
        self, rows: Float[Tensor, "rows dim"]
    ) -> tuple[Float[Tensor, " dim"], Float[Tensor, " dim"]]:
        """Mean and variance of the batch; the running averages move towards them."""
        count = len(rows)
        if count < 2:
            raise ValueError(f"a batch of {count} vectors has no variance to train with")
        mean = rows.mean(dim=0)
        variance = (rows - mean).square().mean(dim=0)
        with no_grad():
            # what is kept estimates the variance of all texts, hence the count less one
            unbiased = variance * (count / (count - 1))
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        return mean, variance


def build_norm(kind: Norm, dim: int, *, eps: float) -> nn.Module:
    """A normalisation of `dim` numbers. LayerNorm: https://arxiv.org/abs/1607.06450"""
    if kind == "rmsnorm":
        return RMSNorm(dim, eps=eps)
    return nn.LayerNorm(dim, eps=eps)
