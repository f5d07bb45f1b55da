"""The rows of `cloche generate --input`: a JSON object a line, each a prompt and its settings.

    {"prompt": "Once upon", "id": "a1", "max_tokens": 50, "temperature": 0.5}

Lines are read as they are needed, again each time, and a line that is wrong spoils no other.
"""

import contextlib
import difflib
import hashlib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from cloche.errors import ClocheError, RequestError, TextError, join_problems
from cloche.generation.request import GenerationRequest
from cloche.text.detection import detect_encoding
from cloche.text.encodings import decode_blocks, decoder_name
from cloche.text.prompts import PromptLayout, parse_object
from cloche.text.rows import lines
from cloche.text.sources import SourceFile

MOST_ANSWERS = 1000  # of one row; all of them are in memory until its line is written
MOST_SHOWN = 10  # bad lines named in one message
_LINE_BYTES = 64_000_000  # a row is in memory whole; more is surely a mistake
_BLOCK_BYTES = 1 << 19
_DIGITS = 16  # of a fingerprint
_SEED_BYTES = 6  # as large as JSON readers of every language read exactly
_OTHER_NAMES = {"max_new_tokens": "max_tokens", "greedy": "temperature"}
OPTIONS = frozenset(
    (
        *("json_schema", "regex", "ban", "force", "min_new_tokens", "beams", "length_penalty"),
        *("early_stopping", "beam_groups", "diversity_penalty", "penalty_alpha", "system"),
        *("template", "few_shot", "precision", "speculate", "window", "checkpoint"),
    )
)
"""Options of the command that no row may change; a row that means one is not answered without."""
_WIDE = ("utf-16", "utf-32")  # a line feed is more than one byte

TypeCheck: TypeAlias = Callable[[Any], Any]
"""The value of a field as the request wants it; ValueError says what it must be."""


@dataclass(frozen=True)
class RawRow:
    """A line of the input that is not blank, as it lies."""

    line: int
    data: bytes


@dataclass(frozen=True)
class Row:
    """One line's prompt, laid out, and its settings; or what is wrong with the line."""

    line: int
    id: str | int | None = None
    prompt: str = ""
    request: GenerationRequest | None = None
    """Its prompt still to be put in; None where there is an error."""
    cut_tokens: int = 0
    """Tokens at the prompt's beginning that are not read, because the context holds fewer."""
    digest: str = ""
    """Fingerprint of the line and of the settings of all."""
    error: str | None = None


@dataclass(frozen=True)
class RowReader:
    """How lines become rows: the layout of prompts, and the settings of rows that name none."""

    layout: PromptLayout
    asked: GenerationRequest
    seed: int
    """Rows without a seed of their own get one made of this and their line."""
    encoding: str
    settings: str
    """A fingerprint of all that changes answers, but for rows and model."""
    overridable: Mapping[str, TypeCheck] = field(default_factory=lambda: settings_of_rows())

    def row(self, raw: RawRow) -> Row:
        """The row in a line; what is wrong with it is its error."""
        identity, digest = None, row_digest(raw, settings=self.settings)
        try:
            given = self._given(raw)
            identity = _identity(given)
            request = self._request(given, line=raw.line)
            return Row(raw.line, identity, self.layout.lay_out(given), request, digest=digest)
        except (ClocheError, ValueError) as exc:
            return Row(raw.line, identity, error=str(exc), digest=digest)

    def _given(self, raw: RawRow) -> dict[str, Any]:
        try:
            text = raw.data.decode(self.encoding)
        except UnicodeDecodeError as exc:
            raise TextError(
                f"its byte {exc.start} is 0x{raw.data[exc.start]:02X}, which is no text in "
                f"{self.encoding}"
            ) from exc
        return parse_object(text.removeprefix("\ufeff"))

    def _request(self, given: Mapping[str, Any], *, line: int) -> GenerationRequest:
        own = {name: value for name, value in given.items() if not self.layout.takes(name)}
        changes: dict[str, Any] = {}
        problems = []
        for name, value in own.items():
            if name not in self.overridable:
                problems += _unheeded(name, self.overridable)
                continue
            try:
                changes[name] = self.overridable[name](value)
            except ValueError as exc:
                problems.append(f"{name} must be {exc}, got {value!r:.60}")
        if problems:
            raise RequestError(join_problems(problems))
        if changes.get("seed") is None:
            changes["seed"] = row_seed(self.seed, line)
        request = replace(self.asked, **changes)
        if request.n > MOST_ANSWERS:
            raise RequestError(f"a row can ask for {MOST_ANSWERS} answers at most, got {request.n}")
        if request.n > 1 and request.temperature == 0:
            raise RequestError(f"greedy answers are all the same, so n {request.n} repeats one")
        return request


