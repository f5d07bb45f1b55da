"""Windows as a picture: the triangle of the first one's lessons, and how all lie over the text."""

import math
from dataclasses import dataclass
from typing import Any

from cloche.lens.figures.tokens import MARGIN, Shades, page, shortened, text_widths
from cloche.lens.windows import WindowsView
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import Theme, write_in

LESSONS, BARS, WIDEST = 24, 24, 900.0
"""Contexts of the triangle and windows below it at most, and the triangle's width in points."""
_ROW, _SIZE, _HEAD, _NOTES = 17.0, 9.0, 100.0, 210.0

_CHINESE = {
    "Each context and the token that follows it": "每个上下文及其后的词元",
    "{run} · tokens of text: {text:,} · windows of {context:,}, stride {stride:,}": (
        "{run} · 文本共 {text:,} 个词元 · 窗口长 {context:,}，步长 {stride:,}"
    ),
    "the first window: context → next token": "第一个窗口：上下文 → 下一个词元",
    "the first window: its first {shown:,} of {all:,} contexts": (
        "第一个窗口：前 {shown:,} 个上下文（共 {all:,} 个）"
    ),
    "p: its probability; in brackets what the model finds likelier": (
        "p：它的概率；括号内为模型认为更可能的词元"
    ),
    "windows over the text: {shown:,} of {all:,} that fit": (
        "窗口在文本上的位置：共可放 {all:,} 个，画出 {shown:,} 个"
    ),
    "place of the token": "词元的位置",
}


def make_figure(view: WindowsView, lang: Language, theme: Theme) -> Any:
    """The lessons of the first window above, the windows below."""
    words = Words(_CHINESE, lang)
    columns = _columns(view)
    lessons, bars = len(columns.texts) - 1, min(BARS, len(view.windows))
    width = max(520.0, 2 * MARGIN + columns.right + _NOTES)
    below = _HEAD + lessons * (_ROW + 2.0) + 30.0
    figure, axes = page(theme, width=width, height=below + 14.0 * bars + 56.0)
    _write_head(axes, view, words, theme, lessons=lessons)
    shades = Shades(theme, most=1.0)
    for place in range(lessons):
        _draw_lesson(axes, view, columns, place, shades)
    _draw_windows(axes, view, words, theme, top=below, right=width - MARGIN, bars=bars)
    return figure


@dataclass(frozen=True)
class _Columns:
    """The tokens of the triangle, and where each column stands."""

    texts: list[str]
    lefts: list[float]
    widths: list[float]

    @property
    def right(self) -> float:
        return self.lefts[-1] + self.widths[-1]


def _columns(view: WindowsView) -> _Columns:
    """As many columns as there is room for, at least one lesson's."""
    texts = [shortened(piece.text, longest=12) for piece in view.windows[0][: LESSONS + 1]]
    measured = text_widths(texts, size=_SIZE)
    widths = [max(_ROW, measured[text] + 8.0) for text in texts]
    lefts = [sum(widths[:place]) + 2.0 * place for place in range(len(widths))]
    fitting = [place for place, left in enumerate(lefts) if left + widths[place] <= WIDEST]
    count = max(2, len(fitting))
    return _Columns(texts[:count], lefts[:count], widths[:count])


def _write_head(axes: Any, view: WindowsView, words: Words, theme: Theme, *, lessons: int) -> None:
    said = {"color": theme.ink, "va": "center"}
    title = words("Each context and the token that follows it")
    write_in(axes, MARGIN, 22, title, fontsize=13, **said)
    about = words(
        "{run} · tokens of text: {text:,} · windows of {context:,}, stride {stride:,}",
        run=shortened(view.provenance.place, longest=40),
        text=view.text_tokens,
        context=view.context,
        stride=view.stride,
    )
    write_in(axes, MARGIN, 43, about, fontsize=8.5, **said)
    part = words("the first window: context → next token")
    if lessons < view.context:
        part = words(
            "the first window: its first {shown:,} of {all:,} contexts",
            shown=lessons,
            all=view.context,
        )
    write_in(axes, MARGIN, 68, part, fontsize=10, **said)
    note = words("p: its probability; in brackets what the model finds likelier")
    write_in(axes, MARGIN, 85, note, fontsize=8, **said)


