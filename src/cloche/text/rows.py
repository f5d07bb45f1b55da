"""Documents, and the rows of .jsonl files as documents."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from cloche.errors import TextError
from cloche.text.encodings import find_lone_surrogate, surrogate_error

PIECE_CHARACTERS = 1_000_000
"""Most characters in one piece of a document."""
TEXT_COLUMN = "text"
"""What holds the text of a row, unless another column is named."""

_ROW_CHARACTERS = 256_000_000  # one row of .jsonl is in memory whole; more is surely a mistake
_ADVICE = "mend the row, or skip such rows with --text.skip-bad"


@dataclass(frozen=True)
class Document:
    """One text, to be tokenized by itself."""

    name: str
    """Its file; of a row, with the line."""
    _open: Callable[[], Iterator[str]] = field(repr=False)

    def pieces(self) -> Iterator[str]:
        """The text from its beginning, in pieces of at most PIECE_CHARACTERS, none empty."""
        return self._open()


@dataclass
class RowCount:
    """How many rows were skipped so far."""

    bad: int = 0


def row_documents(
    numbered: Iterable[tuple[int, str]],
    *,
    name: str,
    skipped: RowCount | None,
    column: str | None = None,
) -> Iterator[Document]:
    """The documents of numbered lines of JSON objects, without empty ones.

    Raises TextError at the first bad row; where `skipped` is given, it is counted there instead.
    """
    for number, line in numbered:
        if not line.strip():
            continue
        try:
            text = _row_text(line, name=name, number=number, column=column or TEXT_COLUMN)
        except TextError:
            if skipped is None:
                raise
            skipped.bad += 1
            continue
        if text:
            yield Document(f"{name}, line {number}", partial(slices, text))


def lines(pieces: Iterable[str], *, name: str, first: int = 1) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, from `first` on. Only a line feed ends one: JSON may hold others.

    TextError where one is too long to be a row.
    """
    number, parts, length = first, [], 0
    for piece in pieces:
        *ended, rest = piece.split("\n")
        for part in ended:
            yield number, "".join([*parts, part])
            number, parts, length = number + 1, [], 0
        parts.append(rest)
        length += len(rest)
        if length > _ROW_CHARACTERS:
            raise TextError(
                f"{name}: line {number} is longer than {_ROW_CHARACTERS:,} characters; a .jsonl "
                f"file has one JSON object a line. Text of one piece belongs in a .txt file"
            )
    if length:
        yield number, "".join(parts)


def slices(text: str) -> Iterator[str]:
    """`text` in pieces of at most PIECE_CHARACTERS."""
    for start in range(0, len(text), PIECE_CHARACTERS):
        yield text[start : start + PIECE_CHARACTERS]


def _row_text(line: str, *, name: str, number: int, column: str) -> str:
    """The text of one row."""
    place = f"{name}: line {number}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise TextError(f"{place} is no JSON ({exc}); {_ADVICE}") from exc
    if not isinstance(row, dict):
        raise TextError(f"{place} is not a JSON object but {_kind(row)}; {_ADVICE}")
    if column not in row:
        keys = ", ".join(map(repr, sorted(row)[:8])) or "nothing"
        advice = f"{_ADVICE}, or name what holds the text with --text.column"
        raise TextError(f'{place} has no "{column}" (it has {keys}); {advice}')
    text = row[column]
    if not isinstance(text, str):
        raise TextError(f'{place}: "{column}" is not a string but {_kind(text)}; {_ADVICE}')
    if half := find_lone_surrogate(text):
        raise surrogate_error(name, line=number, character=half[0])
    if "\0" in text:
        raise TextError(
            f'{place}: "{column}" holds a NUL character, which text never holds; {_ADVICE}'
        )
    return text


def _kind(value: object) -> str:
    """What a JSON value is called."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
