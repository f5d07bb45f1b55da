"""The tokens of a text as a picture: boxes in lines, the darker the more it surprised the model."""

import math
from collections.abc import Sequence
from typing import Any

from cloche.lens.tokens import SeenToken, TokensView
from cloche.lens.wording import Language, Words
from cloche.plots.canvas import LIGHT, Theme, new_figure, write_in

DRAWN, DETAILED = 1_000, 160
"""Tokens that are drawn; so many at most with their ids and numbers."""
LONGEST = 24
"""Characters of a token; of longer ones, the two ends are drawn."""
WIDTH, MARGIN = 648.0, 24.0
"""Of the picture, in points."""

_CHINESE = {
    "Tokens, by how much each surprised the model": "词元及其使模型惊讶的程度",
    "{run} · tokens: {tokens:,} · mean surprisal: {mean} nats": (
        "{run} · {tokens:,} 个词元 · 平均惊讶度：{mean} 奈特"
    ),
    "the first {shown:,} are drawn": "仅画出前 {shown:,} 个",
    "in a box: token, id, nats": "框内：词元、编号、奈特",
    "surprisal (nats)": "惊讶度（奈特）",
    "not predicted": "未预测",
    "not a number": "非数字",
    "blind guess": "盲猜",
}


def make_figure(view: TokensView, lang: Language, theme: Theme) -> Any:
    """Boxes that wrap like text, and what their colours mean."""
    words = Words(_CHINESE, lang)
    tokens = view.tokens[:DRAWN]
    detailed = len(tokens) <= DETAILED
    size, height = (11.0, 36.0) if detailed else (9.0, 16.0)
    texts = [_lines_of(token) if detailed else [shortened(token.text)] for token in tokens]
    wide = text_widths([lines[0] for lines in texts], size=size)
    small = text_widths([line for lines in texts for line in lines[1:]], size=6.5)
    widths = [8.0 + max([wide[lines[0]], *(small[line] for line in lines[1:])]) for lines in texts]
    ends = [token.text.endswith("⏎") for token in tokens]
    places = lay_out(widths, ends, width=WIDTH - 2 * MARGIN, gap=3.0)
    lines = 1 + max(line for _, line in places)
    figure, axes = page(theme, width=WIDTH, height=62.0 + lines * (height + 4.0) + 46.0)
    _write_head(axes, view, words, theme)
    shades = Shades(theme, most=math.log(max(2, view.vocab_size)))
    for token, text, (x, line), width in zip(tokens, texts, places, widths, strict=True):
        corner = (MARGIN + x, 62.0 + line * (height + 4.0))
        ink = shades.box(axes, token.surprisal, corner, width=width, height=height)
        middle = corner[0] + width / 2
        top = corner[1] + (10.0 if detailed else height / 2)
        centred = {"ha": "center", "va": "center_baseline", "color": ink}
        write_in(axes, middle, top, text[0], fontsize=size, **centred)
        for row, said in enumerate(text[1:]):
            write_in(axes, middle, corner[1] + 21.5 + 8.5 * row, said, fontsize=6.5, **centred)
    shades.write_key(axes, tokens, words, top=62.0 + lines * (height + 4.0) + 10.0)
    return figure


def page(theme: Theme, *, width: float, height: float) -> tuple[Any, Any]:
    """A figure and its axes over all of it, both in points from the upper left corner.

    What is laid out by hand must stay where it is, so the figure moves nothing.
    """
    figure = new_figure(theme, width=width / 72, height=height / 72)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    return figure, axes


