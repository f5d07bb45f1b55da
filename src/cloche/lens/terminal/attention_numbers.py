"""Heads of attention in the terminal: a table of their numbers, strips where they are many, and
every number of one head's steps.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Num
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from cloche.lens.attention_maps import HeadMaps
from cloche.lens.view import Table
from cloche.lens.wording import Words

WORDS = {
    "layer": "层",
    "head": "头",
    "entropy (nats)": "熵（奈特）",
    "entropy, of the largest": "熵，与最大值之比",
    "weight on the token before": "前一词元的权重",
    "induction": "归纳分数",
    "looks most at": "最常看",
    "one column a head; ▁ is 0, █ is 1": "每列一个头；▁ 为 0，█ 为 1",
    "highest": "最高",
    "layer {layer}, head {head}": "第 {layer} 层，第 {head} 头",
    "1 queries": "1 查询",
    "2 keys": "2 键",
    "3 scores: 1 times 2, times {scale}": "3 分数：1 乘 2，再乘 {scale}",
    "4 masked": "4 掩蔽",
    "5 weights: softmax of each row": "5 权重：逐行 softmax",
    "6 values": "6 值",
    "7 gathered: 5 times 6": "7 汇集：5 乘 6",
    "the first {shown} of {all} tokens, {dims} of {width} dimensions; all are in --json": (
        "只列出 {all} 个词元中的前 {shown} 个、{width} 个维度中的前 {dims} 个：全部见 --json"
    ),
}
BARS = "▁▂▃▄▅▆▇█"
FEW = 24
"""Heads that are listed one a line; more become strips."""
BEST = 3
SHOWN_TOKENS, SHOWN_DIMS = 10, 8
"""Of a head's numbers: more do not fit a line of 80 columns. The first tokens, as they look at no
others."""
ROW_NAME, COLUMN_NAME = 8, 6
"""Columns of the terminal for a token's name."""

Numbers = Mapping[str, Num[np.ndarray, "layer head"]]
"""What a number says of each head, by the phrase for it."""


def list_heads(maps: HeadMaps, numbers: Numbers, words: Words) -> RenderableType:
    """The numbers of each head, a line each, or a strip for each layer where they are many."""
    if maps.entropy.values.size <= FEW:
        return _lines(maps, numbers, words)
    return Group(_strips(maps, numbers, words), _highest(maps, numbers, words))


def list_stages(maps: HeadMaps, words: Words) -> RenderableType:
    """Every step of the head as numbers; of many tokens and of a wide head the first."""
    stages = maps.stages
    assert stages is not None, "there are steps where one head was asked for"
    steps = (
        (words("1 queries"), stages.queries),
        (words("2 keys"), stages.keys),
        (words("3 scores: 1 times 2, times {scale}", scale=f"{stages.scale:.4g}"), stages.scores),
        (words("4 masked"), stages.masked_scores),
        (words("5 weights: softmax of each row"), stages.weights),
        (words("6 values"), stages.values),
        (words("7 gathered: 5 times 6"), stages.gathered),
    )
    parts: list[RenderableType] = [_step(title, table, maps) for title, table in steps]
    tokens, width = max(len(maps.queries), len(maps.keys)), stages.queries.values.shape[1]
    if tokens > SHOWN_TOKENS or width > SHOWN_DIMS:
        note = words(
            "the first {shown} of {all} tokens, {dims} of {width} dimensions; all are in --json",
            shown=min(SHOWN_TOKENS, tokens),
            all=tokens,
            dims=min(SHOWN_DIMS, width),
            width=width,
        )
        parts.append(Text(note, style="dim"))
    return Group(*parts)


def as_text(value: float, form: str = ".3f") -> str:
    """The number as it is written: NaN for what is none, -∞ for what is masked."""
    if np.isnan(value):
        return "NaN"
    return "-∞" if np.isneginf(value) else f"{value:{form}}"


def _lines(maps: HeadMaps, numbers: Numbers, words: Words) -> Grid:
    grid = Grid(box=None, header_style="bold")
    for name in ("layer", "head", "entropy (nats)", *numbers):
        grid.add_column(words(name), justify="right")
    grid.add_column(words("looks most at"))
    for place, number in np.ndindex(maps.entropy.values.shape):
        grid.add_row(
            str(maps.layers[place]),
            str(maps.heads[number]),
            as_text(maps.entropy.values.item(place, number)),
            *(as_text(each.item(place, number)) for each in numbers.values()),
            _favourite(maps, place, number),
        )
    return grid


def _favourite(maps: HeadMaps, place: int, number: int) -> Text:
    """The token that gets most weight, all tokens that look taken together."""
    received = maps.weights.values[place, number].mean(axis=0, dtype=np.float64)
    if np.isnan(received).any():
        return Text("NaN")
    key = int(received.argmax())
    return Text(f"{key}: {maps.keys[key].text} ({received[key]:.0%})")


def _strips(maps: HeadMaps, numbers: Numbers, words: Words) -> RenderableType:
    grid = Grid(box=None, header_style="bold")
    grid.add_column(words("layer"), justify="right")
    for name in numbers:
        grid.add_column(words(name), no_wrap=True)
    for place, layer in enumerate(maps.layers):
        grid.add_row(str(layer), *(_strip(each[place]) for each in numbers.values()))
    return Group(grid, Text(words("one column a head; ▁ is 0, █ is 1"), style="dim"))


def _strip(row: Num[np.ndarray, " head"]) -> str:
    """A bar for each number, from 0 to 1; ? for what is none."""
    last = len(BARS) - 1
    return "".join(
        "?" if np.isnan(value) else BARS[round(last * min(1.0, max(0.0, float(value))))]
        for value in row
    )


def _highest(maps: HeadMaps, numbers: Numbers, words: Words) -> Grid:
    """The heads with the largest of each number."""
    grid = Grid(box=None, show_header=False)
    for name, values in numbers.items():
        known = np.where(np.isnan(values), -np.inf, values)
        order = [divmod(int(each), len(maps.heads)) for each in np.argsort(-known, axis=None)]
        grid.add_row(
            f"{words('highest')}: {words(name)}",
            *(
                f"{words('layer {layer}, head {head}', layer=maps.layers[p], head=maps.heads[h])} "
                f"({as_text(values.item(p, h), '.2f')})"
                for p, h in order[:BEST]
            ),
        )
    return grid


def _step(title: str, table: Table, maps: HeadMaps) -> RenderableType:
    """A step with its tokens before the rows, and above the columns where those are tokens."""
    pieces = {"query": maps.queries, "key": maps.keys}
    rows, columns = table.axes
    row_places = range(table.values.shape[0])[:SHOWN_TOKENS]
    most = SHOWN_TOKENS if columns in pieces else SHOWN_DIMS
    column_places = range(table.values.shape[1])[:most]
    grid = Grid(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("", no_wrap=True)
    for place in column_places:
        named = columns in pieces
        heading = _cut(pieces[columns][place].text, COLUMN_NAME) if named else Text(str(place))
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in row_places:
        shown = (as_text(table.values.item(row, column), ".2f") for column in column_places)
        grid.add_row(_cut(pieces[rows][row].text, ROW_NAME), *shown)
    return Group(Text(title, style="bold"), grid)


def _cut(text: str, columns: int) -> Text:
    """A token in at most so many columns; as it is, not as markup."""
    cut = Text(text)
    cut.truncate(columns, overflow="ellipsis")
    return cut
