"""Time to quality: cloche's own command against the textbook's loop, from a text to a file.

Both start as processes, one after the other in each round, on the same text with the same cut. A
side's time is that from its start until its model is on disk. What it learned is measured
afterwards, outside of the time, on the whole validation part, by one function for both.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from cloche.bench import textbook
from cloche.bench.paired import Timing, paired_ratio, time_in_turn
from cloche.data.batches import TokensInMemory
from cloche.errors import ClocheError, SettingError
from cloche.evaluation.likelihood import summed_nats
from cloche.evaluation.measure import measure_validation
from cloche.run import load

Tell = Callable[[str], None]

_TOLD_CHARACTERS = 2000
_NEWLINE = "\n"


@dataclass(frozen=True)
class Quality:
    """Nats a character over the whole validation part, in two ways that treat all models alike."""

    overlapping: float
    """Each character but the first ones has at least half a context before it: `cloche eval`."""
    end_to_end: float
    """Windows of one context end to end: as many characters have little before them as much."""


@dataclass(frozen=True)
class RaceResult:
    """What both sides took, and what came of it, once for each round."""

    timings: dict[str, Timing]
    qualities: dict[str, tuple[Quality, ...]]
    steps: int
    """Of the textbook's recipe."""
    options: tuple[str, ...]
    """Of `cloche train`."""

    def ratio(self) -> float:
        """The textbook's time over cloche's in the same round; the median of the rounds."""
        return paired_ratio(self.timings["textbook"], self.timings["cloche"])

    def reached(self) -> bool:
        """Whether cloche was at least as good in every round, in both ways of measuring."""
        pairs = zip(self.qualities["cloche"], self.qualities["textbook"], strict=True)
        return all(
            ours.overlapping <= theirs.overlapping and ours.end_to_end <= theirs.end_to_end
            for ours, theirs in pairs
        )

    def to_values(self) -> dict[str, Any]:
        """Plain values: seconds and nats by side, each round in order."""
        return {
            "steps": self.steps,
            "options": list(self.options),
            "sides": {
                name: {
                    "seconds": list(timing.seconds),
                    "nats_per_character": [asdict(quality) for quality in self.qualities[name]],
                }
                for name, timing in self.timings.items()
            },
            "ratios": {"cloche over textbook": self.ratio()},
            "reached": self.reached(),
        }

    def lines(self) -> list[str]:
        """The result for a screen."""
        options = " ".join(self.options)
        found = [f"  cloche train {options}, against {self.steps:,} steps of the textbook's recipe"]
        for name, timing in self.timings.items():
            nats = statistics.median(quality.overlapping for quality in self.qualities[name])
            whole = statistics.median(quality.end_to_end for quality in self.qualities[name])
            low, high = min(timing.seconds), max(timing.seconds)
            found.append(
                f"  {name:<9} median {timing.median:7.2f} s  (from {low:.2f} to {high:.2f})  "
                f"{nats:.4f} nats a character, {whole:.4f} in windows end to end"
            )
        outcome = "at least as good in every round" if self.reached() else "NOT always as good"
        return [*found, f"  cloche: {self.ratio():.2f} times as soon, and {outcome}"]


def race(text: Path, *, options: Sequence[str], steps: int, rounds: int, tell: Tell) -> RaceResult:
    """Race `cloche train TEXT` with these options against the textbook's recipe of `steps` steps.

    Each round has a seed of its own, for both. Raises SettingError where the text is not UTF-8,
    or too short for the recipe.
    """
    validation = _validation(_read(text))
    qualities: dict[str, list[Quality]] = {"textbook": [], "cloche": []}
    with tempfile.TemporaryDirectory(prefix="cloche-bench-") as name:
        folder = Path(name)

        def race_textbook() -> float:
            seed = str(len(qualities["textbook"]))
            file = folder / f"textbook-{seed}.safetensors"
            seconds = _time_textbook(text, file, steps=steps, seed=seed)
            qualities["textbook"].append(measure_textbook(file, validation))
            return seconds

        def race_cloche() -> float:
            seed = str(len(qualities["cloche"]))
            run = folder / f"cloche-{seed}"
            seconds = _time_cloche(text, run, options=options, seed=seed)
            qualities["cloche"].append(measure_cloche(run, characters=len(validation)))
            return seconds

        def show(name: str, seconds: float) -> str:
            quality = qualities[name][-1]
            return (
                f"{seconds:.1f} s to {quality.overlapping:.4f} nats a character "
                f"({quality.end_to_end:.4f} in windows end to end)"
            )

        timings = time_in_turn(
            {"textbook": race_textbook, "cloche": race_cloche},
            rounds=rounds,
            tell=tell,
            show=show,
        )
    found = {side: tuple(each) for side, each in qualities.items()}
    return RaceResult(timings, found, steps, tuple(options))


