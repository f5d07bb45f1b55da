"""Positions as pictures: the table as a heat map, some of its numbers as curves, what they say."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cloche.lens.positions import AddedVectors, PositionsView, Rotation
from cloche.lens.terminal.positions import CHINESE, said_of
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import Theme, add_legend, dress, name_axes, new_figure

LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (8, 2)))
"""So that curves are told apart without colours."""

_CHINESE = {
    **CHINESE,
    "positions of {run}: {kind}": "{run} 的位置编码：{kind}",
    "cosines of the angles": "转角的余弦",
    "the table": "位置向量表",
    "number of the vector": "向量的维",
    "pair {pair}": "第 {pair} 对",
    "number {number}": "第 {number} 维",
    "cosine": "余弦",
    "value": "值",
    "grey: not a number": "灰色：不是数",
    "some pairs as curves": "部分维度对的曲线",
    "some numbers as curves": "部分维的曲线",
    "how far a turn is": "转一圈有多远",
    "as the model turns": "模型所用",
    "the context": "上下文长度",
    "a vector with itself, by distance": "向量与自身的分数随距离的变化",
    "score, 1 without positions": "分数（没有位置时为 1）",
    "how alike places are": "各位置的相似度",
    "other place": "另一位置",
    "three places and all others": "三个位置与所有位置",
    "of place {place}": "位置 {place}",
    "length of the vectors": "向量的长度",
}


def make_figure(view: PositionsView, lang: Language, theme: Theme) -> Any:
    """Four panels: the heat map, curves, and two that say what positions mean to the model."""
    words = Words(_CHINESE, lang)
    title = words("positions of {run}: {kind}", run=view.provenance.run, kind=words(view.kind))
    if view.rotation is not None:
        title += f" · {' · '.join(said_of(view.rotation, words))}"
    figure = new_figure(theme, width=12.0, height=8.4, title=title)
    panels = figure.subplots(2, 2)
    if view.rotation is not None:
        _draw_rotation(figure, panels, view, view.rotation, theme=theme, words=words)
    elif view.added is not None:
        _draw_added(figure, panels, view.added, theme=theme, words=words)
    return figure


def _draw_rotation(
    figure: Any, panels: Any, view: PositionsView, rotation: Rotation, *, theme: Theme, words: Words
) -> None:
    values = rotation.cosines.values
    axes = panels[0, 0]
    _heat(figure, axes, values.T, theme, label=_label(values, "cosine", words))
    name_axes(axes, x=words("place"), y=words("pair"), title=words("cosines of the angles"))
    axes = panels[0, 1]
    names = {pair: words("pair {pair}", pair=pair) for pair in _some(range(values.shape[1]))}
    _curves(axes, {name: values[:, pair] for pair, name in names.items()}, theme)
    name_axes(axes, x=words("place"), y=words("cosine"), title=words("some pairs as curves"))
    _draw_turns(panels[1, 0], view, rotation, theme=theme, words=words)
    axes = dress(panels[1, 1], theme)
    scores = rotation.scores.values
    axes.plot(scores, color=theme.series[0], marker="o" if len(scores) == 1 else "")
    axes.axhline(0, color=theme.ink, linewidth=0.8)
    name_axes(
        axes,
        x=words("distance"),
        y=words("score, 1 without positions"),
        title=words("a vector with itself, by distance"),
    )


def _draw_turns(
    axes: Any, view: PositionsView, rotation: Rotation, *, theme: Theme, words: Words
) -> None:
    """Places that each pair takes for a turn, against the context."""
    dress(axes, theme)
    turns = 2 * np.pi / rotation.frequencies.values
    alone = "o" if len(turns) == 1 else ""
    if rotation.scaling is not None:
        plain = 2 * np.pi / rotation.unscaled.values
        label = words("without scaling")
        axes.plot(plain, "--", color=theme.series[1], marker=alone, label=label)
    label = words("as the model turns")
    axes.plot(turns, color=theme.series[0], marker=alone, label=label)
    axes.axhline(view.context, color=theme.ink, linestyle=":", label=words("the context"))
    axes.set_yscale("log")
    y = words("places for a turn")
    name_axes(axes, x=words("pair"), y=y, title=words("how far a turn is"))
    add_legend(axes, theme)


def _draw_added(
    figure: Any, panels: Any, added: AddedVectors, *, theme: Theme, words: Words
) -> None:
    values, cosines = added.vectors.values, added.cosines.values
    axes = panels[0, 0]
    _heat(figure, axes, values.T, theme, label=_label(values, "value", words))
    y = words("number of the vector")
    name_axes(axes, x=words("place"), y=y, title=words("the table"))
    axes = panels[0, 1]
    names = {number: words("number {number}", number=number) for number in _some(_telling(values))}
    _curves(axes, {name: values[:, number] for number, name in names.items()}, theme)
    name_axes(axes, x=words("place"), y=words("value"), title=words("some numbers as curves"))
    axes = panels[1, 0]
    _heat(figure, axes, cosines, theme, label=_label(cosines, "cosine", words), most=1.0)
    axes.set_aspect("equal")
    x, y = words("other place"), words("place")
    name_axes(axes, x=x, y=y, title=words("how alike places are"))
    axes = panels[1, 1]
    count = len(cosines)
    places = dict.fromkeys((0, count // 2, count - 1))
    _curves(axes, {words("of place {place}", place=each): cosines[each] for each in places}, theme)
    name_axes(axes, x=words("place"), y=words("cosine"), title=words("three places and all others"))


def _heat(
    figure: Any, axes: Any, values: Any, theme: Theme, *, label: str, most: float | None = None
) -> None:
    """Numbers on both sides of zero as colours, what is none in grey."""
    from matplotlib import colormaps

    dress(axes, theme, grid=False)
    known = abs(values[np.isfinite(values)])
    largest = most if most is not None else float(known.max(initial=0.0)) or 1.0
    image = axes.imshow(
        values,
        aspect="auto",
        cmap=colormaps[theme.differences].with_extremes(bad=theme.series[-1]),
        vmin=-largest,
        vmax=largest,
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    bar.ax.tick_params(colors=theme.ink, labelsize=8)
    bar.outline.set_edgecolor(theme.ink)
    name_axes(bar.ax, y=label)
    bar.ax.yaxis.label.set_color(theme.ink)


def _label(values: Any, name: str, words: Words) -> str:
    """What the colours are; and what has none, where there is such."""
    named = words(name)
    return named if np.isfinite(values).all() else f"{named} ({words('grey: not a number')})"


def _curves(axes: Any, curves: dict[str, Any], theme: Theme) -> None:
    dress(axes, theme)
    for number, (name, values) in enumerate(curves.items()):
        axes.plot(
            values,
            linestyle=LINES[number % len(LINES)],
            color=theme.series[number],
            marker="o" if len(values) == 1 else "",
            linewidth=1.3,
            label=name,
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    add_legend(axes, theme, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=5, fontsize=8)


def _some(of: Sequence[int]) -> list[int]:
    """Up to five of them, evenly spread."""
    return [of[round(each)] for each in np.linspace(0, len(of) - 1, min(5, len(of)))]


def _telling(values: np.ndarray) -> list[int]:
    """The columns whose numbers change, those that change most first; all where none is known."""
    order = np.argsort(-np.nan_to_num(values.astype(np.float64).std(axis=0)), kind="stable")
    return sorted(order[:5].tolist())
