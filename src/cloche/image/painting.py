"""Pictures drawn batch by batch, each written as soon as it is there."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cloche.errors import CheckpointError, SettingError
from cloche.image.extras import quietly
from cloche.image.loading import Painter
from cloche.image.options import DrawingOptions
from cloche.image.saving import save_picture
from cloche.image.settling import Settled, arguments_for

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What errors of torch say when an allocation fails on a CPU or an Apple GPU."""


@dataclass(frozen=True)
class StepDone:
    """One step of denoising is done."""

    picture: int
    """Of those drawn at once the first, counted from 1."""
    pictures: int
    """How many there will be."""
    step: int
    steps: int
    seconds: float
    """Since these pictures were begun."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture that was drawn."""

    image: Any
    """Pillow's RGB image."""
    seed: int
    path: Path | None
    """Where it was written."""
    flagged: bool
    """Whether the model's own safety checker took it away: then it is black."""


@dataclass(frozen=True, eq=False)
class Order:
    """What is to be drawn."""

    prompt: str
    options: DrawingOptions
    settled: Settled
    seed: int
    """Of the first picture."""
    start: Any | None
    """Pillow's image to begin from, in its size."""
    size: tuple[int, int] | None
    """Width and height; None where they are the model's own, and unknown."""
    report: Callable[[StepDone], None]


def paint(
    painter: Painter, order: Order, *, files: Sequence[Path] | None, warn: Callable[[str], None]
) -> Iterator[Picture]:
    """The pictures, one by one, each in its file by then.

    Raises SettingError where the pipeline refuses its settings or the memory does not do,
    CheckpointError where it fails otherwise or what it drew is no picture.
    """
    count = order.options.count
    for first in range(0, count, order.options.batch):
        seeds = [order.seed + number for number in range(first, count)][: order.options.batch]
        images, flagged = _paint_batch(painter, order, seeds=seeds, first=first)
        for offset, (image, seed, taken) in enumerate(zip(images, seeds, flagged, strict=True)):
            number = first + offset
            _warn_of_picture(image, order, taken=taken, number=number, warn=warn)
            path = None if files is None else files[number]
            if path is not None:
                save_picture(image, path, notes=notes_of(order, painter, seed=seed, image=image))
            yield Picture(image, seed, path, taken)


def notes_of(order: Order, painter: Painter, *, seed: int, image: Any) -> dict[str, str]:
    """What a picture's file says of how it was made."""
    options, settled = order.options, order.settled
    notes = {
        "prompt": order.prompt,
        "negative": options.negative,
        "seed": seed,
        "model": options.model,
        "steps": settled.steps,
        "guidance": settled.guidance,
        "size": f"{image.width}x{image.height}",
        "init": options.init,
        "strength": settled.strength,
        "device": painter.device,
        "precision": painter.precision,
        "Software": f"cloche {version('cloche')}",
    }
    return {name: str(value) for name, value in notes.items() if value is not None}


def _paint_batch(
    painter: Painter, order: Order, *, seeds: list[int], first: int
) -> tuple[list[Any], list[bool]]:
    began = time.perf_counter()

    def note_step(pipeline: Any, step: int, _time: Any, given: dict[str, Any]) -> dict[str, Any]:
        # of a drawing that begins from a picture, only the later steps are taken
        steps = getattr(pipeline, "num_timesteps", None) or order.settled.steps
        seconds = time.perf_counter() - began
        order.report(StepDone(first + 1, order.options.count, step + 1, steps, seconds))
        return given

    arguments = arguments_for(
        painter,
        order.options,
        order.settled,
        prompts=[order.prompt] * len(seeds),
        start=order.start,
        size=order.size,
        callback=note_step,
    )
    # on the CPU wherever it is computed: a seed means the same noise on every device
    arguments["generator"] = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    with quietly(), torch.no_grad(), np.errstate(all="ignore"):
        try:
            result = painter.pipeline(**arguments)
        except Exception as exc:  # of any of diffusers' pipelines: many kinds
            raise _why_not(painter, exc) from exc
    flagged = getattr(result, "nsfw_content_detected", None) or [False] * len(seeds)
    return [_as_image(each) for each in result.images], [bool(each) for each in flagged]


def _as_image(pixels: Any) -> Any:
    """Pillow's image of (height, width, 3) numbers from 0 to 1; CheckpointError for NaN."""
    from PIL import Image

    values = np.asarray(pixels)
    if values.dtype != np.uint8:
        if not np.isfinite(values).all():
            raise CheckpointError(
                "what was drawn holds numbers that are none (NaN or infinite), so there is no "
                "picture: try precision float32; else the model's weights are damaged"
            )
        values = (values * 255).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(values).convert("RGB")


def _warn_of_picture(
    image: Any, order: Order, *, taken: bool, number: int, warn: Callable[[str], None]
) -> None:
    if taken:
        warn(
            f"picture {number + 1} is black: the model's own safety checker took it away; another "
            "seed draws another"
        )
    wanted = (order.options.width or image.width, order.options.height or image.height)
    if image.size != wanted:
        warn(
            f"picture {number + 1} is {image.width} x {image.height}, not {wanted[0]} x "
            f"{wanted[1]}: the model draws no others"
        )


def _why_not(painter: Painter, exc: Exception) -> SettingError | CheckpointError:
    reason = " ".join(f"{type(exc).__name__}: {exc}".split())
    kind = type(painter.pipeline).__name__
    if isinstance(exc, MemoryError | torch.OutOfMemoryError) or any(
        each in reason for each in OUT_OF_MEMORY
    ):
        return SettingError(
            f"the memory did not do ({reason}): draw fewer at once or smaller ones, or take a "
            "smaller model"
        )
    if isinstance(exc, ValueError):
        return SettingError(f"{kind} refuses these settings: {exc}")
    return CheckpointError(f"{kind} could not draw ({reason}); a newer diffusers may")
