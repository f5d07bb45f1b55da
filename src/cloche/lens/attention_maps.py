"""Maps of attention weights, and what a number tells of each: for self-attention and for cross-.

A map has a row for each token that looks (the query) and a column for each that is looked at (the
key); its rows sum to 1.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import entr
from torch import Tensor

from cloche.errors import RequestError, SettingError
from cloche.lens.view import Piece, Table

MOST_NUMBERS = 2**27
"""Of attention weights that are kept at once: half a gigabyte."""
STEPS = ("queries", "keys", "scores", "masked_scores", "weights", "values", "gathered")
"""What attention tells of itself, in the order of its steps."""


@dataclass(frozen=True, eq=False)
class HeadStages:
    """One head in full: each of its steps, as the numbers it made."""

    layer: int
    head: int
    kv_head: int
    """Whose keys and values it uses: with grouped queries several heads share them."""
    scale: float
    """By which matches are multiplied to be scores, 1 / sqrt(head_dim)."""
    queries: Table
    """("query", "dim"): what each token looks for, turned by its position where that is rotary."""
    keys: Table
    """("key", "dim"): what each offers to be found by, turned likewise."""
    scores: Table
    """("query", "key"): queries times keys, scaled."""
    masked_scores: Table
    """The same, -Infinity where a token may not look."""
    weights: Table
    """Softmax of the masked scores over the keys."""
    values: Table
    """("key", "dim"): what each has to give."""
    gathered: Table
    """("query", "dim"): weights times values, what each token got."""


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """The weights of some heads, and what can be told of each by one number.

    Each number is not-a-number where there is nothing to take a mean of, as for a single token.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    queries: tuple[Piece, ...]
    """The tokens that look, in order."""
    keys: tuple[Piece, ...]
    """The tokens that are looked at."""
    weights: Table
    """("layer", "head", "query", "key")."""
    entropy: Table
    """("layer", "head"): of a row of weights, in nats, the mean over queries. 0: one token only."""
    relative_entropy: Table
    """("layer", "head"): the entropy over that of looking everywhere alike. 1: everywhere alike."""
    previous_token: Table | None
    """("layer", "head"): the mean weight on the token before; None where tokens look at those of
    another text."""
    stages: HeadStages | None
    """Of the one head that was asked for; None where all were."""


@dataclass(frozen=True)
class Site:
    """A stack of attention layers in a model, and what its tokens may see."""

    stem: str
    """Name of a layer in what a forward tells, such as `layers.{}.attention`."""
    layers: int
    heads: int
    kv_heads: int
    windows: tuple[int | None, ...] = ()
    """How far each layer reaches back where tokens see only what came before, themselves among
    it; empty where all tokens see all."""
    within: bool = True
    """Whether queries and keys are of the same text."""

    def reach(self, layer: int, *, queries: int, keys: int) -> Int[np.ndarray, " queries"]:
        """How many keys each query may look at."""
        if not self.windows:
            return np.full(queries, keys)
        before = np.arange(1, queries + 1)
        window = self.windows[layer]
        return before if window is None else np.minimum(before, window)


@dataclass(frozen=True)
class Chosen:
    """Which layers and heads are looked at: all, all of one layer, or one."""

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    in_full: bool
    """Whether one head was asked for by name, and is shown with its steps."""

    def names(self, site: Site) -> Collection[str]:
        """What a forward must tell of them."""
        steps = STEPS if self.in_full else ("weights",)
        return {f"{site.stem.format(layer)}.{step}" for layer in self.layers for step in steps}


def choose(site: Site, *, layer: int | None, head: int | None, where: str = "the model") -> Chosen:
    """The layers and heads that were asked for. SettingError naming those there are."""
    for name, value, count in (("layer", layer, site.layers), ("head", head, site.heads)):
        if value is not None and not 0 <= value < count:
            known = f"{name} 0 alone" if count == 1 else f"{name}s 0 to {count - 1}"
            raise SettingError(f"{where} has {known}, got {name} {value}")
    if head is not None and layer is None:
        raise SettingError(f"head {head} of which layer? Give one, from 0 to {site.layers - 1}")
    return Chosen(
        tuple(range(site.layers)) if layer is None else (layer,),
        tuple(range(site.heads)) if head is None else (head,),
        in_full=head is not None,
    )


