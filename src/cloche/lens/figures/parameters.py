"""Parameters as a picture: what each part has, and what lies in each layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from cloche.lens.parameters import ParametersView, Part, Weights
from cloche.lens.terminal.parameters import CHINESE, said_of, share
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import (
    Theme,
    add_legend,
    drawable,
    dress,
    name_axes,
    name_ticks,
    new_figure,
    write_in,
)

MOST_ROWS = 48
"""Of layers one under the other; of more, several are one bar."""
HATCHES = ("", "///", "...", "\\\\\\", "xx", "--", "++", "oo")
"""So that parts are told apart without colours."""

_CHINESE = {
    **CHINESE,
    "The parameters of {run}": "{run} 的参数",
    "share of each part": "各部分占比",
    "from the first layer to the last": "从第一层到最后一层",
    "layer {layer}": "第 {layer} 层",
    "layers {first}–{last}": "第 {first}–{last} 层",
    "order {order}": "{order} 元组",
    "encoder": "编码器",
    "decoder": "解码器",
    "= {owner}": "= {owner}",
    "NaN {nan:,}, inf {infinite:,}": "NaN {nan:,}，inf {infinite:,}",
}


@dataclass(frozen=True)
class _Row:
    """A bar: one place on the way from the embedding to the head, or several alike."""

    name: str
    tensors: tuple[Weights, ...]

    def of(self, part: Part) -> int:
        """Its parameters of one part."""
        return sum(each.parameters for each in self.tensors if each.part == part)

    @property
    def parameters(self) -> int:
        return sum(each.parameters for each in self.tensors)


def make_figure(view: ParametersView, lang: Language, theme: Theme) -> Any:
    """Bars of the parts, and of the layers in order, the parts stacked in each."""
    words = Words(_CHINESE, lang)
    rows = _rows(view, words)
    figure = new_figure(
        theme,
        width=12.0,
        height=2.4 + 0.24 * max(len(rows), 8),
        title=words("The parameters of {run}", run=view.provenance.run),
    )
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
    _draw_parts(left, view, theme, words, places=0.3 * len(rows))
    _draw_rows(right, rows, theme, words)
    said, fonts = drawable(_wrapped([*said_of(view, words)]))
    figure.supxlabel(said, fontsize=9, color=theme.ink, fontfamily=fonts, parse_math=False)
    return figure


def _draw_parts(
    axes: Any, view: ParametersView, theme: Theme, words: Words, *, places: float
) -> None:
    """A bar for each part, in an axes with room for so many."""
    dress(axes, theme)
    parts: list[Part] = [*view.by_part]
    for place, part in enumerate(parts):
        count = view.by_part[part]
        axes.barh(place, count, height=0.7, **_look(part, theme))
        said = f" {count:,}  ({share(count, view.parameters)})"
        write_in(axes, count, place, said, va="center", fontsize=8, color=theme.ink)
    name_ticks(axes.yaxis, range(len(parts)), [words(part) for part in parts])
    axes.set_ylim(max(len(parts), 4, places) - 0.4, -0.6)
    axes.set_xlim(0, max(1, *view.by_part.values()) * 1.55)
    name_axes(axes, title=words("share of each part"))
    _thin(axes)


def _draw_rows(axes: Any, rows: Sequence[_Row], theme: Theme, words: Words) -> None:
    dress(axes, theme)
    named: set[Part] = set()
    most = max(1, *(row.parameters for row in rows))
    for place, row in enumerate(rows):
        start = 0
        for part in get_args(Part):
            if not (count := row.of(part)):
                continue
            label = None if part in named else words(part)
            axes.barh(place, count, left=start, height=0.75, label=label, **_look(part, theme))
            named.add(part)
            start += count
        if note := _note(row, words):
            write_in(axes, start, place, f" {note}", va="center", fontsize=8, color=theme.ink)
    name_ticks(axes.yaxis, range(len(rows)), [row.name for row in rows])
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylim(max(len(rows), 4) - 0.4, -0.6)
    axes.set_xlim(0, most * 1.05)
    name_axes(axes, title=words("from the first layer to the last"))
    add_legend(axes, theme, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=8, fontsize=8)
    _thin(axes)


def _rows(view: ParametersView, words: Words) -> list[_Row]:
    """The tensors in order, those of a layer as one; several layers as one where there are many."""
    groups: dict[str, list[Weights]] = {}
    for tensor in view.tensors:
        groups.setdefault(_place(tensor), []).append(tensor)
    layers = [name for name, found in groups.items() if found[0].layer is not None]
    step = -(-len(layers) // MOST_ROWS)
    rows: list[_Row] = []
    waiting: list[str] = []
    for name, found in groups.items():
        if found[0].layer is None:
            rows.append(_Row(_part_name(name, found[0].part, words), tuple(found)))
            continue
        waiting.append(name)
        last = name == layers[-1] or _stack(name) != _stack(layers[layers.index(name) + 1])
        if len(waiting) == step or last:
            inside = tuple(each for one in waiting for each in groups[one])
            rows.append(_Row(_layer_name(waiting, words), inside))
            waiting = []
    return rows


def _place(tensor: Weights) -> str:
    """Where a tensor belongs on the way through the model."""
    if tensor.layer is None:
        table = tensor.part == "counts"
        return ".".join(tensor.name.split(".")[:2]) if table else tensor.part
    return tensor.name.partition("layers.")[0] + str(tensor.layer)


def _stack(place: str) -> str:
    return place.rpartition(".")[0]


def _part_name(place: str, part: Part, words: Words) -> str:
    """What is in no layer: a part, or the table of n-grams of one order."""
    if part == "counts":
        return words("order {order}", order=place.rpartition(".")[2])
    return words(part)


def _layer_name(places: Sequence[str], words: Words) -> str:
    numbers = [place.rpartition(".")[2] for place in places]
    one = words("layer {layer}", layer=numbers[0])
    several = words("layers {first}–{last}", first=numbers[0], last=numbers[-1])
    stack = _stack(places[0])
    named = one if len(places) == 1 else several
    return f"{words(stack)} {named}" if (stack := _stack(places[0])) else named


def _note(row: _Row, words: Words) -> str:
    """What a bar does not show: whose numbers they are, and how many are none."""
    owners = {each.shared_with for each in row.tensors if each.shared_with is not None}
    said = [words("= {owner}", owner=words("embedding"))] if owners else []
    own = [each for each in row.tensors if each.shared_with is None]
    nan, infinite = sum(each.nan for each in own), sum(each.infinite for each in own)
    if nan or infinite:
        said.append(words("NaN {nan:,}, inf {infinite:,}", nan=nan, infinite=infinite))
    return ", ".join(said)


def _look(part: Part, theme: Theme) -> dict[str, Any]:
    """Colour and hatching of a part, the same wherever it is drawn."""
    number = get_args(Part).index(part)
    colour = theme.series[number % len(theme.series)]
    return {"facecolor": colour, "edgecolor": theme.paper, "hatch": HATCHES[number], "linewidth": 0}


def _thin(axes: Any) -> None:
    """Few ticks, in thousands and millions."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(visible=False, axis="y")


def _wrapped(said: Sequence[str]) -> str:
    """Sentences, two a line where they are short."""
    lines: list[str] = []
    for sentence in said:
        if lines and len(lines[-1]) + len(sentence) < 110:
            lines[-1] += f"  ·  {sentence}"
        else:
            lines.append(sentence)
    return "\n".join(lines)
