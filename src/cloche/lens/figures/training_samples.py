"""Texts that a run wrote, pinned to their steps: a number on the curve, the text below."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cloche.lens.spreading import spread
from cloche.lens.training import RunCurves
from cloche.lens.training_rows import WrittenSample, one_line
from cloche.plots.canvas import Theme, write_in

MOST = 6
"""Texts in a picture, of all runs together."""
LETTERS = 172
"""Width of a line of text, in letters of a middling width."""
LINES = 2
PROMPT = 60
"""Characters that are shown of a prompt: its last ones, which the text goes on from."""


@dataclass(frozen=True)
class Pin:
    """A text, the number it goes by, and whose it is."""

    number: int
    run: int
    run_name: str
    sample: WrittenSample


def pinned(runs: Sequence[RunCurves]) -> list[Pin]:
    """The texts that are shown, evenly spread over each run."""
    speaking = [(place, run) for place, run in enumerate(runs) if run.samples]
    each = max(1, MOST // max(1, len(speaking)))
    chosen = [
        (place, run.run, sample) for place, run in speaking for sample in spread(run.samples, each)
    ]
    return [Pin(number, *found) for number, found in enumerate(chosen[:MOST], start=1)]


def mark_samples(axes: Any, pins: Sequence[Pin], theme: Theme) -> None:
    """Put the numbers over the steps; those of one step one over the other."""
    left, right = axes.get_xlim()
    apart = 0.022 * (right - left)
    taken: list[tuple[float, int]] = []
    several = len({pin.run for pin in pins}) > 1
    for pin in pins:
        near = [row for step, row in taken if abs(step - pin.sample.step) < apart]
        row = next(row for row in range(len(pins)) if row not in near)
        taken.append((pin.sample.step, row))
        color = theme.series[pin.run % len(theme.series)] if several else theme.ink
        axes.axvline(pin.sample.step, color=color, linewidth=0.6, linestyle=":", alpha=0.6)
        write_in(
            axes,
            pin.sample.step,
            0.97 - 0.09 * row,
            str(pin.number),
            transform=axes.get_xaxis_transform(),
            color=theme.paper,
            fontsize=8,
            ha="center",
            va="top",
            bbox={"boxstyle": "round,pad=0.25", "facecolor": color, "edgecolor": "none"},
        )


def write_samples(axes: Any, pins: Sequence[Pin], theme: Theme, *, several: bool) -> None:
    """Write the texts below one another, cut to fit."""
    axes.set_axis_off()
    for place, pin in enumerate(pins):
        whose = f"{pin.run_name}, " if several else ""
        head = f"{pin.number} · {whose}{pin.sample.step:,}: "
        text = fit(f"{head}{_end(one_line(pin.sample.prompt))} ▸ {one_line(pin.sample.text)}")
        write_in(
            axes,
            0.0,
            1.0 - (place + 0.15) / (len(pins) + 0.15),
            text,
            transform=axes.transAxes,
            color=theme.ink,
            fontsize=7.5,
            va="top",
            linespacing=1.25,
        )


def _end(prompt: str) -> str:
    return prompt if len(prompt) <= PROMPT else f"… {prompt[-PROMPT:]}"


def fit(text: str, *, letters: int = LETTERS, lines: int = LINES) -> str:
    """The text in so many lines of that width, with … where it was cut."""
    found: list[str] = []
    rest = text
    while rest and len(found) < lines:
        line = _beginning(rest, letters)
        rest = rest[len(line) :].lstrip(" ")
        found.append(line.rstrip(" "))
    return "\n".join(found) + (" …" if rest else "")


def _beginning(text: str, letters: int) -> str:
    """As much of the text as one line holds; up to a space where one is near."""
    width = 0.0
    for place, character in enumerate(text):
        width += _width(character)
        if width > letters:
            space = text.rfind(" ", place - 20 if place > 20 else 0, place)
            return text[: space if space > 0 else place]
    return text


def _width(character: str) -> float:
    """In letters of a middling width."""
    if unicodedata.combining(character):
        return 0.0
    return 2.0 if unicodedata.east_asian_width(character) in "WF" else 1.0