def check_room(site: Site, chosen: Chosen, *, queries: int, keys: int) -> None:
    """RequestError where the maps of so many tokens are more than is kept."""
    tables = 3 if chosen.in_full else len(chosen.layers)
    if (numbers := tables * site.heads * queries * keys) > MOST_NUMBERS:
        fewer = "" if len(chosen.layers) == 1 else ", or name one layer"
        raise RequestError(
            f"{queries:,} tokens that look at {keys:,} are {numbers * 4 / 2**30:,.1f} GiB of "
            f"attention, and a view holds {MOST_NUMBERS * 4 / 2**30:,.1f}: give a shorter text"
            + fewer
        )


def maps_of(
    numbers: Mapping[str, Tensor],
    site: Site,
    chosen: Chosen,
    *,
    queries: tuple[Piece, ...],
    keys: tuple[Piece, ...],
) -> HeadMaps:
    """The chosen heads, from what a forward told."""
    shape = (len(chosen.layers), len(chosen.heads), len(queries), len(keys))
    weights = np.empty(shape, dtype=np.float32)
    entropy, uniform = np.empty(shape[:2]), np.empty(shape[0])
    for place, layer in enumerate(chosen.layers):
        told = numbers[f"{site.stem.format(layer)}.weights"].numpy()
        weights[place] = told[list(chosen.heads)]
        entropy[place] = mean_entropy(weights[place])
        reach = site.reach(layer, queries=len(queries), keys=len(keys))
        uniform[place] = np.log(reach).mean()
    relative = np.full(shape[:2], np.nan)
    np.divide(entropy, uniform[:, None], out=relative, where=uniform[:, None] > 0)
    per_head = ("layer", "head")
    previous = previous_token_score(weights) if site.within else None
    return HeadMaps(
        chosen.layers,
        chosen.heads,
        queries,
        keys,
        Table(weights, (*per_head, "query", "key")),
        Table(entropy, per_head),
        Table(relative, per_head),
        None if previous is None else Table(previous, per_head),
        _stages(numbers, site, chosen) if chosen.in_full else None,
    )


def mean_entropy(weights: Float[np.ndarray, "heads query key"]) -> Float[np.ndarray, " heads"]:
    """-sum of p ln p over the keys, in nats, averaged over the queries."""
    return entr(weights).sum(axis=-1, dtype=np.float64).mean(axis=-1)


def previous_token_score(
    weights: Float[np.ndarray, "layer head time time"],
) -> Float[np.ndarray, "layer head"]:
    """The mean weight on the token before, over all tokens but the first."""
    before = np.diagonal(weights, offset=-1, axis1=-2, axis2=-1)
    if not before.shape[-1]:
        return np.full(before.shape[:2], np.nan)
    return before.mean(axis=-1, dtype=np.float64)


def _stages(numbers: Mapping[str, Tensor], site: Site, chosen: Chosen) -> HeadStages:
    """The steps of the one chosen head."""
    (layer,), (head,) = chosen.layers, chosen.heads
    kv_head = head // (site.heads // site.kv_heads)

    def told(step: str, *axes: str) -> Table:
        owner = kv_head if step in ("keys", "values") else head
        return Table(numbers[f"{site.stem.format(layer)}.{step}"][owner].numpy(), axes)

    queries = told("queries", "query", "dim")
    return HeadStages(
        layer,
        head,
        kv_head,
        queries.values.shape[-1] ** -0.5,
        queries,
        told("keys", "key", "dim"),
        told("scores", "query", "key"),
        told("masked_scores", "query", "key"),
        told("weights", "query", "key"),
        told("values", "key", "dim"),
        told("gathered", "query", "dim"),
    )
