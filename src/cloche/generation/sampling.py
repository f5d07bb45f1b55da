"""From logits to the next token: temperature, top-k, top-p, min-p, typical, then one draw.

The whole order, which is that of the processors and warpers of transformers:

1. the rules that know what was written (`rules.py`): bias, penalties for repeats, no repeated
   n-grams, banned sequences, minimum length, forced words, a grammar;
2. greedy takes the likeliest of what is left;
3. else the filters here, in the order they stand in, and one draw.

Each function takes the logits of several rows and treats every row by itself, so a row's token does
not depend on what shares the batch with it. What is dropped becomes -inf. Every filter keeps at
least one token of a row that has one.
"""

import hashlib
import math

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from cloche.errors import SettingError

_SMALLEST = torch.finfo(torch.float32).tiny
_LARGEST = torch.finfo(torch.float32).max
_RANKS_FIRST = 128


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
    probs = logits.float().softmax(dim=-1)  # float32: bfloat16 cannot add up small probabilities
    lowest, ties_kept = _nucleus(logits, probs, top_p)
    kept = logits > lowest
    tied = logits == lowest
    if (tied.sum(dim=-1, keepdim=True) != ties_kept).any():
        tied &= tied.cumsum(dim=-1) <= ties_kept
    return logits.masked_fill(~(kept | tied), -math.inf)


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


def keep_typical(
    logits: Float[Tensor, "batch vocab"], typical_p: float
) -> Float[Tensor, "batch vocab"]:
    """Logits with only the most typical tokens kept: the fewest whose probability reaches the mass.

    Typical is a token that surprises as much as the row's tokens do on average (their entropy), so
    this may drop the likeliest of all. What ties with the last one kept stays too.

    Source: Meister et al. 2022, https://arxiv.org/abs/2202.00666
    """
    if not 0.0 < typical_p <= 1.0:
        raise SettingError(f"typical_p must be in (0, 1], got {typical_p}; 1.0 keeps every token")
    if typical_p == 1.0:
        return logits
    logprobs = logits.float().log_softmax(dim=-1)
    probs = logprobs.exp()
    entropy = -(logprobs * probs).nansum(dim=-1, keepdim=True)  # 0 times -inf is no number
    oddness = (-logprobs - entropy).abs()
    ranked, last = _rank_to_mass(oddness, probs, typical_p, largest=False)
    return logits.masked_fill(oddness > ranked.gather(-1, last), -math.inf)


def filter_logits(
    logits: Float[Tensor, "batch vocab"],
    *,
    temperature: float,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    typical_p: float = 1.0,
) -> Float[Tensor, "batch vocab"]:
    """Logits after temperature, top-k, top-p, min-p and typical, in this order."""
    logits = divide_by_temperature(logits.float(), temperature)
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    return keep_typical(keep_min_p(keep_top_p(logits, top_p), min_p), typical_p)


def draw(
    logits: Float[Tensor, "batch vocab"],
    uniforms: Float64[Tensor, " batch"],
    *,
    temperature: float,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    typical_p: float = 1.0,
) -> tuple[Int64[Tensor, " batch"], Float[Tensor, " batch"]]:
    """One id a row, drawn from what `filter_logits` keeps, and its log probability there.

    Where top-k keeps a small part of the vocabulary, the filters behind it look at that part alone.
    """
    if top_k is None or top_k >= logits.shape[-1]:
        filtered = filter_logits(
            logits, temperature=temperature, top_p=top_p, min_p=min_p, typical_p=typical_p
        )
        return _pick(filtered, uniforms)
    scaled = divide_by_temperature(logits.float(), temperature)
    ranked, order = scaled.topk(top_k, dim=-1)
    kept = (scaled >= ranked[:, -1:]).sum(dim=-1)  # more than k where some tie with the last
    ids = torch.empty_like(kept)
    logprobs = torch.empty_like(ranked[:, 0])
    # rows of as many tokens together: a row's sums must not depend on how many another one keeps
    for count in kept.unique().tolist():
        rows = (kept == count).nonzero()[:, 0]
        found = order[rows] if count == top_k else scaled[rows].topk(count, dim=-1).indices
        candidates = found.sort(dim=-1).values
        few = scaled[rows[:, None], candidates]
        few = keep_typical(keep_min_p(keep_top_p(few, top_p), min_p), typical_p)
        drawn, logprobs[rows] = _pick(few, uniforms[rows.to(uniforms.device)])
        ids[rows] = candidates.gather(-1, drawn[:, None])[:, 0]
    return ids, logprobs


