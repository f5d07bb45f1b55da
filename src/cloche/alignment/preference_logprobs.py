"""Log probabilities of the learned tokens, one for each: the table of logits is never whole.

Preferences and rewards need a number for every answer, not one sum, so a gradient comes back for
each token. The head is computed at learned positions only, a few rows at a time, in float32; what
the backward pass needs of it is computed a second time instead of kept.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cloche.data.batches import IGNORED
from cloche.evaluation.cross_entropy import output_layer
from cloche.planning.activations import SCORED_NUMBERS


class ScoredTokens(NamedTuple):
    """What a model thinks of each learned token, in nats and float32."""

    logprobs: Float[Tensor, " learned"]
    """Log probability of the token."""
    entropy: Float[Tensor, " learned"]
    """Entropy of the distribution that the token is one outcome of."""


def learned_logprobs(
    model: nn.Module,
    hidden: Num[Tensor, "batch time dim"],
    targets: Int[Tensor, "batch time"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, " learned"]:
    """The log probability of each target that is not IGNORED, in nats, from what `model.hidden`
    gave.

    They come in the order of `targets[targets != IGNORED]`, as `sequence_sums` takes them. With a
    `temperature` they are those of the distribution that sampling at it draws from: logits are
    divided by it. Computed in float32 whatever the precision of the passes.
    """
    return learned_tokens(model, hidden, targets, temperature=temperature).logprobs


def learned_tokens(
    model: nn.Module,
    hidden: Num[Tensor, "batch time dim"],
    targets: Int[Tensor, "batch time"],
    *,
    temperature: float = 1.0,
) -> ScoredTokens:
    """The same with the entropy of each distribution; both can be differentiated once."""
    assert temperature > 0, "a temperature divides"
    places = (targets != IGNORED).flatten().nonzero()[:, 0]
    vectors = hidden.flatten(0, 1)[places]
    chosen = targets.flatten()[places]
    layer = output_layer(model)
    if layer is None:
        return _by_any_head(model, vectors, chosen, temperature)
    logprobs, entropy = _Scored.apply(vectors, layer.weight, layer.bias, chosen, temperature)
    return ScoredTokens(logprobs, entropy)


class _Scored(torch.autograd.Function):
    """Log probabilities and entropies forward; logits a second time, and gradients, backward."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Num[Tensor, "rows dim"],
        matrix: Num[Tensor, "classes dim"],
        bias: Num[Tensor, " classes"] | None,
        targets: Int[Tensor, " rows"],
        temperature: float,
    ) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
        """(log probability of each target, entropy of each row)."""
        found = torch.empty(3, len(vectors), device=vectors.device)
        for rows in _pieces(len(vectors), matrix.shape[0]):
            logits = _logits(vectors[rows], matrix, bias, temperature)
            log_sums = logits.logsumexp(dim=-1)
            own = logits.gather(1, targets[rows, None])[:, 0]
            logits -= log_sums[:, None]
            entropy = -(logits.exp() * logits).sum(dim=-1)
            found[:, rows] = torch.stack([own - log_sums, entropy, log_sums])
        logprobs, entropy, log_sums = found
        ctx.save_for_backward(vectors, matrix, bias, targets, entropy, log_sums)
        ctx.temperature = temperature
        return logprobs.clone(), entropy.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by vectors, matrix and bias, each where it is needed."""
        by_logprobs, by_entropy = grads
        vectors, matrix, bias, targets, entropy, log_sums = ctx.saved_tensors
        needed = ctx.needs_input_grad
        by_vectors = torch.empty_like(vectors) if needed[0] else None
        # float32: many small products are added up
        by_matrix = torch.zeros_like(matrix, dtype=torch.float32) if needed[1] else None
        by_bias = torch.zeros_like(bias, dtype=torch.float32) if needed[2] else None
        for rows in _pieces(len(vectors), matrix.shape[0]):
            log_probabilities = _logits(vectors[rows], matrix, bias, ctx.temperature)
            log_probabilities -= log_sums[rows, None]
            slopes = _slopes(
                log_probabilities,
                targets[rows],
                by_logprobs=by_logprobs[rows],
                by_entropy=by_entropy[rows],
                entropy=entropy[rows],
            )
            slopes = (slopes / ctx.temperature).to(vectors.dtype)
            if by_vectors is not None:
                torch.mm(slopes, matrix, out=by_vectors[rows])
            if by_matrix is not None:
                by_matrix += slopes.T @ vectors[rows]
            if by_bias is not None:
                by_bias += slopes.sum(dim=0, dtype=torch.float32)
        by_matrix = None if by_matrix is None else by_matrix.to(matrix.dtype)
        by_bias = None if by_bias is None else by_bias.to(bias.dtype)
        return by_vectors, by_matrix, by_bias, None, None


def _slopes(
    log_probabilities: Float[Tensor, "rows classes"],
    targets: Int[Tensor, " rows"],
    *,
    by_logprobs: Float[Tensor, " rows"],
    by_entropy: Float[Tensor, " rows"],
    entropy: Float[Tensor, " rows"],
) -> Float[Tensor, "rows classes"]:
    """The gradient by the logits, from those by what was made of them.

    A target's log probability rises with its own logit by 1 and falls with each by its
    probability p; the entropy H falls with each by p (log p + H).
    """
    probabilities = log_probabilities.exp()
    slopes = probabilities * -by_logprobs[:, None]
    slopes.scatter_add_(1, targets[:, None], by_logprobs[:, None])
    if bool(by_entropy.any()):
        log_probabilities += entropy[:, None]
        slopes -= probabilities * log_probabilities * by_entropy[:, None]
    return slopes


def _logits(
    vectors: Num[Tensor, "rows dim"],
    matrix: Num[Tensor, "classes dim"],
    bias: Num[Tensor, " classes"] | None,
    temperature: float,
) -> Float[Tensor, "rows classes"]:
    logits = F.linear(vectors, matrix, bias).float()
    return logits if temperature == 1.0 else logits / temperature


def _by_any_head(
    model: nn.Module,
    vectors: Num[Tensor, "rows dim"],
    targets: Int[Tensor, " rows"],
    temperature: float,
) -> ScoredTokens:
    """The same for a head that is no plain matrix, such as one with an adapter on it."""

    def score(few: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        logits = model.head(few).float() / temperature  # pyright: ignore[reportCallIssue]
        log_probabilities = logits.log_softmax(dim=-1)
        entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=-1)
        return log_probabilities.gather(1, chosen[:, None])[:, 0], entropy

    config = getattr(model, "config", None)
    classes = vectors.shape[-1] if config is None else config.vocab_size
    empty = vectors[:0].float().sum(dim=-1)  # of the graph, so that it can be differentiated
    found: list[Any] = [(empty, empty)]
    for rows in _pieces(len(vectors), classes):
        found.append(checkpoint(score, vectors[rows], targets[rows], use_reentrant=False))
    return ScoredTokens(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _pieces(rows: int, classes: int) -> Iterator[slice]:
    """The rows, so many at a time that their logits are SCORED_NUMBERS."""
    size = max(1, SCORED_NUMBERS // classes)
    for begin in range(0, rows, size):
        yield slice(begin, min(begin + size, rows))
