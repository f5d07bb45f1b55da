"""Texts by name: two made by cloche itself, one found on every machine, two small classics.

A corpus becomes a file: in the user's data folder, in the cache, or made or downloaded into the
cache once. What is downloaded is checked against a pinned SHA-256 before it gets its name.
"""

import difflib
import glob
import hashlib
import http.client
import json
import os
import sys
import sysconfig
import tokenize
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

from cloche.data.hub_datasets import PREFIX, dataset_texts, parse_hub_name
from cloche.data.stories.corpus import stories
from cloche.errors import DataError, TextError
from cloche.text.sources import STANDARD_INPUT, nearest_name

STORIES_BYTES = 4_000_000
"""Text in a file of stories, about."""
STORIES_SEED = 0

_TIMEOUT_SECONDS = 30
_BLOCK_BYTES = 1 << 16
_LEFT_OUT = ("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo")


@dataclass(frozen=True)
class Corpus:
    """A text that has a name."""

    name: str
    about: str
    """What it is and how it is had, in a line."""
    language: Literal["en", "zh", "python"]
    file: str | None = None
    """Its file's name in the data folder or the cache; made by cloche where None."""
    address: str | None = None
    """Where it is downloaded from."""
    sha256: str | None = None


CORPORA = (
    Corpus("stories", "short stories in English, made by cloche: no download", "en"),
    Corpus("stories-zh", "the same stories in Chinese, made by cloche: no download", "zh"),
    Corpus("python", "the Python standard library on this machine: no download", "python"),
    Corpus(
        "shakespeare",
        "Tiny Shakespeare, 1.1 million characters of his plays: 1.1 MB, downloaded once",
        "en",
        file="shakespeare.txt",
        address=(
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
            "input.txt"
        ),
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    Corpus(
        "verdict",
        "The Verdict, a short story by Edith Wharton (1908): 20 kB, downloaded once",
        "en",
        file="the-verdict.txt",
        address=(
            "https://raw.githubusercontent.com/rasbt/LLMs-from-scratch/main/ch02/"
            "01_main-chapter-code/the-verdict.txt"
        ),
        sha256="b41e41a68f0398a3154ae69e2e4c0e2694e17fe0d66730536837f1b01935b31f",
    ),
)
"""All there are."""


def resolve(
    names: Sequence[str],
    *,
    data_folder: Path | None,
    cache_folder: Path,
    tell: Callable[[str], None] | None = None,
) -> list[str]:
    """`names` with every name of a corpus replaced by its file; what exists as a path stays.

    So is every data set of the Hub (`hf:OWNER/NAME`, see `hub_datasets`), fetched once; `tell`
    hears how far that is, on standard error where None. Raises TextError for a name that is neither
    a file nor a folder, a pattern that matches, `-`, nor a corpus; DataError where a corpus or data
    set cannot be had.
    """
    found = []
    for name in names:
        if name.startswith(PREFIX) and not os.path.lexists(name):
            wanted = parse_hub_name(name)
            texts = partial(dataset_texts, wanted, tell=tell or _tell_on_standard_error)
            found.append(str(_made(cache_folder / wanted.file, texts)))
        elif name == STANDARD_INPUT or os.path.lexists(name) or glob.has_magic(name):
            found.append(name)
        elif name in {corpus.name for corpus in CORPORA}:
            found.append(str(fetch(name, data_folder=data_folder, cache_folder=cache_folder)))
        else:
            raise TextError(_neither(name))
    return found


def fetch(name: str, *, data_folder: Path | None, cache_folder: Path) -> Path:
    """The file of the corpus `name`: as it lies in either folder, or made or downloaded now.

    Raises DataError where there is no such corpus, no network, or another text than expected.
    """
    corpus = next((corpus for corpus in CORPORA if corpus.name == name), None)
    if corpus is None:
        raise DataError(f"there is no corpus {name!r}; there are {_names()}")
    if corpus.file is not None:
        for folder in (data_folder, cache_folder):
            if folder is not None and (folder / corpus.file).is_file():
                return check_sha256(folder / corpus.file, corpus)
        return download(corpus, cache_folder / corpus.file)
    if corpus.language == "python":
        version = ".".join(map(str, sys.version_info[:3]))
        path = cache_folder / f"python-{version}.jsonl"
        return _made(path, lambda: python_texts(Path(sysconfig.get_path("stdlib"))))
    language = corpus.language
    label = f"{STORIES_BYTES // 1_000_000}MB-seed{STORIES_SEED}-{_stories_version()}"
    path = cache_folder / f"stories-{language}-{label}.jsonl"
    return _made(path, lambda: _stories_texts(language))


def download(corpus: Corpus, path: Path) -> Path:
    """`path`, with the corpus downloaded to it: whole and with the right SHA-256, or not at all.

    Raises DataError with what to download by hand, and where to put it.
    """
    by_hand = (
        f"download {corpus.address} yourself and save it as {path}, or set CLOCHE_DATA to a folder "
        f"that holds {corpus.file}"
    )
    address = corpus.address
    if address is None:
        raise ValueError(f"the corpus {corpus.name} has no address")

    def write(file: BinaryIO) -> None:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as answer:
            while block := answer.read(_BLOCK_BYTES):
                file.write(block)

    def check(partial: Path) -> None:
        if (found := _sha256(partial)) != corpus.sha256:
            raise DataError(
                f"{address} gave another text than expected (SHA-256 {found}, not "
                f"{corpus.sha256}); nothing was kept. If the network interferes, {by_hand}"
            )

    try:
        return _write_whole(path, write, check=check)
    except urllib.error.URLError as exc:
        raise DataError(f"{corpus.name} cannot be downloaded ({exc.reason}): {by_hand}") from exc
    except (OSError, http.client.HTTPException) as exc:
        raise DataError(f"{corpus.name} cannot be downloaded ({exc}): {by_hand}") from exc


def check_sha256(path: Path, corpus: Corpus) -> Path:
    """`path`, where the file has the SHA-256 of the corpus; DataError where it has another."""
    found = _sha256(path)
    if found != corpus.sha256:
        raise DataError(
            f"{path} is not the {corpus.name} expected: its SHA-256 is {found}, not "
            f"{corpus.sha256}. Delete it to have it downloaded anew, or train on it by its path"
        )
    return path


def python_texts(folder: Path) -> Iterator[str]:
    """The sources of a standard library, in the order of their paths, without its tests."""
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.parts):
        parts = path.relative_to(folder).parts
        if any(part in _LEFT_OUT or part.startswith("test_") for part in parts):
            continue
        try:
            with tokenize.open(path) as file:  # in the encoding the source declares
                text = file.read()
        except (OSError, SyntaxError, UnicodeDecodeError) as exc:
            raise DataError(f"{path} of the Python library cannot be read: {exc}") from exc
        if text.strip():
            yield text