def measure_cloche(run: Path, *, characters: int) -> Quality:
    """How well the best checkpoint of a run predicts the run's validation part, in float32.

    Raises SettingError where that part has not as many characters as the textbook's.
    """
    lm = load(run, precision="float32")
    context = lm.config.context
    half, whole = (
        measure_validation(lm, run, stride=stride) for stride in (max(1, context // 2), context)
    )
    if not characters - 1 <= half.characters <= characters:  # the first one may not be scored
        raise SettingError(
            f"cloche was measured on {half.characters:,} characters and the textbook on "
            f"{characters:,}: leave --data.split, --data.clean and what changes the text out"
        )
    return Quality(half.nats_per_character, whole.nats_per_character)


def measure_textbook(file: Path, validation: str) -> Quality:
    """The same of a model that `textbook.py` saved."""
    model, characters = textbook.load(file)
    number = {character: i for i, character in enumerate(characters)}
    ids = np.array([number[character] for character in validation])
    tokens = TokensInMemory(ids, np.array([len(ids)]), separated=False)
    context = model.recipe.context
    half, whole = (
        summed_nats(
            _Positioned(model), tokens, bos=number[_NEWLINE], context=context, stride=stride
        )
        for stride in (context // 2, context)
    )
    return Quality(half / len(ids), whole / len(ids))


class _Positioned(nn.Module):
    """A model that counts positions from the start, under the surface of cloche's own.

    Its hidden vectors are its logits, and its head leaves them as they are.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def hidden(
        self, ids: Tensor, *, positions: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        """(batch, time) ids to (batch, time, vocab) logits; one document, from its beginning."""
        assert positions is None, "a text of one document has none"
        assert documents is None, "a text of one document has none"
        return self.model(ids)

    def head(self, hidden: Tensor) -> Tensor:
        """The logits that `hidden` gave."""
        return hidden

    def forward(
        self, ids: Tensor, *, positions: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        """The same logits."""
        return self.head(self.hidden(ids, positions=positions, documents=documents))


def _read(text: Path) -> str:
    try:
        found = text.read_bytes().decode("utf-8")  # read_text would change the ends of lines
    except OSError as exc:
        raise SettingError(f"--quality {text} cannot be opened: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SettingError(f"--quality {text} is no UTF-8: {exc}") from exc
    least = 10 * (textbook.Recipe.context + 1)
    if len(found) < least or _NEWLINE not in found:
        raise SettingError(
            f"--quality {text} has {len(found):,} characters and {found.count(_NEWLINE):,} ends of "
            f"lines: the recipe needs {least:,} and one"
        )
    return found


def _validation(text: str) -> str:
    """The last tenth, as both sides cut it."""
    return text[int(0.9 * len(text)) :]


def _time_textbook(text: Path, file: Path, *, steps: int, seed: str) -> float:
    arguments = ["-m", "cloche.bench.textbook", str(text), str(file)]
    return _time([*arguments, "--steps", str(steps), "--seed", seed])


def _time_cloche(text: Path, run: Path, *, options: Sequence[str], seed: str) -> float:
    arguments = ["-m", "cloche", "train", str(text), "--out", str(run)]
    return _time([*arguments, "--train.seed", seed, *options])


def _time(arguments: Sequence[str]) -> float:
    """Seconds until the process says that it has saved, or has ended."""
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-P", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        try:
            assert process.stdout is not None
            saved = None
            for line in process.stdout:
                if saved is None and line.startswith("{") and "saved" in json.loads(line):
                    saved = time.perf_counter()
            status = process.wait()
            seconds = (saved or time.perf_counter()) - began
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()
        if status:
            errors.seek(0)
            told = errors.read().strip()[-_TOLD_CHARACTERS:]
            raise ClocheError(f"{' '.join(arguments)} ended with status {status}:\n{told}")
    return seconds
