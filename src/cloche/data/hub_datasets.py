"""Data sets of the Hugging Face Hub by name: `hf:OWNER/NAME[:CONFIG][:SPLIT][[:ROWS]][#COLUMN]`.

One column is streamed, row by row, so that a data set larger than the memory can be had. Rows come
as they are: one without text is told, or skipped, when the file made of them is read.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from cloche.errors import DataError

PREFIX = "hf:"
"""What names of data sets begin with."""

_NAME = re.compile(
    r"hf:(?P<path>[^:#\[\]]+)(?P<parts>(?::[^:#\[\]]*){0,2})(?:\[:(?P<rows>\d+)\])?(?:#(?P<column>.+))?"
)
_TEXT = "text"
_DEFAULT_SPLIT = "train"
_TOLD_EVERY_SECONDS = 5.0


@dataclass(frozen=True)
class HubName:
    """The name of a data set, taken apart."""

    name: str
    """As it was typed."""
    path: str
    """OWNER/NAME, or a folder on this machine."""
    parts: tuple[str, ...] = ()
    """Configuration and split; one alone may be either."""
    rows: int | None = None
    """How many from the beginning; all where None."""
    column: str | None = None

    @property
    def file(self) -> str:
        """Name of the file it is kept in: readable, and another for every other name."""
        digest = hashlib.sha256(self.name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        readable = re.sub(r"[^\w.-]+", "-", self.name.removeprefix(PREFIX)).strip("-")[-80:]
        return f"hf-{readable}-{digest}.jsonl"


def parse_hub_name(name: str) -> HubName:
    """What `name`, which begins with `hf:`, asks for; DataError where it is no such name."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise DataError(
            f"{name} names no data set; such names look like hf:OWNER/NAME, "
            f"hf:OWNER/NAME:CONFIG:SPLIT, hf:OWNER/NAME:SPLIT[:10000] (the first rows) or "
            f"hf:OWNER/NAME#COLUMN"
        )
    rows = found["rows"]
    return HubName(
        name,
        found["path"],
        parts=tuple(found["parts"].split(":")[1:]),
        rows=None if rows is None else int(rows),
        column=found["column"],
    )


def dataset_texts(wanted: HubName, *, tell: Callable[[str], None]) -> Iterator[Any]:
    """What stands in the column of each row, in the order of the data set.

    The column is the one named, else `text`, else the only one that holds strings; the split is
    `train` unless named or alone. `tell` hears, every few seconds, how far it is. Raises DataError
    where the data set cannot be had, with what was tried and what to do.
    """
    try:
        import datasets
    except ImportError as exc:
        raise DataError(
            f"{wanted.name} needs the library datasets: pip install 'cloche[datasets]'"
        ) from exc
    tell(f"{wanted.name}: fetching it; it is kept for the next time")
    try:
        rows = _open(datasets, wanted)
        first = next(iter(rows), None)
        if first is None:
            raise DataError(f"{wanted.name} holds no rows")
        column = _column(first, wanted)
        texts = (row[column] for row in rows.select_columns([column]))
        yield from _told(islice(texts, wanted.rows), name=wanted.name, tell=tell)
    except DataError:
        raise
    except Exception as exc:  # of datasets, its readers of files, and the network: many kinds
        raise _unreachable(wanted, exc) from exc


def _open(datasets: Any, wanted: HubName) -> Any:
    """The rows of the split that is meant, streamed."""
    config, split = _config_and_split(datasets, wanted)
    found = datasets.load_dataset(wanted.path, name=config, streaming=True)
    if split is None:
        split = _DEFAULT_SPLIT if _DEFAULT_SPLIT in found or len(found) != 1 else next(iter(found))
    if split not in found:
        raise DataError(
            f"{wanted.name} has no split {split!r}; its splits are {_listed(found)}. Name one: "
            f"{PREFIX}{wanted.path}:{config + ':' if config else ''}{next(iter(found), 'SPLIT')}"
        )
    return found[split]


def _config_and_split(datasets: Any, wanted: HubName) -> tuple[str | None, str | None]:
    if len(wanted.parts) == 2:
        config, split = wanted.parts
        return config or None, split or None
    if not wanted.parts or not wanted.parts[0]:
        return None, None
    part = wanted.parts[0]
    if part in datasets.get_dataset_config_names(wanted.path):
        return part, None
    return None, part


def _column(first: Mapping[str, Any], wanted: HubName) -> str:
    if wanted.column is not None:
        if wanted.column in first:
            return wanted.column
        problem = f"has no column {wanted.column!r}"
    elif _TEXT in first:
        return _TEXT
    else:
        strings = [column for column, value in first.items() if isinstance(value, str)]
        if len(strings) == 1:
            return strings[0]
        problem = f"has no column {_TEXT!r}"
    whole = wanted.name.partition("#")[0]
    raise DataError(
        f"{wanted.name} {problem}; its columns are {_listed(first)}. Name the one that holds the "
        f"text: {whole}#COLUMN"
    )


def _told(texts: Iterator[Any], *, name: str, tell: Callable[[str], None]) -> Iterator[Any]:
    """`texts`, with word of how many they are so far."""
    number, told = 0, time.monotonic()
    for number, text in enumerate(texts, start=1):
        yield text
        if time.monotonic() - told > _TOLD_EVERY_SECONDS:
            tell(f"{name}: {number:,} rows so far")
            told = time.monotonic()
    tell(f"{name}: {number:,} rows")


def _unreachable(wanted: HubName, exc: Exception) -> DataError:
    from huggingface_hub import constants

    reason = " ".join(f"{type(exc).__name__}: {exc}".split())
    return DataError(
        f"{wanted.name} cannot be had from {constants.ENDPOINT}/datasets/{wanted.path} ({reason}). "
        f"Check the name and the network; where that address cannot be reached, set HF_ENDPOINT to "
        f"a mirror (such as https://hf-mirror.com); for a data set that asks for an account, run "
        f"hf auth login; or download its files elsewhere and name them by their paths"
    )


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(chain(map(repr, islice(names, 20)), ["..."] if len(names) > 20 else []))