def pick(
    logits: Float[Tensor, "batch vocab"], uniforms: Float64[Tensor, " batch"]
) -> Int64[Tensor, " batch"]:
    """One id a row, drawn with the probabilities softmax(logits) by the row's number in [0, 1).

    The number falls into some id's share of the unit interval. So what a row draws depends on its
    logits and its number, never on the batch, and the same number draws the same on every device.
    """
    return _pick(logits, uniforms)[0]


def pick_likeliest(logits: Float[Tensor, "batch vocab"]) -> Int64[Tensor, " batch"]:
    """The likeliest id of each row (greedy); the lowest of those that tie."""
    return logits.argmax(dim=-1)


def answer_generator(seed: int, choice: int) -> torch.Generator:
    """The random numbers of one answer: a pure function of the request's seed and the choice."""
    digest = hashlib.sha256(f"{seed}:{choice}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _pick(
    logits: Float[Tensor, "batch vocab"], uniforms: Float64[Tensor, " batch"]
) -> tuple[Int64[Tensor, " batch"], Float[Tensor, " batch"]]:
    """What `pick` draws, and the log probability of each."""
    probs = logits.float().softmax(dim=-1)
    # float64: 100,000 float32 additions would move the borders between the ids
    reached = probs.cumsum(dim=-1, dtype=torch.float64)
    whole = reached[:, -1:]
    target = uniforms.to(logits.device)[:, None] * whole
    # rounding must not reach the whole, beyond which there is no id
    target = torch.minimum(target, torch.nextafter(whole, torch.zeros_like(whole)))
    # the first id beyond the target; an id of probability 0 never goes beyond, so is never drawn
    ids = torch.searchsorted(reached, target, right=True)
    return ids[:, 0], probs.gather(-1, ids)[:, 0].log()


def _nucleus(
    logits: Float[Tensor, "batch vocab"], probs: Float[Tensor, "batch vocab"], top_p: float
) -> tuple[Float[Tensor, "batch 1"], Int64[Tensor, "batch 1"]]:
    """The lowest logit that top-p keeps, and how many of those equal to it."""
    ranked, last = _rank_to_mass(logits, probs, top_p, largest=True)
    lowest = ranked.gather(-1, last)
    first_tie = (ranked > lowest).sum(dim=-1, keepdim=True)
    return lowest, last + 1 - first_tie


def _rank_to_mass(
    scores: Float[Tensor, "batch vocab"],
    probs: Float[Tensor, "batch vocab"],
    mass: float,
    *,
    largest: bool,
) -> tuple[Float[Tensor, "batch ranked"], Int64[Tensor, "batch 1"]]:
    """Scores from the first on, and the rank at which the probability reaches `mass`.

    Sorting a large vocabulary takes longer than all the rest, and a few hundred tokens nearly
    always hold the mass: so it looks at more of the first ones only as long as they do not. How
    many it looked at changes nothing in what is found.
    """
    vocab = scores.shape[-1]
    count = min(_RANKS_FIRST, vocab)
    while True:
        ranked, order = scores.topk(count, dim=-1, largest=largest)
        reached = probs.gather(-1, order).cumsum(dim=-1)
        if count == vocab or bool((reached[:, -1] >= mass).all()):
            break
        count = min(8 * count, vocab)
    # the last of all, where rounding keeps all together from reaching the mass
    last = (reached < mass).sum(dim=-1, keepdim=True).clamp(max=count - 1)
    return ranked, last
