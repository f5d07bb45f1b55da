"""What every view is: numbers with names and shapes, and where they came from.

A view computes nothing and draws nothing: it is the data that the terminal, a picture, a page or a
program of one's own shows. Its JSON has every number of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cloche.errors import CheckpointError
from cloche.run import LM
from cloche.text.tokenizer import Tokenizer
from cloche.weights.identity import model_hash

_SEEN = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"})


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of a view come from."""

    run: str
    """The run or model folder, by its name."""
    checkpoint: str
    """The folder with the weights, by its name."""
    model_sha256: str
    """Of the weights and the tokenizer; empty where there are none on disk."""
    text: str | None = None
    """What the model read, where it read something."""
    seed: int | None = None
    """Of what was drawn by chance, where something was."""

    @property
    def place(self) -> str:
        """Run and checkpoint as people read them; one of them where both are the same folder."""
        same = self.run == self.checkpoint
        return self.run if same or not self.checkpoint else f"{self.run} · {self.checkpoint}"


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers with a name for each axis.

    Not-a-number stays what it is: a model with broken weights is shown with them.
    """

    values: np.ndarray
    axes: tuple[str, ...]
    """Such as ("layer", "head", "query", "key")."""

    def __post_init__(self) -> None:
        if self.values.ndim != len(self.axes):
            raise ValueError(f"{self.values.ndim} axes of numbers, but the names {self.axes}")


@dataclass(frozen=True, eq=False)
class View:
    """Base of all views; each is a dataclass whose fields are tables, texts, numbers, or lists,
    mappings and dataclasses of them.
    """

    name: ClassVar[str]
    """As `cloche lens RUN NAME` has it."""
    provenance: Provenance

    def to_json(self) -> dict[str, Any]:
        """All of it as values of JSON, with the view's name under `view`.

        A table is {"axes", "shape", "values"}; a number that is none is the string "NaN",
        "Infinity" or "-Infinity", which JSON has no number for.
        """
        return {"view": self.name, **_fields(self)}


@dataclass(frozen=True)
class Piece:
    """One token as people read it."""

    id: int
    text: str
    """Printable: a space is ␣, a line's end ⏎, a token of half a character its bytes."""


def provenance_of(lm: LM, *, text: str | None = None, seed: int | None = None) -> Provenance:
    """Where the numbers of an opened model come from."""
    folder = lm.folder.resolve()
    in_run = folder.parent.name == "checkpoints"
    try:
        sha256 = model_hash(folder)
    except CheckpointError:  # an adapter's run has no weights of its own: the folder names it
        sha256 = ""
    run = _named(folder.parents[1] if in_run else folder)
    return Provenance(run, folder.name, sha256, text, seed)


def pieces_of(ids: Sequence[int], tokenizer: Tokenizer) -> list[Piece]:
    """The tokens as people read them."""
    return [Piece(token_id, printable(token_id, tokenizer)) for token_id in ids]


def printable(token_id: int, tokenizer: Tokenizer) -> str:
    """One token's text, with what cannot be seen made visible: ␣ for a space, ⏎ for a line's end.

    Bytes that are no whole character stand as <e4>.
    """
    for name, special in tokenizer.special_tokens.items():
        if special == token_id:
            return name
    return printable_bytes(tokenizer.token_bytes(token_id))


def printable_bytes(data: bytes) -> str:
    """The same of a token's bytes."""
    text = data.decode("utf-8", errors="surrogateescape").translate(_SEEN)
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    """A character as it is, a lone byte or one without width by its number."""
    if 0xDC80 <= ord(character) <= 0xDCFF:  # a byte that is no character, as surrogateescape has it
        return f"<{ord(character) - 0xDC00:02x}>"
    return character if character.isprintable() else f"<U+{ord(character):04X}>"


def _named(folder: Path) -> str:
    return folder.name or str(folder)


def _fields(of: Any) -> dict[str, Any]:
    return {each.name: _value(getattr(of, each.name)) for each in fields(of)}


def _value(of: Any) -> Any:
    if isinstance(of, Table):
        shape = list(of.values.shape)
        return {"axes": list(of.axes), "shape": shape, "values": _value(of.values.tolist())}
    if isinstance(of, float) and not np.isfinite(of):
        return "NaN" if np.isnan(of) else ("Infinity" if of > 0 else "-Infinity")
    if isinstance(of, np.generic):
        return _value(of.item())
    if isinstance(of, bytes):
        return of.hex()
    if isinstance(of, Path):
        return str(of)
    if isinstance(of, Mapping):
        return {str(key): _value(value) for key, value in of.items()}
    if isinstance(of, Sequence) and not isinstance(of, str):
        return [_value(each) for each in of]
    return _fields(of) if hasattr(of, "__dataclass_fields__") else of
