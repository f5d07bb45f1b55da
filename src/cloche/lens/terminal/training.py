"""The view `training` for the terminal: a line for each figure, layers, samples."""

import math
from collections.abc import Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from cloche.lens.spreading import spread
from cloche.lens.training import PANELS, Panel, RunCurves, TrainingView, layer_name
from cloche.lens.training_rows import Curve, WrittenSample, one_line
from cloche.lens.wording import Language, Words

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 16
"""Characters of a curve."""
SAMPLES = 12
"""Texts that are shown, spread over the run."""
STATES = ("running", "finished", "interrupted", "failed")
CHINESE = {
    "figure": "指标",
    "first": "最初",
    "last": "最后",
    "least": "最小",
    "most": "最大",
    "over the steps": "随步数变化",
    "at step {step}": "第 {step} 步",
    "{state}, step {step}": "{state}，第 {step} 步",
    "{state}, step {step} of {steps}": "{state}，第 {step} 步，共 {steps} 步",
    "running": "训练中",
    "finished": "已完成",
    "interrupted": "已中断",
    "failed": "失败",
    "state unknown": "状态未知",
    "layer": "层",
    "step": "步",
    "prompt": "提示",
    "what the model wrote": "模型写出的文本",
    "{shown} of {all} samples": "{all} 份样本中的 {shown} 份",
    "further figures, by name: {names}": "其他指标（可按名称查看）：{names}",
    "gradient norm by layer": "各层梯度范数",
    "update to weight ratio by layer": "各层更新与权重之比",
}


def make_rendering(view: TrainingView, lang: Language) -> RenderableType:
    """Tables of every run: figures, figures by layer, samples."""
    say = Words(CHINESE, lang)
    parts: list[RenderableType] = []
    for run in view.runs:
        parts += [Text.assemble((run.run, "bold"), " · ", standing(run, say))]
        parts += [_figures(run, view.panels, say)]
        parts += [_layers(run, panel, say) for panel in view.panels if _has_layers(run, panel)]
        if run.samples:
            parts += [_samples(run.samples, say)]
    if view.others:
        parts.append(Text(say("further figures, by name: {names}", names=", ".join(view.others))))
    return Group(*parts)


def standing(run: RunCurves, say: Words) -> str:
    """What the run says of itself, and how far it is."""
    state = say(run.state if run.state in STATES else "state unknown")
    if run.steps is None:
        return say("{state}, step {step}", state=state, step=run.step)
    return say("{state}, step {step} of {steps}", state=state, step=run.step, steps=run.steps)


def spark(values: Sequence[float]) -> str:
    """The values as bars of text: each the mean of its share of them, ? where that is no number."""
    count = min(WIDTH, len(values))
    cuts = [round(number * len(values) / count) for number in range(count + 1)]
    means = [
        math.fsum(values[begin:end]) / (end - begin)
        if all(map(math.isfinite, values[begin:end]))
        else math.nan
        for begin, end in pairwise(cuts)
    ]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(BARS) - 1) / ((high - low) or 1.0)
    return "".join(
        BARS[round((mean - low) * scale)] if math.isfinite(mean) else "?" for mean in means
    )


def _figures(run: RunCurves, panels: Sequence[Panel], say: Words) -> Grid:
    grid = _grid(say, first="figure")
    for panel in panels:
        for name in () if panel.by_layer else panel.figures:
            if name in run.curves:
                grid.add_row(name, *_numbers(run.curves[name]), spark(run.curves[name].values))
    return grid


def _grid(say: Words, *, first: str, title: str | None = None) -> Grid:
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=False)
    grid.add_column(say(first), no_wrap=True)
    for name in ("first", "last", "least", "most"):
        grid.add_column(say(name), justify="right", no_wrap=True)
    grid.add_column(say("over the steps"), no_wrap=True)
    return grid


def _numbers(curve: Curve) -> list[str]:
    finite = [value for value in curve.values if math.isfinite(value)]
    ends = [curve.values[0], curve.values[-1]]
    ends += [min(finite), max(finite)] if finite else [math.nan, math.nan]
    return [f"{value:.4g}" for value in ends]


def _has_layers(run: RunCurves, panel: Panel) -> bool:
    return panel.by_layer and any(name in run.curves for name in panel.figures)


def _layers(run: RunCurves, panel: Panel, say: Words) -> Grid:
    title = say(panel.title) if panel.title in PANELS else panel.title
    grid = _grid(say, first="layer", title=title)
    for name in panel.figures:
        if name in run.curves:
            curve = run.curves[name]
            grid.add_row(layer_name(name), *_numbers(curve), spark(curve.values))
    return grid


def _samples(samples: Sequence[WrittenSample], say: Words) -> Grid:
    shown = spread(samples, SAMPLES)
    title = say("{shown} of {all} samples", shown=len(shown), all=len(samples))
    grid = Grid(
        title=title if len(shown) < len(samples) else None,
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    grid.add_column(say("step"), justify="right")
    grid.add_column(say("prompt"), ratio=1)
    grid.add_column(say("what the model wrote"), ratio=3)
    for sample in shown:
        # of the text alone: nothing in it is markup
        grid.add_row(str(sample.step), Text(one_line(sample.prompt)), Text(one_line(sample.text)))
    return grid