def text_widths(texts: Sequence[str], *, size: float) -> dict[str, float]:
    """How wide each text is in points, at this size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    scale = 2.0  # widths of letters are rounded to pixels
    figure, axes = page(LIGHT, width=72.0, height=72.0)
    figure.set_dpi(72 * scale)
    renderer = FigureCanvasAgg(figure).get_renderer()
    found = {}
    for text in set(texts):
        artist = write_in(axes, 0, 0, text, fontsize=size)
        found[text] = artist.get_window_extent(renderer).width / scale
        artist.remove()
    return found


def lay_out(
    widths: Sequence[float], ends: Sequence[bool], *, width: float, gap: float
) -> list[tuple[float, int]]:
    """Where each box begins, and in which line: as words stand in a text of that width.

    `ends` says of each box whether a line ends behind it.
    """
    found, x, line = [], 0.0, 0
    for each, end in zip(widths, ends, strict=True):
        if x and x + each > width:
            x, line = 0.0, line + 1
        found.append((x, line))
        x += each + gap
        if end:
            x, line = 0.0, line + 1
    return found


def shortened(text: str, *, longest: int = LONGEST) -> str:
    """The text, or the two ends of a long one."""
    if len(text) <= longest:
        return text
    kept = (longest - 1) // 2
    return f"{text[:kept]}…{text[-kept:]}"


class Shades:
    """Boxes in the colour of a number from 0 to `most`, and ink that can be read on them."""

    def __init__(self, theme: Theme, *, most: float) -> None:
        from matplotlib import colormaps

        self.theme, self.most = theme, most
        self._map = colormaps[theme.amounts]

    def colours(self, number: float) -> tuple[Any, str]:
        """The colour of a number and that of the ink on it."""
        colour = self._map(min(1.0, number / self.most))
        inks = (self.theme.ink, self.theme.paper)
        return colour, max(inks, key=lambda ink: _contrast(ink, colour))

    def box(
        self,
        axes: Any,
        number: float | None,
        corner: tuple[float, float],
        *,
        width: float,
        height: float,
    ) -> str:
        """Draw a box; gives its ink. Dashed where there is no number, hatched where it is none."""
        from matplotlib.patches import Rectangle

        given: dict[str, Any] = {"facecolor": "none", "edgecolor": self.theme.ink}
        ink = self.theme.ink
        if number is None:
            given |= {"linestyle": (0, (3, 2)), "linewidth": 0.8}
        elif math.isnan(number):
            given |= {"hatch": "////", "edgecolor": self.theme.faint, "linewidth": 0.8}
        else:
            colour, ink = self.colours(number)
            given = {"facecolor": colour, "edgecolor": self.theme.faint, "linewidth": 0.5}
        axes.add_patch(Rectangle(corner, width, height, **given))
        return ink

    def write_key(
        self, axes: Any, tokens: Sequence[SeenToken], words: Words, *, top: float
    ) -> None:
        """What the colours of tokens mean."""
        said = {"fontsize": 8, "color": self.theme.ink, "va": "center"}
        write_in(axes, MARGIN, top + 6, words("surprisal (nats)"), **said)
        left, steps = MARGIN + 100.0, 60
        for step in range(steps):
            number = self.most * (step + 0.5) / steps
            self._patch(axes, (left + 3.0 * step, top), self.colours(number)[0])
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            x = left + 3.0 * steps * share
            value = f"{self.most * share:.1f}"
            write_in(axes, x, top + 19, value, **{**said, "ha": "center"})
        blind = words("blind guess")
        write_in(axes, left + 3.0 * steps + 16.0, top + 19, f"({blind})", **said)
        x = left + 3.0 * steps + 90.0
        kinds = {
            "not predicted": (None, any(each.surprisal is None for each in tokens)),
            "not a number": (math.nan, any(_is_nan(each.surprisal) for each in tokens)),
        }
        for name, (number, shown) in kinds.items():
            if shown:
                self.box(axes, number, (x, top), width=18, height=12)
                write_in(axes, x + 24, top + 6, words(name), **said)
                x += 110

    def _patch(self, axes: Any, corner: tuple[float, float], colour: Any) -> None:
        from matplotlib.patches import Rectangle

        axes.add_patch(Rectangle(corner, 3.1, 12, facecolor=colour, edgecolor="none"))


def _lines_of(token: SeenToken) -> list[str]:
    nats = token.surprisal
    said = "–" if nats is None else ("NaN" if math.isnan(nats) else f"{nats:.1f}")
    return [shortened(token.text), str(token.id), said]


def _write_head(axes: Any, view: TokensView, words: Words, theme: Theme) -> None:
    title = words("Tokens, by how much each surprised the model")
    write_in(axes, MARGIN, 22, title, fontsize=13, color=theme.ink, va="center")
    mean = view.mean_surprisal
    said = words(
        "{run} · tokens: {tokens:,} · mean surprisal: {mean} nats",
        run=shortened(view.provenance.place, longest=48),
        tokens=len(view.tokens),
        mean="–" if mean is None else ("NaN" if math.isnan(mean) else f"{mean:.2f}"),
    )
    if len(view.tokens) > DRAWN:
        said += " · " + words("the first {shown:,} are drawn", shown=DRAWN)
    elif len(view.tokens) <= DETAILED:
        said += " · " + words("in a box: token, id, nats")
    write_in(axes, MARGIN, 43, said, fontsize=9, color=theme.ink, va="center")


def _is_nan(number: float | None) -> bool:
    return number is not None and math.isnan(number)


def _contrast(one: Any, other: Any) -> float:
    """Of two colours, as WCAG has it: https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio"""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Any) -> float:
    from matplotlib.colors import to_rgb

    parts = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in to_rgb(colour)
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
