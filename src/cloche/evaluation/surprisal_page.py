"""Surprisal as a page to read: the text, each whole character or word coloured by its bits.

One file with nothing from elsewhere; its own policy forbids the browser to fetch anything, so a
text can hold what it likes. One hue from light to dark, so that the scale can be read without
seeing colours, with ink that keeps its contrast on every step; the details come by mouse, touch or
arrow keys.
"""

import html
import math
from collections.abc import Iterator
from pathlib import Path

from cloche.evaluation.surprisal import (
    DocumentSurprisal,
    Group,
    Surprisals,
    TokenSurprisal,
    writing_whole,
)
from cloche.text.visible import LINE_FEED, one_line

LEVELS = (
    # up to so many bits, background, ink: all have a contrast of at least 7 to 1
    (1.0, "#ffffff", "#000000"),
    (2.0, "#fbeee3", "#000000"),
    (4.0, "#f6d5b8", "#000000"),
    (6.0, "#efb98c", "#000000"),
    (8.0, "#e69c63", "#000000"),
    (11.0, "#8f3a0a", "#ffffff"),
    (14.0, "#6b2803", "#ffffff"),
    (math.inf, "#451800", "#ffffff"),
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 46rem; padding: 1.5rem 1rem 9rem; background: #ffffff;
  color: #000000; font: 1.05rem/1.9 system-ui, "Noto Sans CJK SC", "PingFang SC",
  "Microsoft YaHei", sans-serif; }
h1, h2 { font-size: 1.1rem; line-height: 1.4; overflow-wrap: anywhere; }
p.text { white-space: pre-wrap; overflow-wrap: anywhere; }
b { font-weight: inherit; border-radius: .2em; padding: .1em 0; cursor: default; }
b.none { border-bottom: 2px dotted #000000; }
b:focus, b.shown { outline: 3px solid #005fcc; outline-offset: 1px; }
.legend b { padding: .2em .6em; margin-right: .2em; border: 1px solid #767676; }
#details { position: fixed; inset: auto 0 0 0; max-height: 8rem; overflow: auto; margin: 0;
  padding: .6rem 1rem; border-top: 2px solid #000000; background: #ffffff; color: #000000;
  white-space: pre-wrap; font: .95rem/1.45 ui-monospace, monospace; }
"""
_SCRIPT = """
const details = document.getElementById("details");
let shown = null;
function show(group) {
  if (!group || !group.title) return;
  if (shown) { shown.classList.remove("shown"); shown.tabIndex = -1; }
  shown = group;
  shown.classList.add("shown");
  shown.tabIndex = 0;
  details.textContent = group.title;
}
const groupOf = event => event.target.closest("p.text b");
document.addEventListener("pointerover", event => show(groupOf(event)));
document.addEventListener("click", event => show(groupOf(event)));
document.addEventListener("focusin", event => show(groupOf(event)));
document.addEventListener("keydown", event => {
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!step) return;
  const groups = [...document.querySelectorAll("p.text b")];
  const next = groups[shown ? groups.indexOf(shown) + step : 0];
  if (next) { show(next); next.focus(); event.preventDefault(); }
});
const first = document.querySelector("p.text b");
if (first) first.tabIndex = 0;
"""


def write_page(path: Path, surprisals: Surprisals, *, title: str) -> None:
    """Write the surprisal of documents as a page; it appears whole or not at all."""
    with writing_whole(path) as file:
        file.write(_head(title))
        for document in surprisals:
            file.writelines(_document(document))
        if surprisals.limited:
            file.write(
                f"<p><strong>Only the first {surprisals.tokens:,} tokens are shown.</strong> "
                "cloche eval --surprisal-limit says how many.</p>\n"
            )
        file.write(
            '<p id="details" role="status" aria-live="polite">Point at the text, or walk through '
            "it with the arrow keys.</p>\n"
            f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
        )


def level_of(bits: float) -> int:
    """Which of LEVELS so many bits have."""
    return next(number for number, (most, _, _) in enumerate(LEVELS) if bits <= most)


def _head(title: str) -> str:
    shades = "".join(
        f".s{number} {{ background: {background}; color: {ink}; }}\n"
        for number, (_, background, ink) in enumerate(LEVELS)
    )
    steps = "".join(f'<b class="s{n}">{label}</b>' for n, label in enumerate(_labels()))
    shown = html.escape(one_line(title))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Surprisal: {shown}</title>\n<style>{_STYLE}{shades}</style>\n</head>\n<body>\n"
        f"<h1>{shown}</h1>\n"
        "<p>Surprisal in bits: how little the model expected what stands there. One bit is a fair "
        "coin, ten bits one chance in a thousand. Characters that the model reads in several "
        "tokens are shown whole, with the sum.</p>\n"
        f'<p class="legend">{steps} bits</p>\n'
    )


def _labels() -> Iterator[str]:
    """What the legend says of each step."""
    below = 0.0
    for most, _, _ in LEVELS:
        yield f"{below:.0f} to {most:.0f}" if math.isfinite(most) else f"over {below:.0f}"
        below = most


def _document(document: DocumentSurprisal) -> Iterator[str]:
    name = html.escape(one_line(document.name))
    yield f'<h2>{name}</h2>\n<p class="text" dir="auto" lang="">'
    for group in document.groups:
        yield _group(group)
    yield "</p>\n"


def _group(group: Group) -> str:
    shade = "none" if group.bits is None else f"s{level_of(group.bits)}"
    parts = _lines(group.text)
    shown = "".join(
        f"{LINE_FEED}<br>" if part == "\n" else html.escape(one_line(part)) for part in parts
    )
    return f'<b class="{shade}" title="{html.escape(_details(group))}">{shown}</b>'


def _lines(text: str) -> Iterator[str]:
    """The text's lines, and a line feed for each end of one."""
    for line in text.splitlines(keepends=True):
        body = line.rstrip("\r\n")
        if body:
            yield body
        if len(body) < len(line):
            yield "\n"


def _details(group: Group) -> str:
    """What is told of a group: each token with what the model expected instead."""
    lines = []
    if len(group.tokens) > 1:
        sum_told = "not known" if group.bits is None else f"{group.bits:.2f} bits"
        lines.append(f"{one_line(group.text)}: {len(group.tokens)} tokens, {sum_told}")
    for token in group.tokens:
        lines.append(_told(token))
        if token.alternatives:
            others = "  ".join(
                f"{one_line(other.text)!r} {2.0**-other.bits:.1%}" for other in token.alternatives
            )
            lines.append(f"  expected: {others}")
    return "\n".join(lines)


def _told(token: TokenSurprisal) -> str:
    shown = f"{one_line(token.text)!r} (token {token.id})"
    if token.bits is None:
        return f"{shown}: nothing stands before it"
    return (
        f"{shown}: {token.bits:.2f} bits, probability {2.0**-token.bits:.2%}, rank {token.rank:,}"
    )
