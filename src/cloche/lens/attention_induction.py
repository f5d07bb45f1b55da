"""Does a head continue what it has seen before? Measured on random tokens, said twice.

In a sequence of random tokens that is repeated, nothing foretells a token but its own earlier
occurrence. An induction head at the second occurrence of a token looks at what came after the
first, and so can say it again.

Source: Olsson et al. 2022, https://arxiv.org/abs/2209.11895
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cloche.lens.attention_maps import Chosen, Site
from cloche.lens.capture import capture
from cloche.lens.view import Table
from cloche.run import LM

LENGTH = 25
"""Random tokens that are repeated, as in the paper; fewer where vocabulary or context is small."""


@dataclass(frozen=True, eq=False)
class Induction:
    """How much each head looks at what followed the same token the time before."""

    ids: tuple[int, ...]
    """The sequence it was measured on: random tokens, said twice; empty where not even two of them
    fit the vocabulary and, twice, the context."""
    score: Table
    """("layer", "head"): the mean, over the second round, of the weight on the token after the
    earlier occurrence of the token that looks. Not-a-number where it could not be measured."""


def measure_induction(lm: LM, site: Site, chosen: Chosen, *, seed: int) -> Induction:
    """The induction scores of the chosen heads, on the sequence of that seed."""
    start, drawn = repeated_tokens(lm, seed=seed)
    axes = ("layer", "head")
    if not drawn:
        return Induction((), Table(np.full((len(chosen.layers), len(chosen.heads)), np.nan), axes))
    names = {f"{site.stem.format(layer)}.weights" for layer in chosen.layers}
    ids = (*start, *drawn, *drawn)
    told = capture(lm, ids, wanted=names.__contains__).numbers
    scores = [
        induction_score(
            told[f"{site.stem.format(layer)}.weights"].numpy()[list(chosen.heads)],
            length=len(drawn),
        )
        for layer in chosen.layers
    ]
    return Induction(ids, Table(np.stack(scores), axes))


def repeated_tokens(lm: LM, *, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The beginning-of-text token where the model reads one, and random tokens to be said twice.

    No token is drawn twice, and none is special. None is drawn where fewer than two can be.
    """
    start = (lm.bos,) if lm.begins_with_bos and lm.bos is not None else ()
    special = {*lm.tokenizer.special_tokens.values(), *lm.stop_ids}
    ordinary = [each for each in range(lm.tokenizer.vocab_size) if each not in special]
    length = min(LENGTH, len(ordinary), (lm.config.context - len(start)) // 2)
    if length < 2:
        return start, ()
    drawn = np.random.default_rng(seed).choice(ordinary, size=length, replace=False)
    return start, tuple(drawn.tolist())


def induction_score(
    weights: Float[np.ndarray, "heads time time"], *, length: int
) -> Float[np.ndarray, " heads"]:
    """The mean weight of the last `length` tokens on what followed each the time before."""
    after_the_first = np.diagonal(weights, offset=1 - length, axis1=-2, axis2=-1)
    return after_the_first[..., -length:].mean(axis=-1, dtype=np.float64)
