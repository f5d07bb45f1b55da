"""Memory as a picture: a strip of surprisals for each text, what is recited, distributions."""

import math
from typing import Any

import numpy as np

from cloche.lens.figures.tokens import shortened
from cloche.lens.memory import MemoryView, Remembered
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
from cloche.text.visible import one_line

CELLS = 800
"""Of a strip; of a longer text, each is the mean of several tokens."""
SPANS = 3

_CHINESE = {
    "What was learned by heart": "模型背下了什么",
    "training text": "训练文本",
    "held-out text": "留出文本",
    "{kind}: {nats} nats a token, perplexity {perplexity}": (
        "{kind}：每词元 {nats} 奈特，困惑度 {perplexity}"
    ),
    "token": "词元",
    "{count} tokens a cell": "每格 {count} 个词元",
    "surprisal (nats)": "惊讶度（奈特）",
    "share of tokens": "词元占比",
    "mean": "平均",
    "recited word for word ({least} tokens or more): {training} of the training text, "
    "{held_out} of the held-out text": (
        "逐字背诵（不少于 {least} 个词元）：训练文本的 {training}，留出文本的 {held_out}"
    ),
    "{tokens} tokens": "{tokens} 个词元",
    "none": "无",
    "recited": "背诵",
    "a training token surprises less than a held-out one: {chance} (50% is a coin)": (
        "训练词元比留出词元更不令人惊讶的概率：{chance}（50% 等于抛硬币）"
    ),
}


def make_figure(view: MemoryView, lang: Language, theme: Theme) -> Any:
    """Two strips on one scale, the distributions, and the longest recited spans."""
    words = Words(_CHINESE, lang)
    title = f"{words('What was learned by heart')} · {view.provenance.run}"
    figure = new_figure(theme, width=10.0, height=7.4, title=title)
    grid = figure.add_gridspec(4, 1, height_ratios=(1.0, 1.0, 2.6, 1.5))
    kinds = (("training text", view.training), ("held-out text", view.held_out))
    sides = {name: _costs(side) for name, side in kinds}
    top = _top(np.concatenate([*sides.values()]))
    strips = [figure.add_subplot(grid[row]) for row in range(2)]
    images = []
    for axes, (name, side) in zip(strips, kinds, strict=True):
        images.append(_draw_strip(axes, side, words, theme, top=top))
        name_axes(axes, title=_heading(side, words, name))
        axes.title.set_fontsize(10)
    bar = figure.colorbar(images[0], ax=strips, aspect=14, pad=0.01)
    bar.ax.tick_params(colors=theme.ink)
    bar.outline.set_edgecolor(theme.ink)
    name_axes(bar.ax, y=words("surprisal (nats)"))
    bar.ax.yaxis.label.set_color(theme.ink)
    spread = figure.add_subplot(grid[2])
    _draw_distributions(spread, sides, words, theme, top=top)
    apart = "NaN" if math.isnan(view.separation) else f"{view.separation:.1%}"
    said = "a training token surprises less than a held-out one: {chance} (50% is a coin)"
    name_axes(spread, title=words(said, chance=apart))
    spread.title.set_fontsize(10)
    _write_spans(figure.add_subplot(grid[3]), view, words, theme)
    return figure


def _costs(side: Remembered) -> np.ndarray:
    """Surprisal of every token, not-a-number where there is none."""
    tokens = (token for passage in side.passages for token in passage.tokens)
    return np.asarray(
        [math.nan if token.surprisal is None else token.surprisal for token in tokens]
    )


def _top(costs: np.ndarray) -> float:
    """The end of the scale: a single token must not make all others pale."""
    finite = costs[np.isfinite(costs)]
    return max(1.0, float(np.quantile(finite, 0.99))) if len(finite) else 1.0


