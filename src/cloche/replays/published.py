"""The published figures: what others printed, with what they computed it from. Loads no torch."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from cloche.errors import SettingError
from cloche.replays.matching import Precision

_PRECISIONS = ("decimals", "significant", "tolerance")


@dataclass(frozen=True)
class Source:
    """Who published a figure."""

    kind: str
    """book, lecture, lesson, paper, code, weights, or claim."""
    title: str
    address: str | None = None


@dataclass(frozen=True)
class Correction:
    """What stands against a published figure that cannot be met."""

    why: str
    right: Any
    """The right value, in the shape of a measured one."""
    precision: Precision
    """How exactly the right value is given."""


@dataclass(frozen=True)
class Published:
    """One published result."""

    name: str
    source: Source
    values: Any
    """As published: numbers, text, or lists and tables of them by name."""
    inputs: Mapping[str, Any]
    """What it is computed from: texts, ids, seeds, shapes, options of a model."""
    precision: Precision
    figures: Any = None
    """The same in numbers, where the values put it in words."""
    note: str | None = None
    """What a reader should know of it."""
    wrong: Correction | None = None
    """Why the figure cannot be met and what is right, where it is known to be wrong."""

    @property
    def expected(self) -> Any:
        """What a measured value is held against."""
        return self.values if self.figures is None else self.figures


def load_published() -> tuple[Published, ...]:
    """All published results that come with cloche, in the order of a first course."""
    file = resources.files("cloche.replays").joinpath("published.json")
    data = json.loads(file.read_text(encoding="utf-8"))
    sources = {name: Source(**source) for name, source in data["sources"].items()}
    return tuple(_read_row(row, sources) for row in data["rows"])


def choose_published(rows: Sequence[Published], names: Sequence[str]) -> tuple[Published, ...]:
    """The rows that any of `names` is the name of, or else a part of; all rows for no names.

    Case does not matter. Raises SettingError for a name that fits none.
    """
    if not names:
        return tuple(rows)
    chosen = {row.name for name in names for row in _fitting(rows, name)}
    return tuple(row for row in rows if row.name in chosen)


def _read_row(row: dict[str, Any], sources: Mapping[str, Source]) -> Published:
    return Published(
        name=row["name"],
        source=sources[row["source"]],
        values=row["values"],
        inputs=row.get("input", {}),
        precision=_read_precision(row),
        figures=row.get("figures"),
        note=row.get("note"),
        wrong=_read_correction(row["wrong"]) if "wrong" in row else None,
    )


def _read_correction(wrong: Mapping[str, Any]) -> Correction:
    return Correction(wrong["why"], wrong["right"], _read_precision(wrong))


def _read_precision(values: Mapping[str, Any]) -> Precision:
    return Precision(**{key: values[key] for key in _PRECISIONS if key in values})


def _fitting(rows: Sequence[Published], name: str) -> list[Published]:
    wanted = name.strip().casefold()
    exact = [row for row in rows if row.name.casefold() == wanted]
    found = exact or [row for row in rows if wanted in row.name.casefold()]
    if wanted and found:
        return found
    folded = {row.name.casefold(): row.name for row in rows}
    near = difflib.get_close_matches(wanted, folded, n=1, cutoff=0.4)
    meant = f" Did you mean {folded[near[0]]!r}?" if near else ""
    raise SettingError(
        f"no published result is called {name!r}.{meant} A part of a name is enough; "
        f"`cloche replay --list` has all {len(rows)}"
    )
