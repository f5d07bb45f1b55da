"""A picture of the residual stream: what each layer would say next, how long its vectors are."""

from typing import Any

import numpy as np
from rich.text import Text

from cloche.lens.residual import NO_TOKEN, ResidualView
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

WORDS = {
    "{run} · what the final norm and head make of each layer": (
        "{run} · 用最后的归一化和输出头读每一层"
    ),
    "{run} · what the final norm and head make of each layer, last {count} of {all} positions": (
        "{run} · 用最后的归一化和输出头读每一层（{all} 个位置中的最后 {count} 个）"
    ),
    "not a number": "不是数",
    "read": "读到",
    "came next (framed where it was the likeliest)": "实际的下一个（最可能者即是它时加框）",
    "embedding": "嵌入",
    "probability": "概率",
    "residual stream": "残差流",
    "attention adds": "注意力所加",
    "MLP adds": "MLP 所加",
    "layer": "层",
    "norm": "范数",
    "position": "位置",
    "median over positions; dotted: position 0": "各位置的中位数；点线：位置 0",
    "residual stream after a layer": "各层之后的残差流",
    "layer {layer}": "第 {layer} 层",
    "KL from the final prediction (nats)": "与最终预测的 KL 散度（奈特）",
    "median; band: 10% to 90% of the positions": "中位数；色带：10% 到 90% 的位置",
}
MOST = 16
"""Positions in a picture: more cannot be read."""
CELLS = 9
"""Columns of a token in the table, of which a Chinese character takes two."""


def make_figure(view: ResidualView, lang: Language, theme: Theme) -> Any:
    """The logit lens as a table of tokens; below it norms, and the way to the last prediction."""
    words = Words(WORDS, lang)
    columns, rows = min(MOST, len(view.positions)), len(view.places)
    table, below = rows * 0.24 + 1.1, 3.0
    figure = new_figure(
        theme,
        width=max(9.0, columns * 0.78 + 1.8),
        height=table + below + 0.5,
        title=_title(view, columns, words),
    )
    places = figure.add_gridspec(2, 3, height_ratios=(table, below))
    _draw_table(figure, figure.add_subplot(places[0, :]), view, theme=theme, words=words)
    panels = [figure.add_subplot(places[1, number]) for number in range(3)]
    _draw_norms(panels[0], view, theme=theme, words=words)
    _draw_positions(panels[1], view, theme=theme, words=words)
    _draw_divergence(panels[2], view, theme=theme, words=words)
    return figure


def _title(view: ResidualView, columns: int, words: Words) -> str:
    run, total = view.provenance.run, len(view.pieces)
    if columns == total:
        return words("{run} · what the final norm and head make of each layer", run=run)
    return words(
        "{run} · what the final norm and head make of each layer, last {count} of {all} positions",
        run=run,
        count=columns,
        all=total,
    )


