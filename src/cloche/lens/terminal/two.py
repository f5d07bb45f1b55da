"""The view `two` for the terminal: the text token by token, and the weights that changed most."""

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from cloche.lens.figures.two import cut, shown_tokens
from cloche.lens.two import TwoView
from cloche.lens.two_weights import WeightChanges
from cloche.lens.wording import Language, Words

SHOWN = 3
"""Tokens that rose, and that fell, in a line."""
MOST = 12
"""Weights that are listed."""
CHINESE = {
    "second: {run}": "第二个：{run}",
    "token": "词元",
    "surprisal, first": "惊讶度（第一）",
    "second": "第二",
    "KL": "KL",
    "moved": "变动",
    "rose after it": "其后上升",
    "fell after it": "其后下降",
    "weights that changed most": "变化最大的权重",
    "weight": "权重",
    "of {count} weights, ||W2 − W1|| / ||W1||": "共 {count} 个权重，||W2 − W1|| / ||W1||",
    "none of {count} weights differs: they are one model": "{count} 个权重全同：两者是同一模型",
    "{count} weights could not be compared: {names}": "{count} 个权重无法比较：{names}",
}


def make_rendering(view: TwoView, lang: Language) -> RenderableType:
    """Two tables: tokens, weights."""
    say = Words(CHINESE, lang)
    parts: list[RenderableType] = [Text(say("second: {run}", run=view.second.place))]
    parts += [_tokens(view, say), *_weights(view.weights, say)]
    if apart := view.weights.apart:
        names = ", ".join(apart[:MOST]) + (", …" if len(apart) > MOST else "")
        said = say("{count} weights could not be compared: {names}", count=len(apart), names=names)
        parts.append(Text(said))
    return Group(*parts)


def _tokens(view: TwoView, say: Words) -> Grid:
    grid = Grid(box=None, pad_edge=False)
    grid.add_column(say("token"), no_wrap=True)
    for name in ("surprisal, first", "second", "KL", "moved"):
        grid.add_column(say(name), justify="right")
    for name in ("rose after it", "fell after it"):
        grid.add_column(say(name), overflow="fold")
    first, second = view.surprisal.values
    for place, piece in enumerate(view.pieces):
        figures = (first[place], second[place], view.divergence.values[place])
        moves = view.moves[place]
        grid.add_row(
            Text(cut(piece.text)),
            *("" if place == 0 and np.isnan(value) else f"{value:.3f}" for value in figures),
            f"{view.variation.values[place]:.1%}",
            Text(shown_tokens(moves.rose[:SHOWN])),
            Text(shown_tokens(moves.fell[:SHOWN])),
        )
    return grid


def _weights(changes: WeightChanges, say: Words) -> list[RenderableType]:
    """The weights that changed most, or why none is listed; nothing where none can be compared."""
    named = dict(changes.outside)
    for (layer, kind), value in np.ndenumerate(changes.by_layer.values):
        named[f"layers.{layer}.{changes.kinds[kind]}"] = float(value)
    known = {name: value for name, value in named.items() if not np.isnan(value)}
    if not known:
        return []
    if not any(known.values()):
        said = say("none of {count} weights differs: they are one model", count=len(known))
        return [Text(said)]
    order = sorted(known, key=lambda name: -known[name])[:MOST]
    title = say("weights that changed most")
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=False)
    grid.add_column(say("weight"))
    grid.add_column(
        say("of {count} weights, ||W2 − W1|| / ||W1||", count=len(known)), justify="right"
    )
    for name in order:
        grid.add_row(Text(name), f"{known[name]:.4g}")
    return [grid]
