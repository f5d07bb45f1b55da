"""What every picture shares: paper light or dark, fonts that have the characters, whole files.

Figures stand outside pyplot's global state and need no display. A text in Chinese, Japanese or
Korean is drawn with a font of the system that has it; see `drawable` for where there is none.
"""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from cloche.errors import SettingError

ThemeName = Literal["light", "dark"]
FORMATS = (".png", ".svg", ".html")
CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
    "Arial Unicode MS",
)
FIRST_PRINTED = 0x20


@dataclass(frozen=True)
class Theme:
    """Colours of a picture: `series` in their order for lines and bars, two maps for tables."""

    name: ThemeName
    paper: str
    ink: str
    """Of text and axes."""
    faint: str
    """Of what stands behind: grids, bands, single steps."""
    series: tuple[str, ...]
    amounts: str
    """The colour map for numbers from nothing to much; nothing looks like paper."""
    differences: str
    """The colour map for numbers on both sides of zero."""


LIGHT = Theme(
    "light",
    paper="#ffffff",
    ink="#22302a",
    faint="#c3d3ca",
    series=("#2f6f4f", "#c2542d", "#3b6ea8", "#8a6a1f", "#7c4d8b", "#4f8f8b", "#6b7280"),
    amounts="Greens",
    differences="BrBG",
)
DARK = Theme(
    "dark",
    paper="#15201b",
    ink="#e4ece7",
    faint="#3d5147",
    series=("#7fc8a0", "#f08a5d", "#8ab8e8", "#e0bd66", "#c79ad6", "#85cbc6", "#a3adb8"),
    amounts="cividis",
    differences="PiYG",
)
THEMES: dict[str, Theme] = {theme.name: theme for theme in (LIGHT, DARK)}


def theme_named(name: str) -> Theme:
    """The theme of that name; SettingError with the known ones."""
    if name not in THEMES:
        raise SettingError(f"theme must be one of {', '.join(THEMES)}, got {name!r}")
    return THEMES[name]


def new_figure(theme: Theme, *, width: float, height: float, title: str = "") -> Any:
    """An empty matplotlib Figure in inches, with constrained layout, so that nothing overlaps."""
    # matplotlib takes half a second to import: only who draws pays for it
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor=theme.paper)
    if title:
        shown, fonts = drawable(title)
        figure.suptitle(shown, color=theme.ink, fontfamily=fonts, parse_math=False)
    return figure


def dress(axes: Any, theme: Theme, *, grid: bool = True) -> Any:
    """The axes in the theme's colours, without the upper and right frame; given back."""
    axes.set_facecolor(theme.paper)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(theme.ink)
    axes.tick_params(colors=theme.ink, which="both")
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    axes.title.set_color(theme.ink)
    if grid:
        axes.grid(visible=True, color=theme.faint, alpha=0.5, linewidth=0.6)
        axes.set_axisbelow(True)
    return axes


def name_axes(axes: Any, *, x: str = "", y: str = "", title: str = "") -> None:
    """Write what the axes are, in fonts that have the characters."""
    for write, text in ((axes.set_xlabel, x), (axes.set_ylabel, y), (axes.set_title, title)):
        if text:
            shown, fonts = drawable(text)
            write(shown, fontfamily=fonts, parse_math=False)


def name_ticks(axis: Any, places: Sequence[float], names: Sequence[str], *, angle: int = 0) -> None:
    """Write names (of tokens, often) at places of an axis (`axes.xaxis` or `axes.yaxis`)."""
    written = [drawable(name) for name in names]
    axis.set_ticks(places, [shown for shown, _ in written], rotation=angle, parse_math=False)
    for label, (_, fonts) in zip(axis.get_ticklabels(), written, strict=True):
        label.set_fontfamily(fonts)


def write_in(axes: Any, x: float, y: float, text: str, **given: Any) -> Any:
    """The text written into the axes, as `Axes.text` does, in fonts that have its characters."""
    shown, fonts = drawable(text)
    return axes.text(x, y, shown, fontfamily=fonts, parse_math=False, **given)


