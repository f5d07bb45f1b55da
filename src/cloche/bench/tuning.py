"""How fast cloche tunes by LoRA, against TRL's SFTTrainer, on this machine. Loads no torch.

Both sides learn from the same records in the same order, a process each, so many steps each in
every round; so is the machine's matrix-multiply peak measured.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cloche.bench.paired import Timing, paired_ratio, time_in_turn
from cloche.bench.processes import TrainerProcess
from cloche.bench.sizes import MATMUL, SIZES, TrainerSetup
from cloche.bench.tuners import WARM_STEPS, TunerProcess, TunerSetup
from cloche.bench.tuning_records import training_records, write_records
from cloche.errors import SettingError, join_problems

ENGINES = ("cloche", "trl")
PRECISIONS = ("float32", "bfloat16")
_THOUSAND, _TERA = 1e3, 1e12

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Conditions:
    """What is tuned on what, and how it is timed."""

    base: str
    """A run, a checkpoint or a Hugging Face folder."""
    sources: tuple[str, ...] = ()
    """Files of conversations; built-in stories where there are none."""
    sides: tuple[str, ...] = ENGINES
    precisions: tuple[str, ...] = PRECISIONS
    batch: int = 8
    rank: int = 16
    steps: int = 4
    """Of each side in each round."""
    rounds: int = 3
    threads: int = 1

    def check(self) -> None:
        """Raises SettingError for all that cannot be used."""
        found = [
            f"--{name} must be at least 1, got {getattr(self, name)}"
            for name in ("batch", "rank", "steps", "rounds", "threads")
            if getattr(self, name) < 1
        ]
        for option, given, known in (
            ("sides", self.sides, ENGINES),
            ("precisions", self.precisions, PRECISIONS),
        ):
            if not given or not set(given) <= set(known):
                shown = ", ".join(given) or "none"
                found.append(f"--{option} takes {', '.join(known)}, comma between; got {shown}")
        if found:
            raise SettingError(join_problems(found))

    def setups(self, records: Path) -> list[TunerSetup]:
        """What the process of each side is told."""
        return [
            TunerSetup(
                engine,
                self.base,
                str(records),
                precision,
                steps=WARM_STEPS + self.rounds * self.steps,
                batch=self.batch,
                rank=self.rank,
                threads=self.threads,
            )
            for precision in self.precisions
            for engine in self.sides
        ]


@dataclass(frozen=True)
class TuningResult:
    """What was measured: seconds for a thousand tokens of records, and for 10^12 operations."""

    conditions: Conditions
    records: str
    about: dict[str, dict[str, Any]]
    """What each side said of itself."""
    timings: dict[str, Timing]
    peaks: dict[str, Timing]
    """The matrix-multiply peak, by precision."""
    memory: dict[str, dict[str, int]]

    def ratios(self) -> dict[str, float]:
        """cloche's speed over TRL's in the same round; the median of the rounds."""
        return {
            precision: paired_ratio(theirs, ours)
            for precision in self.conditions.precisions
            if (ours := self.timings.get(f"cloche {precision}"))
            and (theirs := self.timings.get(f"trl {precision}"))
        }

    def memory_ratios(self) -> dict[str, float]:
        """cloche's most memory over TRL's."""
        return {
            precision: self.memory[f"cloche {precision}"]["peak_bytes"]
            / self.memory[f"trl {precision}"]["peak_bytes"]
            for precision in self.ratios()
        }

    def to_values(self) -> dict[str, Any]:
        """Plain values: tokens a second by side, ratios by precision."""
        conditions = self.conditions
        return {
            "base": conditions.base,
            "records": self.records,
            "batch": conditions.batch,
            "rank": conditions.rank,
            "rounds": conditions.rounds,
            "steps": conditions.steps,
            "sides": {
                name: {
                    **{key: value for key, value in self.about[name].items() if key != "tokens"},
                    "tokens_per_second": _THOUSAND / timing.median,
                    "rounds": [_THOUSAND / seconds for seconds in timing.seconds],
                    **self.memory[name],
                }
                for name, timing in self.timings.items()
            },
            "matmul_flops_per_second": {
                name: [_TERA / seconds for seconds in peak.seconds]
                for name, peak in self.peaks.items()
            },
            "ratios": self.ratios(),
            "memory_ratios": self.memory_ratios(),
        }

    def lines(self) -> list[str]:
        """The result for a screen."""
        conditions = self.conditions
        peaks = [f"{n} {_TERA / p.median / 1e9:,.0f} GFLOP/s" for n, p in self.peaks.items()]
        found = [
            f"{conditions.base} on {self.records}: adapters of rank {conditions.rank}, batch "
            f"{conditions.batch}; matrix-multiply peak: {', '.join(peaks)}",
            f"  {'':<18} tokens/s  {'(from - to)':<18} most memory  start  first step",
        ]
        for name, timing in self.timings.items():
            low, high = (_THOUSAND / pick(timing.seconds) for pick in (max, min))
            found.append(
                f"  {name:<18} {_THOUSAND / timing.median:8,.0f}  "
                f"{f'({low:,.0f} - {high:,.0f})':<18} "
                f"{self.memory[name]['peak_bytes'] / 1e9:8.2f} GB "
                f"{self.about[name]['start_seconds']:5.1f} s "
                f"{self.about[name]['first_step_seconds']:8.1f} s"
            )
        memory = self.memory_ratios()
        for precision, ratio in self.ratios().items():
            share = f"{memory[precision]:.0%} of the memory"
            found.append(f"  cloche over trl, {precision}: {ratio:.2f} times the speed, {share}")
        return found


def bench_tuning(conditions: Conditions, *, tell: Tell) -> TuningResult:
    """What was measured on all sides, in turn.

    Raises SettingError for what cannot be used, ClocheError where a side fails.
    """
    conditions.check()
    with tempfile.TemporaryDirectory(prefix="cloche-bench-") as folder, ExitStack() as stack:
        records = Path(folder) / "records.jsonl"
        said = write_records(records, [str(Path(each).absolute()) for each in conditions.sources])
        tell(f"{said}, of which {len(training_records(records)):,} are trained on")
        sides: dict[str, TunerProcess] = {}
        for setup in conditions.setups(records):
            side = sides[setup.name] = stack.enter_context(TunerProcess(setup))
            tell(f"{setup.name} is ready after {side.about['start_seconds']:.1f} s")
        machine = TrainerSetup(MATMUL, SIZES["0.8M"], batch=1, threads=conditions.threads)
        peaks = stack.enter_context(TrainerProcess(machine))
        work = {name: partial(_seconds, side, conditions.steps) for name, side in sides.items()}
        matmul = {f"{MATMUL} {p}": partial(_tera, peaks, p) for p in conditions.precisions}
        timings = time_in_turn(work | matmul, rounds=conditions.rounds, tell=tell, show=_speed)
        memory = {name: side.memory() for name, side in sides.items()}
    return TuningResult(
        conditions=conditions,
        records=said,
        about={name: side.about for name, side in sides.items()},
        timings={name: timings[name] for name in sides},
        peaks={p: timings[f"{MATMUL} {p}"] for p in conditions.precisions},
        memory=memory,
    )


def _seconds(side: TunerProcess, steps: int) -> float:
    """Seconds for a thousand tokens of records."""
    found = side.steps(steps)
    return _THOUSAND * found["seconds"] / found["tokens"]


def _tera(peaks: TrainerProcess, precision: str) -> float:
    return _TERA / peaks.peak(precision)


def _speed(name: str, seconds: float) -> str:
    if name.startswith(MATMUL):
        return f"{_TERA / seconds / 1e9:,.0f} GFLOP/s"
    return f"{_THOUSAND / seconds:,.0f} tokens a second"
