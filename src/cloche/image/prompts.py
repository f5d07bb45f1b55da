"""What a pipeline's text encoders read of a prompt: where it is cut, and what they cannot read.

A tokenizer that knows a script has pieces as long as its characters, or longer. One that needs more
pieces than there are characters spells them in bytes, and a byte alone means nothing: the picture
will have little to do with such words. CLIP's vocabulary, for one, was counted on English captions;
it takes 11 pieces for the 5 characters of a Chinese "draw a sea".
"""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SPACE_PIECES = ("▁", "Ġ", "</w>", "")
"""Pieces that stand for a word's beginning or end only."""
LONGER_THAN_ANY = 1_000_000
"""Tokenizers that know no limit name a number far above this."""


@dataclass(frozen=True)
class Cut:
    """A prompt longer than a text encoder reads."""

    tokenizer: str
    limit: int
    """Tokens that are read, begin and end among them."""
    tokens: int
    """Of the whole prompt, likewise."""
    text: str
    """What is not read, as the tokenizer writes it."""


@dataclass(frozen=True)
class Unreadable:
    """Words that a text encoder's tokenizer spells in bytes, or does not know at all."""

    tokenizer: str
    text: str
    tokens: int
    characters: int


def find_tokenizers(components: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's tokenizers by name, in order."""
    found = {name: part for name, part in components.items() if name.startswith("tokenizer")}
    return {name: part for name, part in sorted(found.items()) if callable(part)}


def find_cuts(
    prompt: str, tokenizers: Mapping[str, Any], *, longest: int | None
) -> tuple[Cut, ...]:
    """What each tokenizer would cut off the prompt; those that cut the same are told once.

    `longest` is how much the pipeline has encoders read that are not CLIP's, where it says so.
    """
    found: dict[tuple[int, str], Cut] = {}
    for name, tokenizer in tokenizers.items():
        limit = _limit(tokenizer, longest)
        if limit is None:
            continue
        content = _ids(tokenizer, prompt, special=False)
        added = len(_ids(tokenizer, prompt, special=True)) - len(content)
        if len(content) + added > limit:
            text = tokenizer.decode(content[max(0, limit - added) :]).strip()
            cut = Cut(name, limit, len(content) + added, text)
            found.setdefault((limit, text), cut)
    return tuple(found.values())


def find_unreadable(prompt: str, tokenizers: Mapping[str, Any]) -> tuple[Unreadable, ...]:
    """The words of other scripts that a tokenizer cannot read; one entry a tokenizer."""
    found = []
    for name, tokenizer in tokenizers.items():
        words = [word for word in _foreign_words(prompt) if _is_spelled(word, tokenizer)]
        if words:
            tokens = sum(len(_pieces(word, tokenizer)) for word in words)
            found.append(Unreadable(name, " ".join(words), tokens, sum(map(len, words))))
    return tuple(found)


def describe_cut(cut: Cut, *, what: str) -> str:
    """The cut in words; `what` names the prompt."""
    return (
        f"{what} has {cut.tokens} tokens, and the model's {cut.tokenizer} reads {cut.limit} (begin "
        f"and end among them): this is cut off: {cut.text!r}"
    )


def describe_unreadable(found: tuple[Unreadable, ...], *, of: int, what: str) -> str:
    """In words what cannot be read, by how many of the pipeline's tokenizers."""
    worst = found[0]
    who = "the model's text encoder" if of == 1 else f"{len(found)} of the model's {of} encoders"
    return (
        f"{what}: {who} cannot read {worst.text!r} ({worst.tokens} tokens for {worst.characters} "
        f"characters, so they are spelled in bytes or unknown). It is drawn, but the picture may "
        f"show anything: write it in a language that the model knows (mostly English)"
    )


def warn_of_prompt(
    prompt: str,
    tokenizers: Mapping[str, Any],
    *,
    longest: int | None,
    what: str,
    warn: Callable[[str], None],
) -> None:
    """Tell what of the prompt will not reach the model."""
    for cut in find_cuts(prompt, tokenizers, longest=longest):
        warn(describe_cut(cut, what=what))
    if found := find_unreadable(prompt, tokenizers):
        warn(describe_unreadable(found, of=len(tokenizers), what=what))


def _limit(tokenizer: Any, longest: int | None) -> int | None:
    """Tokens that are read: CLIP's own number; of others what the pipeline says, if it does."""
    own = getattr(tokenizer, "model_max_length", None)
    known = own if isinstance(own, int) and own < LONGER_THAN_ANY else None
    if type(tokenizer).__name__.startswith("CLIP") or longest is None:
        return known
    return longest if known is None else min(longest, known)


def _ids(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    return tokenizer(text, add_special_tokens=special, truncation=False)["input_ids"]


def _foreign_words(prompt: str) -> list[str]:
    """Runs of letters that are not Latin, with their marks; signs and emoji are no words."""
    runs = "".join(each if _is_foreign(each) else " " for each in prompt).split()
    return [run for run in runs if any(unicodedata.category(each)[0] == "L" for each in run)]


def _is_foreign(character: str) -> bool:
    if character.isascii() or unicodedata.category(character)[0] not in "LM":
        return False
    return not unicodedata.name(character, "").startswith("LATIN ")


def _pieces(word: str, tokenizer: Any) -> list[str]:
    pieces = tokenizer.convert_ids_to_tokens(_ids(tokenizer, word, special=False))
    return [piece for piece in pieces if piece not in SPACE_PIECES]


def _is_spelled(word: str, tokenizer: Any) -> bool:
    pieces = _pieces(word, tokenizer)
    return len(pieces) > len(word) or getattr(tokenizer, "unk_token", None) in pieces
