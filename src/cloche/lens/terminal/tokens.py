"""Tokens for the terminal: the text in colours, and each token's numbers."""

import math
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from cloche.evaluation.surprisal_page import LEVELS, level_of
from cloche.lens.tokens import SeenToken, TokensView
from cloche.lens.wording import Language, Words

COLOURED, LISTED = 1_000, 100
"""Tokens that are shown in colours, and with their numbers."""

_CHINESE = {
    "tokens: {tokens:,}, characters: {characters:,}, bytes of UTF-8: {bytes:,}": (
        "{tokens:,} 个词元，{characters:,} 个字符，UTF-8 编码 {bytes:,} 字节"
    ),
    "mean surprisal {mean} nats a token (a blind guess: {blind:.2f})": (
        "平均惊讶度：每词元 {mean} 奈特（盲猜：{blind:.2f}）"
    ),
    "longer than the context of {context:,}: read in windows, {stride:,} tokens apart": (
        "超出上下文长度 {context:,}：按窗口读取，步长 {stride:,} 个词元"
    ),
    "surprisal (nats):": "惊讶度（奈特）：",
    "not predicted": "未预测",
    "the first {shown:,} of {all:,} tokens": "前 {shown:,} 个词元（共 {all:,} 个）",
    "place": "序号",
    "token": "词元",
    "id": "编号",
    "bytes": "字节",
    "characters": "字符",
    "nats": "奈特",
    "rank": "排名",
}


def make_rendering(view: TokensView, lang: Language) -> RenderableType:
    """The text in colours, their meaning, and a table of the first tokens."""
    words = Words(_CHINESE, lang)
    blind = math.log(view.vocab_size)
    lines: list[RenderableType] = [
        words(
            "tokens: {tokens:,}, characters: {characters:,}, bytes of UTF-8: {bytes:,}",
            tokens=len(view.tokens),
            characters=view.characters,
            bytes=view.utf8_bytes,
        ),
        words(
            "mean surprisal {mean} nats a token (a blind guess: {blind:.2f})",
            mean=number(view.mean_surprisal),
            blind=blind,
        ),
    ]
    if len(view.tokens) > view.context:
        lines.append(
            words(
                "longer than the context of {context:,}: read in windows, {stride:,} tokens apart",
                context=view.context,
                stride=view.stride,
            )
        )
    lines += ["", coloured(view.tokens, lang), "", legend(lang), _table(view.tokens, words)]
    if len(view.tokens) > LISTED:
        lines.append(_first(LISTED, len(view.tokens), words))
    return Group(*lines)


def coloured(tokens: Sequence[SeenToken], lang: Language, *, most: int = COLOURED) -> Text:
    """The first tokens, each on the colour of its surprisal, a blank between them."""
    text = Text()
    for token in tokens[:most]:
        text.append(token.text, style=_style(token.surprisal))
        text.append("\n" if token.text.endswith("⏎") else " ")
    text.rstrip()
    if len(tokens) > most:
        text.append("\n" + _first(most, len(tokens), Words(_CHINESE, lang)))
    return text


def legend(lang: Language) -> Text:
    """What the colours mean."""
    words = Words(_CHINESE, lang)
    text = Text(words("surprisal (nats):") + " ")
    below = 0.0
    for most, background, ink in LEVELS:
        nats = most * math.log(2)
        said = f" {below:.1f}–{nats:.1f} " if math.isfinite(nats) else f" > {below:.1f} "
        text.append(said, style=Style(color=ink, bgcolor=background))
        below = nats
    text.append(" ")
    text.append(words("not predicted"), style=_style(None))
    return text


def number(value: float | None, *, digits: int = 2) -> str:
    """A number as it is written in tables; a dash for none."""
    return "–" if value is None else ("NaN" if math.isnan(value) else f"{value:.{digits}f}")


def _style(nats: float | None) -> Style:
    if nats is None or math.isnan(nats):
        return Style(underline=True)
    _, background, ink = LEVELS[level_of(nats / math.log(2))]
    return Style(color=ink, bgcolor=background)


def _table(tokens: Sequence[SeenToken], words: Words) -> Table:
    table = Table(box=box.SIMPLE)
    for name in ("place", "token", "id", "bytes", "characters", "nats", "rank"):
        table.add_column(
            words(name), justify="left" if name in ("token", "bytes") else "right", overflow="fold"
        )
    for place, token in enumerate(tokens[:LISTED]):
        table.add_row(
            str(place),
            Text(token.text, style=_style(token.surprisal)),
            str(token.id),
            token.data.hex(" "),
            f"{token.start}–{token.end}",
            number(token.surprisal),
            "–" if token.rank is None else f"{token.rank:,}",
        )
    return table


def _first(shown: int, total: int, words: Words) -> str:
    return words("the first {shown:,} of {all:,} tokens", shown=shown, all=total)
