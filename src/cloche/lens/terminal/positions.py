"""Positions for the terminal: what they are, and their numbers at some of the places."""

from collections.abc import Iterator

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloche.lens.positions import AddedVectors, PositionsView, Rotation
from cloche.lens.wording import Language, Words
from cloche.model.rope import RopeScaling

LISTED = 16
"""Rows of a table, spread over all there are."""

CHINESE = {
    "learned": "学习得到",
    "sinusoidal": "正弦",
    "rotary": "旋转",
    "{kind} positions: {length:,} of {context:,} places": (
        "{kind}位置编码：共 {context:,} 个位置，此处为前 {length:,} 个"
    ),
    "base {theta:g}": "基数 {theta:g}",
    "no scaling": "没有缩放",
    "scaling {kind}, factor {factor:g}": "缩放方式 {kind}，倍数 {factor:g}",
    "from a context of {context:,}": "原上下文 {context:,}",
    "cosines and sines times {sharpening:.4g}": "余弦与正弦乘以 {sharpening:.4g}",
    "pair": "维度对",
    "radians a place": "每位置弧度",
    "places for a turn": "转一圈的位置数",
    "without scaling": "无缩放时",
    "distance": "距离",
    "score of a vector with itself": "向量与自身的分数",
    "place": "位置",
    "norm": "范数",
    "cosine to the next": "与下一位置的余弦",
    "cosine to place 0": "与位置 0 的余弦",
}


def make_rendering(view: PositionsView, lang: Language) -> RenderableType:
    """What kind they are, and tables over some of the places, distances or pairs."""
    words = Words(CHINESE, lang)
    head = Text(
        words(
            "{kind} positions: {length:,} of {context:,} places",
            kind=words(view.kind),
            length=view.length,
            context=view.context,
        )
    )
    if view.rotation is not None:
        said = Text(" · ".join(said_of(view.rotation, words)))
        return Group(head, said, *_rotation(view.rotation, words))
    assert view.added is not None, "what is not turned is added"
    return Group(head, _added(view.added, words))


def said_of(rotation: Rotation, words: Words) -> tuple[str, ...]:
    """Base and scaling, in a few words each."""
    base = words("base {theta:g}", theta=rotation.theta)
    scaling = rotation.scaling
    if scaling is None:
        return base, words("no scaling")
    said = [
        base,
        words("scaling {kind}, factor {factor:g}", kind=scaling.kind, factor=scaling.factor),
    ]
    if counts_context(scaling):
        said.append(words("from a context of {context:,}", context=scaling.original_context))
    if rotation.sharpening != 1.0:
        phrase = "cosines and sines times {sharpening:.4g}"
        said.append(words(phrase, sharpening=rotation.sharpening))
    return (*said,)


def counts_context(scaling: RopeScaling) -> bool:
    """Whether the context that was trained on has a part in the scaling."""
    return scaling.kind != "linear"


def _rotation(rotation: Rotation, words: Words) -> Iterator[Table]:
    pairs = Table(box=box.SIMPLE)
    names = ["pair", "radians a place", "places for a turn"]
    scaled = rotation.scaling is not None
    for name in [*names, "without scaling"] if scaled else names:
        pairs.add_column(words(name), justify="right")
    frequencies, unscaled = rotation.frequencies.values, rotation.unscaled.values
    for pair in spread(len(frequencies)):
        cells = [str(pair), f"{frequencies[pair]:.4g}", _turn(frequencies[pair])]
        pairs.add_row(*cells, *([_turn(unscaled[pair])] if scaled else []))
    yield pairs
    scores = Table(box=box.SIMPLE)
    for name in ("distance", "score of a vector with itself"):
        scores.add_column(words(name), justify="right")
    for distance in spread(len(rotation.scores.values)):
        scores.add_row(str(distance), f"{rotation.scores.values[distance]:.4f}")
    yield scores


def _turn(frequency: float) -> str:
    return f"{2 * np.pi / frequency:,.1f}"


def _added(added: AddedVectors, words: Words) -> Table:
    table = Table(box=box.SIMPLE)
    for name in ("place", "norm", "cosine to the next", "cosine to place 0"):
        table.add_column(words(name), justify="right")
    cosines = added.cosines.values
    for place in spread(len(cosines)):
        following = f"{cosines[place, place + 1]:.4f}" if place + 1 < len(cosines) else "–"
        norm = f"{added.norms.values[place]:.4f}"
        table.add_row(str(place), norm, following, f"{cosines[place, 0]:.4f}")
    return table


def spread(count: int) -> list[int]:
    """Up to `LISTED` numbers below `count`, evenly spread, the first and last among them."""
    return sorted({round(each) for each in np.linspace(0, count - 1, min(LISTED, count))})
