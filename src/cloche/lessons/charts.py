"""Charts that lessons draw beside the views of the lens: curves, bars, and tables as heat maps.

Each holds its numbers and its words in both languages; it is drawn and printed in one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloche.lens.wording import Language
from cloche.lessons.phrases import LessonError, Phrase, in_language
from cloche.plots.canvas import (
    Theme,
    add_legend,
    dress,
    name_axes,
    name_ticks,
    new_figure,
    write_in,
)

Numbers = Sequence[float] | np.ndarray | Tensor
MOST_WRITTEN = 144
"""Cells of a heat map in which numbers are written; more would not be read."""


@dataclass(frozen=True, eq=False)
class Series:
    """Numbers that belong together, and what they are called."""

    name: Phrase
    values: Numbers


class Chart:
    """Base of all charts."""

    def draw(self, theme: Theme, lang: Language) -> Any:
        """The chart as a matplotlib Figure."""
        raise NotImplementedError(f"{type(self).__name__} draws nothing")


@dataclass(frozen=True, eq=False)
class Curves(Chart):
    """Lines over common places; both axes may be logarithmic."""

    places: Numbers
    series: Mapping[str, Numbers] | Sequence[Series]
    x: Phrase = ""
    y: Phrase = ""
    log_x: bool = False
    log_y: bool = False

    def __post_init__(self) -> None:
        _check_lengths(len(self.places), self.series)

    def draw(self, theme: Theme, lang: Language) -> Any:
        """Lines in the theme's colours, told apart by their strokes too."""
        figure = new_figure(theme, width=7, height=3.6)
        axes = dress(figure.add_subplot(), theme)
        strokes = ("-", "--", "-.", ":")
        for number, (name, values) in enumerate(named(self.series, lang)):
            color = theme.series[number % len(theme.series)]
            stroke = strokes[number % len(strokes)]
            places = array(self.places)
            axes.plot(places, values, stroke, color=color, label=name, linewidth=1.8)
        if self.log_x:
            axes.set_xscale("log")
        if self.log_y:
            axes.set_yscale("log")
        name_axes(axes, x=in_language(self.x, lang), y=in_language(self.y, lang))
        if len(self.series) > 1:
            add_legend(axes, theme)
        return figure


@dataclass(frozen=True, eq=False)
class Bars(Chart):
    """Bars by name, one or more series beside one another."""

    names: Sequence[Phrase]
    series: Mapping[str, Numbers] | Sequence[Series]
    y: Phrase = ""

    def __post_init__(self) -> None:
        _check_lengths(len(self.names), self.series)

    def draw(self, theme: Theme, lang: Language) -> Any:
        """Groups of bars, told apart by hatching too."""
        shown = named(self.series, lang)
        names = [in_language(name, lang) for name in self.names]
        figure = new_figure(theme, width=max(5.0, 0.5 * len(names) + 2), height=3.4)
        axes = dress(figure.add_subplot(), theme)
        hatches = ("", "//", "..", "xx")
        width = 0.8 / len(shown)
        for number, (name, values) in enumerate(shown):
            places = np.arange(len(names)) + (number - (len(shown) - 1) / 2) * width
            axes.bar(
                places,
                values,
                width,
                color=theme.series[number % len(theme.series)],
                edgecolor=theme.paper,
                hatch=hatches[number % len(hatches)],
                label=name,
            )
        long = sum(len(name) for name in names) > 60
        name_ticks(axes.xaxis, range(len(names)), names, angle=60 if long else 0)
        name_axes(axes, y=in_language(self.y, lang))
        if len(shown) > 1:
            add_legend(axes, theme)
        return figure


@dataclass(frozen=True, eq=False)
class HeatMap(Chart):
    """A table of numbers in colour; with `signed`, zero has the middle colour."""

    values: Sequence[Sequence[float]] | np.ndarray | Tensor
    rows: Sequence[Phrase]
    columns: Sequence[Phrase]
    numbers: bool = True
    """Whether the numbers are written in, where they are few."""
    signed: bool = False
    y: Phrase = ""
    x: Phrase = ""

    def __post_init__(self) -> None:
        if (wanted := (len(self.rows), len(self.columns))) != self.table.shape:
            raise LessonError(f"a table of {self.table.shape} numbers with names for {wanted}")

    @property
    def table(self) -> np.ndarray:
        """The numbers, rows by columns."""
        return array(self.values)

    def draw(self, theme: Theme, lang: Language) -> Any:
        """The table from the upper left; cells without a number (infinite too) stay paper."""
        table = np.where(np.isfinite(self.table), self.table, np.nan)
        height, width = table.shape
        figure = new_figure(
            theme, width=min(9.0, 2.2 + 0.55 * width), height=min(9.0, 1.3 + 0.42 * height)
        )
        axes = dress(figure.add_subplot(), theme, grid=False)
        largest = float(np.nanmax(np.abs(table), initial=0.0, where=np.isfinite(table)))
        lowest = float(np.nanmin(table, initial=0.0, where=np.isfinite(table)))
        low = -largest if self.signed else lowest
        colours = theme.differences if self.signed else theme.amounts
        image = axes.imshow(table, cmap=colours, vmin=low, vmax=largest or 1.0, aspect="auto")
        if self.numbers and table.size <= MOST_WRITTEN:
            _write_numbers(axes, image, table)
        for axis, names in ((axes.yaxis, self.rows), (axes.xaxis, self.columns)):
            said = [in_language(name, lang) for name in names]
            turned = 60 if axis is axes.xaxis and max(map(len, said), default=0) > 6 else 0
            name_ticks(axis, range(len(said)), said, angle=turned)
        name_axes(axes, x=in_language(self.x, lang), y=in_language(self.y, lang))
        return figure


def named(
    series: Mapping[str, Numbers] | Sequence[Series], lang: Language
) -> list[tuple[str, np.ndarray]]:
    """Names and numbers of the series."""
    if isinstance(series, Mapping):
        return [(name, array(values)) for name, values in series.items()]
    return [(in_language(each.name, lang), array(each.values)) for each in series]


def array(values: Any) -> np.ndarray:
    """Numbers of any kind as an array of float64."""
    if isinstance(values, Tensor):
        values = values.detach().to(torch.float64).cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def _check_lengths(places: int, series: Mapping[str, Numbers] | Sequence[Series]) -> None:
    for name, values in named(series, "en"):
        if len(values) != places:
            raise LessonError(f"{name!r} has {len(values)} numbers for {places} places")


def _write_numbers(axes: Any, image: Any, table: np.ndarray) -> None:
    """Each number in its cell, dark on light and light on dark."""
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            ink = "#ffffff" if is_dark else "#10201a"
            said = f"{value:.2f}"
            write_in(axes, column, row, said, ha="center", va="center", color=ink, fontsize=8)
