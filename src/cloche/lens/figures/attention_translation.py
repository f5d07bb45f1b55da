"""Pictures of a translation's attention: the source's, the target's, and the target's of the
source; each kind is drawn as that of a single text is.
"""

import math
from typing import Any

from cloche.lens.attention_maps import HeadMaps
from cloche.lens.attention_translation import TranslationAttentionView
from cloche.lens.figures.attention_panels import (
    attention_words,
    broken_note,
    draw_map,
    draw_sheet,
    sheet_sides,
    weight_bar,
)
from cloche.lens.figures.attention_stages import INCHES, draw_stages
from cloche.lens.figures.attention_stages import WORDS as STAGE_WORDS
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import Theme, drawable, name_axes, new_figure

WORDS = {
    **STAGE_WORDS,
    "encoder: the source looks at itself": "编码器：源文看源文",
    "decoder: the target looks at what came before": "解码器：译文看前文",
    "cross: the target looks at the source": "交叉：译文看源文",
}
TITLES = {
    "encoder": "encoder: the source looks at itself",
    "decoder": "decoder: the target looks at what came before",
    "cross": "cross: the target looks at the source",
}
ACROSS = 4
"""Maps of one layer that stand side by side."""
SIDE = 3.2
"""Inches of a map whose tokens are named."""


def make_figure(view: TranslationAttentionView, lang: Language, theme: Theme) -> Any:
    """The kinds of attention that the view holds, each below the one before."""
    words = attention_words(lang, WORDS)
    heights = [_height(maps) for maps in view.kinds.values()]
    figure = new_figure(
        theme,
        width=max(_width(maps) for maps in view.kinds.values()),
        height=sum(heights) + 0.6,
        title=_title(view, words),
    )
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (kind, maps) in zip(parts, view.kinds.items(), strict=True):
        part.set_facecolor(theme.paper)
        title = words(TITLES[kind])
        if len(maps.layers) == 1:
            title += " · " + words("layer {layer}", layer=maps.layers[0])
        if maps.stages is not None:
            title += " · " + words("head {head}", head=maps.stages.head)
        shown, fonts = drawable(title)
        part.suptitle(shown, color=theme.ink, fontfamily=fonts, fontsize=10, parse_math=False)
        _draw(part, maps, theme=theme, words=words)
    return figure


def _title(view: TranslationAttentionView, words: Words) -> str:
    said = words("attention: who looks (down) at whom (across)")
    return f"{view.provenance.run} · {said}{broken_note(list(view.kinds.values()), words)}"


def _draw(part: Any, maps: HeadMaps, *, theme: Theme, words: Words) -> None:
    if maps.stages is not None:
        *panels, last = part.subplots(2, 4).flat
        last.set_axis_off()
        draw_stages(part, panels, maps, theme=theme, words=words)
    elif len(maps.layers) > 1:
        draw_sheet(part, part.subplots(), maps, theme=theme, words=words)
    else:
        rows, columns = _grid(maps)
        grid, image = part.subplots(rows, columns, squeeze=False), None
        for axes in grid.flat[len(maps.heads) :]:
            axes.set_visible(False)
        for number, axes in enumerate(grid.flat[: len(maps.heads)]):
            image = draw_map(axes, maps, (0, number), theme=theme, inches=SIDE * 0.7)
            name_axes(axes, title=words("head {head}", head=maps.heads[number]))
            axes.title.set_fontsize(9)
        weight_bar(part, image, grid, theme=theme, words=words)


def _height(maps: HeadMaps) -> float:
    """Inches for one kind."""
    if maps.stages is not None:
        return 2 * (INCHES + 1.3)
    if len(maps.layers) > 1:
        return sheet_sides(maps)[1] * _cell(maps) + 1.0
    return _grid(maps)[0] * SIDE + 0.8


def _width(maps: HeadMaps) -> float:
    if maps.stages is not None:
        return 4 * (INCHES + 1.3)
    if len(maps.layers) > 1:
        return max(7.0, sheet_sides(maps)[0] * _cell(maps) + 1.8)
    return max(7.0, _grid(maps)[1] * SIDE + 1.8)


def _grid(maps: HeadMaps) -> tuple[int, int]:
    """Rows and columns of the maps of one layer."""
    columns = min(ACROSS, len(maps.heads))
    return math.ceil(len(maps.heads) / columns), columns


def _cell(maps: HeadMaps) -> float:
    return min(1.5, max(0.42, 12 / sheet_sides(maps)[0]))
