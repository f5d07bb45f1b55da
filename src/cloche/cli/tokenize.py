"""`cloche tokenize`: what a text is to a model, token by token."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cloche.cli.environment import cache_folder, data_folder
from cloche.cli.parse import parse
from cloche.cli.sampling import require_unicode, tell
from cloche.cli.standard_input import standard_input
from cloche.errors import ClocheError, SettingError, TextError, TokenizerError, join_problems

if TYPE_CHECKING:
    from cloche.text.given import GivenText
    from cloche.text.tokenized import Kept, TokenizedText
    from cloche.text.tokenizer import Tokenizer

USUAL_TOKENIZER = "gpt2"
USUAL_ROWS, USUAL_WINDOWS = 200, 8


@dataclass(frozen=True)
class Tokenize:
    """Show a text as tokens: its split, their ids and bytes; or, with an option, the merges that
    led to them, a whole vocabulary, tokenizers side by side, or what a model learns from."""

    text: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="TEXT")] = None
    """The text itself; - reads it from standard input."""
    file: str | None = None
    """Read the text from here instead: anything that cloche train takes."""
    encoding: str | None = None
    """Encoding of the file or of standard input; detected when not given."""
    column: str | None = None
    """What holds the text in rows of a .jsonl, .csv or .parquet file; text when not given."""
    tokenizer: str | None = None
    """gpt2 (when not given), cl100k_base, o200k_base; a run, a Hugging Face folder, a
    tokenizer.json or a SentencePiece model; or characters, words, bpe: made from the text."""
    vocab_size: int | None = None
    """Size of the bpe made from the text."""
    allow_special: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A special token, such as "<|endoftext|>", that counts as one where the text has it, instead
    of as plain text; can be given several times."""
    merges: bool = False
    """How byte-pair encoding came to the tokens: which pair was merged at which rank."""
    vocab: bool = False
    """The vocabulary, with counts over the text, or over the training tokens of a run."""
    compare: str | None = None
    """Tokenizers side by side, such as gpt2,cl100k_base,runs/book."""
    windows: int | None = None
    """What a model learns from: contexts of up to this many tokens, and the next token of each."""
    stride: int | None = None
    """Tokens from window to window; the length of a window when not given."""
    start: int | None = None
    """Token that the first window begins at, from 0."""
    sort: Literal["id", "count"] | None = None
    """Order of the vocabulary."""
    find: str | None = None
    """Only entries of the vocabulary with this text in them."""
    limit: int | None = None
    """Rows to show: 200, or 8 windows, when not given. With --json, only windows are limited
    then, and the ids of a text never are."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""

    def problems(self) -> list[str]:
        """What cannot be done, one sentence each."""
        views = {
            "--merges": self.merges,
            "--vocab": self.vocab,
            "--compare": self.compare is not None,
            "--windows": self.windows is not None,
        }
        chosen = [name for name, given in views.items() if given]
        found = []
        if len(chosen) > 1:
            found.append(f"{' and '.join(chosen)} are different views: give one of them")
        if self.text is not None and self.file is not None:
            found.append(f"both TEXT and --file {self.file} were given: leave one of them out")
        belongs = {
            "--stride": (self.stride is not None, "--windows"),
            "--start": (self.start is not None, "--windows"),
            "--sort": (self.sort is not None, "--vocab"),
            "--find": (self.find is not None, "--vocab"),
        }
        for option, (given, view) in belongs.items():
            if given and view not in chosen:
                found.append(f"{option} belongs to {view}: add that, or leave {option} out")
        if self.compare is not None and self.tokenizer is not None:
            found.append(f"--compare names its tokenizers itself: add {self.tokenizer} to its list")
        if self.vocab_size is not None and "bpe" not in (self.tokenizer, *self.compared()):
            found.append("--vocab-size belongs to --tokenizer bpe: add that, or leave it out")
        if self.encoding is not None and self.file is None and self.text != "-":
            found.append("--encoding belongs to --file or -: TEXT itself is already decoded")
        if self.column is not None and self.file is None:
            found.append("--column belongs to --file: add that, or leave --column out")
        if self.limit is not None and self.limit < 1:
            found.append(f"--limit must be at least 1, got {self.limit}")
        return found

    def compared(self) -> list[str]:
        """The names given to --compare."""
        return [name.strip() for name in (self.compare or "").split(",") if name.strip()]


def main(arguments: list[str]) -> int:
    """Show the view that was asked for."""
    command = parse(Tokenize, arguments, prog="cloche tokenize")
    if problems := command.problems():
        raise SettingError(join_problems(problems))
    if isinstance(sys.stdout, TextIOWrapper):  # what a terminal cannot show, it shows by number
        sys.stdout.reconfigure(errors="backslashreplace")
    with _given_text(command) as text:
        if command.compare is not None:
            _compare(command, text)
        elif command.merges:
            _merges(command, text)
        elif command.vocab:
            _vocabulary(command, text)
        elif command.windows is not None:
            _windows(command, text, context=command.windows)
        else:
            _tokens(command, text)
    return 0


def _tokens(command: Tokenize, text: "GivenText | None") -> None:
    from cloche.cli.token_json import write_tokens
    from cloche.cli.token_tables import print_tokens
    from cloche.text.tokenized import Kept, tokenize_text

    given = _required(text)
    name, tokenizer = _opened(command, given)
    keep = Kept() if command.json else Kept(0, command.limit or USUAL_ROWS)
    allowed = command.allow_special
    found = tokenize_text(tokenizer, given.open(), allowed_special=allowed, keep=keep)
    if command.json:
        write_tokens(name, tokenizer, found, limit=command.limit)
    else:
        print_tokens(name, tokenizer, found)


def _merges(command: Tokenize, text: "GivenText | None") -> None:
    from cloche.cli.token_json import write_merges
    from cloche.cli.token_tables import print_merges
    from cloche.text.merges import MOST_CHARACTERS, merge_history

    given = _required(text)
    name, tokenizer = _opened(command, given)
    words = merge_history(tokenizer, _beginning(given, MOST_CHARACTERS + 1))
    if command.json:
        write_merges(name, words[: command.limit])
    else:
        print_merges(words, limit=command.limit or USUAL_ROWS)


def _vocabulary(command: Tokenize, text: "GivenText | None") -> None:
    from cloche.cli.token_json import write_vocabulary
    from cloche.cli.token_tables import print_vocabulary
    from cloche.text.vocabulary import most_used_first, read_vocabulary

    name, tokenizer = _opened(command, text)
    counted = _counted(command, name, tokenizer, text)
    if counted is None and command.sort == "count":
        raise SettingError("--sort count needs a text to count over: give TEXT, - or --file")
    vocabulary = read_vocabulary(tokenizer, None if counted is None else counted.counts)
    entries = vocabulary.find(command.find or "")
    if command.sort == "count":
        entries = most_used_first(entries)
    if command.json:
        write_vocabulary(name, vocabulary, entries[: command.limit], matching=len(entries))
    else:
        shown = entries[: command.limit or USUAL_ROWS]
        print_vocabulary(name, vocabulary, shown, matching=len(entries))


def _compare(command: Tokenize, text: "GivenText | None") -> None:
    from cloche.cli.token_json import write_comparison
    from cloche.cli.token_tables import print_comparison
    from cloche.text.comparison import measure_compression

    given = _required(text)
    names = command.compared()
    if not names:
        raise SettingError("--compare needs names of tokenizers, such as gpt2,cl100k_base")
    rows = []
    for name in names:
        try:
            tokenizer = _open(name, given, vocab_size=command.vocab_size)
            row = measure_compression(
                name, tokenizer, given.open(), allowed_special=command.allow_special
            )
        except ClocheError as exc:
            raise TokenizerError(f"--compare {name}: {exc}") from exc
        rows.append(row)
    show = write_comparison if command.json else print_comparison
    show(rows)


def _windows(command: Tokenize, text: "GivenText | None", *, context: int) -> None:
    from cloche.cli.token_json import write_windows
    from cloche.cli.token_tables import print_windows
    from cloche.text.tokenized import tokenize_text
    from cloche.text.windows import WindowPlan

    stride = context if command.stride is None else command.stride
    plan = WindowPlan(context, stride, command.start or 0)
    name, tokenizer = _opened(command, text)
    keep = plan.needed(command.limit or USUAL_WINDOWS)
    found = _training_tokens(name, tokenizer, keep) if text is None else None
    if found is None:
        allowed = command.allow_special
        documents = _required(text).open()
        found = tokenize_text(tokenizer, documents, allowed_special=allowed, keep=keep)
    count = plan.count(found.tokens)
    windows = plan.windows(found.kept.tolist())
    show = write_windows if command.json else print_windows
    show(name, tokenizer, plan, windows, count=count, tokens=found.tokens)


@contextlib.contextmanager
def _given_text(command: Tokenize) -> "Iterator[GivenText | None]":
    """The text to look at, None where none was given; standard input is kept while it is read."""
    require_unicode(command.find or "", what="--find")
    if command.file is None and command.text is None:
        yield None
        return
    from cloche.text.given import text_of_sources, typed_text
    from cloche.text.sources import find_sources

    if command.file is not None:
        from cloche.data.corpora import resolve

        names = resolve([command.file], data_folder=data_folder(), cache_folder=cache_folder())
        sources = find_sources(names)
        yield text_of_sources(sources, encoding=command.encoding, column=command.column)
    elif command.text == "-":
        with standard_input() as spooled:
            sources = find_sources(["-"], stdin_file=spooled)
            yield text_of_sources(sources, encoding=command.encoding)
    else:
        require_unicode(command.text or "", what="the text")
        _mention_file(command.text or "")
        yield typed_text(command.text or "")


def _mention_file(text: str) -> None:
    """Say so where the text is the name of a file: that may have been meant."""
    with contextlib.suppress(OSError, ValueError):  # most texts cannot be names of files
        if Path(text).is_file():
            tell(
                f"showing the tokens of these {len(text)} characters. For those in the file: "
                f"cloche tokenize --file {text}"
            )


def _required(text: "GivenText | None") -> "GivenText":
    if text is None:
        raise TextError("there is no text: give it in quotes, - for standard input, or --file PATH")
    return text


def _beginning(text: "GivenText", characters: int) -> str:
    """The first characters of the text: enough to see that it is too long."""
    pieces, length = [], 0
    for piece in text.pieces():
        pieces.append(piece)
        length += len(piece)
        if length >= characters:
            break
    return "".join(pieces)[:characters]


def _opened(command: Tokenize, text: "GivenText | None") -> "tuple[str, Tokenizer]":
    """The tokenizer that was asked for, or the usual one, and its name."""
    if command.tokenizer is not None:
        return command.tokenizer, _open(command.tokenizer, text, vocab_size=command.vocab_size)
    try:
        return USUAL_TOKENIZER, _open(USUAL_TOKENIZER, text, vocab_size=None)
    except TokenizerError as exc:  # who named none should not have to fetch one
        raise TokenizerError(
            f"{exc}. Or make one from the text, which needs no network: --tokenizer bpe"
        ) from exc


def _open(name: str, text: "GivenText | None", *, vocab_size: int | None) -> "Tokenizer":
    """The tokenizer of that name, or of that kind made from the text."""
    from cloche.text.given import MADE_FROM_TEXT, tokenizer_from
    from cloche.text.names import open_tokenizer
    from cloche.text.options import TextOptions

    if name not in MADE_FROM_TEXT:
        return open_tokenizer(name)
    size = vocab_size if name == "bpe" else None
    options = TextOptions(tokenizer=name, vocab_size=size)
    if problems := options.problems():
        raise SettingError(join_problems(problems))
    return tokenizer_from(_required(text), options)


def _counted(
    command: Tokenize, name: str, tokenizer: "Tokenizer", text: "GivenText | None"
) -> "TokenizedText | None":
    """Counts over the text, else over the training tokens of a run, else None."""
    from cloche.text.tokenized import NOTHING, tokenize_text

    if text is None:
        return _training_tokens(name, tokenizer, NOTHING)
    return tokenize_text(tokenizer, text.open(), allowed_special=command.allow_special)


def _training_tokens(name: str, tokenizer: "Tokenizer", keep: "Kept") -> "TokenizedText | None":
    from cloche.data.training_tokens import find_training_tokens, read_training_tokens

    folder = find_training_tokens(Path(name))
    return None if folder is None else read_training_tokens(folder, tokenizer, keep=keep)
