"""How a model is spoken to, as the keys of a GGUF file: its tokens, its stops, its template."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gguf import TokenType

from cloche.errors import CheckpointError
from cloche.text.tokenizer import SpecialIds, Tokenizer
from cloche.weights.gguf_listing import Listing, list_tokens
from cloche.weights.gguf_tokenizers import ENDS, PREFIX, TEMPLATE_KEY

_NONE = 2**32 - 1
"""An id beyond every vocabulary: there is none."""


def vocabulary_keys(
    tokenizer: Tokenizer,
    *,
    rows: int,
    special_ids: SpecialIds,
    stop_ids: Sequence[int],
    begins_with_bos: bool,
    chat_template: str | None,
) -> dict[str, Any]:
    """The keys of a tokenizer for a model whose embedding has so many rows.

    llama.cpp wants a token for each row: rows without one get a name that no text leads to.
    Raises CheckpointError for what llama.cpp cannot do in the same way.
    """
    listing = list_tokens(tokenizer)
    if max(listing.tokens) >= rows:
        raise CheckpointError(
            f"the tokenizer has {max(listing.tokens) + 1} tokens, the model {rows}: they do not "
            f"belong together"
        )
    learned = {t for n, t in listing.tokens.items() if listing.types[n] == TokenType.NORMAL}
    mistaken = sorted(learned & set(ENDS))
    if mistaken:
        raise CheckpointError(
            f"the tokenizer has the token {mistaken[0]!r} for plain text, and llama.cpp would end "
            f"an answer there"
        )
    named = _roles(tokenizer, special_ids, stop_ids, listing=listing)
    keys: dict[str, Any] = {
        "model": listing.kind,
        "tokens": list(_tokens(listing, rows)),
        "token_type": [int(listing.types.get(n, TokenType.UNUSED)) for n in range(rows)],
        **listing.keys,
        **{f"{role}_token_id": number for role, number in named.items()},
        "add_bos_token": begins_with_bos,
        "add_eos_token": False,
    }
    if "scores" in keys:
        scores = keys["scores"]
        keys["scores"] = [*scores, *[0.0] * (rows - len(scores))]
    written = {PREFIX + key: value for key, value in keys.items()}
    return written | ({TEMPLATE_KEY: chat_template} if chat_template else {})


def _tokens(listing: Listing, rows: int) -> Iterator[str]:
    taken = set(listing.tokens.values())
    for number in range(rows):
        name = listing.tokens.get(number) or f"[PAD{number}]"
        while number not in listing.tokens and name in taken:
            name = f"[{name}]"
        yield name


def _roles(
    tokenizer: Tokenizer, special_ids: SpecialIds, stop_ids: Sequence[int], *, listing: Listing
) -> Mapping[str, int]:
    """The ids by role. Where llama.cpp is told of no end or beginning, it takes token 11 or 1."""
    own = tokenizer.special_ids
    control = (n for n, kind in sorted(listing.types.items()) if kind == TokenType.CONTROL)
    ends = [n for n in (special_ids.eos, *stop_ids, own.eos, next(control, None)) if n is not None]
    if not ends:
        raise CheckpointError(
            "the tokenizer has no special token at all, and llama.cpp would take a common one for "
            "the end of a text. Add one, such as <|endoftext|>, to its tokenizer.json"
        )
    eos = ends[0]
    begins = [n for n in (special_ids.bos, own.bos, eos) if n is not None]
    roles = {"bos": begins[0], "eos": eos}
    known = {n for n, token in listing.tokens.items() if token in ENDS}
    others = [n for n in dict.fromkeys(stop_ids) if n != eos and n not in known]
    if len(others) > 2:
        names = ", ".join(repr(listing.tokens.get(n, n)) for n in (eos, *others))
        raise CheckpointError(
            f"the model ends its answers with {names}; llama.cpp can be told of three such tokens"
        )
    roles |= dict(zip(("eot", "eom"), others, strict=False))
    if own.pad is not None:
        roles["padding"] = own.pad
    if own.unk is not None:
        roles["unknown"] = own.unk
    elif listing.kind == "llama":
        roles["unknown"] = _NONE  # else it were token 0
    return roles