def add_legend(axes: Any, theme: Theme, **given: Any) -> None:
    """A legend without a frame, where there is something to name."""
    if not axes.get_legend_handles_labels()[0]:
        return
    legend = axes.legend(frameon=False, labelcolor=theme.ink, **given)
    for text in legend.get_texts():
        shown, fonts = drawable(text.get_text())
        text.set_text(shown)
        text.set_fontfamily(fonts)
        text.set_parse_math(False)


def cjk_font() -> str | None:
    """The first of `CJK_FONTS` that this system has."""
    from matplotlib.font_manager import fontManager

    if (found := _first_cjk()) is None:
        # matplotlib remembers the fonts of its first day: one installed since is looked for
        for path in _unknown_fonts():
            fontManager.addfont(path)
        found = _first_cjk()
    return found


def require_cjk_font() -> str:
    """The font for Chinese; SettingError that names the known ones where there is none."""
    font = cjk_font()
    if font is None:
        raise SettingError(
            "this system has no font with Chinese characters that cloche knows: install one of "
            f"{', '.join(CJK_FONTS)} (on Debian: apt-get install fonts-wqy-microhei), or leave out "
            "--lang zh"
        )
    return font


def drawable(text: str) -> tuple[str, list[str]]:
    """The text and the fonts it needs, the first before the next.

    A character that no font here has is spelled out, as \\u0e01: a box would be worse.
    """
    fonts = ["DejaVu Sans"]
    foreign = {character for character in text if not _has(fonts[0], character)}
    if foreign and (font := cjk_font()) is not None:
        fonts.append(font)
        foreign = {character for character in foreign if not _has(font, character)}
    for character in foreign:
        text = text.replace(character, character.encode("unicode_escape").decode("ascii"))
    return text, fonts


def save_figure(figure: Any, path: Path, *, title: str = "", caption: str = "") -> None:
    """Write the picture whole or not at all: PNG, SVG, or HTML (a page by itself with the SVG).

    SettingError for another ending.
    """
    check_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    face = figure.get_facecolor()
    try:
        if path.suffix.lower() == ".html":
            drawn = io.StringIO()
            figure.savefig(drawn, format="svg", facecolor=face)
            temporary.write_text(_page(drawn.getvalue(), title, caption), encoding="utf-8")
        else:
            figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=150, facecolor=face)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_format(path: Path) -> None:
    """SettingError where no picture can be written under this name."""
    if path.suffix.lower() not in FORMATS:
        raise SettingError(
            f"a picture's name ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, got {path.name}"
        )


def _has(font: str, character: str) -> bool:
    """Whether the font draws the character; line ends and the like need no drawing."""
    return ord(character) < FIRST_PRINTED or ord(character) in _characters_of(font)


@lru_cache(maxsize=8)
def _characters_of(font: str) -> frozenset[int]:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    path = font_manager.findfont(font_manager.FontProperties(family=[font]))
    return frozenset(FT2Font(path).get_charmap())


def _first_cjk() -> str | None:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return next((name for name in CJK_FONTS if name in installed), None)


def _unknown_fonts() -> list[str]:
    """Font files of the system that matplotlib has not read, but for those it cannot read."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {font.fname for font in fontManager.ttflist}
    return [path for path in findSystemFonts() if path not in known and not _is_unreadable(path)]


def _is_unreadable(path: str) -> bool:
    """Whether it is a font of bitmaps or colours, which matplotlib cannot draw with."""
    from matplotlib.ft2font import FT2Font

    try:
        return not FT2Font(path).scalable
    except (OSError, RuntimeError):
        return True


def _page(svg: str, title: str, caption: str) -> str:
    """A page that needs nothing else; its background follows the reader's."""
    body = svg[svg.index("<svg") :]
    return (
        '<!doctype html>\n<html><head><meta charset="utf-8">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{html.escape(title)}</title>\n"
        "<style>body{margin:2rem auto;max-width:72rem;font-family:sans-serif}"
        "svg{max-width:100%;height:auto}</style></head>\n"
        f"<body>\n{body}\n<p>{html.escape(caption)}</p>\n</body></html>\n"
    )
