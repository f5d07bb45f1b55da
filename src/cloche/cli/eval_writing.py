"""`cloche eval RUN --writing`: what a model recites, how it repeats itself, whether it is right."""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from cloche.cli.opening import NamesModel, open_writer
from cloche.cli.parse import changed_options
from cloche.cli.sampling import tell

if TYPE_CHECKING:
    from cloche.evaluation.free_writing import Compared, FreeWriting
    from cloche.evaluation.memorisation import CopiedSpans
    from cloche.evaluation.stories_truth import StoriesTruth
    from cloche.evaluation.trials import TrialEstimate
    from cloche.evaluation.writing import WritingReport, WritingSettings

_SHOWN = 60  # characters of a copied span or a sample on the screen


@dataclass(frozen=True, kw_only=True)
class WritingOptions:
    """Whether and how the model's own writing is judged."""

    writing: bool = False
    """Judge what the model writes: how much of its training text it recites, how it repeats
    itself, whether what it says in the built-in stories is true; beside held-out text."""
    writing_prompts: int = 100
    """Excerpts of each part to have continued: more make the figures surer."""
    writing_prefix: int | None = None
    """Tokens given of each excerpt; up to 50 when not given."""
    writing_continuation: int | None = None
    """Tokens to recite behind them; up to 50 when not given."""
    writing_samples: int = 50
    """Free continuations to look for repetition and copies in."""
    writing_tokens: int | None = None
    """Tokens of each of them; up to 256 of the context when not given."""
    writing_temperature: float = 1.0
    """Of the free continuations: 1 is the model as it is."""
    writing_seed: int = 0
    """Chooses the excerpts and the draws: the same seed gives the same figures."""
    writing_stories: Literal["auto", "none", "en", "zh"] = "auto"
    """Stories of known truth to end; auto: where the model learned from the built-in ones."""
    writing_story_count: int = 100
    """How many of them."""


@runtime_checkable
class WritingCommand(NamesModel, Protocol):
    """What a command has that judges writing, beside the fields of `WritingOptions`."""

    @property
    def json(self) -> bool:
        """Whether one JSON object is printed, and nothing else."""
        ...


_OPTIONS = [field.name for field in fields(WritingOptions)]
_USED = {"run", "checkpoint", "precision", "json", *_OPTIONS}


def require_writing(options: WritingOptions) -> None:
    """Refuse options of writing where it is not to be judged. SettingError."""
    from cloche.errors import SettingError

    given = changed_options(options, _OPTIONS)
    if given and not options.writing:
        raise SettingError(f"{', '.join(given)} is for judging writing: add --writing, or leave it")


def measure_writing(command: WritingCommand) -> int:
    """Judge the writing of the command's run and print what was found; 0."""
    from cloche.errors import SettingError
    from cloche.evaluation.translation import is_translator
    from cloche.evaluation.writing import judge_writing

    _refuse_others(command)
    settings = _settings(command)
    if is_translator(command.run, checkpoint=command.checkpoint):
        raise SettingError(
            f"--writing judges models that continue text, and {command.run} translates pairs: "
            "leave it out"
        )
    lm = open_writer(command)
    report = judge_writing(lm, Path(command.run), settings, tell=tell)
    if command.json:
        values = {"run": command.run, "checkpoint": str(lm.folder), "seed": settings.seed}
        print(json.dumps(_without_nonfinite(values | asdict(report)), ensure_ascii=False))
        return 0
    _print_memorisation(report)
    if report.free is None:
        print("free writing: the model or the text ends too soon for anything to be compared")
    else:
        _print_copies(report.free)
        _print_repetition(report.free)
    if report.stories is not None:
        _print_stories(report.stories)
    print(f"± is the standard error, in brackets the 95% interval; checkpoint {lm.folder}")
    return 0


def _refuse_others(command: WritingCommand) -> None:
    from cloche.errors import SettingError

    others = [field.name for field in fields(command) if field.name not in _USED]  # pyright: ignore[reportArgumentType]
    if given := changed_options(command, others):
        raise SettingError(
            f"{', '.join(given)} cannot be used with --writing, which holds the run's training "
            "part against its validation part: leave one of them out"
        )


def _settings(command: Any) -> "WritingSettings":
    from cloche.evaluation.writing import WritingSettings

    return WritingSettings(
        prompts=command.writing_prompts,
        prefix=command.writing_prefix,
        continuation=command.writing_continuation,
        samples=command.writing_samples,
        sample_tokens=command.writing_tokens,
        temperature=command.writing_temperature,
        seed=command.writing_seed,
        stories=command.writing_stories,
        story_count=command.writing_story_count,
    )


