"""The view `over-time` for the terminal: each checkpoint's own, one below the other."""

import importlib

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from cloche.lens.drawing import file_of
from cloche.lens.over_time import OverTimeView
from cloche.lens.spreading import spread
from cloche.lens.wording import Language, Words

MOST = 6
CHINESE = {
    "step {step}": "第 {step} 步",
    "{shown} of {all} checkpoints are shown": "显示 {all} 个检查点中的 {shown} 个",
    "step {step} is left out: {reason}": "第 {step} 步被略过：{reason}",
}


def make_rendering(view: OverTimeView, lang: Language) -> RenderableType:
    """A heading with the step, and the view of that step, of some of them where there are many."""
    say = Words(CHINESE, lang)
    module = importlib.import_module(f"cloche.lens.terminal.{file_of(view.of)}")
    frames = spread(view.frames, MOST)
    parts: list[RenderableType] = []
    for frame in frames:
        parts += [
            Rule(say("step {step}", step=frame.step)),
            module.make_rendering(frame.view, lang),
        ]
    if len(frames) < len(view.frames):
        said = say("{shown} of {all} checkpoints are shown", shown=MOST, all=len(view.frames))
        parts.append(Text(said))
    for each in view.skipped:
        said = say("step {step} is left out: {reason}", step=each.step, reason=each.reason)
        parts.append(Text(said))
    return Group(*parts)
