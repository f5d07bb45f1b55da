"""The view `over-time` as a strip: the pictures of some checkpoints, in the order of the steps."""

import math
from typing import Any

from cloche.lens.over_time import OverTimeView
from cloche.lens.over_time_animation import heading, picture_of
from cloche.lens.spreading import spread
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import Theme, name_axes, new_figure

MOST = 6
"""Checkpoints in a strip; an animation has all."""
WIDTH = 14.0
CHINESE = {
    "{run}: {view} over time": "{run}：{view} 随训练的变化",
    "{run}: {view} over time ({shown} of {all} checkpoints)": (
        "{run}：{view} 随训练的变化（{all} 个检查点中的 {shown} 个）"
    ),
}


def make_figure(view: OverTimeView, lang: Language, theme: Theme) -> Any:
    """The checkpoints' own pictures in panels: below one another where they are wide, side by
    side where they are tall."""
    say = Words(CHINESE, lang)
    frames = spread(view.frames, MOST)
    phrase = "{run}: {view} over time"
    if len(frames) < len(view.frames):
        phrase = "{run}: {view} over time ({shown} of {all} checkpoints)"
    title = say(
        phrase,
        run=view.provenance.run,
        view=view.of,
        shown=len(frames),
        all=len(view.frames),
    )
    pictures = [picture_of(frame, lang, theme) for frame in frames]
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    columns = min(len(frames), 1 if tallest < 0.7 else 2 if tallest < 1.2 else 3)
    rows = math.ceil(len(frames) / columns)
    panel = WIDTH / columns
    figure = new_figure(
        theme, width=WIDTH, height=0.4 + rows * (panel * tallest + 0.35), title=title
    )
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, frame, picture in zip(panels, frames, pictures, strict=False):
        axes.imshow(picture, interpolation="lanczos")
        axes.title.set_color(theme.ink)
        name_axes(axes, title=heading(frame, lang))
    for axes in panels:
        axes.set_axis_off()
    return figure