def _without_nonfinite(value: Any) -> Any:
    """The same with None for infinities and what is no number: JSON has neither."""
    if isinstance(value, dict):
        return {key: _without_nonfinite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nonfinite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_memorisation(report: "WritingReport") -> None:
    sizes, found = report.sizes, report.membership
    training, held_out = report.training_recitation, report.held_out_recitation
    print(
        f"memorisation: excerpts of {sizes.prefix} tokens, continued by {sizes.continuation}, "
        f"{training.exact.count:,} of the training and {held_out.exact.count:,} of the "
        "validation part"
    )
    _heads("training part", "validation part")
    _row("recited exactly", _share(training.exact), _share(held_out.exact))
    lengths = training.matching_tokens, held_out.matching_tokens
    _row("tokens right in a row", *(_number(length, 2) for length in lengths))
    nats = found.training_nats_per_token, found.held_out_nats_per_token
    _row("nats a token", *(_number(each, 4) for each in nats))
    _row("told apart by them", _share(found.separation), "50% by chance")
    chance = f"{found.exposure_by_chance:.2f} by chance"
    _row("exposure, bits", _number(found.exposure_bits, 2), chance)


def _print_copies(free: "FreeWriting") -> None:
    print(f"copied from the training part: {free.samples:,} free continuations")
    _heads("by the model", "in held-out text")
    ours, theirs = free.model_copies, free.held_out_copies
    units = {
        "tokens": (ours.tokens, theirs.tokens),
        "characters": (ours.characters, theirs.characters),
    }
    if units["tokens"] == units["characters"]:  # the tokens are characters
        del units["tokens"]
    for unit, pair in units.items():
        _row(f"longest span, {unit}", *(f"{each.longest:,}" for each in pair))
        _row(f"longest of each, {unit}", *(_number(each.mean_longest, 1) for each in pair))
        least = f"in spans of {pair[0].least:,}+ {unit}"
        _row(least, *(_percent(each.covered) for each in pair))
    print(f"  the longest by the model: {_one_line(ours.characters)}")


def _print_repetition(free: "FreeWriting") -> None:
    ended = f", {free.too_short:,} others too short" if free.too_short else ""
    print(f"repetition: the same, {free.mean_tokens:.0f} tokens each{ended}")
    _heads("by the model", "in held-out text", "difference")
    units = {"tokens": dict(free.tokens), "characters": dict(free.characters)}
    if units["tokens"].items() <= units["characters"].items():  # the tokens are characters
        del units["tokens"]
    for unit, measures in units.items():
        for name, compared in measures.items():
            _row(f"{_NAMES[name]}, {unit}", *_compared(compared))


_NAMES = {
    "distinct_1": "distinct 1-grams",
    "distinct_2": "distinct 2-grams",
    "distinct_3": "distinct 3-grams",
    "repeated_4": "repeated 4-grams",
    "entropy_bits": "entropy in bits",
    "loops": "ending in a loop",
    "compression_ratio": "compression",
}


def _print_stories(found: "StoriesTruth") -> None:
    skipped = f"; {found.left_out:,} too long for the context" if found.left_out else ""
    print(f"stories ({found.language}): {found.stories:,} ended by the model{skipped}")
    _row("ends in a statement", _share(found.statements))
    _row("of these, true", "no statement" if found.true is None else _share(found.true))
    _row("prefers the true ending", _share(found.prefers_truth), "50% by chance")
    for each in found.false_statements:
        print(f"  false: {each.said} (in truth: {each.truth})")


def _heads(*titles: str) -> None:
    print(f"  {'':<30}" + "".join(f"{title:>22}" for title in titles))


def _row(name: str, *cells: str) -> None:
    print(f"  {name:<30}" + "".join(f"{cell:>22}" for cell in cells))


def _share(found: "TrialEstimate") -> str:
    """With its 95% interval, which is not empty where nothing or everything was a hit."""
    if found.low is None or found.high is None:
        return f"{found.value:.1%}"
    return f"{found.value:.1%} ({found.low * 100:.1f} to {found.high * 100:.1f})"


def _percent(found: "TrialEstimate") -> str:
    error = "" if found.stderr is None else f" ± {found.stderr * 100:.1f}"
    return f"{found.value:.1%}{error}"


def _number(found: "TrialEstimate", digits: int) -> str:
    error = "" if found.stderr is None else f" ± {found.stderr:.{digits}f}"
    return f"{found.value:.{digits}f}{error}"


def _compared(found: "Compared") -> tuple[str, str, str]:
    return (
        _number(found.model, 3),
        _number(found.held_out, 3),
        f"{found.difference.value:+.3f} ± {found.difference.stderr:.3f}",
    )


def _one_line(span: "CopiedSpans") -> str:
    text = " ".join(span.longest_text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