def _draw_strip(axes: Any, side: Remembered, words: Words, theme: Theme, *, top: float) -> Any:
    """A cell a token, with a line below what is recited and a stroke where a text ends."""
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    dress(axes, theme, grid=False)
    costs = _costs(side)
    each = math.ceil(len(costs) / CELLS)
    cells = _means(costs, each)
    shades = colormaps[theme.amounts].with_extremes(bad=theme.faint)
    image = axes.imshow(
        cells[None],
        aspect="auto",
        cmap=shades,
        vmin=0.0,
        vmax=top,
        extent=(0, each * len(cells), 0, 1),
        interpolation="nearest",
    )
    lengths = [len(passage.tokens) for passage in side.passages]
    begins = np.cumsum([0, *lengths])
    for span in side.recited:
        begin = int(begins[span.passage]) + span.start
        axes.plot([begin, begin + span.tokens], [-0.16] * 2, color=theme.series[1], lw=3.5)
    for end in begins[1:-1].tolist():
        axes.axvline(end, color=theme.series[2], lw=1.2, linestyle="--")
    axes.set_xlim(0, len(costs))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(-0.32, 1)
    name_ticks(axes.yaxis, [-0.16], [words("recited")])
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    count = "" if each == 1 else f" ({words('{count} tokens a cell', count=each)})"
    name_axes(axes, x=words("token") + count)
    return image


def _means(costs: np.ndarray, each: int) -> np.ndarray:
    """The mean of every `each` numbers, leaving out those that are none."""
    padded = np.append(costs, np.full(-len(costs) % each, math.nan)).reshape(-1, each)
    known = ~np.isnan(padded)
    counts = known.sum(axis=1)
    sums = np.where(known, padded, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(1, counts), math.nan)


def _heading(side: Remembered, words: Words, name: str) -> str:
    return words(
        "{kind}: {nats} nats a token, perplexity {perplexity}",
        kind=words(name),
        nats=_said(side.mean_surprisal, 3),
        perplexity=_said(side.perplexity, 2),
    )


def _draw_distributions(
    axes: Any, sides: dict[str, np.ndarray], words: Words, theme: Theme, *, top: float
) -> None:
    dress(axes, theme)
    edges = np.linspace(0.0, top, 31)
    styles = ((theme.series[0], "-"), (theme.series[1], "--"))
    for (name, costs), (colour, style) in zip(sides.items(), styles, strict=True):
        known = costs[~np.isnan(costs)]
        if not len(known):
            write_in(axes, top / 2, 0.5, "NaN", color=theme.ink, ha="center", fontsize=14)
            continue
        # what lies beyond the scale is counted in its last bin
        counts = np.histogram(np.clip(known, 0.0, top), edges)[0] / len(known)
        axes.stairs(counts, edges, color=colour, linestyle=style, lw=1.8, label=words(name))
        mean = float(known.mean())
        if math.isfinite(mean) and mean <= top:
            label = f"{words('mean')}: {mean:.2f}"
            axes.axvline(mean, color=colour, linestyle=style, lw=1.0, label=label)
    axes.set_xlim(0, top)
    ticks = [tick for tick in axes.get_xticks() if 0 <= tick < 0.95 * top]
    name_ticks(axes.xaxis, [*ticks, top], [*(f"{tick:g}" for tick in ticks), f"≥ {top:.1f}"])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    name_axes(axes, x=words("surprisal (nats)"), y=words("share of tokens"))
    add_legend(axes, theme, loc="upper right")


def _write_spans(axes: Any, view: MemoryView, words: Words, theme: Theme) -> None:
    """The longest recited spans of both kinds."""
    axes.axis("off")
    axes.set_xlim(0, 1)
    axes.set_ylim(2.0 * SPANS + 1.5, -0.8)
    said = {"color": theme.ink, "va": "center"}
    heading = words(
        "recited word for word ({least} tokens or more): {training} of the training text, "
        "{held_out} of the held-out text",
        least=view.least_recited,
        training=f"{view.training.recited_share:.1%}",
        held_out=f"{view.held_out.recited_share:.1%}",
    )
    write_in(axes, 0, -0.3, heading, fontsize=10, **said)
    row = 1
    for name, side in (("training text", view.training), ("held-out text", view.held_out)):
        for span in side.recited[:SPANS]:
            tokens = words("{tokens} tokens", tokens=span.tokens)
            # a Chinese character is as wide as two others
            shown = shortened(one_line(span.text), longest=56 if not span.text.isascii() else 96)
            write_in(axes, 0.01, row, f"{words(name)}, {tokens}: “{shown}”", fontsize=8.5, **said)
            row += 1
        if not side.recited:
            write_in(axes, 0.01, row, f"{words(name)}: {words('none')}", fontsize=8.5, **said)
            row += 1


def _said(number: float, digits: int) -> str:
    return "NaN" if math.isnan(number) else f"{number:,.{digits}f}"
