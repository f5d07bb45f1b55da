"""Names beside points, none over another: each is put where there is room, or left out."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloche.plots.canvas import write_in

REACHES = (6, 14, 26, 42, 64, 92)
"""How far a name may stand from its point, in points of print; from the third on with a line."""
LED = 20
ANGLES = 16


@dataclass(frozen=True)
class Label:
    """A name, and the point that it belongs to."""

    x: float
    y: float
    text: str
    colour: str
    size: float
    required: bool
    """Whether it is written even where it covers another."""


def place_labels(figure: Any, axes: Any, labels: Sequence[Label], *, avoid: np.ndarray) -> None:
    """Write the labels, the first before the next, so that none covers another or a point of
    `avoid`, or leaves the axes; what finds no room is not written.

    Called when all else of the figure is drawn, as the layout must stand.
    """
    from matplotlib.patheffects import withStroke

    figure.draw_without_rendering()
    dot = figure.dpi / 72
    bounds = _box_of(axes.get_window_extent())
    taken = [
        (x - 3 * dot, y - 3 * dot, x + 3 * dot, y + 3 * dot)
        for x, y in axes.transData.transform(avoid[np.isfinite(avoid).all(axis=1)]).tolist()
    ]
    if (legend := axes.get_legend()) is not None:
        taken.append(_box_of(legend.get_window_extent()))
    for label in labels:
        text = write_in(axes, label.x, label.y, label.text, color=label.colour, fontsize=label.size)
        outline = withStroke(linewidth=2.0, foreground=axes.get_facecolor())  # over many points
        text.set(in_layout=False, ha="center", va="center", clip_on=True, path_effects=[outline])
        left, low, right, high = _box_of(text.get_window_extent())
        point = axes.transData.transform((label.x, label.y)).tolist()
        choices = [*_choices(point, (right - left, high - low), dot)]
        free = next((each for each in choices if _is_free(each[0], taken, bounds)), None)
        if free is None and label.required:
            free = next((each for each in choices if _is_inside(each[0], bounds)), choices[0])
        if free is None:
            text.remove()
            continue
        box, reach = free
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        at = axes.transData.inverted().transform(middle)
        text.set_position(at)
        if reach > LED:
            line = axes.plot(
                (label.x, at[0]), (label.y, at[1]), color=label.colour, linewidth=0.5, zorder=1.5
            )
            line[0].set_in_layout(False)
        taken.append(box)


_Box = tuple[float, float, float, float]


def _choices(
    point: Sequence[float], size: tuple[float, float], dot: float
) -> Iterator[tuple[_Box, float]]:
    """Boxes around a point, the nearest first, and how far from it each is."""
    half_width, half_height = size[0] / 2, size[1] / 2
    for reach in REACHES:
        for turn in range(ANGLES):
            angle = 2 * math.pi * turn / ANGLES
            x = point[0] + math.cos(angle) * (reach * dot + half_width)
            y = point[1] + math.sin(angle) * (reach * dot + half_height)
            yield (x - half_width, y - half_height, x + half_width, y + half_height), reach


def _box_of(extent: Any) -> _Box:
    return float(extent.x0), float(extent.y0), float(extent.x1), float(extent.y1)


def _is_free(box: _Box, taken: Sequence[_Box], bounds: _Box) -> bool:
    return _is_inside(box, bounds) and not any(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
        for other in taken
    )


def _is_inside(box: _Box, bounds: _Box) -> bool:
    return bounds[0] < box[0] and box[2] < bounds[2] and bounds[1] < box[1] and box[3] < bounds[3]
