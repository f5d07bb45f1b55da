"""From logits to the next token: temperature, top-k, top-p, min-p, then one draw.

That is the order here, and the order in which transformers and llama.cpp apply these four. Each
function takes the logits of several rows and treats every row by itself, so a row's token does
not depend on what shares the batch with it. What is dropped becomes -inf.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cloche.errors import SettingError

_SMALLEST = torch.finfo(torch.float32).tiny
_LARGEST = torch.finfo(torch.float32).max


def divide_by_temperature(
    logits: Float[Tensor, "batch vocab"], temperature: float
) -> Float[Tensor, "batch vocab"]:
    """Logits less each row's largest, divided by `temperature`: below 1 sharper, above 1 flatter.

    Taking the largest away first changes no probability, and keeps a tiny temperature from
    overflowing. Temperature 0 means `pick_likeliest` and is refused here.
    """
    if not temperature > 0.0:
        raise SettingError(
            f"temperature must be above 0 to divide by it, got {temperature}; 0 means greedy"
        )
    divisor = min(max(temperature, _SMALLEST), _LARGEST)  # float32 knows 0 and inf beyond these
    return (logits - logits.amax(dim=-1, keepdim=True)) / divisor


def keep_top_k(logits: Float[Tensor, "batch vocab"], top_k: int) -> Float[Tensor, "batch vocab"]:
    """Logits with only the `top_k` likeliest tokens kept, and whatever ties with the last of them.

    A `top_k` beyond the vocabulary keeps every token.

    Source: Fan et al. 2018, https://arxiv.org/abs/1805.04833
    """
    if top_k < 1:
        raise SettingError(f"top_k must be at least 1, got {top_k}; leave it out to keep all")
    if top_k >= logits.shape[-1]:
        return logits
    last_kept = logits.topk(top_k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < last_kept, -math.inf)


def keep_top_p(logits: Float[Tensor, "batch vocab"], top_p: float) -> Float[Tensor, "batch vocab"]:
    """Logits with only the likeliest tokens kept: the fewest whose probability reaches `top_p`.

    The likeliest token always stays, so every row can be sampled. Of equally likely tokens the
    lower id stays first.

    Source: nucleus sampling, Holtzman et al. 2019, https://arxiv.org/abs/1904.09751
    """
    if not 0.0 < top_p <= 1.0:
        raise SettingError(f"top_p must be in (0, 1], got {top_p}; 1.0 keeps every token")
    if top_p == 1.0:
        return logits
    ranked, order = logits.sort(dim=-1, descending=True, stable=True)
    probs = ranked.float().softmax(dim=-1)  # float32: bfloat16 cannot add up small probabilities
    likelier_mass = probs.cumsum(dim=-1) - probs  # 0 for the likeliest, so it is never dropped
    dropped = likelier_mass >= top_p
    return logits.masked_fill(dropped.scatter(-1, order, dropped), -math.inf)


def keep_min_p(logits: Float[Tensor, "batch vocab"], min_p: float) -> Float[Tensor, "batch vocab"]:
    """Logits with the tokens dropped that are less likely than `min_p` times the likeliest.

    Unlike top-p it keeps many tokens where the model is unsure and few where it is sure.

    Source: Nguyen et al. 2024, https://arxiv.org/abs/2407.01082
    """
    if not 0.0 <= min_p <= 1.0:
        raise SettingError(f"min_p must be in [0, 1], got {min_p}; 0 keeps every token")
    if min_p == 0.0:
        return logits
    # p < min_p * p_max is, in logits, l < l_max + log(min_p): no softmax is needed
    lowest_kept = logits.amax(dim=-1, keepdim=True) + math.log(min_p)
    return logits.masked_fill(logits < lowest_kept, -math.inf)


def filter_logits(
    logits: Float[Tensor, "batch vocab"],
    *,
    temperature: float,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> Float[Tensor, "batch vocab"]:
    """Logits after temperature, top-k, top-p and min-p, in this order; each row keeps a token."""
    logits = divide_by_temperature(logits.float(), temperature)
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    return keep_min_p(keep_top_p(logits, top_p), min_p)


def pick(
    logits: Float[Tensor, "batch vocab"], generators: Sequence[torch.Generator]
) -> Int64[Tensor, " batch"]:
    """One id a row, drawn with the probabilities softmax(logits) by the row's own generator.

    Each row takes one uniform number and finds the id whose share of the unit interval it falls
    into, so a row's random numbers depend on its generator and on how many it has drawn, never on
    the batch. The generators live on the CPU: a seed draws the same numbers for every device.
    """
    uniform = torch.cat([torch.rand(1, generator=g, dtype=torch.float64) for g in generators])
    probs = logits.float().softmax(dim=-1)
    # float64: 100,000 float32 additions would move the borders between the ids
    reached = probs.cumsum(dim=-1, dtype=torch.float64)
    target = uniform.to(logits.device)[:, None] * reached[:, -1:]
    # the first id beyond the target; an id of probability 0 never goes beyond, so is never drawn
    return torch.searchsorted(reached, target, right=True)[:, 0]


def pick_likeliest(logits: Float[Tensor, "batch vocab"]) -> Int64[Tensor, " batch"]:
    """The likeliest id of each row (greedy); the lowest of those that tie."""
    return logits.argmax(dim=-1)


def answer_generator(seed: int, choice: int) -> torch.Generator:
    """The random numbers of one answer: a pure function of the request's seed and the choice."""
    digest = hashlib.sha256(f"{seed}:{choice}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
