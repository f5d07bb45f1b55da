"""A linear layer that stays as it is, and two thin matrices beside it that learn.

The layer's own tensors keep their names in it, so a state dict has the names of the plain model,
and `lora_A`, `lora_B` (and `lora_magnitude_vector`) after those of each layer.

Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685; with lengths apart from directions: Liu
et al. 2024, https://arxiv.org/abs/2402.09353
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cloche.model.lora_config import LoraConfig


@dataclass(frozen=True, eq=False)
class LowRank:
    """What is learned for one layer, in float32."""

    inward: Float[Tensor, "rank inputs"]
    """`lora_A`."""
    outward: Float[Tensor, "outputs rank"]
    """`lora_B`."""
    magnitude: Float[Tensor, " outputs"] | None
    """`lora_magnitude_vector`: the length of each row, with DoRA only."""
    scale: float

    def adapted(self, matrix: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
        """The matrix that computes what the layer and its adapter do together, in float32."""
        summed = self.summed(matrix)
        if self.magnitude is None:
            return summed
        with torch.no_grad():
            return summed * (self.magnitude.float() / row_lengths(summed))[:, None]

    def summed(self, matrix: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
        """The matrix plus the scaled product of the thin ones, in float32."""
        with torch.no_grad():  # no decorator: torch.compile does not see through it
            return torch.addmm(
                matrix.float(), self.outward.float(), self.inward.float(), alpha=self.scale
            )


def row_lengths(matrix: Float[Tensor, "outputs inputs"]) -> Float[Tensor, " outputs"]:
    """The norm of each row; 1 for a row of zeros, which has no direction."""
    lengths = torch.linalg.vector_norm(matrix, dim=1)
    return lengths.where(lengths > 0, 1.0)


class LoraLinear(nn.Module, ABC):
    """A frozen linear layer with its adapter; computes in the dtype of the vectors it is given.

    Its subclasses say how the frozen matrix is kept. A fresh adapter changes nothing: `lora_B` is
    zero, and `lora_magnitude_vector` holds the lengths that the rows have.
    """

    def __init__(
        self, inputs: int, outputs: int, config: LoraConfig, *, bias: nn.Parameter | None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.scale, self.dropout = config.scale, config.dropout
        self.bias: nn.Parameter | None
        self.register_parameter("bias", bias)
        self.lora_A = nn.Parameter(torch.zeros(config.rank, inputs))
        self.lora_B = nn.Parameter(torch.zeros(outputs, config.rank))
        self.lora_magnitude_vector: nn.Parameter | None
        lengths = nn.Parameter(torch.ones(outputs)) if config.dora else None
        self.register_parameter("lora_magnitude_vector", lengths)

    @abstractmethod
    def base_matrix(self, dtype: torch.dtype) -> Float[Tensor, "outputs inputs"]:
        """The frozen matrix."""

    @abstractmethod
    def product(
        self,
        vectors: Float[Tensor, "*batch inputs"],
        dropped: Float[Tensor, "*batch inputs"],
        low_rank: LowRank,
    ) -> Float[Tensor, "*batch outputs"]:
        """The frozen matrix times `vectors`, plus what the adapter makes of `dropped`."""

    @abstractmethod
    def plain(self) -> nn.Module:
        """The layer without its adapter; it has the same tensors."""

    @property
    def low_rank(self) -> LowRank:
        """The adapter's own tensors, not copies."""
        return LowRank(self.lora_A, self.lora_B, self.lora_magnitude_vector, self.scale)

    @torch.no_grad()
    def draw(self, *, seed: int, name: str) -> None:
        """Start anew: a pure function of `seed` and the layer's name.

        A as PEFT draws it: as torch does a linear layer's matrix, evenly between plus and minus
        1 / sqrt(inputs).
        """
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
        bound = self.in_features**-0.5
        drawn = torch.empty(self.lora_A.shape).uniform_(-bound, bound, generator=generator)
        self.lora_A.copy_(drawn)
        self.lora_B.zero_()
        if self.lora_magnitude_vector is not None:
            self.lora_magnitude_vector.copy_(row_lengths(self.base_matrix(torch.float32)))

    def merged(self) -> nn.Linear:
        """A plain layer that computes the same; the frozen matrix stays as it is.

        In the dtype of the frozen matrix, or float32 where that is quantized.
        """
        own = self.low_rank
        matrix = own.adapted(self.base_matrix(torch.float32))
        return linear_layer(matrix.to(self.merged_dtype), self.bias)

    @property
    def merged_dtype(self) -> torch.dtype:
        """Of the matrix that `merged` gives."""
        return torch.float32

    def forward(self, vectors: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """What layer and adapter make of the vectors."""
        dropped = vectors
        if self.dropout and self.training:
            dropped = functional.dropout(vectors, self.dropout)
        own = LowRank(
            self.lora_A.to(vectors.dtype), self.lora_B.to(vectors.dtype), None, self.scale
        )
        products = self.product(vectors, dropped, own)
        if self.lora_magnitude_vector is not None:
            products = products * self._lengthening().to(products.dtype)
        return products if self.bias is None else products + self.bias

    def _lengthening(self) -> Float[Tensor, " outputs"]:
        """What each output is multiplied by.

        The lengths of the rows bear no gradient (section 4.3 of the paper on DoRA), which spares
        the memory of all that they are computed from.
        """
        assert self.lora_magnitude_vector is not None
        lengths = row_lengths(self.low_rank.summed(self.base_matrix(torch.float32)))
        return self.lora_magnitude_vector / lengths


class DenseLoraLinear(LoraLinear):
    """Over a matrix of plain numbers, which is called `weight` here as it was before."""

    def __init__(self, layer: nn.Linear, config: LoraConfig) -> None:
        super().__init__(layer.in_features, layer.out_features, config, bias=layer.bias)
        self.weight = layer.weight

    def base_matrix(self, dtype: torch.dtype) -> Float[Tensor, "outputs inputs"]:
        """The frozen matrix, not a copy where it is of `dtype`."""
        return self.weight.detach().to(dtype)

    @property
    def merged_dtype(self) -> torch.dtype:
        """That of the frozen matrix."""
        return self.weight.dtype

    def product(
        self,
        vectors: Float[Tensor, "*batch inputs"],
        dropped: Float[Tensor, "*batch inputs"],
        low_rank: LowRank,
    ) -> Float[Tensor, "*batch outputs"]:
        """Both products; in one function of our own where nothing is dropped."""
        matrix = self.base_matrix(vectors.dtype)
        if dropped is not vectors:
            return functional.linear(vectors, matrix) + thin_product(dropped, low_rank)
        found = _BothProducts.apply(
            vectors, matrix, low_rank.inward, low_rank.outward, low_rank.scale
        )
        assert isinstance(found, Tensor), "the function has one output"
        return found

    def plain(self) -> nn.Linear:
        """The layer as it was."""
        return linear_layer(self.weight, self.bias)


def thin_product(
    vectors: Float[Tensor, "*batch inputs"], low_rank: LowRank
) -> Float[Tensor, "*batch outputs"]:
    """What an adapter alone makes of the vectors; the scale acts where there are fewest numbers."""
    squeezed = functional.linear(vectors, low_rank.inward) * low_rank.scale
    return functional.linear(squeezed, low_rank.outward)


def linear_layer(matrix: Tensor, bias: nn.Parameter | None) -> nn.Linear:
    """A plain layer of these very tensors, drawing no random numbers."""
    outputs, inputs = matrix.shape
    layer = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    if not isinstance(matrix, nn.Parameter):
        matrix = nn.Parameter(matrix, requires_grad=False)
    layer.weight = matrix
    if bias is not None:
        layer.bias = bias
    return layer


class _BothProducts(torch.autograd.Function):
    """The frozen product and the adapter's, added where they lie.

    torch's own graph of the two makes the sum, the scaled product and the second gradient by the
    vectors as further tables of all tokens; here each is added into the first in the product.
    """

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, matrix: Tensor, inward: Tensor, outward: Tensor, scale: float
    ) -> Tensor:
        """Keeps the vectors and their few squeezed numbers; the matrices are there anyhow."""
        rows = vectors.reshape(-1, vectors.shape[-1])
        squeezed = rows @ inward.t()
        products = rows @ matrix.t()
        products.addmm_(squeezed, outward.t(), alpha=scale)
        ctx.save_for_backward(rows, squeezed, matrix, inward, outward)
        ctx.scale, ctx.shape = scale, vectors.shape
        return products.view(*vectors.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """By the vectors, and by both thin matrices; none by the frozen one."""
        rows, squeezed, matrix, inward, outward = ctx.saved_tensors
        slopes = grads[0].reshape(-1, grads[0].shape[-1])
        by_squeezed = (slopes @ outward).mul_(ctx.scale)
        by_vectors = by_inward = by_outward = None
        if ctx.needs_input_grad[0]:  # not where a first layer reads a frozen embedding
            by_vectors = (slopes @ matrix).addmm_(by_squeezed, inward).view(ctx.shape)
        if ctx.needs_input_grad[2]:
            by_inward = by_squeezed.t() @ rows
        if ctx.needs_input_grad[3]:
            # the few rows first: twice as fast as the same product the other way round
            by_outward = (squeezed.t() @ slopes).mul_(ctx.scale).t().contiguous()
        return by_vectors, None, by_inward, by_outward, None
