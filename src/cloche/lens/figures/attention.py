"""Pictures of attention: all heads at a glance, those of a layer with their tokens, one in full."""

import math
from typing import Any

import numpy as np

from cloche.lens.attention import AttentionView
from cloche.lens.figures.attention_panels import (
    as_text,
    attention_words,
    broken_note,
    draw_map,
    draw_numbers,
    draw_sheet,
    dress_bar,
    sheet_sides,
    weight_bar,
)
from cloche.lens.figures.attention_stages import INCHES, draw_stages
from cloche.lens.figures.attention_stages import WORDS as STAGE_WORDS
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import Theme, name_axes, new_figure, write_in

WORDS = {
    **STAGE_WORDS,
    "{head} · entropy {entropy} · before {before} · induction {induction}": (
        "{head} · 熵 {entropy} · 前一词元 {before} · 归纳 {induction}"
    ),
    "entropy {value} nats": "熵 {value} 奈特",
    "{share} of looking everywhere alike": "均匀分布之熵的 {share}",
    "weight on the token before {value}": "前一词元的权重 {value}",
    "induction score {value}": "归纳分数 {value}",
    "scale {value}": "缩放系数 {value}",
    "keys and values of group {group}": "第 {group} 组的键和值",
}


def make_figure(view: AttentionView, lang: Language, theme: Theme) -> Any:
    """The heads that the view holds."""
    words = attention_words(lang, WORDS)
    if view.maps.stages is not None:
        return _one_head(view, theme, words)
    return (
        _all_heads(view, theme, words) if len(view.maps.layers) > 1 else _layer(view, theme, words)
    )


def _all_heads(view: AttentionView, theme: Theme, words: Words) -> Any:
    """All maps on a sheet, and below it what their numbers say."""
    columns, rows = sheet_sides(view.maps)
    cell = min(1.9, max(0.42, 12 / columns))
    sheet, below = rows * cell + 0.8, max(1.6, rows * 0.22 + 0.9)
    figure = new_figure(
        theme,
        width=max(8.0, columns * cell + 1.8),
        height=sheet + below + 0.5,
        title=_title(view, words("attention: who looks (down) at whom (across)"), words),
    )
    places = figure.add_gridspec(2, 3, height_ratios=(sheet, below))
    draw_sheet(figure, figure.add_subplot(places[0, :]), view.maps, theme=theme, words=words)
    panels, image = [figure.add_subplot(places[1, number]) for number in range(3)], None
    for axes, (title, numbers) in zip(panels, _numbers(view), strict=True):
        image = draw_numbers(axes, view.maps, numbers, theme=theme, words=words)
        name_axes(axes, title=words(title))
        axes.title.set_fontsize(9)
    dress_bar(figure.colorbar(image, ax=panels, fraction=0.02, pad=0.02, aspect=12), theme)
    return figure


def _layer(view: AttentionView, theme: Theme, words: Words) -> Any:
    """The heads of one layer, each map with its tokens and its numbers."""
    heads = view.maps.heads
    columns = math.ceil(math.sqrt(len(heads)))
    rows = math.ceil(len(heads) / columns)
    side = min(5.0, max(2.4, 14 / columns))
    title = words("layer {layer}", layer=view.maps.layers[0])
    figure = new_figure(
        theme,
        width=max(7.0, columns * side + 1),
        height=rows * (side + 0.3) + 0.6,
        title=_title(view, title, words),
    )
    grid, image = figure.subplots(rows, columns, squeeze=False), None
    for number, axes in enumerate(grid.flat):
        if number >= len(heads):
            axes.set_visible(False)
            continue
        image = draw_map(axes, view.maps, (0, number), theme=theme, inches=side * 0.7)
        entropy, before, induction = (as_text(each[0, number]) for _, each in _numbers(view))
        said = words(
            "{head} · entropy {entropy} · before {before} · induction {induction}",
            head=words("head {head}", head=heads[number]),
            entropy=entropy,
            before=before,
            induction=induction,
        )
        name_axes(axes, title=said)
        axes.title.set_fontsize(min(9, side * 2.6))
    weight_bar(figure, image, grid, theme=theme, words=words)
    return figure


def _one_head(view: AttentionView, theme: Theme, words: Words) -> Any:
    """The steps of a head, and its numbers in the last place."""
    stages = view.maps.stages
    assert stages is not None, "asked for where there are steps"
    title = words("layer {layer}, head {head}", layer=stages.layer, head=stages.head)
    figure = new_figure(
        theme, width=4 * (INCHES + 1.3), height=2 * (INCHES + 1.3), title=_title(view, title, words)
    )
    *panels, last = figure.subplots(2, 4).flat
    draw_stages(figure, panels, view.maps, theme=theme, words=words)
    last.set_axis_off()
    entropy, before, induction = (float(numbers[0, 0]) for _, numbers in _numbers(view))
    said = (
        words("scale {value}", value=f"{stages.scale:.4g}"),
        words("keys and values of group {group}", group=stages.kv_head),
        words("entropy {value} nats", value=as_text(view.maps.entropy.values[0, 0], ".3f")),
        words("{share} of looking everywhere alike", share=as_text(entropy, ".0%")),
        words("weight on the token before {value}", value=as_text(before, ".3f")),
        words("induction score {value}", value=as_text(induction, ".3f")),
    )
    for number, line in enumerate(said):
        write_in(last, 0.0, 0.85 - 0.12 * number, line, color=theme.ink, fontsize=9)
    return figure


def _numbers(view: AttentionView) -> tuple[tuple[str, np.ndarray], ...]:
    """What a number between 0 and 1 says of each head."""
    before = view.maps.previous_token
    assert before is not None, "within one text there is a token before"
    return (
        ("entropy, of the largest", view.maps.relative_entropy.values),
        ("weight on the token before", before.values),
        ("induction", view.induction.score.values),
    )


def _title(view: AttentionView, what: str, words: Words) -> str:
    return f"{view.provenance.run} · {what}{broken_note([view.maps], words)}"
