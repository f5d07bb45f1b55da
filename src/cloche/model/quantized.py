"""Weights in 8 or 4 bits: a model that takes a half or a third of bfloat16's memory to write with.

Each output's weights are cut into groups along the inputs. int8: a number from -127 to 127 times
the group's scale. int4: a number from 0 to 15 times the group's scale, plus the group's minimum.
Embedding and output head stay at int8, as they bear rounding worst. Only matrices are rounded: what
is computed with them stays in the precision of the vectors.

Source: the layout of groups is that of GGUF's Q8_0 and Q4_1,
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, Int8, UInt8
from torch import Tensor, nn
from torch.nn import functional

from cloche.model.mlp import MixtureOfExperts

Bits = Literal["int8", "int4"]
Matrix = Callable[[torch.dtype], Tensor]
"""Makes a frozen matrix (outputs, inputs) in a dtype."""
INT8_GROUP = 64
INT4_GROUP = 32
GIVEN_UP = 0.05
"""Share of a group's range that int4 may give up at each end; nine such pairs were no better."""


def round_to_int8(
    weights: Float[Tensor, "outputs inputs"],
) -> tuple[Int8[Tensor, "outputs padded"], Float[Tensor, "outputs groups"]]:
    """Numbers and float32 scales of a matrix; inputs are padded with zeros to whole groups."""
    grouped = _grouped(weights, INT8_GROUP)
    scales = grouped.abs().amax(dim=-1) / 127
    safe = scales.where(scales > 0, 1.0)
    numbers = (grouped / safe[..., None]).round().clamp(-127, 127)
    return numbers.to(torch.int8).flatten(1), scales


def round_to_int4(
    weights: Float[Tensor, "outputs inputs"],
) -> tuple[
    UInt8[Tensor, "outputs padded"],
    Float[Tensor, "outputs groups"],
    Float[Tensor, "outputs groups"],
]:
    """Numbers, scales and minima of a matrix, the last two of bfloat16's precision.

    Of each group's outermost weights a little is given up where that leaves less squared error: the
    other numbers then stand closer.
    """
    grouped = _grouped(weights, INT4_GROUP)
    low, high = grouped.amin(dim=-1), grouped.amax(dim=-1)
    numbers, scales, minima = _round_between(grouped, low, high)
    inward = GIVEN_UP * (high - low)
    closer = _round_between(grouped, low + inward, high - inward)
    better = _squared_error(grouped, *closer) < _squared_error(grouped, numbers, scales, minima)
    numbers = closer[0].where(better[..., None], numbers)
    scales, minima = closer[1].where(better, scales), closer[2].where(better, minima)
    return numbers.to(torch.uint8).flatten(1), scales, minima


def product_with(
    vectors: Float[Tensor, "*batch inputs"], matrix: Matrix, *, bias: Tensor | None = None
) -> Float[Tensor, "*batch outputs"]:
    """The products of the vectors with a frozen matrix, which is made anew each time it is used.

    Where vectors have a gradient, the backward pass makes the matrix a second time: torch's own
    would keep that of every layer until then, and a model in 4 bits would take the memory of one
    in 32.
    """
    if not (torch.is_grad_enabled() and vectors.requires_grad):
        return functional.linear(vectors, matrix(vectors.dtype), bias)
    found = _MadeTwice.apply(vectors, matrix)
    assert isinstance(found, Tensor), "the function has one output"
    return found if bias is None else found + bias


