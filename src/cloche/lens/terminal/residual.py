"""The residual stream in the terminal: what each layer would say after the text, and how sure."""

from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from cloche.lens.residual import NO_TOKEN, ResidualView
from cloche.lens.terminal.fitting import Fitting
from cloche.lens.wording import Language, Words

WORDS = {
    "layer": "层",
    "embedding": "嵌入",
    "likeliest next": "最可能的下一个",
    "KL (nats)": "KL（奈特）",
    "rank": "排名",
    "norm": "范数",
    "attention adds": "注意力所加",
    "MLP adds": "MLP 所加",
    "likeliest next: after the last token, {token}, by the final norm and head; KL: from the final "
    "prediction; rank: of what did come next; both are medians of the last {seen} positions, norms "
    "of all {all}": (
        "最可能的下一个：在最后一个词元 {token} 之后，用最后的归一化和输出头读出；KL：与最终预测"
        "的散度；排名：实际的下一个词元的排名；二者是最后 {seen} 个位置的中位数，范数是全部 {all} "
        "个位置的中位数"
    ),
}
_NAMES = ("layer", "norm", "attention adds", "MLP adds", "KL (nats)", "rank")
_FEWER = ("layer", "norm", "KL (nats)", "rank")
_FEWEST = ("layer", "KL (nats)")
_SAID_CELLS = 30
"""Of what a place would say: two or three tokens."""


def make_rendering(view: ResidualView, lang: Language) -> RenderableType:
    """A line for the embedding and for each layer."""
    words = Words(WORDS, lang)
    grids = [_grid(view, words, names) for names in (_NAMES, _FEWER, _FEWEST)]
    note = words(
        "likeliest next: after the last token, {token}, by the final norm and head; KL: from the "
        "final prediction; rank: of what did come next; both are medians of the last {seen} "
        "positions, norms of all {all}",
        token=view.pieces[-1].text,
        all=len(view.pieces),
        seen=len(view.positions),
    )
    return Group(Fitting(grids), Text(note, style="dim"))


def _grid(view: ResidualView, words: Words, names: Sequence[str]) -> Grid:
    """These columns, and what each place would say."""
    grid = Grid(box=None, header_style="bold")
    for name in names:
        grid.add_column(words(name), justify="right", no_wrap=True)
    grid.add_column(words("likeliest next"), min_width=_SAID_CELLS)  # gives way, but not wholly
    for place, name in enumerate(view.places):
        told = {
            "layer": words(name) if place == 0 else name,
            "norm": _median(view.norms.values[place]),
            "KL (nats)": _median(view.divergence.values[place]),
            "rank": _median(view.actual_rank.values[place, _followed(view)], ".0f"),
        }
        added = {"attention adds": view.attention_norms, "MLP adds": view.mlp_norms}
        for kind, norms in added.items():
            told[kind] = "" if place == 0 else _median(norms.values[place - 1])
        grid.add_row(*(told[name] for name in names), _likeliest(view, place))
    return grid


def _followed(view: ResidualView) -> list[int]:
    """Places of the positions behind which the text goes on."""
    return [n for n, position in enumerate(view.positions) if position + 1 < len(view.pieces)]


def _median(values: np.ndarray, form: str = ".2f") -> str:
    if not values.size:
        return "–"
    middle = float(np.median(values))
    return "NaN" if np.isnan(middle) else f"{middle:{form}}".replace("-0.00", "0.00")


def _likeliest(view: ResidualView, place: int) -> Text:
    """The likeliest tokens of the last position with their probabilities."""
    ids = view.top_ids.values[place, -1]
    if (ids == NO_TOKEN).any():
        return Text("NaN")
    shown = (
        f"{view.texts[int(token)]} {probability:.0%}"
        for token, probability in zip(ids, view.top_probabilities.values[place, -1], strict=True)
    )
    return Text("  ".join(shown), no_wrap=True, overflow="ellipsis")