def raw_rows(source: SourceFile, encoding: str) -> Iterator[RawRow]:
    """The lines of a source that are not blank, in order.

    Those of a source in UTF-16 or UTF-32 come as UTF-8. Raises TextError where the source cannot be
    read or a line has no end.
    """
    if encoding.startswith(_WIDE):
        with source.open_bytes() as stream:
            pieces = decode_blocks(stream, encoding, name=source.name)
            for number, line in lines(pieces, name=source.name):
                if line.strip():
                    yield RawRow(number, line.strip().encode())
        return
    for number, data in enumerate(_byte_lines(source), start=1):
        if stripped := data.strip():
            yield RawRow(number, stripped)


def row_encoding(source: SourceFile, given: str | None) -> tuple[str, str]:
    """The encoding of a source, and the one that `raw_rows` gives its lines in.

    Where none is plausible for the whole, it is UTF-8, as JSON always is, and lines are damaged.
    """
    found = given
    if found is None:
        found = "utf-8"
        with contextlib.suppress(TextError):
            found = detect_encoding(source.open_bytes, name=source.name)
    name = decoder_name(found)
    return name, "utf-8" if name.startswith((*_WIDE, "utf-8")) else name


def digest_of(*parts: str | bytes) -> str:
    """A short fingerprint of texts, each kept apart from the next."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()[:_DIGITS]


def row_digest(raw: RawRow, *, settings: str) -> str:
    """The fingerprint of a row as it lies and of the `settings` it is answered with."""
    return digest_of(settings, str(raw.line), raw.data)


def row_seed(batch_seed: int, line: int) -> int:
    """The seed of a line that names none: a pure function of the batch's and the line's number."""
    digest = hashlib.sha256(f"{batch_seed}:{line}".encode()).digest()
    return int.from_bytes(digest[:_SEED_BYTES], "big")


@dataclass
class Survey:
    """What a look at every row has found."""

    rows: int = 0
    bad: int = 0
    longest: int = 1
    """Most tokens that a prompt and its answer may have together."""
    shown: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Take a row in."""
        self.rows += 1
        if row.request is not None:
            tokens = len(row.request.prompt) + row.request.max_tokens
            self.longest = max(self.longest, tokens)
        if row.error is not None:
            self.bad += 1
            if self.bad <= MOST_SHOWN:
                self.shown.append(f"line {row.line}: {row.error}")

    def refuse_bad(self, *, name: str) -> None:
        """Raise TextError naming the first bad rows and their number, where there are any."""
        if self.bad:
            more = [f"and {self.bad - MOST_SHOWN} more"] if self.bad > MOST_SHOWN else []
            heading = f"{name}: {self.bad} of {self.rows} rows cannot be answered:"
            advice = "mend them, or have the others answered with --keep-going"
            raise TextError("\n  - ".join([heading, *self.shown, *more]) + f"\n{advice}")


def survey(rows: Iterable[Row]) -> Survey:
    """What a look at every row finds."""
    found = Survey()
    for row in rows:
        found.add(row)
    return found


def settings_of_rows() -> dict[str, TypeCheck]:
    """The settings that a row may have for itself, each with what checks its type.

    They are the numbers of GenerationRequest, and `stop`.
    """
    checks: dict[str, TypeCheck] = {"stop": _stops}
    for name, hint in get_type_hints(GenerationRequest).items():
        kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        optional = type(None) in kinds
        if int in kinds:
            checks[name] = _whole_or_null if optional else _whole
        elif float in kinds:
            checks[name] = _number
    return checks


def _byte_lines(source: SourceFile) -> Iterator[bytes]:
    rest = b""
    with source.open_bytes() as stream:
        while block := stream.read(_BLOCK_BYTES):
            *ended, rest = (rest + block).split(b"\n") if rest else block.split(b"\n")
            yield from ended
            if len(rest) > _LINE_BYTES:
                raise TextError(
                    f"{source.name} has a line longer than {_LINE_BYTES:,} bytes; rows are JSON "
                    "objects, one a line"
                )
    yield rest


def _identity(given: Mapping[str, Any]) -> str | int | None:
    found = given.get("id")
    if found is None or (isinstance(found, str | int) and not isinstance(found, bool)):
        return found
    raise TextError(f"its 'id' must be a text or a whole number, got {found!r:.60}")


def _unheeded(name: str, settings: Mapping[str, TypeCheck]) -> list[str]:
    """What is wrong with a field that is neither the layout's nor a setting; mostly nothing."""
    if name != "prompt" and name in {known.name for known in fields(GenerationRequest)}:
        return [f"{name} cannot be set by a row: give it as an option, for all of them"]
    if name.lower().replace("-", "_") in OPTIONS:
        return [f"{name} cannot be set by a row: give it as an option, for all of them"]
    near = [_OTHER_NAMES[name]] if name in _OTHER_NAMES else []
    near = near or difflib.get_close_matches(name, settings, n=1, cutoff=0.8)
    return [f"{name} is no setting: did you mean {near[0]}?"] if near else []


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("a whole number")
    return value


def _whole_or_null(value: Any) -> int | None:
    return None if value is None else _whole(value)


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("a number")
    try:
        return float(value)
    except OverflowError as exc:
        raise ValueError("a number of usual size") from exc


def _stops(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError("a text or a list of texts")
    return tuple(found)
