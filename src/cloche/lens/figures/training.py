"""The view `training` as a picture: a panel for each kind of figure, texts pinned to steps."""

import math
from collections.abc import Sequence
from typing import Any

from cloche.lens.figures.training_layers import draw_layers
from cloche.lens.figures.training_samples import mark_samples, pinned, write_samples
from cloche.lens.training import LOSSES, PANELS, Panel, RunCurves, TrainingView
from cloche.lens.training_rows import Curve
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import Theme, add_legend, dress, name_axes, new_figure, write_in

FEW = 30
"""Points up to which each is marked."""
WIDTH, HEIGHT = 11.0, 3.0
BAND = "{panel}\n(median, in a band from smallest to largest)"
CHINESE = {
    "loss": "损失",
    "training, each step": "训练（逐步）",
    "training, evaluated": "训练（评估）",
    "validation": "验证",
    "learning rate": "学习率",
    "gradient norm": "梯度范数",
    "gradient norm by layer": "各层梯度范数",
    "update to weight ratio by layer": "各层更新与权重之比",
    "tokens per second": "每秒词元数",
    BAND: "{panel}\n（中位数，色带为最小到最大）",
    "step": "步",
    "no number at any step": "各步均无数值",
}
NAMES = {
    "train/loss": "training, each step",
    "eval/train_loss": "training, evaluated",
    "eval/loss": "validation",
}


def make_figure(view: TrainingView, lang: Language, theme: Theme) -> Any:
    """The panels in two columns, the loss above them in both, the texts below."""
    say = Words(CHINESE, lang)
    wide = view.panels[0].title == "loss"
    rows = math.ceil((len(view.panels) - wide) / 2)
    pins = pinned(view.runs) if wide else []
    below = 0.35 + 0.34 * len(pins) if pins else 0.0
    heights = [1.25 * HEIGHT] * wide + [HEIGHT] * rows
    figure = new_figure(
        theme,
        width=WIDTH,
        height=0.4 + sum(heights) + below,
        title=" · ".join(run.run for run in view.runs),
    )
    grid = figure.add_gridspec(
        len(heights) + bool(pins), 2, height_ratios=[*heights, *([below] if pins else [])]
    )
    for number, panel in enumerate(view.panels):
        row, column = divmod(number + wide, 2)
        single = number == len(view.panels) - 1 and column == 0
        place = (
            grid[0, :] if wide and number == 0 else grid[row, :] if single else grid[row, column]
        )
        axes = dress(figure.add_subplot(place), theme)
        _draw(axes, panel, view.runs, theme, say)
        if pins and number == 0:
            mark_samples(axes, pins, theme)
    if pins:
        write_samples(figure.add_subplot(grid[-1, :]), pins, theme, several=len(view.runs) > 1)
    return figure


def _draw(axes: Any, panel: Panel, runs: Sequence[RunCurves], theme: Theme, say: Words) -> None:
    title = say(panel.title) if panel.title in PANELS else panel.title
    if panel.by_layer and len(runs) > 1:
        title = say(BAND, panel=title)
    name_axes(axes, x=say("step"), title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if panel.by_layer:
        draw_layers(axes, panel, runs, theme)
    elif panel.title == "loss":
        _draw_losses(axes, runs, theme, say)
    else:
        for number, run in enumerate(runs):
            for figure in panel.figures:
                label = run.run if len(runs) > 1 else ""
                if figure in run.curves:
                    draw_curve(axes, run.curves[figure], label=label, color=colour(theme, number))
        if axes.get_lines() and _all_positive(axes) and _range(axes) > 1000:
            axes.set_yscale("log")
    if not _has_numbers(axes):
        axes.set_yticks([])
        write_in(
            axes,
            0.5,
            0.5,
            say("no number at any step"),
            transform=axes.transAxes,
            color=theme.ink,
            ha="center",
        )
    elif not panel.by_layer:  # the panels by layer have their own
        add_legend(axes, theme, fontsize=8)


def _draw_losses(axes: Any, runs: Sequence[RunCurves], theme: Theme, say: Words) -> None:
    """One run: a colour for each loss. Several: a colour for each run, a line for each loss."""
    styles = {"train/loss": "-", "eval/train_loss": "--", "eval/loss": "-"}
    for number, run in enumerate(runs):
        for place, name in enumerate(LOSSES):
            if name not in run.curves:
                continue
            single = name == "train/loss"
            said = say(NAMES[name])
            color = colour(theme, number if len(runs) > 1 else -place % len(LOSSES))
            draw_curve(
                axes,
                run.curves[name],
                label=said if len(runs) == 1 else f"{run.run}: {said}",
                color=color,
                linestyle=styles[name],
                linewidth=0.8 if single else 1.8,
                alpha=0.5 if single else 1.0,
                marker="o" if name == "eval/loss" else "",
            )


def draw_curve(axes: Any, curve: Curve, **given: Any) -> None:
    """A line over the steps; few points are marked, since a line needs two of them."""
    if not given.get("marker") and len(curve.steps) <= FEW:
        given["marker"] = "."
    given = {"linewidth": 1.3, "markersize": 4, **given}
    axes.plot(curve.steps, curve.values, **given)


def colour(theme: Theme, number: int) -> str:
    """The colour of a run or a curve; they come again after the last."""
    return theme.series[number % len(theme.series)]


def _values(axes: Any) -> list[float]:
    return [
        float(value)
        for line in axes.get_lines()
        for value in line.get_ydata()
        if math.isfinite(value)
    ]


def _has_numbers(axes: Any) -> bool:
    return bool(_values(axes))


def _all_positive(axes: Any) -> bool:
    values = _values(axes)
    return bool(values) and min(values) > 0


def _range(axes: Any) -> float:
    values = _values(axes)
    return max(values) / min(values)
