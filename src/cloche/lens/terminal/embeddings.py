"""Embeddings for the terminal: what the table is, the neighbours of tokens, the extremes."""

from collections.abc import Iterator

import numpy as np
from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloche.lens.embeddings import EmbeddingsView, Neighbourhood
from cloche.lens.wording import Language, Words

NAMED = 8
"""Tokens of each extreme."""

_CHINESE = {
    "{tokens:,} tokens, a vector of {width:,} numbers each": (
        "{tokens:,} 个词元，每个是 {width:,} 维向量"
    ),
    "{tokens:,} tokens, a row of {width:,} logits each: those of the token after it": (
        "{tokens:,} 个词元，每个是一行 {width:,} 个 logit：下一个词元的 logit"
    ),
    "the output head is the same table": "输出头就是同一张表",
    "the output head is a table of its own": "输出头是另一张表",
    "{rows:,} more rows that no token uses": "另有 {rows:,} 行没有词元使用",
    "{count:,} vectors hold numbers that are none (NaN, infinite)": (
        "{count:,} 个向量含有不是数的值（NaN 或无穷大）"
    ),
    "variance along the two principal components: {first} and {second}": (
        "两个主成分解释的方差：{first} 和 {second}"
    ),
    "norms: {least:.3f} to {most:.3f}, mean {mean:.3f}": (
        "范数：{least:.3f} 至 {most:.3f}，平均 {mean:.3f}"
    ),
    "shortest": "最短",
    "longest": "最长",
    "token": "词元",
    "id": "编号",
    "norm": "范数",
    "cosine": "余弦",
    "{token} · norm {norm}": "{token} · 范数 {norm}",
    "no direction": "没有方向",
}


def make_rendering(view: EmbeddingsView, lang: Language) -> RenderableType:
    """The table in sentences, then the neighbours of each token that was asked for."""
    words = Words(_CHINESE, lang)
    neighbours = [_neighbours(each, words) for each in view.asked]
    extremes = [*_extremes(view, words)]
    return Group(*map(Text, _said(view, words)), Columns(neighbours or extremes))


def _said(view: EmbeddingsView, words: Words) -> Iterator[str]:
    logits = "{tokens:,} tokens, a row of {width:,} logits each: those of the token after it"
    vectors = "{tokens:,} tokens, a vector of {width:,} numbers each"
    kind = logits if view.family == "bigram" else vectors
    yield words(kind, tokens=len(view.tokens), width=view.width)
    if view.family != "bigram":
        tied = "the output head is the same table"
        yield words(tied if view.tied else "the output head is a table of its own")
    if view.unused_rows:
        yield words("{rows:,} more rows that no token uses", rows=view.unused_rows)
    if view.broken:
        said = "{count:,} vectors hold numbers that are none (NaN, infinite)"
        yield words(said, count=view.broken)
    known = view.norms.values[np.isfinite(view.norms.values)]
    if len(known):
        yield words(
            "norms: {least:.3f} to {most:.3f}, mean {mean:.3f}",
            least=known.min(),
            most=known.max(),
            mean=known.mean(),
        )
    first, second = (f"{each:.1%}" if each == each else "NaN" for each in view.explained)
    said = "variance along the two principal components: {first} and {second}"
    yield words(said, first=first, second=second)


def _neighbours(found: Neighbourhood, words: Words) -> Table:
    norm = f"{found.norm:.3f}" if found.norm == found.norm else "NaN"
    title = words("{token} · norm {norm}", token=found.piece.text, norm=norm)
    table = Table(box=box.SIMPLE, title=Text(title, style="bold"), title_justify="left")
    table.add_column(words("token"), overflow="fold")
    table.add_column(words("id"), justify="right")
    table.add_column(words("cosine"), justify="right")
    for each in found.neighbours:
        table.add_row(Text(each.piece.text), str(each.piece.id), f"{each.cosine:.4f}")
    if not found.neighbours:
        table.add_row(words("no direction"), "", "NaN")
    return table


def _extremes(view: EmbeddingsView, words: Words) -> Iterator[Table]:
    """The tokens of the shortest and of the longest vectors."""
    order = np.argsort(view.norms.values, kind="stable")
    order = order[np.isfinite(view.norms.values[order])]
    for name, ids in (("shortest", order[:NAMED]), ("longest", order[::-1][:NAMED])):
        table = Table(box=box.SIMPLE, title=words(name), title_justify="left")
        table.add_column(words("token"), overflow="fold")
        table.add_column(words("id"), justify="right")
        table.add_column(words("norm"), justify="right")
        for each in ids.tolist():
            norm = f"{view.norms.values[each]:.3f}"
            table.add_row(Text(view.tokens[each]), str(each), norm)
        yield table
