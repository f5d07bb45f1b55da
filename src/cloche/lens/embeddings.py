"""The table of token vectors: how long they are, which are alike, and all of them in a plane."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from cloche.errors import RequestError, SettingError, TokenizerError
from cloche.lens.vectors import VectorTable, principal_plane
from cloche.lens.view import Piece, Table, View, printable_bytes, provenance_of
from cloche.model.ngram import NGram
from cloche.run import LM
from cloche.text.tokenizer import Tokenizer

MOST_NUMBERS = 2**27
"""Of the table that a view holds when asked for it: half a gigabyte."""
LISTED = 40
"""Tokens that an error names."""


@dataclass(frozen=True)
class Neighbour:
    """A token whose vector points the same way."""

    piece: Piece
    cosine: float


@dataclass(frozen=True)
class Neighbourhood:
    """A token that was asked for, and those nearest to it."""

    piece: Piece
    norm: float
    neighbours: tuple[Neighbour, ...]
    """By cosine, the nearest first; none where the token's vector has no direction."""


@dataclass(frozen=True, eq=False)
class EmbeddingsView(View):
    """The vectors of all tokens. A bigram's are rows of logits."""

    name: ClassVar[str] = "embeddings"
    family: str
    tokens: tuple[str, ...]
    """Printable; a token's place is its id."""
    width: int
    """Numbers of a vector."""
    unused_rows: int
    """Rows of the model's table beyond the tokenizer's last id; they are not looked at."""
    tied: bool
    """Whether the output head is this table, too."""
    norms: Table
    """("token",): the length of each vector; not-a-number where one of its numbers is none."""
    broken: int
    """Tokens whose vectors hold a number that is none or infinite; they have no place below."""
    projection: Table
    """("token", "component"): principal components, the vectors' mean at the origin."""
    explained: tuple[float, float]
    """Share of the vectors' variance along each of the two; not-a-number where there is none."""
    asked: tuple[Neighbourhood, ...]
    numbers: Table | None
    """("token", "dim"): the table itself, where it was asked for."""

    def piece(self, token_id: int) -> Piece:
        """A token of the table."""
        return Piece(token_id, self.tokens[token_id])


def see_embeddings(
    lm: LM, tokens: Sequence[str | int] = (), *, neighbours: int = 10, numbers: bool = False
) -> EmbeddingsView:
    """The table of token vectors, with the `neighbours` nearest to each of `tokens` by cosine.

    A token is given as its text or its id. `numbers` keeps the whole table. SettingError for what
    is no token, or several; RequestError for a counted model, which has no vectors.
    """
    if isinstance(lm.model, NGram):
        raise RequestError(
            "an n-gram model is counted and has no vectors of tokens. Its views are tokens, "
            "windows, next-token, parameters, memory, two and training"
        )
    if neighbours < 1:
        raise SettingError(f"neighbours must be at least 1, got {neighbours}")
    shown = token_texts(lm.tokenizer)
    ids = dict.fromkeys(find_token(each, lm.tokenizer, shown) for each in tokens)
    table = VectorTable(lm.model.embed_tokens, rows=len(shown))
    if numbers and table.rows * table.width > MOST_NUMBERS:
        raise RequestError(
            f"the table has {table.rows:,} x {table.width:,} numbers, and a view holds "
            f"{MOST_NUMBERS:,}: leave the numbers out, and read them from lm.model.embed_tokens"
        )
    norms = table.norms()
    places, explained = principal_plane(table, norms)
    return EmbeddingsView(
        provenance_of(lm),
        lm.config.family,
        shown,
        table.width,
        lm.config.vocab_size - table.rows,
        lm.config.tied,
        Table(norms, ("token",)),
        int((~np.isfinite(norms)).sum()),
        Table(places, ("token", "component")),
        explained,
        tuple(
            _neighbourhood(each, cosines, norms, shown, count=neighbours)
            for each, cosines in zip(ids, table.cosines(list(ids), norms), strict=True)
        ),
        Table(table.vectors(range(table.rows)).numpy(), ("token", "dim")) if numbers else None,
    )


def token_texts(tokenizer: Tokenizer) -> tuple[str, ...]:
    """All tokens as people read them; #id for one that no text has."""
    special = {token_id: name for name, token_id in tokenizer.special_tokens.items()}
    return tuple(
        special.get(each) or printable_bytes(tokenizer.token_bytes(each)) or f"#{each}"
        for each in range(tokenizer.vocab_size)
    )


def find_token(given: str | int, tokenizer: Tokenizer, shown: Sequence[str]) -> int:
    """The id of a token given as its text, as it is shown, or as an id. SettingError."""
    if isinstance(given, int):
        if not 0 <= given < len(shown):
            raise SettingError(f"the tokens are 0 to {len(shown) - 1}, got {given}")
        return given
    alike = [each for each, text in enumerate(shown) if text == given]  # as <e4>, too
    if len(alike) == 1:
        return alike[0]
    try:
        ids = tokenizer.encode(given, allowed_special=tokenizer.special_tokens)
    except TokenizerError as exc:
        raise SettingError(f"{given!r} is no token: {exc}. There are {_some(shown)}") from exc
    if not ids or ids == [tokenizer.special_ids.unk]:
        raise SettingError(f"{given!r} is no token of this model. There are {_some(shown)}")
    if len(ids) == 1:
        return ids[0]
    parts = " | ".join(f"{shown[each]} ({each})" for each in ids[:LISTED])
    more = f" | and {len(ids) - LISTED:,} more" if len(ids) > LISTED else ""
    raise SettingError(f"{given!r} is {len(ids)} tokens: {parts}{more}. Give one, or its id")


def _neighbourhood(
    token_id: int,
    cosines: Float[np.ndarray, " rows"],
    norms: Float[np.ndarray, " rows"],
    shown: tuple[str, ...],
    *,
    count: int,
) -> Neighbourhood:
    """The tokens nearest to one, without itself; those that are equally near by their ids."""
    cosines[token_id] = np.nan
    order = np.argsort(-cosines, kind="stable")[:count]
    return Neighbourhood(
        Piece(token_id, shown[token_id]),
        float(norms[token_id]),
        tuple(
            Neighbour(Piece(each, shown[each]), float(cosines[each]))
            for each in order.tolist()
            if not np.isnan(cosines[each])
        ),
    )


def _some(shown: Sequence[str]) -> str:
    few = " ".join(shown[:LISTED])
    return few if len(shown) <= LISTED else f"{few} and {len(shown) - LISTED:,} more"