def _draw_lesson(
    axes: Any, view: WindowsView, columns: _Columns, place: int, shades: Shades
) -> None:
    """A row of the triangle: the context faint, what follows in the colour of its probability."""
    from matplotlib.patches import Rectangle

    theme, top = shades.theme, _HEAD + place * (_ROW + 2.0)
    middle = top + _ROW / 2
    said = {"fontsize": _SIZE, "va": "center_baseline", "ha": "center"}
    for column in range(place + 1):
        left, width = MARGIN + columns.lefts[column], columns.widths[column]
        axes.add_patch(
            Rectangle((left, top), width, _ROW, facecolor="none", edgecolor=theme.faint, lw=0.7)
        )
        write_in(axes, left + width / 2, middle, columns.texts[column], color=theme.ink, **said)
    probability = float(view.probabilities.values[0, place])
    left, width = MARGIN + columns.lefts[place + 1], columns.widths[place + 1]
    ink = shades.box(axes, probability, (left, top), width=width, height=_ROW)
    write_in(axes, left + width / 2, middle, columns.texts[place + 1], color=ink, **said)
    axes.add_patch(
        Rectangle((left, top), width, _ROW, facecolor="none", edgecolor=theme.series[1], lw=1.3)
    )
    _write_note(axes, view, place, (left + width + 10.0, middle), theme)


def _write_note(
    axes: Any, view: WindowsView, place: int, at: tuple[float, float], theme: Theme
) -> None:
    """Beside a row: the probability of what follows, and what was likelier."""
    said = {"fontsize": 8, "va": "center_baseline", "color": theme.ink}
    probability = float(view.probabilities.values[0, place])
    likeliest = view.likeliest[0][place]
    note = f"p = {_short(probability)}"
    if likeliest is not None and likeliest.id != view.windows[0][place + 1].id:
        highest = float(view.likeliest_probabilities.values[0, place])
        note += f"   ({shortened(likeliest.text, longest=12)}: {_short(highest)})"
    write_in(axes, at[0], at[1], note, **said)


def _draw_windows(
    axes: Any,
    view: WindowsView,
    words: Words,
    theme: Theme,
    *,
    top: float,
    right: float,
    bars: int,
) -> None:
    """Bars from the first to the last token of each window, the next token at its end."""
    from matplotlib.patches import Rectangle

    said = {"color": theme.ink, "va": "center"}
    title = words(
        "windows over the text: {shown:,} of {all:,} that fit", shown=bars, all=view.fitting
    )
    write_in(axes, MARGIN, top, title, fontsize=10, **said)
    left, reach = MARGIN + 30.0, view.starts[bars - 1] + view.context + 1
    scale = (right - left) / reach
    for row, start in enumerate(view.starts[:bars]):
        y, x = top + 14.0 + 14.0 * row, left + scale * start
        write_in(axes, left - 8, y + 4.5, str(row), fontsize=7.5, ha="right", **said)
        axes.add_patch(
            Rectangle((x, y), scale * view.context, 9, facecolor=theme.series[0], edgecolor="none")
        )
        behind = (x + scale * view.context, y + 0.75)
        width = max(1.5, scale)
        axes.add_patch(
            Rectangle(behind, width, 7.5, facecolor=theme.paper, edgecolor=theme.series[1], lw=1.3)
        )
    bottom = top + 14.0 + 14.0 * bars + 4.0
    axes.plot([left, right], [bottom, bottom], color=theme.ink, lw=0.8)
    for place in _ticks(reach):
        x = left + scale * place
        axes.plot([x, x], [bottom, bottom + 3], color=theme.ink, lw=0.8)
        write_in(axes, x, bottom + 9, f"{place:,}", fontsize=7.5, ha="center", **said)
    middle = (left + right) / 2
    name = words("place of the token")
    write_in(axes, middle, bottom + 22, name, fontsize=8.5, ha="center", **said)


def _ticks(reach: int) -> list[int]:
    """At most about ten round places from 0 on."""
    step = 1
    while reach / step > 10:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return list(range(0, reach + 1, step))


def _short(probability: float) -> str:
    if math.isnan(probability):
        return "NaN"
    return f"{probability:.3f}" if probability >= 0.001 else f"{probability:.0e}"
