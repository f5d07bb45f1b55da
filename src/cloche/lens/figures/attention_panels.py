"""The panels that pictures of attention are made of: many maps on one sheet, one map with its
tokens, and tables of what a number tells of each head.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Num
from rich.cells import cell_len
from rich.text import Text

from cloche.lens.attention_maps import HeadMaps
from cloche.lens.view import Piece
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import Theme, dress, name_axes, name_ticks, write_in

WORDS = {
    "attention: who looks (down) at whom (across)": "注意力：纵向是查询的词元，横向是被看的词元",
    "layer": "层",
    "head": "头",
    "layer {layer}": "第 {layer} 层",
    "layer {layer}, head {head}": "第 {layer} 层，第 {head} 头",
    "head {head}": "第 {head} 头",
    "weight": "权重",
    "entropy, of the largest": "熵，与最大值之比",
    "weight on the token before": "前一词元的权重",
    "induction": "归纳分数",
    "grey: not a number": "灰色：不是数",
}
MOST_NAMED = 40
"""Tokens that are written along an axis; of more, the positions are."""
LONGEST_NAME = 12
"""Columns of a token's name, of which a Chinese character takes two."""
FEW = 12
"""Rows and columns of a table whose numbers are written into it."""
MARGIN = 0.05
"""Of a map on a sheet, around it, where one map's side is 1."""


def attention_words(lang: Language, more: dict[str, str] | None = None) -> Words:
    """The words on pictures of attention."""
    return Words({**WORDS, **(more or {})}, lang)


def broken_note(maps: Sequence[HeadMaps], words: Words) -> str:
    """What the grey is, where there are weights that are no numbers; else nothing."""
    broken = any(np.isnan(each.weights.values).any() for each in maps)
    return f" · {words('grey: not a number')}" if broken else ""


def draw_sheet(figure: Any, axes: Any, maps: HeadMaps, *, theme: Theme, words: Words) -> None:
    """All maps on one sheet, a row for each layer; a column where there are many layers."""
    columns, rows = sheet_sides(maps)
    norm, colours = weight_colours(theme)
    image = None
    for (place, number), _ in np.ndenumerate(maps.entropy.values):
        x, y = (place, number) if lies(maps) else (number, place)
        image = axes.imshow(
            maps.weights.values[place, number],
            extent=(x + MARGIN, x + 1 - MARGIN, y + 1 - MARGIN, y + MARGIN),
            norm=norm,
            cmap=colours,
        )
    dress(axes, theme, grid=False)
    axes.spines[:].set_visible(False)
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
    _name_heads(axes, maps, words=words, offset=0.5)
    weight_bar(figure, image, axes, theme=theme, words=words)


def draw_numbers(
    axes: Any, maps: HeadMaps, numbers: Num[np.ndarray, "layer head"], *, theme: Theme, words: Words
) -> Any:
    """A number of each head, from 0 to 1, as a table of colours laid out as the sheet is."""
    values = numbers.T if lies(maps) else numbers
    colours = amounts(theme)
    image = axes.imshow(values, vmin=0.0, vmax=1.0, cmap=colours, aspect="auto")
    dress(axes, theme, grid=False)
    _name_heads(axes, maps, words=words, offset=0.0)
    if max(values.shape) <= FEW:
        for (row, column), value in np.ndenumerate(values):
            colour = readable_on(image.to_rgba(value))
            at = {"ha": "center", "va": "center", "fontsize": 7}
            write_in(axes, column, row, as_text(value), color=colour, **at)
    return image


def draw_map(axes: Any, maps: HeadMaps, place: tuple[int, int], **given: Any) -> Any:
    """The map of one head with its tokens, in axes of `inches` a side, by a `theme`; its image."""
    norm, colours = weight_colours(given["theme"])
    image = axes.imshow(maps.weights.values[place], norm=norm, cmap=colours, aspect="auto")
    dress(axes, given["theme"], grid=False)
    name_tokens(axes.yaxis, maps.queries, inches=given["inches"])
    name_tokens(axes.xaxis, maps.keys, inches=given["inches"])
    return image


