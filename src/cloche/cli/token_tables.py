"""Views of tokens for people: a coloured split, tables, and what they add up to."""

from collections.abc import Iterable, Sequence
from itertools import cycle

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from cloche.text.comparison import Compression, split_tokens, unknown_tokens
from cloche.text.merges import WordMerges
from cloche.text.tokenized import TokenizedText
from cloche.text.tokenizer import Tokenizer
from cloche.text.visible import LINE_FEED, Part, TokenReader, one_line, visible, visible_bytes
from cloche.text.vocabulary import Entry, Vocabulary
from cloche.text.windows import Window, WindowPlan, lesson_line

SEPARATOR = "│"
"""Between tokens where there are no colours."""

# Black on light colours of the 256 that terminals share: readable on a dark and a light screen.
_BACKGROUNDS = ("color(153)", "color(223)", "color(157)", "color(219)")
_BACKGROUNDS_OF_16 = ("bright_cyan", "bright_yellow", "bright_green", "bright_magenta")
_INK, _FAINT = "color(16)", "color(238)"  # the black that themes leave alone, and a grey
_LONGEST_CONTEXT = 16  # tokens of a context that are shown


def print_tokens(name: str, tokenizer: Tokenizer, text: TokenizedText) -> None:
    """The split, a table of its tokens, and totals; of a long text the tokens that were kept."""
    reader = TokenReader(tokenizer)
    ids = text.kept.tolist()
    console = Console(highlight=False)
    console.print(split_text(reader, ids, console=console), soft_wrap=True)
    print()
    rows = [(str(token), _shown(reader.parts(token)), _hex(reader.data(token))) for token in ids]
    print_columns(("id", "token", "bytes"), rows, right=(0,))
    if text.tokens > len(ids):
        more = text.tokens - len(ids)
        print(f"... and {more:,} tokens more (--limit {text.tokens} shows all)")
    print()
    print(
        f"{name}: {text.tokens:,} tokens, {text.characters:,} characters, {text.utf8_bytes:,} bytes"
    )
    print(f"  {text.bytes_per_token:.2f} bytes a token, {text.characters_per_token:.2f} characters")
    if split := split_tokens(tokenizer, text):
        print(f"  {split:,} tokens hold a part of a character: their bytes are shown as <hex>")
    if unknown := unknown_tokens(tokenizer, text):
        print(f"  {unknown:,} tokens stand for what this tokenizer does not know")


def split_text(reader: TokenReader, ids: Iterable[int], *, console: Console) -> Text:
    """The tokens in a row, told apart by colours where the console has them, else by a sign."""
    text = Text()
    if console.color_system is None or console.no_color:
        shown = SEPARATOR.join(_shown(reader.parts(token)) for token in ids)
        return text.append(shown.replace(LINE_FEED + SEPARATOR, f"{LINE_FEED}{SEPARATOR}\n"))
    few = console.color_system == "standard"
    backgrounds = cycle(_BACKGROUNDS_OF_16 if few else _BACKGROUNDS)
    for token, background in zip(ids, backgrounds, strict=False):
        for part in reader.parts(token):
            faint = part.kind in ("space", "hex") and not few
            style = Style(
                color="black" if few else _FAINT if faint else _INK,
                bgcolor=background,
                italic=part.kind == "hex",
                bold=part.kind == "special",
            )
            text.append(part.shown, style)
        if reader.data(token).endswith(b"\n"):
            text.append("\n")
    return text


def print_merges(words: Sequence[WordMerges], *, limit: int) -> None:
    """The history of each word, a line for each merge."""
    left = limit
    for number, word in enumerate(words):
        if left <= 0:
            print(f"... and {len(words) - number:,} words more (--limit shows more)")
            return
        left -= 1 + len(word.steps)
        print(f"{_bytes_text(word.word)}: {_count(len(word.steps), 'merge')}")
        rows = [("", "", "", _pieces(word.start))]
        for step in word.steps:
            pair = f"{_bytes_text(step.left)} + {_bytes_text(step.right)}"
            rows.append((f"{step.rank:,}", str(step.token_id), pair, _pieces(step.pieces)))
        if word.taken_whole is not None:
            rows.append(("", str(word.taken_whole), "taken whole", _pieces(word.pieces)))
        print_columns(("rank", "id", "merge", "word"), rows, right=(0, 1))
        print()