def _stories_texts(language: Literal["en", "zh"]) -> Iterator[str]:
    """Stories of about STORIES_BYTES in all."""
    size = 0
    for story in stories(language, seed=STORIES_SEED):
        yield story.text
        size += len(story.text.encode("utf-8"))
        if size >= STORIES_BYTES:
            return


def _stories_version() -> str:
    """What changes whenever the generator of the stories does: a digest of its sources."""
    folder = Path(__file__).parent / "stories"
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def _made(path: Path, texts: Callable[[], Iterable[str]]) -> Path:
    """`path`, written now if it is not there: a row of JSON for each text."""
    if path.is_file():
        return path

    def write(file: BinaryIO) -> None:
        for text in texts():
            row = json.dumps({"text": text}, ensure_ascii=False)
            file.write(row.encode("utf-8") + b"\n")

    try:
        return _write_whole(path, write, check=_accept)
    except OSError as exc:
        raise DataError(f"{path} cannot be written: {exc}") from exc


def _write_whole(
    path: Path, write: Callable[[BinaryIO], None], *, check: Callable[[Path], None]
) -> Path:
    """`path`, written beside its place, checked, and only then given its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            write(file)
        check(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _accept(_: Path) -> None:
    """Any content will do: it was made here."""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tell_on_standard_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _names() -> str:
    return ", ".join(corpus.name for corpus in CORPORA)


def _neither(name: str) -> str:
    near = [*map(str, filter(None, [nearest_name(Path(name))]))]
    near += difflib.get_close_matches(name, [corpus.name for corpus in CORPORA], n=1)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return (
        f"{name} does not exist, and no built-in text has that name.{meant} "
        f"Built-in are {_names()}; a file needs its path"
    )
