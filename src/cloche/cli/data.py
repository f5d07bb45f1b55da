"""`cloche data`: what texts there are, what is in them, and where they come from."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import tyro

from cloche.cli.environment import cache_folder, data_folder
from cloche.cli.parse import parse
from cloche.cli.prepare import Prepare, prepare
from cloche.errors import SettingError


@dataclass(frozen=True)
class List:
    """Built-in texts."""

    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


@dataclass(frozen=True)
class Inspect:
    """Encoding, size and fingerprint of files, as cloche would read them."""

    files: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="FILE...")]
    """Files, folders, patterns, or names of cloche data list."""
    encoding: str | None = None
    """Read them in this encoding instead of detecting it."""
    column: str | None = None
    """What holds the text in rows of .jsonl, .csv and .parquet; text when not given."""
    skip_bad: bool = False
    """Count rows that cannot be read, instead of stopping at the first."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


@dataclass(frozen=True)
class Show:
    """Print a text: the built-in stories in any size, or the beginning of a file."""

    text: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TEXT")]
    """stories, or any source that cloche train takes."""
    lang: Literal["en", "zh"] = "en"
    """Language of the stories."""
    bytes: str = "2KB"
    """About how much: 500, 20KB, 2MB (1 KB is 1,000 bytes)."""
    seed: int = 0
    """Seed of the stories: the same seed tells the same worlds in both languages."""
    part: Literal["train", "held_out"] = "train"
    """Stories to train on, or ones whose combinations never appear there."""
    format: Literal[
        "text", "questions", "pairs", "parallel", "sentences", "chat", "preferences", "prompts"
    ] = "text"
    """text, or JSON rows: questions with answers, pairs of continuations, stories in both
    languages, or single sentences with their translation, to train a seq2seq model on; chat,
    preferences and prompts are what cloche tune and cloche align learn from."""


@dataclass(frozen=True)
class Fetch:
    """Find a built-in text, or download it once; its SHA-256 is checked. Prints where it is."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """shakespeare, verdict, python, stories, stories-zh."""


def main(arguments: list[str]) -> int:
    """Run one of them."""
    verbs = {"list": (List, _list), "inspect": (Inspect, _inspect), "show": (Show, _show)}
    verbs |= {"fetch": (Fetch, _fetch), "prepare": (Prepare, prepare)}
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: cloche data {list,inspect,show,fetch,prepare} ...\n")
        for name, (command, _) in verbs.items():
            about = " ".join((command.__doc__ or "").split())
            print(f"  {name:<8} {about}")
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in verbs:
        raise SettingError(f"there is no cloche data {name}; there is: {', '.join(verbs)}")
    command, run = verbs[name]
    return run(parse(command, rest, prog=f"cloche data {name}"))


def _list(command: List) -> int:
    from cloche.data.corpora import CORPORA

    if command.json:
        print(json.dumps({"texts": [asdict(corpus) for corpus in CORPORA]}, ensure_ascii=False))
        return 0
    width = max(len(corpus.name) for corpus in CORPORA)
    for corpus in CORPORA:
        print(f"{corpus.name:<{width}}  {corpus.about}")
    return 0


def _inspect(command: Inspect) -> int:
    from cloche.data.corpora import resolve
    from cloche.text.ingest import inspect_source
    from cloche.text.sources import find_with_skipped

    names = resolve(command.files, data_folder=data_folder(), cache_folder=cache_folder())
    found = find_with_skipped(names)
    reports = [
        inspect_source(
            source, encoding=command.encoding, skip_bad=command.skip_bad, column=command.column
        )
        for source in found.files
    ]
    if command.json:
        left_out = [{"path": str(file.path), "reason": file.reason} for file in found.skipped]
        values = {"files": [asdict(report) for report in reports], "left_out": left_out}
        print(json.dumps(values, ensure_ascii=False))
        return 0
    for report in reports:
        skipped = f", {report.bad_rows:,} bad rows" if report.bad_rows else ""
        print(
            f"{report.path}: {report.encoding}, {report.characters:,} characters in "
            f"{report.documents:,} documents{skipped}\n  sha256 of its UTF-8: {report.utf8_sha256}"
        )
    for file in found.skipped:
        print(f"left out: {file.path} ({file.reason})")
    return 0


def _show(command: Show) -> int:
    from cloche.data.stories.corpus import parse_size

    size = parse_size(command.bytes)
    if command.text == "stories":
        return _show_stories(command, size)
    if command.format != "text":
        raise SettingError("--format belongs to stories: cloche data show stories --format ...")
    from cloche.data.corpora import resolve
    from cloche.text.ingest import documents, inspect_source
    from cloche.text.sources import find_sources

    names = resolve([command.text], data_folder=data_folder(), cache_folder=cache_folder())
    left = size
    for source in find_sources(names):
        for document in documents(source, inspect_source(source).encoding):
            for piece in document.pieces():
                shown = piece.encode("utf-8")[:left].decode("utf-8", errors="ignore")
                sys.stdout.write(shown)
                left -= len(shown.encode("utf-8"))
                if left <= 0 or len(shown) < len(piece):
                    print()
                    return 0
            print()
    return 0


def _show_stories(command: Show, size: int) -> int:
    from cloche.data.stories.corpus import stories_text
    from cloche.data.stories.rows import story_rows

    if command.format == "text":
        text = stories_text(command.lang, size_bytes=size, seed=command.seed, part=command.part)
        sys.stdout.write(text)
        return 0
    if command.format == "sentences":
        return _show_sentences(command, size)
    rows = story_rows(
        command.format, command.lang, size_bytes=size, seed=command.seed, part=command.part
    )
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    return 0


def _show_sentences(command: Show, size: int) -> int:
    from cloche.cli.sampling import tell
    from cloche.data.stories.sentences import sentence_pairs

    found = sentence_pairs(command.lang, size_bytes=size, seed=command.seed, part=command.part)
    for source, target in found.pairs:
        print(json.dumps({"source": source, "target": target}, ensure_ascii=False))
    tell(
        f"{len(found.pairs):,} different sentences; {found.kept_share:.1%} of the {found.told:,} "
        "told have a translation that they settle themselves, and the others are left out"
    )
    return 0


def _fetch(command: Fetch) -> int:
    from cloche.data.corpora import resolve

    for path in resolve([command.name], data_folder=data_folder(), cache_folder=cache_folder()):
        print(path)
    return 0
