"""Charts of lessons in a terminal: heat maps as numbers, bars as bars, curves as sparks."""

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloche.lens.wording import Language
from cloche.lessons.charts import Bars, Chart, Curves, HeatMap, array, named
from cloche.lessons.phrases import LessonError, in_language

_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_COLUMNS, _BAR_COLUMNS, _TABLE_COLUMNS = 32, 32, 16
_WORDS = {
    "en": ("from", "to", "lowest", "first and last of {} columns"),
    "zh": ("起", "止", "最低", "共 {} 列，只显示首尾"),
}


def chart_lines(chart: Chart, lang: Language) -> RenderableType:
    """Something for `rich.print` that shows a chart's numbers."""
    if isinstance(chart, Curves):
        return _curves(chart, lang)
    if isinstance(chart, Bars):
        return _bars(chart, lang)
    if isinstance(chart, HeatMap):
        return _heat_map(chart, lang)
    raise LessonError(f"no lines are known for {type(chart).__name__}")


def spark(values: np.ndarray, *, low: float, high: float) -> str:
    """A line of small blocks, one a value; a dot for a number that is none."""
    span = high - low or 1.0
    steps = np.clip((values - low) / span * (len(_SPARKS) - 1), 0, len(_SPARKS) - 1)
    return "".join(_SPARKS[round(step)] if np.isfinite(step) else "·" for step in steps.tolist())


def _curves(chart: Curves, lang: Language) -> Table:
    """A spark for each series, all on one scale, with where it begins, ends and is lowest."""
    shown = named(chart.series, lang)
    begin, end, lowest, _ = _WORDS[lang]
    y = in_language(chart.y, lang)
    table = Table(y, "", begin, end, lowest, box=box.SIMPLE_HEAD, pad_edge=False)
    heights = {name: np.log10(v) if chart.log_y else v for name, v in shown}
    finite = np.concatenate([h[np.isfinite(h)] for h in heights.values()])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    for name, values in shown:
        places = np.linspace(0, len(values) - 1, min(len(values), _SPARK_COLUMNS)).round()
        picked = heights[name][places.astype(int)]
        numbers = (values[0], values[-1], np.nanmin(values))
        line = Text(spark(picked, low=low, high=high), style="green")
        table.add_row(Text(name), line, *(f"{number + 0.0:.4g}" for number in numbers))
    places = array(chart.places)
    table.caption = f"{in_language(chart.x, lang)} {places[0]:.4g} … {places[-1]:.4g}"
    return table


def _bars(chart: Bars, lang: Language) -> Table:
    shown = named(chart.series, lang)
    table = Table("", "", in_language(chart.y, lang), box=None, pad_edge=False)
    largest = max((float(np.nanmax(np.abs(v))) for _, v in shown if len(v)), default=1.0) or 1.0
    for number, each in enumerate(chart.names):
        for name, values in shown:
            value = float(values[number])
            bar = "█" * round(abs(value) / largest * _BAR_COLUMNS) if np.isfinite(value) else ""
            label = in_language(each, lang) + (f" · {name}" if len(shown) > 1 else "")
            table.add_row(Text(label), Text(bar, style="green"), f"{value:.4g}")
    return table


def _heat_map(chart: HeatMap, lang: Language) -> RenderableType:
    """The numbers; the first and last columns where there are many."""
    values = chart.table
    count = values.shape[1]
    half = _TABLE_COLUMNS // 2
    kept = list(range(count))
    if count > _TABLE_COLUMNS:
        kept = [*range(half), *range(count - half, count)]
    table = Table("", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for column in kept:
        table.add_column(Text(in_language(chart.columns[column], lang)), justify="right")
    largest = float(np.nanmax(np.where(np.isfinite(values), np.abs(values), np.nan), initial=0.0))
    for name, row in zip(chart.rows, values, strict=True):
        cells = [_number(row[column], largest) for column in kept]
        table.add_row(Text(in_language(name, lang)), *cells)
    if len(kept) == count:
        return table
    return Group(table, Text(_WORDS[lang][3].format(count), style="dim"))


def _number(value: float, largest: float) -> Text:
    if not np.isfinite(value):
        return Text("nan" if np.isnan(value) else ("∞" if value > 0 else "-∞"), style="dim")
    return Text(f"{value:.2f}", style="bold green" if largest and abs(value) > largest / 2 else "")