def as_text(value: float, form: str = ".2f") -> str:
    """The number as it is written, NaN for what is none."""
    return "NaN" if math.isnan(value) else f"{value:{form}}"


def name_tokens(axis: Any, pieces: Sequence[Piece], *, inches: float) -> None:
    """The tokens along an axis of that length where they can be read; else their positions."""
    size = min(8.0, 72 * inches / max(1, len(pieces)))
    if len(pieces) > MOST_NAMED or size < 3.5:
        axis.set_tick_params(labelsize=7)
        axis.get_major_locator().set_params(integer=True)
        return
    names = [shortened(each.text) for each in pieces]
    upright = axis.axis_name == "y" or max(map(cell_len, names)) <= 2
    name_ticks(axis, range(len(pieces)), names, angle=0 if upright else 90)
    axis.set_tick_params(labelsize=size, length=0)


def shortened(text: str, cells: int = LONGEST_NAME) -> str:
    """The text in at most so many columns, the cut told by an ellipsis."""
    cut = Text(text)
    cut.truncate(cells, overflow="ellipsis")
    return cut.plain


def weight_bar(figure: Any, image: Any, axes: Any, *, theme: Theme, words: Words) -> None:
    """The scale of the weights, beside one or more axes, which stay in the middle."""
    look = {"fraction": 0.03, "pad": 0.02, "aspect": 30, "panchor": False}
    bar = figure.colorbar(image, ax=axes, **look)
    name_axes(bar.ax, y=words("weight"))
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1], labels=["0", "0.01", "0.05", "0.2", "0.5", "1"])
    dress_bar(bar, theme)


def dress_bar(bar: Any, theme: Theme) -> None:
    """A scale in the theme's colours."""
    bar.ax.tick_params(colors=theme.ink, labelsize=7)
    bar.ax.yaxis.label.set_color(theme.ink)
    bar.outline.set_edgecolor(theme.faint)


def weight_colours(theme: Theme) -> tuple[Any, Any]:
    """The norm and the colours of weights: by their square roots, as most weights are small."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0.0, vmax=1.0), amounts(theme)


def amounts(theme: Theme) -> Any:
    """The theme's colours for numbers from nothing to much, grey for what is no number."""
    from matplotlib import colormaps

    return colormaps[theme.amounts].with_extremes(bad=theme.series[-1])


def readable_on(colour: Sequence[float]) -> str:
    """Dark or light ink, whichever stands out from the colour (its luminance in Rec. 709)."""
    red, green, blue = colour[:3]
    return "#101010" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "#ffffff"


def lies(maps: HeadMaps) -> bool:
    """Whether layers stand side by side: so, many of them fit a page better."""
    return len(maps.layers) > 1.5 * len(maps.heads)


def sheet_sides(maps: HeadMaps) -> tuple[int, int]:
    """Maps on a sheet from left to right, and from top to bottom."""
    layers, heads = len(maps.layers), len(maps.heads)
    return (layers, heads) if lies(maps) else (heads, layers)


def _name_heads(axes: Any, maps: HeadMaps, *, words: Words, offset: float) -> None:
    """The numbers of layers and heads along a sheet or table, and which is which."""
    x, y = (maps.layers, maps.heads) if lies(maps) else (maps.heads, maps.layers)
    names = (words("layer"), words("head")) if lies(maps) else (words("head"), words("layer"))
    for axis, numbers in ((axes.xaxis, x), (axes.yaxis, y)):
        step = 1 if offset or len(numbers) <= FEW else 5
        places = range(0, len(numbers), step)
        name_ticks(axis, [place + offset for place in places], [str(numbers[p]) for p in places])
        axis.set_tick_params(labelsize=7, length=0)
    name_axes(axes, x=names[0], y=names[1])
