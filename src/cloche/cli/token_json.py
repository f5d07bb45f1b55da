"""Views of tokens for programs: one JSON object each, on standard output."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloche.text.comparison import Compression, split_tokens, unknown_tokens
from cloche.text.merges import WordMerges
from cloche.text.tokenized import TokenizedText
from cloche.text.tokenizer import Tokenizer
from cloche.text.visible import TokenReader, readable
from cloche.text.vocabulary import Entry, Vocabulary
from cloche.text.windows import Window, WindowPlan, lesson_line

MOST_DESCRIBED = 100_000
"""Tokens whose text and bytes are told where no limit is given; the ids are always all."""

_WRITTEN_AT_ONCE = 1 << 14


def write_tokens(
    name: str, tokenizer: Tokenizer, text: TokenizedText, *, limit: int | None
) -> None:
    """Totals, all `ids`, and `tokens`: id, text and bytes of the first ones, in order."""
    reader = TokenReader(tokenizer)
    totals = {
        "tokenizer": name,
        "vocab_size": tokenizer.vocab_size,
        "token_count": text.tokens,
        "characters": text.characters,
        "utf8_bytes": text.utf8_bytes,
        "bytes_per_token": text.bytes_per_token,
        "characters_per_token": text.characters_per_token,
        "split_tokens": split_tokens(tokenizer, text),
        "unknown_tokens": unknown_tokens(tokenizer, text),
    }

    @cache
    def described(token: int) -> str:
        return _json(_token(reader, token))

    sys.stdout.write(_json(totals)[:-1])
    _write_array("ids", map(str, _one_by_one(text.kept)))
    first = text.kept[: limit or MOST_DESCRIBED]
    _write_array("tokens", map(described, _one_by_one(first)))
    sys.stdout.write("}\n")


def write_merges(name: str, words: Sequence[WordMerges]) -> None:
    """`words`: text, pieces at the start, steps with rank, id, left, right and pieces, tokens."""
    values = {"tokenizer": name, "words": [_word(word) for word in words]}
    print(_json(values))


def write_vocabulary(
    name: str, vocabulary: Vocabulary, entries: Sequence[Entry], *, matching: int
) -> None:
    """`tokens`: id, text, bytes, whether special, count (null where nothing was counted)."""
    counted = any(entry.count is not None for entry in vocabulary.entries)
    values = {
        "tokenizer": name,
        "vocab_size": vocabulary.size,
        "entries": len(vocabulary.entries),
        "unused": vocabulary.unused if counted else None,
        "matching": matching,
    }
    sys.stdout.write(_json(values)[:-1])
    _write_array("tokens", map(_entry, entries))
    sys.stdout.write("}\n")


def write_comparison(rows: Sequence[Compression]) -> None:
    """`tokenizers`: what each makes of the text."""
    print(_json({"tokenizers": [asdict(row) for row in rows]}))


def write_windows(
    name: str,
    tokenizer: Tokenizer,
    plan: WindowPlan,
    windows: Sequence[Window],
    *,
    count: int,
    tokens: int,
) -> None:
    """`windows`: start, inputs and targets of each, and its lessons as ids and as text."""
    reader = TokenReader(tokenizer)
    values = {
        "tokenizer": name,
        "context": plan.context,
        "stride": plan.stride,
        "start": plan.start,
        "token_count": tokens,
        "window_count": count,
        "windows": [_window(reader, window) for window in windows],
    }
    print(_json(values))


def _token(reader: TokenReader, token: int) -> dict[str, Any]:
    return {"id": token, "text": reader.text(token), "bytes": reader.data(token).hex()}


def _word(word: WordMerges) -> dict[str, Any]:
    steps = [
        {
            "rank": step.rank,
            "id": step.token_id,
            "left": readable(step.left),
            "right": readable(step.right),
            "pieces": [readable(piece) for piece in step.pieces],
        }
        for step in word.steps
    ]
    return {
        "text": readable(word.word),
        "start": [readable(piece) for piece in word.start],
        "steps": steps,
        "taken_whole": word.taken_whole,
        "pieces": [readable(piece) for piece in word.pieces],
    }


def _entry(entry: Entry) -> str:
    values = {
        "id": entry.id,
        "text": entry.text,
        "bytes": entry.data.hex(),
        "special": entry.special,
        "count": entry.count,
    }
    return _json(values)


def _window(reader: TokenReader, window: Window) -> dict[str, Any]:
    lessons = [
        {
            "context": lesson.context,
            "target": lesson.target,
            "text": lesson_line(reader.together(lesson.context), reader.text(lesson.target)),
        }
        for lesson in window.lessons()
    ]
    return {
        "start": window.start,
        "inputs": window.inputs,
        "targets": window.targets,
        "lessons": lessons,
    }


def _write_array(key: str, items: Iterable[str]) -> None:
    """One more key of the object, its items written some at a time."""
    sys.stdout.write(f', "{key}": [')
    rest, before = iter(items), ""
    while some := list(islice(rest, _WRITTEN_AT_ONCE)):
        sys.stdout.write(before + ", ".join(some))
        before = ", "
    sys.stdout.write("]")


def _one_by_one(ids: NDArray[np.int64]) -> Iterator[int]:
    """The ids as plain numbers, without a list of all of them."""
    for start in range(0, len(ids), _WRITTEN_AT_ONCE):
        yield from ids[start : start + _WRITTEN_AT_ONCE].tolist()


def _json(values: dict[str, Any]) -> str:
    # As ASCII where the output cannot take every character: to a reader of JSON it is the same.
    ascii_only = not (sys.stdout.encoding or "ascii").lower().startswith("utf")
    return json.dumps(values, ensure_ascii=ascii_only)
