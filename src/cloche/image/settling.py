"""What a drawing is made with in the end: the user's word, else the model's, else the pipeline's.

A setting that the pipeline does not take, or that would change nothing, is an error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloche.errors import CheckpointError, SettingError, join_problems
from cloche.image.loading import Painter
from cloche.image.options import DrawingOptions, own_settings, require_heeded, steps_for


@dataclass(frozen=True)
class Settled:
    """The settings that are used. What is None, the pipeline does not take."""

    steps: int
    guidance: float | None
    strength: float | None


def require_early(options: DrawingOptions) -> None:
    """SettingError for what can be known to go unheeded before a model is loaded."""
    own = own_settings(options.model)
    guidance, strength = options.guidance, options.strength
    if guidance is None and own is not None:
        guidance = own.guidance
    if strength is None and own is not None and options.init is not None:
        strength = own.strength
    require_heeded(options, steps=options.steps, guidance=guidance, strength=strength)


def settle(painter: Painter, options: DrawingOptions) -> Settled:
    """The settings for this pipeline. Raises SettingError for those that it would not heed."""
    _require_taken(painter, options)
    own = own_settings(options.model)
    guidance = _chosen(
        options.guidance, None if own is None else own.guidance, painter.default("guidance_scale")
    )
    strength = _chosen(
        options.strength, None if own is None else own.strength, painter.default("strength")
    )
    if options.init is None or "strength" not in painter.takes:
        strength = None
    steps = _chosen(
        options.steps, _own_steps(options, strength), painter.default("num_inference_steps")
    )
    if not isinstance(steps, int):
        raise CheckpointError(
            f"{options.model} is a {type(painter.pipeline).__name__}, which names no number of "
            "steps of its own: give steps"
        )
    require_heeded(options, steps=steps, guidance=guidance, strength=strength)
    return Settled(steps, guidance if "guidance_scale" in painter.takes else None, strength)


def arguments_for(
    painter: Painter,
    options: DrawingOptions,
    settled: Settled,
    *,
    prompts: list[str],
    start: Any | None,
    size: tuple[int, int] | None,
    callback: Callable[..., Any],
) -> dict[str, Any]:
    """What the pipeline is called with for these prompts, of which each gives one picture."""
    given: dict[str, Any] = {
        "prompt": prompts,
        "num_inference_steps": settled.steps,
        "guidance_scale": settled.guidance,
        "strength": settled.strength,
        "negative_prompt": None if options.negative is None else [options.negative] * len(prompts),
        "output_type": "np",
    }
    if start is not None:
        given["image"] = [start] * len(prompts)
    asked = start is not None or options.width is not None or options.height is not None
    if asked and size is not None and "width" in painter.takes:
        given |= {"width": size[0], "height": size[1]}
    if "callback_on_step_end" in painter.takes:
        given["callback_on_step_end"] = callback
    return {name: value for name, value in given.items() if value is not None}


def _require_taken(painter: Painter, options: DrawingOptions) -> None:
    kind = type(painter.pipeline).__name__
    asked = {
        "guidance_scale": ("guidance", options.guidance),
        "strength": ("strength", options.strength),
        "negative_prompt": ("negative", options.negative),
    }
    if options.init is None:  # pictures to begin from are brought to size beforehand
        asked |= {"width": ("width", options.width), "height": ("height", options.height)}
    problems = [
        f"{name} has no meaning for a {kind}, which does not take it: leave it out"
        for taken, (name, value) in asked.items()
        if value is not None and taken not in painter.takes
    ]
    if options.negative is not None and _ignores_negative(painter):
        problems.append(
            f"a negative prompt has no effect on this {kind}, whose guidance is a number that the "
            "model reads: leave negative out"
        )
    if problems:
        raise SettingError(join_problems(problems))


def _ignores_negative(painter: Painter) -> bool:
    """Whether guidance is told to the model (distilled), and not computed against a second text."""
    unet = getattr(painter.pipeline, "unet", None)
    told = getattr(getattr(unet, "config", None), "time_cond_proj_dim", None)
    return told is not None or "true_cfg_scale" in painter.takes


def _own_steps(options: DrawingOptions, strength: float | None) -> int | None:
    own = own_settings(options.model)
    if own is None:
        return None
    return own.steps if strength is None else max(own.steps, steps_for(strength))


def _chosen(*values: Any) -> Any:
    """The first that is there."""
    return next((value for value in values if value is not None), None)
