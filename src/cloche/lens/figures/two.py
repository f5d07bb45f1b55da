"""The view `two` as a picture: divergence and surprisal over the text, what moved, the weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cloche.lens.figures.two_weights import draw_changes, has_changes, weights_height
from cloche.lens.spreading import spread
from cloche.lens.two import Move, TwoView
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import (
    Theme,
    add_legend,
    dress,
    name_axes,
    name_ticks,
    new_figure,
    write_in,
)

WIDTH = 11.0
MOST_TICKS = 128
"""Tokens that are named along an axis; of more, some are."""
FEW_TOKENS = 12
"""Up to which their names lie flat."""
LETTERS = 12
"""Characters of a token that are written."""
PLACES = 4
"""Positions whose tokens are shown in full."""
CHINESE = {
    "{first} (first) and {second} (second)": "{first}（第一个）与 {second}（第二个）",
    "first": "第一个",
    "second": "第二个",
    "what moved, after each token": "每个词元之后的概率变化",
    "KL(second || first), nats": "KL(第二 || 第一)，奈特",
    "total variation": "总变差",
    "surprisal of each token": "每个词元的惊讶度",
    "nats": "奈特",
    "after “{token}” (position {position})": "“{token}”之后（位置 {position}）",
    "probability": "概率",
}


def make_figure(view: TwoView, lang: Language, theme: Theme) -> Any:
    """Panels over the text, below them the most moved positions, below these the weights."""
    say = Words(CHINESE, lang)
    places = most_moved(view)
    weighed = has_changes(view.weights)
    bars = 0.24 * max((len(_moves(view, place)) for place in places), default=0)
    many = len(view.pieces) > FEW_TOKENS
    told = bool(np.isfinite(view.surprisal.values).any())  # of a single token there is none
    heights = [(2.3 if not told else 4.2) + 0.7 * many]
    for _ in range(0, len(places), 2):
        heights.append(1.0 + bars)
    if weighed:
        heights.append(weights_height(view.weights))
    title = say(
        "{first} (first) and {second} (second)",
        first=view.provenance.place,
        second=view.second.place,
    )
    figure = new_figure(theme, width=WIDTH, height=0.4 + sum(heights), title=title)
    rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row in rows:
        row.set_facecolor(theme.paper)
    panels = rows[0].subplots(1 + told, 1, sharex=True, squeeze=False)[:, 0]
    _draw_movement(dress(panels[0], theme), view, theme, say)
    if told:
        _draw_surprisal(dress(panels[1], theme), view, theme, say)
    _name_tokens(panels[-1], view)
    for number, place in enumerate(places):
        row = rows[1 + number // 2]
        last = len(places) == 1
        axes = row.add_subplot(1, 1 if last else 2, number % 2 + 1)
        _draw_moves(dress(axes, theme), view, place, theme, say)
    if weighed:
        draw_changes(rows[-1], view.weights, lang, theme)
    return figure


def most_moved(view: TwoView) -> list[int]:
    """The positions after which most probability moved, in the order of the text."""
    variation = np.nan_to_num(view.variation.values, nan=-1.0)
    order = np.argsort(-variation, kind="stable")[:PLACES].tolist()
    return sorted(place for place in order if variation[place] > 0)


def _draw_movement(axes: Any, view: TwoView, theme: Theme, say: Words) -> None:
    places = np.arange(len(view.pieces))
    axes.bar(places, view.divergence.values, color=theme.series[0], width=0.7)
    highest = np.nanmax(np.where(np.isfinite(view.divergence.values), view.divergence.values, 0.0))
    axes.set_ylim(0.0, 1.1 * highest or 1.0)
    _say_where_broken(axes, view.divergence.values, theme)
    name_axes(axes, y=say("KL(second || first), nats"), title=say("what moved, after each token"))
    beside = axes.twinx()
    dress(beside, theme, grid=False)
    beside.spines["right"].set_visible(True)
    beside.plot(
        places, view.variation.values, "o-", color=theme.series[1], markersize=3, linewidth=0.9
    )
    beside.set_ylim(0.0, 1.05)
    beside.patch.set_visible(False)
    name_axes(beside, y=say("total variation"))
    axes.yaxis.label.set_color(theme.series[0])
    beside.yaxis.label.set_color(theme.series[1])


def _draw_surprisal(axes: Any, view: TwoView, theme: Theme, say: Words) -> None:
    places = np.arange(len(view.pieces))
    for number, (name, mark) in enumerate((("first", "s--"), ("second", "o-"))):
        axes.plot(
            places,
            view.surprisal.values[number],
            mark,
            color=theme.series[2 - 2 * number],
            label=say(name),
            markersize=3.5,
            linewidth=1.1,
        )
    name_axes(axes, y=say("nats"), title=say("surprisal of each token"))
    axes.set_ylim(0.0, 1.15 * axes.get_ylim()[1])
    add_legend(axes, theme, fontsize=8, ncols=2)


def _say_where_broken(axes: Any, values: np.ndarray, theme: Theme) -> None:
    """Write NaN or ∞ where a bar would be, of some twenty at most."""
    broken = np.flatnonzero(~np.isfinite(values)).tolist()
    for place in spread(broken, 20):
        said = "NaN" if np.isnan(values[place]) else "∞"
        write_in(axes, place, 0.0, said, color=theme.ink, fontsize=7, ha="center", va="bottom")


def _name_tokens(axes: Any, view: TwoView) -> None:
    places = spread(range(len(view.pieces)), MOST_TICKS)
    names = [cut(view.pieces[place].text) for place in places]
    many = len(places) > FEW_TOKENS
    axes.set_xlim(-0.7, len(view.pieces) - 0.3)
    name_ticks(axes.xaxis, places, names, angle=90 if many else 0)
    axes.tick_params(axis="x", labelsize=max(5.0, min(9.0, 620 / len(places))), length=2)


def _draw_moves(axes: Any, view: TwoView, place: int, theme: Theme, say: Words) -> None:
    moves = _moves(view, place)
    heights = np.arange(len(moves))
    for number, (name, values) in enumerate(
        (("first", [m.first for m in moves]), ("second", [m.second for m in moves]))
    ):
        axes.barh(
            heights + 0.2 - 0.4 * (1 - number),
            values,
            height=0.38,
            color=theme.series[2 - 2 * number],
            label=say(name),
        )
    name_ticks(axes.yaxis, heights.tolist(), [f"{_arrow(m)} {cut(m.token.text)}" for m in moves])
    axes.tick_params(axis="y", labelsize=8, length=0)
    axes.invert_yaxis()
    token = cut(view.pieces[place].text)
    title = say("after “{token}” (position {position})", token=token, position=place)
    name_axes(axes, x=say("probability"), title=title)
    add_legend(axes, theme, fontsize=7)


def _moves(view: TwoView, place: int) -> list[Move]:
    """Those that rose, and below them those that fell, least first."""
    found = view.moves[place]
    return [*found.rose, *reversed(found.fell)]


def _arrow(move: Move) -> str:
    return "▲" if move.second > move.first else "▼"


def cut(text: str, *, letters: int = LETTERS) -> str:
    """A token's text, short enough for an axis."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def shown_tokens(moves: Sequence[Move]) -> str:
    """The moves as one line."""
    return ", ".join(f"{cut(m.token.text)} {m.first:.3f}→{m.second:.3f}" for m in moves)
