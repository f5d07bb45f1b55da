"""A view over time as an animation: a .gif that plays, or a page with a slider.

The page stands by itself: its pictures lie in it, and nothing is loaded from elsewhere.
"""

import base64
import html
import io
from pathlib import Path
from typing import Any

from cloche.errors import SettingError
from cloche.lens.drawing import beginning, figure
from cloche.lens.over_time import Frame, OverTimeView
from cloche.lens.wording import Language, Words, check_language
from cloche.plots.canvas import Theme, drawable, new_figure, theme_named

ANIMATIONS = (".gif", ".html")
DPI = 100
SCRIPT = """
const frames = document.querySelectorAll("figure"), slider = document.querySelector("input");
const play = document.querySelector("button");
let timer = null;
function show() { frames.forEach((frame, i) => { frame.hidden = i !== Number(slider.value); }); }
function stop() { clearInterval(timer); timer = null; play.textContent = "▶"; }
function next() { slider.value = (Number(slider.value) + 1) % frames.length; show(); }
slider.addEventListener("input", () => { stop(); show(); });
play.addEventListener("click", () => {
  if (timer) { stop(); } else { timer = setInterval(next, PAUSE); play.textContent = "❚❚"; }
});
show();
"""
CHINESE = {"step {step}": "第 {step} 步"}


def animate(
    view: OverTimeView,
    path: str | Path,
    *,
    lang: Language = "en",
    theme: str = "light",
    seconds: float = 1.0,
) -> Path:
    """Write the frames one after the other to a .gif or .html file; gives its path.

    Each stays for so many seconds. SettingError for another ending, language or theme.
    """
    target = Path(path)
    if target.suffix.lower() not in ANIMATIONS:
        raise SettingError(f"an animation's name ends in .gif or .html, got {target.name}")
    if not 0.02 <= seconds <= 3600:
        raise SettingError(f"seconds must be from 0.02 to 3600, got {seconds}")
    check_language(lang)
    colours = theme_named(theme)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.tmp{target.suffix}")
    try:
        if target.suffix.lower() == ".gif":
            _write_gif(view, temporary, lang, colours, seconds=seconds)
        else:
            page = _page(view, lang, colours, seconds=seconds)
            temporary.write_text(page, encoding="utf-8")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def picture_of(frame: Frame, lang: Language, theme: Theme) -> Any:
    """The frame's own picture as an array of colours: (height, width, 4)."""
    from matplotlib.image import imread

    return imread(io.BytesIO(_png(frame, lang, theme)))


def heading(frame: Frame, lang: Language) -> str:
    """What stands over a frame."""
    return Words(CHINESE, lang)("step {step}", step=f"{frame.step:,}")


def _png(frame: Frame, lang: Language, theme: Theme) -> bytes:
    drawn = io.BytesIO()
    made = figure(frame.view, lang=lang, theme=theme.name)
    made.savefig(drawn, format="png", dpi=DPI, facecolor=made.get_facecolor())
    return drawn.getvalue()


def _write_gif(
    view: OverTimeView, path: Path, lang: Language, theme: Theme, *, seconds: float
) -> None:
    """Frames of one size: that of the largest, the others in its upper left."""
    from matplotlib.animation import PillowWriter

    pictures = [picture_of(frame, lang, theme) for frame in view.frames]
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    canvas = new_figure(theme, width=width / DPI, height=height / DPI + 0.4)
    canvas.set_layout_engine("none")
    title = canvas.suptitle("", color=theme.ink, y=1.0 - 0.1 / (height / DPI + 0.4))
    title.set_fontfamily(drawable(heading(view.frames[0], lang))[1])
    # less than one frame a second is fine, whatever its types say
    writer = PillowWriter(fps=1 / seconds)  # pyright: ignore[reportArgumentType]
    with writer.saving(canvas, str(path), DPI):
        for frame, picture in zip(view.frames, pictures, strict=True):
            canvas.images.clear()
            title.set_text(drawable(heading(frame, lang))[0])
            # in pixels from the lower left
            canvas.figimage(picture, 0, height - picture.shape[0])
            writer.grab_frame(facecolor=theme.paper)


def _page(view: OverTimeView, lang: Language, theme: Theme, *, seconds: float) -> str:
    said = f"{view.provenance.run}: {view.of}"
    text = view.provenance.text
    figures = "\n".join(
        f"<figure{'' if number == 0 else ' hidden'}>"
        f"<figcaption>{html.escape(heading(frame, lang))}</figcaption>"
        f'<img alt="{html.escape(heading(frame, lang))}" src="data:image/png;base64,'
        f'{base64.b64encode(_png(frame, lang, theme)).decode("ascii")}"></figure>'
        for number, frame in enumerate(view.frames)
    )
    script = SCRIPT.replace("PAUSE", str(round(1000 * seconds)))
    return (
        f'<!doctype html>\n<html lang="{lang}"><head><meta charset="utf-8">'
        f"<title>{html.escape(said)}</title>\n<style>"
        f"body{{margin:2rem auto;max-width:72rem;font-family:sans-serif;"
        f"background:{theme.paper};color:{theme.ink}}}"
        "img{max-width:100%}input{width:70%}figure{margin:1rem 0}"
        "figcaption{font-weight:bold}</style></head>\n"
        f"<body>\n<h1>{html.escape(said)}</h1>\n<p>{html.escape(beginning(text or ''))}</p>\n"
        f'<p><button type="button">▶</button> <input type="range" min="0" '
        f'max="{len(view.frames) - 1}" value="0" aria-label="{html.escape(view.name)}"></p>\n'
        f"{figures}\n<script>{script}</script>\n</body></html>\n"
    )