def print_vocabulary(
    name: str, vocabulary: Vocabulary, entries: Sequence[Entry], *, matching: int
) -> None:
    """The entries, and how many there are, are unused, and are not shown."""
    counted = any(entry.count is not None for entry in vocabulary.entries)
    rows = [
        (
            str(entry.id),
            *([f"{entry.count:,}"] if counted else []),
            visible(entry.text) + (" (special)" if entry.special else ""),
            _hex(entry.data),
        )
        for entry in entries
    ]
    heading = ("id", "count", "token", "bytes") if counted else ("id", "token", "bytes")
    print_columns(heading, rows, right=(0, 1) if counted else (0,))
    if matching > len(entries):
        print(f"... and {matching - len(entries):,} more (--limit {matching} shows all)")
    print()
    print(f"{name}: {_count(len(vocabulary.entries), 'entry', 'entries')}")
    if counted:
        print(f"  {vocabulary.unused:,} of them never occur in the text")
    if matching < len(vocabulary.entries):
        print(f"  matching: {matching:,}")
    if vocabulary.holes:
        print(f"  {vocabulary.holes:,} ids below {vocabulary.size:,} stand for nothing")


def print_comparison(rows: Sequence[Compression]) -> None:
    """A line for each tokenizer."""
    heading = (
        *("tokenizer", "vocabulary", "used", "tokens"),
        *("bytes/token", "characters/token", "parts of characters"),
    )
    lines = [
        (
            row.tokenizer,
            f"{row.vocab_size:,}",
            f"{row.used:,}",
            f"{row.tokens:,}",
            f"{row.bytes_per_token:.2f}",
            f"{row.characters_per_token:.2f}",
            f"{row.split_share:.1%}",
        )
        for row in rows
    ]
    print_columns(heading, lines, right=range(1, 7))
    for row in rows:
        if row.unknown:
            print(f"{row.tokenizer}: {row.unknown:,} tokens stand for what it does not know")


def print_windows(
    name: str,
    tokenizer: Tokenizer,
    plan: WindowPlan,
    windows: Sequence[Window],
    *,
    count: int,
    tokens: int,
) -> None:
    """Each window: its inputs and targets, and every context in it with what follows."""
    reader = TokenReader(tokenizer)
    for window in windows:
        print(f"window at token {window.start:,}")
        print(f"  inputs   {list(window.inputs)}")
        print(f"  targets  {list(window.targets)}")
        for lesson in window.lessons():
            hidden = max(0, len(lesson.context) - _LONGEST_CONTEXT)
            ids = f"{list(lesson.context[hidden:])} ----> {lesson.target}"
            print(f"    {f'... {hidden} before ' if hidden else ''}{ids}")
        for lesson in window.lessons():
            context = _on_one_line(reader.together(lesson.context))
            print(lesson_line(context, _on_one_line(reader.text(lesson.target))))
        print()
    moved = f"windows of {plan.context} tokens, moved by {plan.stride}"
    print(f"{name}: {tokens:,} tokens; {count:,} {moved}, from token {plan.start:,}")
    if count > len(windows):
        print(f"  shown: the first {len(windows):,} (--limit shows more)")


def print_columns(
    heading: Sequence[str], rows: Sequence[Sequence[str]], *, right: Iterable[int]
) -> None:
    """A table whose columns are as wide as what is in them; nothing is cut off.

    Widths are those on a terminal, where a Chinese character takes two places. A few very long
    entries do not widen a column: their lines run over.
    """
    table = [tuple(heading), *rows]
    widths = [
        min(_WIDEST, max(cell_len(row[column]) for row in table)) for column in range(len(heading))
    ]
    to_the_right = set(right)
    for row in table:
        cells = []
        for column, cell in enumerate(row):
            gap = " " * max(0, widths[column] - cell_len(cell))
            cells.append(gap + cell if column in to_the_right else cell + gap)
        print("  ".join(cells).rstrip())


_WIDEST = 40


def _shown(parts: Iterable[Part]) -> str:
    return "".join(part.shown for part in parts)


def _on_one_line(text: str) -> str:
    """Spaces as they are between words, by signs where there is nothing else to see."""
    return one_line(text) if text.strip(" ") else visible(text)


def _bytes_text(data: bytes) -> str:
    return _shown(visible_bytes(data))


def _pieces(pieces: Iterable[bytes]) -> str:
    return " ".join(map(_bytes_text, pieces))


def _hex(data: bytes) -> str:
    return data.hex(" ").upper()


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
