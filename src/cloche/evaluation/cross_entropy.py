"""Cross-entropy from hidden vectors: the table of logits is never whole in float32.

A table of 2,048 x 50,257 logits takes 412 MB in float32, more than the rest of a small model's
activations. Here a few rows are scored at a time, and each gives its gradient at once: a summed
loss needs no second look, so nothing is computed twice.

Source: the idea is that of Hsu et al. 2024, https://arxiv.org/abs/2410.10989
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from cloche.data.batches import IGNORED
from cloche.model.quantized import QuantizedLinear
from cloche.planning.activations import KEPT_NUMBERS, SCORED_NUMBERS

FEW_PARTS = 4
"""Sums of so few gradients are kept in the precision of the passes, of more in float32."""


@dataclass(frozen=True)
class Scoring:
    """What is minimised besides the plain cross-entropy."""

    label_smoothing: float = 0.0
    smoothing_over: Literal["all", "others"] = "all"
    """Whether the true class has its part of what is spread: see training/label_smoothing.py."""
    z_loss: float = 0.0
    """Weight of the squared logarithm of the sum over all classes, which keeps logits small.
    Source: Chowdhery et al. 2022, section 5, https://arxiv.org/abs/2204.02311"""

    def shares(self, classes: int) -> tuple[float, float]:
        """Probability of the true class on top of each other one, and of each other one."""
        spread = self.label_smoothing / (classes if self.smoothing_over == "all" else classes - 1)
        own = 1.0 - self.label_smoothing + (spread if self.smoothing_over == "all" else 0.0)
        return own - spread, spread


PLAIN = Scoring()


def output_layer(model: nn.Module) -> nn.Linear | None:
    """The matrix that makes logits of hidden vectors; None where something else does."""
    layer = getattr(model, "lm_head", None)
    return layer if type(layer) is nn.Linear else None


def summed_cross_entropy(
    model: nn.Module,
    hidden: Num[Tensor, "batch time dim"],
    targets: Int[Tensor, "batch time"],
    *,
    scoring: Scoring = PLAIN,
) -> Float[Tensor, ""]:
    """The summed cross-entropy of the next tokens, in nats, from what `model.hidden` gave.

    Targets that are IGNORED bear no loss. Scored in float32 whatever the precision of the passes:
    a bfloat16 softmax loses the small ones. The sum's gradient may be scaled, but not be
    differentiated again.
    """
    layer = output_layer(model)
    rows, wanted = hidden.flatten(0, 1), targets.flatten()
    places = (wanted != IGNORED).nonzero()[:, 0]
    if len(places) < len(wanted):  # where answers alone are learned, most rows bear no loss
        rows, wanted = rows[places], wanted[places]
    head = getattr(model, "lm_head", None)
    if isinstance(head, QuantizedLinear):
        vectors, matrix = rows, head.matrix(rows.dtype)
    elif layer is None:
        vectors, matrix = model.head(rows), None  # pyright: ignore[reportCallIssue]
    else:
        vectors, matrix = rows, layer.weight
    bias = None if layer is None else layer.bias
    differentiate = torch.is_grad_enabled()  # always off inside of an autograd function
    total = _SummedLoss.apply(vectors, matrix, bias, wanted, scoring, differentiate)
    assert isinstance(total, Tensor), "the function has one output"
    return total


class _SummedLoss(torch.autograd.Function):
    """The sum forward; the gradients, made on the way, backward."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Float[Tensor, "rows dim"],
        matrix: Float[Tensor, "classes dim"] | None,
        bias: Float[Tensor, " classes"] | None,
        targets: Int[Tensor, " rows"],
        scoring: Scoring,
        differentiate: bool,  # noqa: FBT001  autograd functions take no keywords
    ) -> Float[Tensor, ""]:
        """The summed loss; keeps the gradients with respect to vectors, matrix and bias."""
        needed = tuple(differentiate and need for need in ctx.needs_input_grad[:3])
        total = torch.zeros((), device=vectors.device)
        gradients = _Gradients(vectors, matrix, bias, needed)
        for rows in _pieces(len(vectors), _rows_of(KEPT_NUMBERS, vectors, matrix)):
            logits = vectors[rows] if matrix is None else F.linear(vectors[rows], matrix, bias)
            slopes = gradients.room_for(logits) if any(needed) else None
            for few in _pieces(len(logits), _rows_of(SCORED_NUMBERS, vectors, matrix)):
                nats, slope = score_rows(
                    logits[few],
                    targets[rows][few],
                    scoring=scoring,
                    differentiate=slopes is not None,
                )
                total += nats
                if slopes is not None and slope is not None:
                    slopes[few] = slope
            if slopes is not None:
                gradients.add(rows, slopes)
        ctx.save_for_backward(*gradients.found())
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The kept gradients, scaled by the sum's own."""
        (scale,) = grads
        kept = [None if found is None else found * scale for found in ctx.saved_tensors]
        return (*kept, None, None, None)


