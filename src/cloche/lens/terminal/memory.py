"""Memory for the terminal: the numbers side by side, the texts in colours, what is recited."""

import math

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloche.lens.memory import MemoryView, Remembered
from cloche.lens.terminal.tokens import coloured, legend, number
from cloche.lens.wording import Language, Words
from cloche.text.visible import one_line

COLOURED, SPANS, BINS = 200, 5, 8
"""Tokens of each text in colours, spans of each, rows of the distribution."""
BAR = 18

_CHINESE = {
    "training text": "训练文本",
    "held-out text": "留出文本",
    "tokens scored": "计分词元",
    "unknown tokens": "未知词元",
    "mean surprisal (nats)": "平均惊讶度（奈特）",
    "perplexity": "困惑度",
    "likeliest in their place": "恰为最可能",
    "recited, {least} tokens in a row or more": "连续背诵不少于 {least} 个词元",
    "told apart by one token": "凭一个词元区分",
    "(50% is a coin)": "（50% 等于抛硬币）",
    "surprisal (nats)": "惊讶度（奈特）",
    "recited spans of the {kind}": "{kind}中背诵的片段",
    "{tokens} tokens": "{tokens} 个词元",
    "none": "无",
}


def make_rendering(view: MemoryView, lang: Language) -> RenderableType:
    """Numbers, distributions, texts and spans of both kinds."""
    words = Words(_CHINESE, lang)
    kinds = (("training text", view.training), ("held-out text", view.held_out))
    found: list[RenderableType] = [_numbers(view, words), _distributions(view, words)]
    for name, side in kinds:
        tokens = [token for passage in side.passages for token in passage.tokens]
        found += [
            Text(words(name), style="bold"),
            coloured(tokens, lang, most=COLOURED),
            "",
            *_spans(side, words, words(name)),
            "",
        ]
    return Group(*found, legend(lang))


def _numbers(view: MemoryView, words: Words) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column("")
    for name in ("training text", "held-out text"):
        table.add_column(words(name), justify="right")
    sides = (view.training, view.held_out)
    recited = words("recited, {least} tokens in a row or more", least=view.least_recited)
    rows = (
        (words("tokens scored"), [f"{side.scored:,}" for side in sides]),
        (words("mean surprisal (nats)"), [number(side.mean_surprisal, digits=4) for side in sides]),
        (words("perplexity"), [f"{side.perplexity:,.2f}" for side in sides]),
        (words("likeliest in their place"), [f"{side.likeliest:.1%}" for side in sides]),
        (recited, [f"{side.recited_share:.1%}" for side in sides]),
    )
    for name, cells in rows:
        table.add_row(name, *cells)
    if any(side.unknown for side in sides):
        table.add_row(words("unknown tokens"), *(f"{side.unknown:,}" for side in sides))
    apart = "NaN" if math.isnan(view.separation) else f"{view.separation:.1%}"
    table.add_row(words("told apart by one token"), apart, words("(50% is a coin)"))
    return table


def _distributions(view: MemoryView, words: Words) -> Table:
    """How the tokens' surprisals are spread, as bars."""
    table = Table(box=box.SIMPLE)
    table.add_column(words("surprisal (nats)"), justify="right")
    sides = [surprisals(side) for side in (view.training, view.held_out)]
    finite = np.concatenate(sides)
    finite = finite[np.isfinite(finite)]
    top = float(finite.max(initial=1.0)) or 1.0
    edges = np.linspace(0.0, top, BINS + 1)
    shares = [np.histogram(side, edges)[0] / max(1, len(side)) for side in sides]
    for name in ("training text", "held-out text"):
        table.add_column(words(name), no_wrap=True)
    longest = max(float(each.max()) for each in shares) or 1.0
    for row in range(BINS):
        bars = [f"{each[row]:>6.1%} {'█' * round(BAR * each[row] / longest)}" for each in shares]
        table.add_row(f"{edges[row]:.1f}–{edges[row + 1]:.1f}", *bars)
    return table


def surprisals(side: Remembered) -> np.ndarray:
    """Of all tokens that were predicted, in nats."""
    tokens = (token for passage in side.passages for token in passage.tokens)
    return np.asarray([token.surprisal for token in tokens if token.surprisal is not None])


def _spans(side: Remembered, words: Words, kind: str) -> list[RenderableType]:
    found: list[RenderableType] = [words("recited spans of the {kind}", kind=kind)]
    for span in side.recited[:SPANS]:
        tokens = words("{tokens} tokens", tokens=span.tokens)
        found.append(Text(f"  {tokens}: {one_line(span.text)}"))
    return found if side.recited else [*found, f"  {words('none')}"]
