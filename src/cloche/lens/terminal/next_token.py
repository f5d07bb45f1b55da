"""The next token for the terminal: bars of probability, a column for each step of sampling."""

import math

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloche.lens.next_token import NextTokenView, Stage
from cloche.lens.terminal.fitting import Fitting
from cloche.lens.wording import Language, Words

BAR = 10
"""Characters of a bar that stands for certainty."""

_CHINESE = {
    "after: {prompt}": "上文：{prompt}",
    "token": "词元",
    "model": "模型",
    "greedy": "贪心",
    "temperature": "温度",
    "top-k": "top-k",
    "top-p": "top-p",
    "min-p": "min-p",
    "all others": "其余全部",
    "tokens kept": "保留词元数",
    "removed": "移除词元数",
    "removed mass": "移除的概率",
    "entropy (nats)": "熵（奈特）",
    "The pick: {token}, with {probability} ({model} by the model alone, rank {rank:,}).": (
        "选中：{token}，概率 {probability}（仅按模型为 {model}，排名第 {rank:,}）。"
    ),
    "The seed {seed} draws {number:.6f}, which falls into its share.": (
        "种子 {seed} 抽得 {number:.6f}，落在它的份额内。"
    ),
    "Nothing is picked: give a seed.": "未选取：请给出种子。",
    "Nothing can be picked: the model gives no usable numbers.": (
        "无法选取：模型给出的不是有效数字。"
    ),
}
_PROMPT_TOKENS = 24
_TOKEN_CELLS = 16


def make_rendering(view: NextTokenView, lang: Language) -> RenderableType:
    """A table of tokens by steps, and the pick."""
    words = Words(_CHINESE, lang)
    shown = [piece.text for piece in view.prompt[-_PROMPT_TOKENS:]]
    prompt = ("… " if len(view.prompt) > len(shown) else "") + " ".join(shown)
    tables = [_table(view, words, bars=bars) for bars in (True, False)]
    return Group(
        Text(words("after: {prompt}", prompt=prompt)),
        Fitting(tables, whole=True),
        _pick(view, words),
    )


def _stage_title(stage: Stage, words: Words) -> str:
    """The step with its setting."""
    return words(stage.name.replace("_", "-")) + (
        "" if stage.setting is None else f" {stage.setting:g}"
    )


def _percent(probability: float) -> str:
    """A probability as it is read."""
    return "NaN" if math.isnan(probability) else f"{probability:.2%}"


def _table(view: NextTokenView, words: Words, *, bars: bool) -> Table:
    def show(probability: float) -> Text:
        return _bar(probability, longest=BAR if bars else 0)

    table = Table(box=box.SIMPLE)
    table.add_column(words("token"), no_wrap=True, min_width=_TOKEN_CELLS)
    for stage in view.stages:
        title = _stage_title(stage, words)
        table.add_column(title if bars else title.replace(" ", "\n"), no_wrap=True)
    picked = None if view.pick is None else view.pick.token.id
    for column, piece in enumerate(view.tokens):
        mark = "▶ " if piece.id == picked else "  "
        values = view.probabilities.values[:, column].tolist()
        style = "bold" if piece.id == picked else ""
        table.add_row(Text(mark + piece.text, style=style), *map(show, values))
    table.add_row(f"  {words('all others')}", *(show(stage.rest) for stage in view.stages))
    table.add_section()
    rows = (
        ("tokens kept", [f"{stage.kept:,}" for stage in view.stages]),
        ("removed", [f"{stage.removed:,}" for stage in view.stages]),
        ("removed mass", [_percent(stage.removed_mass) for stage in view.stages]),
        ("entropy (nats)", [f"{stage.entropy:.3f}" for stage in view.stages]),
    )
    for name, cells in rows:
        table.add_row(f"  {words(name)}", *cells)
    return table


def _bar(probability: float, *, longest: int) -> Text:
    if math.isnan(probability):
        return Text("NaN")
    if probability == 0.0:
        return Text("–", style="dim")
    whole, part = divmod(round(probability * longest * 8), 8)
    bar = "█" * whole + ("", *"▏▎▍▌▋▊▉")[part]
    return Text(f"{_percent(probability):>7} ").append(bar, style="green")


def _pick(view: NextTokenView, words: Words) -> Text:
    pick = view.pick
    if pick is None:
        broken = math.isnan(view.stages[0].entropy)
        return Text(
            words("Nothing can be picked: the model gives no usable numbers.")
            if broken
            else words("Nothing is picked: give a seed.")
        )
    said = words(
        "The pick: {token}, with {probability} ({model} by the model alone, rank {rank:,}).",
        token=pick.token.text,
        probability=_percent(pick.probability),
        model=_percent(pick.model_probability),
        rank=pick.rank,
    )
    if pick.number is not None:
        drawn = words(
            "The seed {seed} draws {number:.6f}, which falls into its share.",
            seed=view.provenance.seed,
            number=pick.number,
        )
        said += f" {drawn}"
    return Text(said)
