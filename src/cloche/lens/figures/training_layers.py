"""Figures by layer over steps: a line for each layer of one run, a band for each of several."""

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

from cloche.lens.training import Panel, RunCurves, layer_name
from cloche.lens.training_rows import Curve
from cloche.plots.canvas import Theme, add_legend

NAMED = 8
"""Lines up to which each is named; of more, the first and the last layer are."""
ROOM = 0.35
"""Of the panel's height, above the lines, for their names."""
DASHES = ((0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1)))


def draw_layers(axes: Any, panel: Panel, runs: Sequence[RunCurves], theme: Theme) -> None:
    """Draw them on a logarithmic scale, where any is above zero; with their legend."""
    if len(runs) == 1:
        _draw_one(axes, panel, runs[0], theme)
    else:
        for number, run in enumerate(runs):
            _draw_band(axes, panel, run, theme.series[number % len(theme.series)])
    values = [value for line in axes.get_lines() for value in line.get_ydata()]
    if any(math.isfinite(value) and value > 0 for value in values):
        axes.set_yscale("log")
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom, top * (top / bottom) ** ROOM)
        add_legend(axes, theme, fontsize=7, ncols=3, loc="upper center", columnspacing=1.0)


def _draw_one(axes: Any, panel: Panel, run: RunCurves, theme: Theme) -> None:
    """Blocks from light to dark as they lie, what is outside of them dashed."""
    from matplotlib import colormaps

    names = [name for name in panel.figures if name in run.curves]
    blocks = [name for name in names if "layers." in layer_name(name)]
    outside = [name for name in names if name not in blocks]
    shades = colormaps[theme.amounts]
    low, high = (0.35, 0.95) if theme.name == "light" else (0.35, 1.0)
    told = names if len(names) <= NAMED else [*outside, *blocks[:1], *blocks[-1:]]
    labels = {name: layer_name(name) for name in told}
    for number, name in enumerate(blocks):
        share = number / max(1, len(blocks) - 1)
        _line(
            axes, run.curves[name], labels.get(name, "_"), color=shades(low + share * (high - low))
        )
    for number, name in enumerate(outside):
        color = theme.series[(number + 1) % len(theme.series)]
        dashes = DASHES[number % len(DASHES)]
        _line(axes, run.curves[name], labels.get(name, "_"), color=color, linestyle=dashes)


def _line(axes: Any, curve: Curve, label: str, **given: Any) -> None:
    marker = "." if len(curve.steps) <= 30 else ""
    axes.plot(
        curve.steps, curve.values, label=label, linewidth=1.2, marker=marker, markersize=4, **given
    )


def _draw_band(axes: Any, panel: Panel, run: RunCurves, color: str) -> None:
    """The median over the layers, in a band from the smallest to the largest."""
    at: dict[int, list[float]] = {}
    for name in panel.figures:
        curve = run.curves.get(name, Curve([], []))
        for step, value in zip(curve.steps, curve.values, strict=True):
            if math.isfinite(value):
                at.setdefault(step, []).append(value)
    if not at:
        return
    steps = sorted(at)
    axes.plot(
        steps, [median(at[step]) for step in steps], color=color, label=run.run, linewidth=1.5
    )
    axes.fill_between(
        steps,
        [min(at[step]) for step in steps],
        [max(at[step]) for step in steps],
        color=color,
        alpha=0.18,
        linewidth=0,
    )
