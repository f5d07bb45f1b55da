"""What a tokenizer does not know of data that a model is to learn from.

A tokenizer of words has one token for all words that it does not know. A model that is tuned on
text full of them learns to write that token, and its loss falls, and nothing tells.
"""

import re
from collections.abc import Iterable

import numpy as np

from cloche.errors import DataError, TextError
from cloche.text.chat import ChatTemplate
from cloche.text.messages import ASSISTANT, USER, Message
from cloche.text.tokenizer import Tokenizer
from cloche.tuning.session import Telling

WARNED = 0.01
"""Share of unknown tokens from which on it is a warning; below, it is only said."""
REFUSED = 0.9
"""Share from which on there is nothing else to learn."""
_NAMED = 8
_STAND_IN = "\ue000"  # of a message's text: no template writes it
_WORD = re.compile(r"[^\W\d_]+")


def tell_unknown(
    pieces: Iterable[np.ndarray], tokenizer: Tokenizer, *, what: str, telling: Telling
) -> None:
    """Tell the share of unknown tokens in what is learned from; DataError where it is nearly all.

    `pieces` are token ids, special ones among them, which do not count; `what` is what messages
    call them.
    """
    unknown = _unknown_id(tokenizer)
    if unknown is None:
        return
    special = [number for number in tokenizer.special_tokens.values() if number != unknown]
    found = count = 0
    for ids in pieces:
        found += int((ids == unknown).sum())
        count += len(ids) - int(np.isin(ids, special).sum())
    if not found:
        return
    name = _name(tokenizer, unknown)
    share = found / count
    if share >= REFUSED:
        raise DataError(
            f"{share:.0%} of {what} ({found:,} of {count:,} tokens) is unknown to the model's "
            f"tokenizer, and to the model all of that is {name}: take a model whose tokenizer "
            "can write this text, such as one of bytes or of BPE, or other data"
        )
    line = (
        f"Unknown to the tokenizer: {share:.2%} of {what} ({found:,} of {count:,} tokens): to "
        f"the model all of that is {name}."
    )
    (telling.warn if share >= WARNED else telling.say)(line)


def tell_unknown_words(template: ChatTemplate, tokenizer: Tokenizer, *, telling: Telling) -> None:
    """Tell which words of the template itself the tokenizer does not know, as names of roles."""
    words = unknown_words(template, tokenizer)
    if not words:
        return
    unknown = _unknown_id(tokenizer)
    assert unknown is not None, "some words are unknown"
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    roles = {USER, ASSISTANT} <= set(words)
    alike = ": it tells question and answer apart by their order alone" if roles else ""
    telling.say(
        f"Unknown to the tokenizer: {', '.join(words[:_NAMED])}{more}, which the template writes. "
        f"To the model each is {_name(tokenizer, unknown)}{alike}."
    )


def unknown_words(template: ChatTemplate, tokenizer: Tokenizer) -> tuple[str, ...]:
    """The words that a template writes around messages, and the tokenizer does not know."""
    unknown = _unknown_id(tokenizer)
    if unknown is None:
        return ()
    trial = (Message(USER, _STAND_IN), Message(ASSISTANT, _STAND_IN), Message(USER, _STAND_IN))
    try:
        text = template.render(trial, add_generation_prompt=True, tokenizer=tokenizer)
    except TextError:
        return ()  # it refuses these messages; what it makes of the data is told by the share
    for name in tokenizer.special_tokens:
        text = text.replace(name, " ")
    words = dict.fromkeys(_WORD.findall(text))
    return tuple(word for word in words if unknown in tokenizer.encode(word))


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """The token of what is unknown; None where there is none of its own, as in GPT-2's."""
    special = tokenizer.special_ids
    shared = special.unk in (special.bos, special.eos, special.pad)
    return None if shared else special.unk


def _name(tokenizer: Tokenizer, unknown: int) -> str:
    names = {number: name for name, number in tokenizer.special_tokens.items()}
    return names.get(unknown, str(unknown))