class _MadeTwice(torch.autograd.Function):
    """The product forward; the gradient by the vectors, with the matrix made again, backward."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, matrix: Matrix) -> Tensor:
        """Keeps no tensor, only how to make the matrix."""
        ctx.matrix = matrix
        return functional.linear(vectors, matrix(vectors.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """By the vectors."""
        return grads[0] @ ctx.matrix(grads[0].dtype), None


class QuantizedLinear(nn.Module):
    """A linear layer whose matrix is kept in 8 or 4 bits; the bias stays as it is.

    Its forward unpacks the matrix each time: correct everywhere, and slow. The kernels of
    `cloche.generation` read the numbers themselves.
    """

    def __init__(self, weights: Float[Tensor, "outputs inputs"], bits: Bits) -> None:
        super().__init__()
        self.bits: Bits = bits
        self.out_features, self.in_features = weights.shape
        self.numbers: Tensor
        self.scales: Tensor
        self.minima: Tensor | None
        if bits == "int8":
            (numbers, scales), minima = round_to_int8(weights), None
        else:
            numbers, scales, minima = round_to_int4(weights)
        self.register_buffer("numbers", numbers)
        self.register_buffer("scales", scales)
        self.register_buffer("minima", minima)
        self.bias: nn.Parameter | None = None

    def matrix(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "outputs inputs"]:
        """The matrix as the numbers say, in `dtype`."""
        group = INT8_GROUP if self.bits == "int8" else INT4_GROUP
        grouped = self.numbers.unflatten(1, (-1, group)).float() * self.scales[..., None]
        if self.minima is not None:
            grouped += self.minima[..., None]
        return grouped.flatten(1)[:, : self.in_features].to(dtype)

    def forward(self, vectors: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The products, in the dtype of the vectors."""
        return product_with(vectors, self.matrix, bias=self.bias)


class QuantizedEmbedding(nn.Module):
    """A table of vectors in 8 bits; the head that is tied to it shares its numbers."""

    def __init__(self, table: QuantizedLinear, dtype: torch.dtype) -> None:
        super().__init__()
        self.table = table
        self.sample: Tensor
        self.register_buffer("sample", torch.empty(0, dtype=dtype), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """Of the vectors; follows the module where that is moved to another one."""
        return self.sample.dtype

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """The vectors of these ids."""
        rows = self.table.numbers[ids].unflatten(-1, (-1, INT8_GROUP)).float()
        vectors = (rows * self.table.scales[ids][..., None]).flatten(-2)
        return vectors[..., : self.table.in_features].to(self.dtype)


def quantize(model: nn.Module, bits: Bits) -> None:
    """Round the matrices of a decoder's layers to `bits`, its embedding and head to int8, in place.

    Norms, biases and vectors of positions stay. The matrices can no longer be trained; adapters
    beside them can (`cloche.model.lora`).
    """
    with torch.no_grad():
        for block in model.layers.modules():  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
            for name, layer in block.named_children():
                if isinstance(layer, nn.Linear) and not isinstance(block, MixtureOfExperts):
                    # (the only layer that a mixture itself has is its router, which stays exact)
                    setattr(block, name, _rounded(layer, bits))
        embedding, head = model.embed_tokens, model.lm_head
        assert isinstance(embedding, nn.Embedding)
        assert isinstance(head, nn.Linear)
        tied = head.weight is embedding.weight
        table = QuantizedLinear(embedding.weight, "int8")
        model.embed_tokens = QuantizedEmbedding(table, embedding.weight.dtype)
        rounded = _rounded(head, "int8")
        if tied:
            rounded.numbers, rounded.scales = table.numbers, table.scales
        model.lm_head = rounded


def _rounded(layer: nn.Linear, bits: Bits) -> QuantizedLinear:
    rounded = QuantizedLinear(layer.weight, bits)
    rounded.bias = layer.bias
    return rounded


def _grouped(
    weights: Float[Tensor, "outputs inputs"], group: int
) -> Float[Tensor, "outputs groups group"]:
    missing = -weights.shape[1] % group
    return functional.pad(weights.float(), (0, missing)).unflatten(1, (-1, group))


def _round_between(
    grouped: Float[Tensor, "outputs groups group"],
    low: Float[Tensor, "outputs groups"],
    high: Float[Tensor, "outputs groups"],
) -> tuple[
    Float[Tensor, "outputs groups group"],
    Float[Tensor, "outputs groups"],
    Float[Tensor, "outputs groups"],
]:
    """Numbers from 0 to 15 between two borders, with the scale and minimum that are kept."""
    scales = ((high - low) / 15).bfloat16().float()
    minima = low.bfloat16().float()
    safe = scales.where(scales > 0, 1.0)
    numbers = ((grouped - minima[..., None]) / safe[..., None]).round().clamp(0, 15)
    return numbers, scales, minima


def _squared_error(
    grouped: Float[Tensor, "outputs groups group"],
    numbers: Float[Tensor, "outputs groups group"],
    scales: Float[Tensor, "outputs groups"],
    minima: Float[Tensor, "outputs groups"],
) -> Float[Tensor, "outputs groups"]:
    found = numbers * scales[..., None] + minima[..., None]
    return (found - grouped).square().sum(dim=-1)
