"""Published results computed anew, one after another, and held side by side."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cloche.errors import ClocheError
from cloche.replays import blocks, sizes, untrained, windows, words
from cloche.replays.matching import Difference, differences
from cloche.replays.materials import Materials
from cloche.replays.measured import Measure
from cloche.replays.published import Published

Status = Literal["met", "not met", "wrong as published", "not run"]

MEASURES: Mapping[str, Measure] = {
    **words.ROWS,
    **windows.ROWS,
    **untrained.ROWS,
    **blocks.ROWS,
    **sizes.ROWS,
}
"""How each published result is computed, by its name."""
_TOLD_DIFFERENCES = 3


@dataclass(frozen=True)
class Row:
    """A published result beside the measured one."""

    published: Published
    status: Status
    """wrong as published: not met, and known why it cannot be."""
    measured: Any = None
    cause: str | None = None
    """Why it is not met."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What else was found."""
    seconds: float = 0.0

    @property
    def met(self) -> bool:
        """Whether the measured value is the published one, as exactly as it was printed."""
        return self.status == "met"

    @property
    def expected(self) -> bool:
        """Whether it came out as it should: met, or not, and it is known why."""
        return self.status in ("met", "wrong as published")

    def to_values(self) -> dict[str, Any]:
        """Plain values for JSON, in full precision."""
        return {
            "name": self.published.name,
            "published": self.published.values,
            "measured": self.measured,
            "met": self.met,
            "status": self.status,
            "cause": self.cause,
            "note": self.published.note,
            "beside": dict(self.beside),
            "source": self.published.source.title,
            "kind": self.published.source.kind,
            "seconds": self.seconds,
        }


def replay(
    rows: Sequence[Published], materials: Materials, *, tell: Callable[[str], None] | None = None
) -> Iterator[Row]:
    """Each published result beside the measured one, computed as it is asked for.

    One whose text or tokenizer cannot be had is told as not run; the others go on. `tell` hears
    which one is coming.
    """
    for number, published in enumerate(rows, start=1):
        if tell is not None:
            tell(f"{number} of {len(rows)}: {published.name}")
        yield replay_row(published, materials)


def replay_row(published: Published, materials: Materials) -> Row:
    """One published result beside the measured one."""
    began = time.perf_counter()
    try:
        measured = MEASURES[published.name](published, materials)
    except ClocheError as exc:
        return Row(published, "not run", cause=f"not run: {exc}", seconds=_since(began))
    found = differences(published.expected, measured.value, published.precision)
    status: Status = "met"
    cause = None
    if found:
        status = "wrong as published" if published.wrong else "not met"
        cause = f"wrong as published: {published.wrong}" if published.wrong else _cause(found)
    return Row(published, status, measured.value, cause, measured.beside, _since(began))


def _cause(found: Sequence[Difference]) -> str:
    """The first few places that differ."""
    told = [
        f"{f'at {one.place}: ' if one.place else ''}published {one.published!r}, "
        f"measured {one.measured!r} ({one.reason})"
        for one in found[:_TOLD_DIFFERENCES]
    ]
    more = len(found) - len(told)
    return "; ".join(told) + (f"; and {more} more places" if more else "")


def _since(began: float) -> float:
    return time.perf_counter() - began
