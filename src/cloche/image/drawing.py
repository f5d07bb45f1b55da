"""`draw_image`: pictures from words, or from a picture and words, by a pretrained pipeline.

The library diffusers (extra `image`) computes; here is found what to load, whether there is room,
what of the prompt is read, and what a file needs to be drawn again: each holds its prompt, seed,
model and settings. The noise comes from a generator on the CPU, one a picture, so that a seed means
the same picture on every device, but for rounding.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloche.errors import SettingError
from cloche.image.extras import quietly, require_libraries
from cloche.image.finding import HubFiles, find_pipeline
from cloche.image.folder import PipelineFolder
from cloche.image.loading import Painter, choose_device, choose_precision, load_painter
from cloche.image.memory import (
    DrawingMemory,
    describe_memory,
    free_room,
    own_size,
    plan_memory,
    require_download_room,
    require_room,
)
from cloche.image.options import DrawingOptions, require_sound
from cloche.image.painting import Order, Picture, StepDone, paint
from cloche.image.prompts import find_tokenizers, warn_of_prompt
from cloche.image.saving import files_for
from cloche.image.settling import Settled, require_early, settle
from cloche.image.start import fit_start, read_start, start_size
from cloche.run import warn_in_python

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Drawing:
    """What was drawn, and with what."""

    pictures: tuple[Picture, ...]
    prompt: str
    options: DrawingOptions
    settled: Settled
    folder: Path
    """Of the pipeline."""
    device: str
    precision: str
    memory: DrawingMemory
    """As it was planned."""
    loading_seconds: float
    seconds: float
    """Of drawing, loading not counted."""

    def to_json(self) -> dict[str, Any]:
        """All of it but the pictures themselves."""
        return {
            "files": [str(each.path) for each in self.pictures if each.path is not None],
            "prompt": self.prompt,
            "seeds": [each.seed for each in self.pictures],
            "model": self.options.model,
            "folder": str(self.folder),
            "device": self.device,
            "precision": self.precision,
            "width": self.pictures[0].image.width,
            "height": self.pictures[0].image.height,
            "steps": self.settled.steps,
            "guidance": self.settled.guidance,
            "strength": self.settled.strength,
            "negative": self.options.negative,
            "init": self.options.init,
            "flagged": [each.flagged for each in self.pictures],
            "memory": {"weights": self.memory.weights, "decoder": self.memory.decoder},
            "loading_seconds": self.loading_seconds,
            "seconds": self.seconds,
        }


def draw_image(
    prompt: str,
    options: DrawingOptions | None = None,
    *,
    out: str | Path | None = None,
    report: Callable[[StepDone], None] | None = None,
    tell: Say | None = None,
    warn: Say = warn_in_python,
) -> Drawing:
    """The pictures of a prompt; written to `out` (.png; numbered where there are several) if given.

    Each is written as soon as it is drawn. `report` hears of every step, `tell` of what takes time,
    `warn` of what will not come out as asked: a prompt that is cut or cannot be read, a picture
    that the model's safety checker took away.

    Raises SettingError for settings that are wrong, contradict each other, go unheeded, or need
    more memory than there is; CheckpointError where the model cannot be had or used.
    """
    options = options or DrawingOptions()
    require_sound(prompt, options)
    require_early(options)
    require_libraries()
    files = None if out is None else files_for(Path(out).expanduser(), options.count)
    start = None if options.init is None else read_start(Path(options.init).expanduser())
    tell = tell or _nobody
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    folder = _find(options, device=device, precision=precision, tell=tell, warn=warn)
    start, size = _sized(folder, options, start, tell=tell)
    memory = plan_memory(folder, precision=precision, size=size, batch=options.batch)
    _allow(options, warn, lambda: require_room(memory, precision, room=free_room(device)))
    tell(f"loading {options.model}: {describe_memory(memory, precision=precision)}")
    began = time.perf_counter()
    painter = load_painter(
        folder, device=device, precision=precision, from_picture=start is not None
    )
    settled = settle(painter, options)
    _warn_of_texts(prompt, options, painter, warn=warn)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    order = Order(prompt, options, settled, seed, start, size, report or _nobody)
    loaded = time.perf_counter()
    pictures = tuple(paint(painter, order, files=files, warn=warn))
    return Drawing(
        pictures,
        prompt,
        options,
        settled,
        folder.path,
        device,
        precision,
        memory,
        loading_seconds=loaded - began,
        seconds=time.perf_counter() - loaded,
    )


def _nobody(_: object) -> None:
    """Hears what is said where nobody asked for it."""


def _find(
    options: DrawingOptions, *, device: str, precision: str, tell: Say, warn: Say
) -> PipelineFolder:
    """The pipeline on this machine; its weights are not downloaded where they could not be held."""

    def check(files: HubFiles) -> None:
        room = free_room(device)
        _allow(options, warn, lambda: require_download_room(files, precision, room=room))

    prefer_half = precision != "float32"
    return find_pipeline(options.model, prefer_half=prefer_half, tell=tell, check=check)


def _allow(options: DrawingOptions, warn: Say, require: Callable[[], None]) -> None:
    """Let `require` refuse; with `anyway` its refusal is a warning."""
    try:
        require()
    except SettingError as exc:
        if not options.anyway:
            raise
        warn(f"going on anyway: {exc}")


def _sized(
    folder: PipelineFolder, options: DrawingOptions, start: Any | None, *, tell: Say
) -> tuple[Any | None, tuple[int, int] | None]:
    """The picture to begin from, in the size that is drawn in, and that size where it is known."""
    own = own_size(folder)
    if start is None:
        return None, _asked_size(options, own)
    size = start_size(start.size, width=options.width, height=options.height, own=own)
    if start.size != size:
        tell(f"init is {start.width} x {start.height}, and is drawn in {size[0]} x {size[1]}")
    return fit_start(start, size), size


def _asked_size(options: DrawingOptions, own: tuple[int, int] | None) -> tuple[int, int] | None:
    """The size asked for, one side of it perhaps the model's own: pipelines want both or none."""
    if options.width is None and options.height is None:
        return own
    if own is None and (options.width is None or options.height is None):
        raise SettingError(
            f"{options.model} does not say how large its own pictures are: give width and height"
        )
    width, height = own or (0, 0)
    return options.width or width, options.height or height


def _warn_of_texts(prompt: str, options: DrawingOptions, painter: Painter, *, warn: Say) -> None:
    """Tell what of the prompts will not reach the model."""
    tokenizers = find_tokenizers(painter.pipeline.components)
    texts = {"the prompt": prompt}
    if options.negative is not None:
        texts["the negative prompt"] = options.negative
    with quietly():
        for what, text in texts.items():
            warn_of_prompt(text, tokenizers, longest=painter.longest_prompt, what=what, warn=warn)
