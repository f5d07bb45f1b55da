"""A picture of any view: `draw` finds the figure of its kind.

The file `figures/attention.py` draws the view `attention` by its function `make_figure(view, lang,
theme)`, and so for all; matplotlib is imported when something is drawn.
"""

import importlib
from pathlib import Path
from typing import Any

from cloche.lens.view import Provenance, View
from cloche.lens.wording import Language, check_language
from cloche.plots.canvas import check_format, save_figure, theme_named

MOST_CHARACTERS = 200
"""Of a text in a caption; the view's JSON has all of it."""


def draw(view: View, path: str | Path, *, lang: Language = "en", theme: str = "light") -> Path:
    """Write a picture of the view to a .png, .svg or .html file; gives its path.

    `lang` is that of its labels; zh needs a font with Chinese characters. SettingError.
    """
    target = Path(path)
    check_format(target)
    made = figure(view, lang=lang, theme=theme)
    save_figure(made, target, title=f"cloche lens: {view.name}", caption=caption(view.provenance))
    return target


def figure(view: View, *, lang: Language = "en", theme: str = "light") -> Any:
    """The view as a matplotlib Figure. SettingError for an unknown language, theme, or no font."""
    check_language(lang)
    module = importlib.import_module(f"cloche.lens.figures.{file_of(view.name)}")
    return module.make_figure(view, lang, theme_named(theme))


def caption(where: Provenance) -> str:
    """What stands below a page's picture: run, checkpoint and text, of a long one its beginning."""
    text = where.text and f"“{beginning(where.text)}”"
    return " · ".join(filter(None, (where.place, text)))


def beginning(text: str) -> str:
    """The text, or as much of it as a caption holds."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def file_of(name: str) -> str:
    """The file that knows a view, in `cloche.lens`, its `figures` and its `terminal`."""
    return name.replace("-", "_")
