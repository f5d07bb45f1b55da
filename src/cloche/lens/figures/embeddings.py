"""Embeddings as pictures: all tokens in a plane, some by name; norms; neighbours as bars."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from cloche.lens.embeddings import EmbeddingsView, Neighbourhood
from cloche.lens.figures.labels import Label, place_labels
from cloche.lens.figures.tokens import shortened
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

ACROSS = 4
"""Tables of neighbours side by side."""
MOST_ASKED = 24
"""Tokens whose neighbours are drawn; of more, the first."""
MOST_BARS = 15
NAMED_NEIGHBOURS = 40
"""That are written into the plane, the nearest of each token first."""
NAMED_EXTREMES = 24
FEW = 200
"""Tokens that all are written, where there is room."""
LONGEST = 16

_CHINESE = {
    "the token vectors of {run}": "{run} 的词元向量",
    "{tokens:,} tokens in two dimensions": "{tokens:,} 个词元的二维投影",
    "principal component 1 ({share} of the variance)": "主成分 1（方差的 {share}）",
    "principal component 2 ({share} of the variance)": "主成分 2（方差的 {share}）",
    "asked for": "所查词元",
    "neighbours": "近邻",
    "all tokens": "全部词元",
    "length of the vectors": "向量的长度",
    "norm": "范数",
    "tokens": "词元数",
    "nothing to draw: no vector is of numbers": "无可绘制：没有一个向量全是数",
    "{count:,} vectors with NaN or infinity are left out": "略去 {count:,} 个含 NaN 或无穷大的向量",
    "cosine": "余弦",
    "near {token}": "{token} 的近邻",
    "no direction": "没有方向",
}


def make_figure(view: EmbeddingsView, lang: Language, theme: Theme) -> Any:
    """The plane and the norms above, the neighbours of the tokens that were asked for below."""
    words = Words(_CHINESE, lang)
    asked = view.asked[:MOST_ASKED]
    bars = min(MOST_BARS, max((len(each.neighbours) for each in asked), default=1))
    rows, tall = -(-len(asked) // ACROSS), 0.9 + 0.2 * max(bars, 3)
    figure = new_figure(
        theme,
        width=12.0,
        height=7.6 + rows * tall,
        title=words("the token vectors of {run}", run=view.provenance.run),
    )
    wide = max(1, ACROSS // max(1, len(asked)))  # one or two fill the row
    heights = (7.2, *(tall for _ in range(rows)))
    grid = figure.add_gridspec(1 + rows, ACROSS, height_ratios=heights)
    for place, each in enumerate(asked):
        left = place % ACROSS * wide
        axes = figure.add_subplot(grid[1 + place // ACROSS, left : left + wide])
        _draw_neighbours(axes, each, bars, theme=theme, words=words)
    _draw_norms(figure.add_subplot(grid[0, 3]), view, theme=theme, words=words)
    _draw_plane(figure, figure.add_subplot(grid[0, :3]), view, theme=theme, words=words)
    return figure


def _draw_plane(
    figure: Any, axes: Any, view: EmbeddingsView, *, theme: Theme, words: Words
) -> None:
    dress(axes, theme)
    places = view.projection.values
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    title = words("{tokens:,} tokens in two dimensions", tokens=len(view.tokens))
    shares = [f"{each:.1%}" if each == each else "NaN" for each in view.explained]
    x = words("principal component 1 ({share} of the variance)", share=shares[0])
    y = words("principal component 2 ({share} of the variance)", share=shares[1])
    name_axes(axes, x=x, y=y, title=title)
    if not len(known):
        said = words("nothing to draw: no vector is of numbers")
        write_in(axes, 0.5, 0.5, said, color=theme.ink, ha="center", transform=axes.transAxes)
        return
    few = len(known) <= FEW
    size, alpha = (14, 1.0) if few else (4, 0.2) if len(known) > 2000 else (8, 0.4)
    look: dict[str, Any] = {"color": theme.series[0], "alpha": alpha, "linewidths": 0}
    axes.scatter(*places[known].T, s=size, rasterized=True, **look)
    asked = {each.piece.id for each in view.asked}
    near = [each for each in _nearest(view) if each not in asked]
    for ids, name, marker, own in (
        (near, "neighbours", "o", theme.series[2]),
        (sorted(asked), "asked for", "D", theme.series[1]),
    ):
        if ids:
            axes.scatter(*places[ids].T, s=22, marker=marker, color=own, label=words(name))
    add_legend(axes, theme, loc="best")
    axes.margins(0.08)
    marked = places if few else places[[*asked, *near]]
    place_labels(figure, axes, [*_labels(view, near, theme)], avoid=marked)


def _labels(view: EmbeddingsView, near: list[int], theme: Theme) -> Iterator[Label]:
    """The tokens that are written, those that matter most first."""
    places = view.projection.values
    asked = [each.piece.id for each in view.asked]
    groups = (
        (asked, theme.series[1], 10.0, True),
        (near[:NAMED_NEIGHBOURS], theme.series[2], 8.0, False),
        (_extremes(places), theme.ink, 8.0, False),
    )
    done: set[int] = set()
    for ids, colour, size, required in groups:
        for each in ids:
            x, y = places[each].tolist()
            if each not in done and np.isfinite((x, y)).all():
                text = shortened(view.tokens[each], longest=LONGEST)
                yield Label(x, y, text, colour, size, required)
            done.add(each)


def _nearest(view: EmbeddingsView) -> list[int]:
    """Neighbours of all tokens that were asked for: the nearest of each, the next of each, ..."""
    most = max((len(each.neighbours) for each in view.asked), default=0)
    found = {
        each.neighbours[place].piece.id: None
        for place in range(most)
        for each in view.asked
        if place < len(each.neighbours)
    }
    return [*found]


def _extremes(places: np.ndarray) -> list[int]:
    """The tokens farthest from the middle, in all directions in turn."""
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    spread = places[known] / np.maximum(places[known].std(axis=0), 1e-300)
    middle = spread - np.median(spread, axis=0)
    far = np.hypot(*middle.T)
    sector = ((np.arctan2(middle[:, 1], middle[:, 0]) / (2 * np.pi) + 0.5) * 12).astype(int) % 12
    order = np.argsort(-far, kind="stable")
    ranks = np.empty(len(order), int)
    for each in range(12):
        inside = order[sector[order] == each]
        ranks[inside] = np.arange(len(inside))
    first = np.lexsort((-far, ranks))[: FEW if len(known) <= FEW else NAMED_EXTREMES]
    return known[first].tolist()


def _draw_norms(axes: Any, view: EmbeddingsView, *, theme: Theme, words: Words) -> None:
    dress(axes, theme)
    norms = view.norms.values
    known = norms[np.isfinite(norms)]
    if len(known):
        least, most = float(known.min()), float(known.max())
        room = (most - least) * 0.02 or abs(most) * 0.1 or 1.0  # all of one length: one bar
        bins = np.linspace(least - room, most + room, min(40, max(3, len(known) // 4)) + 1)
        axes.hist(known, bins=bins, color=theme.series[0], orientation="horizontal")
    for each in view.asked[:MOST_ASKED]:
        if np.isfinite(each.norm):
            axes.axhline(each.norm, color=theme.series[1], linewidth=0.8, linestyle="--")
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=4)
    title = words("length of the vectors")
    name_axes(axes, x=words("tokens"), y=words("norm"), title=title)
    if view.broken:
        said = words("{count:,} vectors with NaN or infinity are left out", count=view.broken)
        name_axes(axes, title=f"{title}\n{said}")
    axes.title.set_fontsize(10)


def _draw_neighbours(
    axes: Any, found: Neighbourhood, bars: int, *, theme: Theme, words: Words
) -> None:
    dress(axes, theme)
    shown = found.neighbours[:bars]
    cosines = [each.cosine for each in shown]
    axes.barh(range(len(shown)), cosines, color=theme.series[2], height=0.7)
    name_ticks(
        axes.yaxis,
        range(len(shown)),
        [shortened(each.piece.text, longest=LONGEST) for each in shown],
    )
    axes.tick_params(axis="both", labelsize=8)
    axes.set_ylim(bars - 0.4, -0.6)
    axes.set_xlim(min(0.0, *cosines, 0.0), max(*cosines, 0.0, 0.0) * 1.25 or 1.0)
    for place, cosine in enumerate(cosines):
        at = max(cosine, 0.0)
        write_in(axes, at, place, f" {cosine:.2f}", va="center", fontsize=7, color=theme.ink)
    axes.grid(visible=False, axis="y")
    if not shown:
        said = words("no direction")
        write_in(axes, 0.5, 0.5, said, ha="center", transform=axes.transAxes, color=theme.ink)
    token = shortened(found.piece.text, longest=LONGEST)
    name_axes(axes, x=words("cosine"), title=words("near {token}", token=token))
    axes.title.set_fontsize(10)