def _draw_table(figure: Any, axes: Any, view: ResidualView, *, theme: Theme, words: Words) -> None:
    """Each cell the likeliest token there, coloured by its probability."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    shown = view.positions[-MOST:]
    first = len(view.positions) - len(shown)
    probabilities = view.top_probabilities.values[:, first:, 0]
    colours = colormaps[theme.amounts].with_extremes(bad=theme.series[-1])
    image = axes.imshow(probabilities, vmin=0.0, vmax=1.0, cmap=colours, aspect="auto")
    dress(axes, theme, grid=False)
    for (row, column), value in np.ndenumerate(probabilities):
        token = int(view.top_ids.values[row, first + column, 0])
        colour = _readable_on(image.to_rgba(value))
        text = "NaN" if token == NO_TOKEN else _short(view.texts[token])
        at = {"ha": "center", "va": "center", "fontsize": 7, "clip_on": True}
        write_in(axes, column, row, text, color=colour, **at)
        if view.actual_rank.values[row, first + column] == 1:
            corner = (column - 0.47, row - 0.42)
            axes.add_patch(Rectangle(corner, 0.94, 0.84, fill=False, edgecolor=colour, lw=1.1))
    _name_table(axes, view, shown, theme=theme, words=words)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, aspect=30)
    name_axes(bar.ax, y=words("probability"))
    bar.ax.yaxis.label.set_color(theme.ink)
    bar.ax.tick_params(colors=theme.ink, labelsize=7)
    bar.outline.set_edgecolor(theme.faint)


def _name_table(
    axes: Any, view: ResidualView, shown: tuple[int, ...], *, theme: Theme, words: Words
) -> None:
    """What was read above the columns, what came next below them, the layers beside."""
    read = [_short(view.pieces[position].text) for position in shown]
    after = [view.pieces[p + 1].text if p + 1 < len(view.pieces) else "—" for p in shown]
    places = range(len(shown))
    above = axes.secondary_xaxis("top")
    for axis, names in ((above.xaxis, read), (axes.xaxis, [_short(each) for each in after])):
        name_ticks(axis, places, names)
        axis.set_tick_params(labelsize=7, length=0, colors=theme.ink)
    above.spines[:].set_visible(False)
    name_axes(axes, x=words("came next (framed where it was the likeliest)"), title=words("read"))
    axes.title.set_fontsize(axes.xaxis.label.get_fontsize())
    names = [words("embedding"), *view.places[1:]]
    name_ticks(axes.yaxis, range(len(names)), names)
    axes.yaxis.set_tick_params(labelsize=7, length=0)
    name_axes(axes, y=words("layer"))


def _draw_norms(axes: Any, view: ResidualView, *, theme: Theme, words: Words) -> None:
    """Norms over layers; the first position often stands far apart from all others."""
    layers = range(len(view.places) - 1)
    lines = (
        ("residual stream", view.norms.values[1:]),
        ("attention adds", view.attention_norms.values),
        ("MLP adds", view.mlp_norms.values),
    )
    for colour, (name, norms) in zip(theme.series, lines, strict=False):
        mark = "o" if len(layers) == 1 else None  # a line of one point is not seen
        axes.plot(layers, np.median(norms, axis=1), color=colour, label=words(name), marker=mark)
        axes.plot(layers, norms[:, 0], color=colour, linestyle=":", marker=mark, linewidth=1)
    dress(axes, theme)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    _scale(axes, [norms for _, norms in lines])
    name_axes(
        axes,
        x=words("layer"),
        y=words("norm"),
        title=words("median over positions; dotted: position 0"),
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
    _finish(axes, theme, words)


def _draw_positions(axes: Any, view: ResidualView, *, theme: Theme, words: Words) -> None:
    """Norms over positions, after a few of the layers."""
    last = len(view.places) - 1
    chosen = sorted({0, round(last / 3), round(2 * last / 3), last})
    for colour, place in zip(theme.series, chosen, strict=False):
        name = words("embedding") if place == 0 else words("layer {layer}", layer=place - 1)
        norms = view.norms.values[place]
        axes.plot(norms, color=colour, label=name, marker="o" if norms.size == 1 else None)
    dress(axes, theme)
    _scale(axes, [view.norms.values[chosen]])
    axes.xaxis.get_major_locator().set_params(integer=True)
    name_axes(
        axes, x=words("position"), y=words("norm"), title=words("residual stream after a layer")
    )
    _finish(axes, theme, words)


def _draw_divergence(axes: Any, view: ResidualView, *, theme: Theme, words: Words) -> None:
    """How far each layer's prediction still is from the last one's."""
    values = view.divergence.values
    places = np.arange(len(values)) - 1
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9), axis=1)
    axes.fill_between(places, low, high, color=theme.series[0], alpha=0.25, linewidth=0)
    axes.plot(places, middle, color=theme.series[0])
    dress(axes, theme)
    every = max(1, len(values) // 6)
    first = 0 if every == 1 else 2 * every - 1  # room for the name of the embedding
    ticks = range(first, len(values) - 1, every)
    name_ticks(axes.xaxis, [-1, *ticks], [words("embedding"), *map(str, ticks)])
    name_axes(
        axes,
        x=words("layer"),
        y=words("KL from the final prediction (nats)"),
        title=words("median; band: 10% to 90% of the positions"),
    )
    _finish(axes, theme, words)


def _scale(axes: Any, numbers: list[np.ndarray]) -> None:
    """Logarithmic where norms differ much and none is nothing."""
    found = np.concatenate([each.ravel() for each in numbers])
    found = found[np.isfinite(found)]
    if found.size and found.min() > 0 and found.max() > 30 * found.min():
        axes.set_yscale("log")


def _finish(axes: Any, theme: Theme, words: Words) -> None:
    axes.title.set_fontsize(9)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(8)
    axes.tick_params(labelsize=7, which="both")
    if all(np.isnan(line.get_ydata()).all() for line in axes.get_lines()):
        at = {"transform": axes.transAxes, "ha": "center", "va": "center", "color": theme.ink}
        write_in(axes, 0.5, 0.5, words("not a number"), **at)
    add_legend(axes, theme, fontsize=7)


def _short(text: str) -> str:
    cut = Text(text)
    cut.truncate(CELLS, overflow="ellipsis")
    return cut.plain


def _readable_on(colour: tuple[float, ...]) -> str:
    """Dark or light ink, whichever stands out from the colour (its luminance in Rec. 709)."""
    red, green, blue = colour[:3]
    return "#101010" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "#ffffff"
