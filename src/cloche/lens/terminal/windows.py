"""Windows for the terminal: the lessons of the first one, and where the others lie."""

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloche.lens.terminal.tokens import number
from cloche.lens.view import Piece
from cloche.lens.windows import WindowsView
from cloche.lens.wording import Language, Words

LESSONS, CONTEXT_TOKENS = 64, 12
"""Of the first window, how many are listed, and how many tokens of each context."""

_CHINESE = {
    "tokens of text: {text:,}; windows of {context:,} that fit: {fitting:,}, stride {stride:,}": (
        "文本共 {text:,} 个词元；可放 {fitting:,} 个长度为 {context:,} 的窗口，步长 {stride:,}"
    ),
    "the first window": "第一个窗口",
    "the windows that are kept": "所列窗口",
    "the first {shown:,} of {all:,}": "前 {shown:,} 项（共 {all:,} 项）",
    "context": "上下文",
    "next": "下一个",
    "probability": "概率",
    "the model's likeliest": "模型认为最可能",
    "place": "位置",
    "tokens": "词元",
    "mean nats": "平均奈特",
}


def make_rendering(view: WindowsView, lang: Language) -> RenderableType:
    """The first window lesson by lesson; the others a line each."""
    words = Words(_CHINESE, lang)
    found: list[RenderableType] = [
        words(
            "tokens of text: {text:,}; windows of {context:,} that fit: {fitting:,}, "
            "stride {stride:,}",
            text=view.text_tokens,
            fitting=view.fitting,
            context=view.context,
            stride=view.stride,
        ),
        _lessons(view, words),
    ]
    if view.context > LESSONS:
        found.append(words("the first {shown:,} of {all:,}", shown=LESSONS, all=view.context))
    if len(view.windows) > 1:
        found.append(_windows(view, words))
    return Group(*found)


def _lessons(view: WindowsView, words: Words) -> Table:
    table = Table(box=box.SIMPLE, title=words("the first window"), title_justify="left")
    table.add_column(words("context"), justify="right", overflow="fold")
    table.add_column(words("next"), overflow="fold")
    table.add_column(words("probability"), justify="right")
    table.add_column(words("the model's likeliest"), overflow="fold")
    window = view.windows[0]
    true = view.probabilities.values[0].tolist()
    highest = view.likeliest_probabilities.values[0].tolist()
    for place in range(min(view.context, LESSONS)):
        likeliest = view.likeliest[0][place]
        guess = "NaN" if likeliest is None else f"{likeliest.text} {_probability(highest[place])}"
        table.add_row(
            Text(_written(window[: place + 1])),
            Text(window[place + 1].text, style="bold"),
            _probability(true[place]),
            Text(guess),
        )
    return table


def _windows(view: WindowsView, words: Words) -> Table:
    table = Table(box=box.SIMPLE, title=words("the windows that are kept"), title_justify="left")
    table.add_column(words("place"), justify="right")
    table.add_column(words("tokens"), overflow="fold")
    table.add_column(words("next"), overflow="fold")
    table.add_column(words("mean nats"), justify="right")
    with np.errstate(divide="ignore"):  # what was impossible costs infinitely much
        nats = -np.log(view.probabilities.values).mean(axis=1)
    for start, window, mean in zip(view.starts, view.windows, nats.tolist(), strict=True):
        table.add_row(
            f"{start:,}–{start + view.context:,}",
            Text(_written(window[:-1])),
            Text(window[-1].text, style="bold"),
            number(mean),
        )
    return table


def _written(pieces: Sequence[Piece]) -> str:
    """The last tokens, a blank between them."""
    shown = " ".join(piece.text for piece in pieces[-CONTEXT_TOKENS:])
    return f"… {shown}" if len(pieces) > CONTEXT_TOKENS else shown


def _probability(value: float) -> str:
    return f"{value:.1e}" if 0.0 < value < 0.001 else number(value, digits=4)
