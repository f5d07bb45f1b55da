"""A picture of any view: `draw` finds the figure of its kind.

The file `figures/attention.py` draws the view `attention` by its function `make_figure(view, lang,
theme)`, and so for all; matplotlib is imported when something is drawn.
"""

import importlib
from pathlib import Path
from typing import Any

from cloche.lens.view import View
from cloche.lens.wording import Language, check_language
from cloche.plots.canvas import check_format, save_figure, theme_named


def draw(view: View, path: str | Path, *, lang: Language = "en", theme: str = "light") -> Path:
    """Write a picture of the view to a .png, .svg or .html file; gives its path.

    `lang` is that of its labels; zh needs a font with Chinese characters. SettingError.
    """
    target = Path(path)
    check_format(target)
    made = figure(view, lang=lang, theme=theme)
    where = view.provenance
    caption = " · ".join(
        filter(None, (where.run, where.checkpoint, where.text and f"“{where.text}”"))
    )
    save_figure(made, target, title=f"cloche lens: {view.name}", caption=caption)
    return target


def figure(view: View, *, lang: Language = "en", theme: str = "light") -> Any:
    """The view as a matplotlib Figure. SettingError for an unknown language, theme, or no font."""
    check_language(lang)
    module = importlib.import_module(f"cloche.lens.figures.{file_of(view.name)}")
    return module.make_figure(view, lang, theme_named(theme))


def file_of(name: str) -> str:
    """The file that knows a view, in `cloche.lens`, its `figures` and its `terminal`."""
    return name.replace("-", "_")
