"""Pictures: readable in every theme and script, whole or absent, without a display."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from matplotlib.colors import to_hex

from cloche.errors import SettingError
from cloche.lens.wording import check_language
from cloche.plots import canvas
from cloche.plots.canvas import (
    CJK_FONTS,
    DARK,
    LIGHT,
    THEMES,
    add_legend,
    cjk_font,
    drawable,
    dress,
    name_axes,
    name_ticks,
    new_figure,
    require_cjk_font,
    save_figure,
    theme_named,
    write_in,
)

NAMES = ["cat", "␣the", "猫", "$x$", "<e4>"]


def example(theme=LIGHT):
    figure = new_figure(theme, width=3, height=2, title="cost: $5 to $6 猫")
    axes = dress(figure.subplots(), theme)
    axes.plot([0, 1, 2, 3, 4], label="猫_$1$")
    name_ticks(axes.xaxis, range(5), NAMES)
    name_axes(axes, x="token", y="surprisal", title="a $ b $")
    write_in(axes, 1, 1, "猫 $y")
    add_legend(axes, theme)
    return figure


@pytest.fixture
def no_cjk(monkeypatch):
    monkeypatch.setattr(canvas, "_first_cjk", lambda: None)
    monkeypatch.setattr(canvas, "_unknown_fonts", list)


@pytest.fixture
def some_cjk() -> str:
    font = cjk_font()
    if font is None:
        pytest.skip("no font with Chinese characters is installed")
    return font


def contrast(first: str, second: str) -> float:
    """Of two colours, as https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio has it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_text_and_lines_stand_out_from_the_paper(theme):
    assert contrast(theme.ink, theme.paper) > 7
    assert min(contrast(colour, theme.paper) for colour in theme.series) > 3
    assert len(set(theme.series)) == len(theme.series)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_all_that_is_written_is_in_the_ink_of_the_theme(theme):
    figure = example(theme)
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    texts = [axes.xaxis.label, axes.yaxis.label, axes.title, *legend.get_texts()]
    texts += axes.get_xticklabels()
    assert {to_hex(each.get_color()) for each in texts} == {theme.ink}


def test_dollars_and_underscores_are_no_formulas():
    figure = example()
    (axes,) = figure.axes
    assert axes.get_title() == "a $ b $"
    texts = [axes.title, axes.xaxis.label, *axes.texts, *axes.get_xticklabels()]
    assert not any(each.get_parse_math() for each in texts)
    figure.draw_without_rendering()
    assert [each.get_text() for each in axes.get_xticklabels()] == NAMES


def test_an_unknown_theme_is_refused_with_the_known():
    assert theme_named("dark") is DARK
    with pytest.raises(SettingError, match="light, dark, got 'sepia'"):
        theme_named("sepia")


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.html", b"<!doctype html")]
)
def test_each_format_is_written_into_a_folder_that_is_made(name, begins, tmp_path, some_cjk):
    path = tmp_path / "new" / name
    save_figure(example(), path, title="t <1>", caption="run & text")
    assert path.read_bytes().startswith(begins)
    assert [each.name for each in path.parent.iterdir()] == [name], "nothing else is left"


def test_a_page_is_whole_by_itself_and_shows_what_users_typed_as_text(tmp_path):
    save_figure(example(), tmp_path / "a.html", title="<b>", caption="<script>x</script>")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<title>&lt;b&gt;</title>" in page
    assert "<script>" not in page
    assert "src=" not in page
    ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])


@pytest.mark.parametrize("name", ["a", "a.jpg", "a.pdf", "a.png.exe"])
def test_another_ending_is_refused_with_the_known(name, tmp_path):
    with pytest.raises(SettingError, match=r"\.png, \.svg or \.html, got a"):
        save_figure(example(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_capitals_in_an_ending_are_the_same(tmp_path, some_cjk):
    save_figure(example(), tmp_path / "A.PNG")
    assert (tmp_path / "A.PNG").read_bytes().startswith(b"\x89PNG")


def test_a_drawing_that_fails_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = example()

    def fail(file: Path, **_given: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, path)
    assert path.read_bytes() == b"old"


def test_no_font_for_chinese_is_told_with_those_that_would_do(no_cjk):
    with pytest.raises(SettingError) as told:
        require_cjk_font()
    assert all(font in str(told.value) for font in CJK_FONTS)
    with pytest.raises(SettingError, match="no font with Chinese"):
        check_language("zh")
    check_language("en")


def test_tokens_that_no_font_has_are_spelled_out(no_cjk, tmp_path):
    assert drawable("猫a") == ("\\u732ba", ["DejaVu Sans"])
    assert drawable("café ␣⏎") == ("café ␣⏎", ["DejaVu Sans"])
    save_figure(example(), tmp_path / "a.png")  # a character without a font would warn


def test_chinese_is_drawn_with_a_font_that_has_it(some_cjk, tmp_path):
    assert require_cjk_font() == some_cjk
    assert drawable("猫") == ("猫", ["DejaVu Sans", some_cjk])
    assert drawable("cat") == ("cat", ["DejaVu Sans"])
    save_figure(example(), tmp_path / "a.png")


def test_pictures_are_drawn_without_a_display_and_without_pyplot(tmp_path):
    program = (
        "import sys; from pathlib import Path; from cloche.plots.canvas import *\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"save_figure(new_figure(LIGHT, width=1, height=1), Path({str(tmp_path / 'a.png')!r}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {"PATH": "/usr/bin", "HOME": str(tmp_path), "MPLBACKEND": "TkAgg"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert (tmp_path / "a.png").stat().st_size > 100
