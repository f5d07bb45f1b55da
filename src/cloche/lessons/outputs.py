"""What a cell of a lesson gives: printed lines, sentences, tables, figures; in no language yet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cloche.lens.view import View
from cloche.lens.wording import Language
from cloche.lessons.charts import Chart
from cloche.lessons.phrases import Phrase, in_language
from cloche.plots.canvas import Theme

Drawing = Callable[[Theme, Language], Any]
"""Draws a matplotlib Figure."""


@dataclass(frozen=True)
class Printed:
    """What a cell printed."""

    text: str


@dataclass(frozen=True)
class Said:
    """A line in words."""

    phrase: Phrase


@dataclass(frozen=True)
class Rows:
    """A table of words and numbers, already written."""

    columns: tuple[Phrase, ...]
    rows: tuple[tuple[Phrase, ...], ...]

    def in_language(self, lang: Language) -> tuple[list[str], list[list[str]]]:
        """Names of the columns, and the cells row by row."""
        columns = [in_language(each, lang) for each in self.columns]
        return columns, [[in_language(each, lang) for each in row] for row in self.rows]


@dataclass(frozen=True, eq=False)
class Shown:
    """A figure: a view of the lens, a chart, or a drawing of the lesson's own."""

    what: View | Chart | Drawing
    caption: Phrase
    """Empty where there is none."""


Output = Printed | Said | Rows | Shown


def phrases_of(values: Sequence[Any]) -> tuple[Phrase, ...]:
    """Cells of a table: phrases stay, numbers become what `str` makes of them."""
    return tuple(each if isinstance(each, str | dict) else str(each) for each in values)
