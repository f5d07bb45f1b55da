"""Texts that are banned or forced, as the sequences of tokens that a request names."""

from collections.abc import Sequence
from contextlib import suppress

from cloche.errors import RequestError, TokenizerError
from cloche.text.tokenizer import Tokenizer


def banned_sequences(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """The ids of each text alone and behind a space, which is how a tokenizer begins a word.

    The same characters can be written by other tokens too, which this does not ban. Raises
    ClocheError for a text that the tokenizer cannot write.
    """
    found = []
    for text in texts:
        found.append(_ids(text, tokenizer, what="ban"))
        with suppress(TokenizerError, RequestError):  # where no token is for a space, none comes
            found.append(_ids(" " + text, tokenizer, what="ban"))
    return tuple(dict.fromkeys(found))


def forced_words(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """The ids of each text, just as it stands: with a space where it begins with one.

    Raises ClocheError for a text that the tokenizer cannot write.
    """
    return tuple(dict.fromkeys(_ids(text, tokenizer, what="force") for text in texts))


def _ids(text: str, tokenizer: Tokenizer, *, what: str) -> tuple[int, ...]:
    ids = tuple(tokenizer.encode(text))
    if not ids or tokenizer.special_ids.unk in ids:
        raise RequestError(
            f"the model cannot write {text!r}, so there is nothing to {what}: its tokenizer has no "
            "tokens for it"
        )
    return ids