def score_rows(
    logits: Float[Tensor, "rows classes"],
    targets: Int[Tensor, " rows"],
    *,
    scoring: Scoring = PLAIN,
    differentiate: bool,
) -> tuple[Float[Tensor, ""], Float[Tensor, "rows classes"] | None]:
    """The summed loss of some rows and, if asked for, its gradient by the logits, in float32."""
    own, spread = scoring.shares(logits.shape[-1])
    counted = targets != IGNORED
    safe = targets.where(counted, 0)[:, None]
    log_probabilities = F.log_softmax(logits.float(), dim=-1)
    nats = -own * log_probabilities.gather(1, safe)[:, 0]
    if spread:
        nats -= spread * log_probabilities.sum(dim=-1)
    log_sums = None
    if scoring.z_loss:
        # any class tells it: its logit less its log probability
        log_sums = logits[:, 0].float() - log_probabilities[:, 0]
        nats += scoring.z_loss * log_sums.square()
    total = nats.where(counted, 0.0).sum()
    if not differentiate:
        return total, None
    slope = log_probabilities.exp_()
    if log_sums is not None:
        slope *= (1.0 + 2.0 * scoring.z_loss * log_sums)[:, None]
    if spread:
        slope -= spread
    slope.scatter_add_(1, safe, slope.new_full(safe.shape, -own))
    if not bool(counted.all()):
        slope *= counted[:, None]
    return total, slope


class _Gradients:
    """What is added up over the rows, of those gradients that are needed."""

    def __init__(
        self,
        vectors: Tensor,
        matrix: Tensor | None,
        bias: Tensor | None,
        needed: tuple[bool, ...],
    ) -> None:
        self.vectors, self.matrix = vectors, matrix
        self.by_vectors = torch.empty_like(vectors) if needed[0] else None
        self.by_matrix: Tensor | None = None
        self.by_bias: Tensor | None = None
        if bias is not None and needed[2]:
            self.by_bias = torch.zeros_like(bias, dtype=torch.float32)
        self.wants_matrix = needed[1]

    def room_for(self, logits: Float[Tensor, "rows classes"]) -> Float[Tensor, "rows classes"]:
        """Where the gradients by these logits are to be written: over them, if they are ours."""
        return torch.empty_like(logits) if self.matrix is None else logits

    def add(self, rows: slice, slopes: Float[Tensor, "rows classes"]) -> None:
        """Take in the gradient by the logits of these rows."""
        if self.by_vectors is not None:
            if self.matrix is None:
                self.by_vectors[rows] = slopes
            else:
                torch.mm(slopes, self.matrix, out=self.by_vectors[rows])
        if self.wants_matrix:
            if self.by_matrix is None:
                few = len(self.vectors) <= FEW_PARTS * (rows.stop - rows.start)
                first = slopes.T @ self.vectors[rows]
                self.by_matrix = first if few else first.float()
            elif self.by_matrix.dtype == slopes.dtype:
                self.by_matrix.addmm_(slopes.T, self.vectors[rows])
            else:
                self.by_matrix += slopes.T @ self.vectors[rows]
        if self.by_bias is not None:
            self.by_bias += slopes.sum(dim=0, dtype=torch.float32)

    def found(self) -> tuple[Tensor | None, ...]:
        """By vectors, matrix and bias, each in the dtype of what it is of."""
        dtype = self.vectors.dtype
        return tuple(
            None if found is None else found.to(dtype)
            for found in (self.by_vectors, self.by_matrix, self.by_bias)
        )


def _rows_of(numbers: int, vectors: Tensor, matrix: Tensor | None) -> int:
    """How many rows of logits so many numbers are."""
    classes = vectors.shape[-1] if matrix is None else matrix.shape[0]
    return max(1, numbers // classes)


def _pieces(stop: int, size: int) -> Iterator[slice]:
    for begin in range(0, stop, size):
        yield slice(begin, min(begin + size, stop))
