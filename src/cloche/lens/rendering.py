"""Any view for the terminal: `render` finds what is printed for its kind.

The file `terminal/attention.py` prints the view `attention` by its function `make_rendering(view,
lang)`, and so for all.
"""

import importlib

from rich.console import Group, RenderableType
from rich.text import Text

from cloche.lens.drawing import file_of
from cloche.lens.view import View
from cloche.lens.wording import Language


def render(view: View, *, lang: Language = "en") -> RenderableType:
    """Something for `rich.print`, headed by where the numbers come from."""
    head = Text.assemble((view.name, "bold"), f" · {view.provenance.place}")
    module = importlib.import_module(f"cloche.lens.terminal.{file_of(view.name)}")
    return Group(head, module.make_rendering(view, lang))
