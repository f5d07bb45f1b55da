"""The next token as a picture: bars of probability, a panel for each step of sampling."""

import math
from typing import Any

from rich.cells import cell_len

from cloche.lens.figures.tokens import shortened
from cloche.lens.next_token import NextTokenView, Stage
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import Theme, dress, name_axes, name_ticks, new_figure, write_in

BARS = 60
"""Tokens that are drawn; the others are in the bar of the rest."""
_CELL_INCHES = 0.105
"""Of a title: a letter, or half a Chinese character."""
_TITLE_CELLS = 26
"""Of a title without its prompt, in either language."""

_CHINESE = {
    "The next token after “{prompt}”": "“{prompt}”之后的下一个词元",
    "all others": "其余全部",
    "model": "模型",
    "greedy": "贪心",
    "temperature": "温度",
    "top-k": "top-k",
    "top-p": "top-p",
    "min-p": "min-p",
    "{kept:,} tokens": "{kept:,} 个词元",
    "{kept:,} kept, {mass} removed": "保留 {kept:,} 个，移除 {mass}",
    "removed": "移除",
    "0": "0",
    "pick": "选中",
    "probability": "概率",
}


def make_figure(view: NextTokenView, lang: Language, theme: Theme) -> Any:
    """A panel for each step, the same tokens in all."""
    words = Words(_CHINESE, lang)
    shown = _shown(view)
    names = [shortened(view.tokens[column].text, longest=18) for column in shown]
    count = len(view.stages)
    width = 2.4 + 2.3 * count
    told = view.provenance.text or "".join(piece.text for piece in view.prompt)
    prompt = _end_of(" ".join(told.split()), cells=round(width / _CELL_INCHES) - _TITLE_CELLS)
    figure = new_figure(
        theme,
        width=width,
        height=1.9 + 0.27 * (len(shown) + 1),
        title=words("The next token after “{prompt}”", prompt=prompt),
    )
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    bars = [_bars(view, number, shown) for number in range(count)]
    known = [bar for each in bars for bar in each if not math.isnan(bar)]
    longest = max(known, default=0.0) or 1.0  # one scale: what a step moves is seen as a length
    picked = _row_of_pick(view, shown)
    for number, (axes, stage) in enumerate(zip(panels, view.stages, strict=True)):
        dress(axes, theme, grid=False)
        absent = "removed" if stage.kept < view.vocab_size else "0"
        _draw_bars(axes, bars[number], longest, words, theme, picked=picked, absent=absent)
        name_axes(axes, x=words("probability"), title=_title(stage, words))
        axes.title.set_fontsize(10)
    name_ticks(panels[0].yaxis, range(len(names) + 1), [*names, words("all others")])
    panels[0].set_ylim(len(names) + 0.6, -0.6)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
    return figure


def _end_of(text: str, *, cells: int) -> str:
    """The last words before the next token, in so many columns."""
    if cell_len(text) <= cells:
        return text
    while text and cell_len(text) > cells - 1:
        text = text[1:]
    return f"…{text}"


def _shown(view: NextTokenView) -> list[int]:
    """Columns of the tokens that are drawn: the likeliest, and the pick."""
    count = len(view.tokens)
    row = None if view.pick is None else [each.id for each in view.tokens].index(view.pick.token.id)
    if row is None or row < BARS:
        return list(range(min(count, BARS)))
    return [*range(BARS - 1), row]


def _bars(view: NextTokenView, stage: int, shown: list[int]) -> list[float]:
    """Of the tokens that are drawn, then of all others together."""
    values = view.probabilities.values[stage].tolist()
    others = sum(value for column, value in enumerate(values) if column not in shown)
    return [*(values[column] for column in shown), view.stages[stage].rest + others]


def _row_of_pick(view: NextTokenView, shown: list[int]) -> int | None:
    if view.pick is None:
        return None
    return [view.tokens[column].id for column in shown].index(view.pick.token.id)


def _draw_bars(
    axes: Any,
    bars: list[float],
    longest: float,
    words: Words,
    theme: Theme,
    *,
    picked: int | None,
    absent: str,
) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, 1.45 * longest)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= 1.0])
    for row, value in enumerate(bars):
        rest = row == len(bars) - 1
        colour = theme.faint if rest else theme.series[1 if row == picked else 0]
        if not math.isnan(value):
            axes.barh(row, value, height=0.72, color=colour)
        said = "NaN" if math.isnan(value) else f"{value:.1%}"
        if value == 0.0:
            said = "–" if rest else words(absent)
        elif value < 0.001:
            said = f"{value:.0e}"
        if row == picked:
            said += f" ◀ {words('pick')}"
        x = (0.0 if math.isnan(value) else value) + 0.02 * longest
        write_in(axes, x, row, said, fontsize=8, va="center", color=theme.ink)


def _title(stage: Stage, words: Words) -> str:
    name = words(stage.name.replace("_", "-")) + (
        "" if stage.setting is None else f" {stage.setting:g}"
    )
    if stage.name in ("model", "temperature"):
        return f"{name}\n{words('{kept:,} tokens', kept=stage.kept)}"
    mass = "NaN" if math.isnan(stage.removed_mass) else f"{stage.removed_mass:.1%}"
    return f"{name}\n{words('{kept:,} kept, {mass} removed', kept=stage.kept, mass=mass)}"
