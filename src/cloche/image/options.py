"""What can be set of a drawing, what contradicts itself, and what is taken when nobody says.

Loads no torch, so that a mistake is told before anything is opened.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloche.errors import SettingError, join_problems

DEFAULT_MODEL = "stabilityai/sdxl-turbo"
SIDE_STEP = 8
"""Sides are multiples of this: models draw in a space whose cells are 8 x 8 pixels."""
MOST_CHARACTERS = 20_000
"""Of a prompt. Text encoders read some hundred tokens; a longer text was given by mistake."""
LARGEST_SEED = 2**63 - 1
READS_NEGATIVE_ABOVE = 1.0
"""Guidance above which pipelines compute a second direction, away from the negative prompt."""

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class DrawingOptions:
    """How pictures are drawn. What is None is the model's own."""

    model: str = DEFAULT_MODEL
    """A diffusers pipeline: a folder, or a name of the Hugging Face Hub."""
    width: int | None = None
    """Of the picture in pixels, a multiple of 8; the model's own when not given."""
    height: int | None = None
    """Likewise."""
    steps: int | None = None
    """Steps of denoising: 1 for turbo models, the pipeline's own number for others."""
    guidance: float | None = None
    """How strongly the prompt pulls: 0 for turbo models, the pipeline's own strength for others."""
    seed: int | None = None
    """Of the first picture, the next ones count on; drawn anew each time when not given."""
    count: int = 1
    """How many pictures."""
    batch: int = 1
    """How many are drawn at once: faster on a GPU, and takes more memory."""
    negative: str | None = None
    """What the picture should not show; needs a guidance above 1."""
    init: str | None = None
    """A picture to begin from, instead of noise alone."""
    strength: float | None = None
    """With init: how much of it is drawn anew, above 0 (nothing) to 1 (all)."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    precision: Precision = "auto"
    """Of the weights; auto is float16 on a GPU and float32 on a CPU."""
    anyway: bool = False
    """Try even where the memory will hardly do."""


@dataclass(frozen=True)
class OwnSettings:
    """What a model was made to be run with, where its pipeline's usual settings would spoil it."""

    steps: int
    guidance: float
    strength: float


TURBO = OwnSettings(steps=1, guidance=0.0, strength=0.5)
OWN_SETTINGS = {"sdxl-turbo": TURBO, "sd-turbo": TURBO}
"""By the last part of a model's name. Nothing in the files of these models says it; their cards do:
https://huggingface.co/stabilityai/sdxl-turbo"""


def own_settings(model: str) -> OwnSettings | None:
    """What the model of this name or folder asks for; None where its pipeline's own will do."""
    path = Path(model).expanduser()
    name = path.resolve().name if path.is_dir() else model.rpartition("/")[2]
    return OWN_SETTINGS.get(name.lower())


def require_sound(prompt: str, options: DrawingOptions) -> None:
    """Raise SettingError with all that can be known to be wrong before a model is found."""
    problems = [
        *_text_problems("the prompt", prompt),
        *(_text_problems("negative", options.negative) if options.negative is not None else []),
        *_side_problems(options),
        *_number_problems(options),
        *_contradictions(options),
    ]
    if problems:
        raise SettingError(join_problems(problems))


def steps_for(strength: float) -> int:
    """The fewest steps of which at least one is taken: pipelines take int(steps x strength)."""
    steps = max(1, math.ceil(1 / strength) - 1)  # rounding may make either of the two enough
    while int(steps * strength) < 1:
        steps += 1
    return steps


def nearest_sides(side: int) -> tuple[int, int]:
    """The multiples of 8 below and above."""
    below = max(SIDE_STEP, side // SIDE_STEP * SIDE_STEP)
    return below, below + SIDE_STEP


def _text_problems(name: str, text: str) -> list[str]:
    if not text.strip():
        return [f"{name} is empty: say what it is"]
    if len(text) > MOST_CHARACTERS:
        return [
            f"{name} has {len(text):,} characters, and no text encoder reads that many: keep it "
            f"below {MOST_CHARACTERS:,}"
        ]
    if any("\ud800" <= character <= "\udfff" for character in text):
        return [f"{name} holds bytes that are no text in the terminal's encoding: type it anew"]
    return []


def _side_problems(options: DrawingOptions) -> list[str]:
    found = []
    for name, side in (("width", options.width), ("height", options.height)):
        if side is None:
            continue
        if side < SIDE_STEP:
            found.append(f"{name} must be at least {SIDE_STEP} pixels, got {side}")
        elif side % SIDE_STEP:
            below, above = nearest_sides(side)
            found.append(
                f"{name} must be a multiple of {SIDE_STEP}, got {side}: take {below} or {above}"
            )
    return found


def _number_problems(options: DrawingOptions) -> list[str]:
    found = [
        f"{name} must be at least 1, got {value}"
        for name, value in (
            ("steps", options.steps),
            ("count", options.count),
            ("batch", options.batch),
        )
        if value is not None and value < 1
    ]
    if options.guidance is not None and not 0 <= options.guidance < float("inf"):
        found.append(f"guidance must be 0 or above, got {options.guidance}")
    if options.strength is not None and not 0 < options.strength <= 1:
        found.append(f"strength must be above 0 and at most 1, got {options.strength}")
    if options.seed is not None and not 0 <= options.seed <= LARGEST_SEED - options.count:
        found.append(f"seed must be from 0 to 2^63 - 1 less the count, got {options.seed}")
    return found


def _contradictions(options: DrawingOptions) -> list[str]:
    found = []
    if options.strength is not None and options.init is None:
        found.append(
            "strength says how much of a picture is drawn anew: give init, or leave it out"
        )
    if options.batch > max(1, options.count):
        found.append(
            f"batch {options.batch} is more than the {options.count} to be drawn: give count, or "
            "leave batch out"
        )
    if options.device == "cpu" and options.precision == "float16":
        found.append("precision float16 is for GPUs: on a CPU take bfloat16, which is as small")
    return found


def require_heeded(
    options: DrawingOptions, *, steps: int | None, guidance: float | None, strength: float | None
) -> None:
    """SettingError where a setting would change nothing.

    The three are what is taken in the end, as far as it is known; None where it is not.
    """
    problems = []
    if options.negative is not None and guidance is not None and guidance <= READS_NEGATIVE_ABOVE:
        problems.append(
            f"a negative prompt has no effect with guidance {guidance}: give a guidance above "
            f"{READS_NEGATIVE_ABOVE} (turbo models are not made for one), or leave negative out"
        )
    if steps is not None and strength is not None and int(steps * strength) < 1:
        problems.append(
            f"steps {steps} at strength {strength} are no step at all: take at least "
            f"{steps_for(strength)}"
        )
    if problems:
        raise SettingError(join_problems(problems))
