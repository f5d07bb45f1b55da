"""One head of attention, its seven steps side by side, as a row of panels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cloche.lens.attention_maps import HeadMaps
from cloche.lens.figures.attention_panels import dress_bar, name_tokens, weight_colours
from cloche.lens.view import Table
from cloche.lens.wording import Words
from cloche.plots.canvas import Theme, dress, name_axes

WORDS = {
    "1 queries": "1 查询",
    "2 keys": "2 键",
    "3 scores: 1 times 2, scaled": "3 分数：1 乘 2，再缩放",
    "4 masked": "4 掩蔽",
    "5 weights: softmax of each row": "5 权重：逐行 softmax",
    "6 values": "6 值",
    "7 gathered: 5 times 6": "7 汇集：5 乘 6",
    "dimension of the head": "头的维度",
}
INCHES = 2.4
"""About a panel's side."""


def draw_stages(
    figure: Any, panels: Sequence[Any], maps: HeadMaps, *, theme: Theme, words: Words
) -> None:
    """The steps of the head, in order, in seven axes."""
    stages = maps.stages
    assert stages is not None, "there are steps where one head was asked for"
    score, value = _widest(stages.scores), _widest(stages.values)
    steps = (
        ("1 queries", stages.queries, _widest(stages.queries)),
        ("2 keys", stages.keys, _widest(stages.keys)),
        ("3 scores: 1 times 2, scaled", stages.scores, score),
        ("4 masked", stages.masked_scores, score),
        ("5 weights: softmax of each row", stages.weights, None),
        ("6 values", stages.values, value),
        ("7 gathered: 5 times 6", stages.gathered, value),
    )
    for axes, (title, table, widest) in zip(panels, steps, strict=True):
        norm, colours = weight_colours(theme) if widest is None else _both_sides(theme, widest)
        image = axes.imshow(_shown(table, widest), norm=norm, cmap=colours, aspect="auto")
        dress(axes, theme, grid=False)
        name_axes(axes, title=words(title))
        axes.title.set_fontsize(9)
        _name_sides(axes, table, maps, words=words)
        bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
        if widest is None:
            bar.set_ticks([0, 0.05, 0.2, 0.5, 1], labels=["0", "0.05", "0.2", "0.5", "1"])
        dress_bar(bar, theme)


def _name_sides(axes: Any, table: Table, maps: HeadMaps, *, words: Words) -> None:
    """Tokens along what is a token, the dimensions' numbers along what is none."""
    pieces = {"query": maps.queries, "key": maps.keys}
    for axis, name in zip((axes.yaxis, axes.xaxis), table.axes, strict=True):
        if name in pieces:
            name_tokens(axis, pieces[name], inches=INCHES)
        else:
            axis.get_major_locator().set_params(integer=True)
            axis.set_tick_params(labelsize=7)
            name_axes(axes, x=words("dimension of the head"))
            axis.label.set_fontsize(8)


def _shown(table: Table, widest: float | None) -> np.ndarray:
    """The numbers, what is masked below all colours: matplotlib takes infinity for no number."""
    if widest is None:
        return table.values
    return np.where(np.isneginf(table.values), -1.5 * widest, table.values)


def _widest(table: Table) -> float:
    """The largest distance from 0, for colours that have 0 in the middle."""
    found = np.abs(table.values[np.isfinite(table.values)])
    return float(found.max()) if found.size and found.max() > 0 else 1.0


def _both_sides(theme: Theme, widest: float) -> tuple[Any, Any]:
    """Norm and colours of numbers on both sides of zero; what is -inf gets no colour of theirs."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    colours = colormaps[theme.differences].with_extremes(under=theme.faint, bad=theme.series[-1])
    return Normalize(-widest, widest), colours
