"""`cloche image`: pictures from words, by a pretrained diffusion pipeline."""

import json
import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cloche.cli.parse import parse
from cloche.cli.sampling import tell
from cloche.cli.signals import cleaning_up
from cloche.errors import SettingError
from cloche.image.options import DrawingOptions, require_sound

if TYPE_CHECKING:
    from cloche.image.drawing import Drawing
    from cloche.image.painting import StepDone

SIZE = re.compile(r"(\d+)(?:[x×*](\d+))?", re.IGNORECASE)


@dataclass(frozen=True)
class Image(DrawingOptions):
    """Draw pictures from words, or with --init from a picture and words, by a pretrained diffusion
    pipeline (extra: image). Each PNG holds its prompt, seed, model and settings."""

    prompt: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PROMPT")]
    """What to draw."""
    out: str | None = None
    """The .png file, numbered (sea-1.png) where there are several; named after the prompt, and
    never over another, when not given."""
    size: str | None = None
    """Width and height at once: 512, or 768x512."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""

    def drawing_options(self) -> DrawingOptions:
        """The options of the drawing alone, `size` put in. Raises SettingError."""
        values: dict[str, Any] = {
            field.name: getattr(self, field.name) for field in fields(DrawingOptions)
        }
        if self.size is not None:
            if self.width is not None or self.height is not None:
                raise SettingError("--size is width and height at once: leave those out, or it")
            values["width"], values["height"] = parse_size(self.size)
        return DrawingOptions(**values)


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of `512` or `768x512`. Raises SettingError."""
    found = SIZE.fullmatch(text.strip())
    if found is None or len(text) > 20:
        raise SettingError(f"--size is one side or WIDTHxHEIGHT, such as 768x512, got {text!r}")
    return int(found[1]), int(found[2] or found[1])


def main(arguments: list[str]) -> int:
    """Draw, write the files, say how long it took."""
    command = parse(Image, arguments, prog="cloche image")
    options = command.drawing_options()
    require_sound(command.prompt, options)
    # below, files that load torch
    from cloche.image.drawing import draw_image
    from cloche.image.saving import free_name

    out = command.out or free_name(Path(), command.prompt, count=options.count)
    warnings: list[str] = []

    def warn(message: str) -> None:
        warnings.append(message)
        tell(message)

    progress = Progress()
    with cleaning_up():
        drawing = draw_image(
            command.prompt, options, out=out, report=progress.note, tell=tell, warn=warn
        )
    if command.json:
        print(json.dumps(drawing.to_json() | {"warnings": warnings}, ensure_ascii=False))
    else:
        print(describe(drawing))
    return 0


def describe(drawing: "Drawing") -> str:
    """The files with their seeds, and the seconds."""
    lines = [
        f"{each.path}: {each.image.width} x {each.image.height}, seed {each.seed}"
        for each in drawing.pictures
    ]
    used = drawing.settled
    told = [f"steps {used.steps}"]
    told += [] if used.guidance is None else [f"guidance {used.guidance:g}"]
    told += [] if used.strength is None else [f"strength {used.strength:g}"]
    lines.append(
        f"drawn in {drawing.seconds:.1f} seconds (loading the model: "
        f"{drawing.loading_seconds:.1f}) by {drawing.options.model}, {', '.join(told)}, "
        f"{drawing.precision} on {drawing.device}"
    )
    return "\n".join(lines)


class Progress:
    """Tells each step on standard error: on a terminal in one line, else one line a step."""

    def note(self, done: "StepDone") -> None:
        """Show one step."""
        which = "" if done.pictures == 1 else f"picture {done.picture} of {done.pictures}, "
        line = f"{which}step {done.step} of {done.steps}, {done.seconds:.1f} seconds"
        if sys.stderr.isatty():
            end = "\n" if done.step == done.steps else ""
            print(f"\r{line:<60}", end=end, file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
