"""Published results computed anew, one after another, and held side by side."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cloche.errors import ClocheError
from cloche.replays import blocks, sizes, untrained, windows, words
from cloche.replays.matching import Difference, differences
from cloche.replays.materials import Kind, MaterialError, Materials
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
    """wrong as published: not met, known why it cannot be, and the right value came out.
    not run: a text or a tokenizer is not here."""
    measured: Any = None
    cause: str | None = None
    """Why it is not met."""
    lacking: Kind | None = None
    """What was not here, where it was not run."""
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

    @property
    def right(self) -> Any:
        """The right value, where another was published and it is known which is right."""
        return self.published.wrong.right if self.published.wrong else None

    def to_values(self) -> dict[str, Any]:
        """Plain values for JSON, in full precision."""
        return {
            "name": self.published.name,
            "published": self.published.values,
            "measured": self.measured,
            "met": self.met,
            "status": self.status,
            "cause": self.cause,
            "right": self.right,
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
    """One published result beside the measured one.

    It is not run only where a text or a tokenizer cannot be had. A computation that fails in
    another way is not met.
    """
    began = time.perf_counter()
    try:
        measured = MEASURES[published.name](published, materials)
    except MaterialError as exc:
        row = Row(published, "not run", cause=f"not run: {exc}", lacking=exc.kind)
    except ClocheError as exc:
        row = Row(published, "not met", cause=f"the computation failed: {exc}")
    else:
        status, cause = _judge(published, measured.value)
        row = Row(published, status, measured.value, cause, beside=measured.beside)
    return replace(row, seconds=time.perf_counter() - began)


def _judge(published: Published, measured: Any) -> tuple[Status, str | None]:
    """How a measured value stands to the published one, and why where it is not met."""
    found = differences(published.expected, measured, published.precision)
    if not found:
        return "met", None
    wrong = published.wrong
    if wrong is None:
        return "not met", _cause(found, against="published")
    if missed := differences(wrong.right, measured, wrong.precision):
        return "not met", f"neither as published nor right: {_cause(missed, against='right')}"
    return "wrong as published", f"wrong as published: {wrong.why}"


def _cause(found: Sequence[Difference], *, against: str) -> str:
    """The first few places that differ from a value that is called `against`."""
    told = [
        f"{f'at {one.place}: ' if one.place else ''}{against} {one.published!r}, "
        f"measured {one.measured!r} ({one.reason})"
        for one in found[:_TOLD_DIFFERENCES]
    ]
    more = len(found) - len(told)
    return "; ".join(told) + (f"; and {more} more places" if more else "")
