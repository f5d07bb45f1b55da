"""The size of each weight's change as a picture: a heat map by layer and kind, the rest as bars."""

from typing import Any

import numpy as np

from cloche.lens.two_weights import WeightChanges
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import Theme, dress, name_axes, name_ticks, write_in

WRITTEN = 12
"""Layers up to which the numbers are written into the map."""
CHINESE = {
    "change of each weight, ||W2 − W1|| / ||W1||": "各权重的变化，||W2 − W1|| / ||W1||",
    "layer": "层",
    "outside of the layers": "各层之外",
}


def has_changes(changes: WeightChanges) -> bool:
    """Whether there is anything to draw."""
    return bool(changes.kinds or changes.outside)


def weights_height(changes: WeightChanges) -> float:
    """The inches that the picture needs from top to bottom."""
    layers = len(changes.by_layer.values)
    return max(2.2, min(9.0, 1.7 + 0.24 * layers))


def draw_changes(panel: Any, changes: WeightChanges, lang: Language, theme: Theme) -> None:
    """Draw them into a part of a figure."""
    say = Words(CHINESE, lang)
    title = say("change of each weight, ||W2 − W1|| / ||W1||")
    if not changes.kinds:
        axes = dress(panel.add_subplot(), theme)
        _draw_outside(axes, changes, theme, title)
        return
    grid = panel.add_gridspec(1, 2, width_ratios=[3, 1]) if changes.outside else None
    axes = dress(panel.add_subplot(grid[0, 0] if grid else 111), theme, grid=False)
    _draw_map(axes, panel, changes, theme)
    name_axes(axes, y=say("layer"), title=title)
    if grid:
        beside = dress(panel.add_subplot(grid[0, 1]), theme)
        _draw_outside(beside, changes, theme, say("outside of the layers"))


def _draw_map(axes: Any, panel: Any, changes: WeightChanges, theme: Theme) -> None:
    from matplotlib import colormaps

    values = changes.by_layer.values
    shown = np.where(np.isfinite(values), values, np.nan)
    finite = shown[np.isfinite(shown)]
    highest = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    shades = colormaps[theme.amounts].with_extremes(bad=theme.faint)
    image = axes.imshow(shown, cmap=shades, vmin=0.0, vmax=highest, aspect="auto")
    name_ticks(axes.xaxis, range(len(changes.kinds)), [_short(k) for k in changes.kinds], angle=35)
    for label in axes.get_xticklabels():
        label.set_ha("right")
        label.set_rotation_mode("anchor")
    every = max(1, -(-len(values) // 32))
    axes.set_yticks(range(0, len(values), every))
    axes.tick_params(labelsize=8)
    bar = panel.colorbar(image, ax=axes, pad=0.01, fraction=0.03)
    bar.ax.tick_params(colors=theme.ink, labelsize=7)
    bar.outline.set_visible(False)
    if len(values) > WRITTEN:
        return
    for (layer, kind), value in np.ndenumerate(values):
        dark = np.isfinite(value) and value / highest > 0.55
        light = theme.paper if theme.name == "light" else theme.ink
        ink = (
            (light if dark else theme.ink)
            if theme.name == "light"
            else ("#101010" if dark else light)
        )
        write_in(axes, kind, layer, f"{value:.2g}", color=ink, fontsize=7, ha="center", va="center")


def _draw_outside(axes: Any, changes: WeightChanges, theme: Theme, title: str) -> None:
    names = list(changes.outside)
    values = [changes.outside[name] for name in names]
    lengths = [value if np.isfinite(value) else 0.0 for value in values]
    axes.barh(range(len(names)), lengths, color=theme.series[0], height=0.5)
    name_ticks(axes.yaxis, range(len(names)), names)
    axes.tick_params(labelsize=8)
    axes.set_xlim(0.0, 1.35 * (max(lengths, default=0.0) or 1.0))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=3)
    for place, (value, length) in enumerate(zip(values, lengths, strict=True)):
        write_in(axes, length, place, f" {value:.2g}", color=theme.ink, fontsize=7, va="center")
    name_axes(axes, title=title)


def _short(kind: str) -> str:
    """A kind without the module that only says where it lies."""
    return kind.removeprefix("self_attn.").removeprefix("mlp.")
