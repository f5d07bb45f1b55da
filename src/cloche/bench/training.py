"""How fast cloche trains, against a textbook's loop and transformers, on this machine.

Every trainer works in a process of its own and learns with the same optimizer from sequences of
the same length, each side once in every round; so does the machine's matrix-multiply peak, which
utilisation is measured against.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

from cloche.bench.paired import Timing, paired_ratio, time_in_turn
from cloche.bench.processes import TrainerProcess
from cloche.bench.search import find_best_batch
from cloche.bench.sizes import MATMUL, SIDES, Batch, BenchSize, TrainerSetup
from cloche.planning.flops import flops_per_token

PRECISIONS = ("float32", "bfloat16")
_MILLION, _TERA = 1e6, 1e12

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Conditions:
    """How trainers are timed."""

    sides: tuple[str, ...] = SIDES
    rounds: int = 3
    seconds: float = 5.0
    """Of each side in each round, at least; steps are whole."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Of cloche; the others have AdamW."""
    compile: Literal["on", "off"] = "on"
    """Of cloche."""
    device: str = "auto"


@dataclass(frozen=True)
class SizeResult:
    """What was measured at one size and batch: seconds for a million tokens, and for 10^12
    operations of the matrix peak."""

    size: BenchSize
    batch: Batch
    batches: dict[str, int]
    """Sequences in a step, by side."""
    about: dict[str, dict[str, Any]]
    """What each side said of itself."""
    timings: dict[str, Timing]
    peaks: dict[str, Timing]

    def ratios(self) -> dict[str, float]:
        """cloche's speed over that of the others in the same round; the median of the rounds."""
        if "cloche" not in self.timings:
            return {}
        ours = self.timings["cloche"]
        return {
            f"cloche over {name}": paired_ratio(timing, ours)
            for name, timing in self.timings.items()
            if name != "cloche"
        }

    def utilisation(self, side: str, precision: str) -> float:
        """Share of the matrix peak in that precision which the model's own operations come to."""
        operations = flops_per_token(self.size.config()) * _MILLION / _TERA
        return operations * paired_ratio(self.peaks[precision], self.timings[side])

    def to_values(self) -> dict[str, Any]:
        """Plain values: tokens a second by side, ratios by name."""
        return {
            "size": self.size.name,
            "model": asdict(self.size),
            "batch": self.batch,
            "flops_per_token": flops_per_token(self.size.config()),
            "sides": {name: self._side(name) for name in self.timings},
            "matmul_flops_per_second": {
                name: [_TERA / seconds for seconds in timing.seconds]
                for name, timing in self.peaks.items()
            },
            "ratios": self.ratios(),
        }

    def lines(self) -> list[str]:
        """The result for a screen."""
        peaks = {name: _TERA / timing.median / 1e9 for name, timing in self.peaks.items()}
        shown = ", ".join(f"{name} {peak:,.0f} GFLOP/s" for name, peak in peaks.items())
        found = [
            f"{self.size.name}, context {self.size.context}; matrix-multiply peak: {shown}",
            f"  {'':<22} batch   tokens/s  {'(from - to)':<20} of the peak: {' '.join(peaks)}",
        ]
        for name, timing in self.timings.items():
            low, high = (_MILLION / pick(timing.seconds) for pick in (max, min))
            shares = "".join(f"{self.utilisation(name, each):9.1%}" for each in peaks)
            found.append(
                f"  {name:<22} {self.batches[name]:5} {_MILLION / timing.median:10,.0f}  "
                f"{f'({low:,.0f} - {high:,.0f})':<33}{shares}"
            )
        found += [
            f"  {name:<34} {times:.2f} times the speed" for name, times in self.ratios().items()
        ]
        if "cloche" in self.about:
            found.append(f"  cloche {_described(self.about['cloche'])}")
        return found

    def _side(self, name: str) -> dict[str, Any]:
        timing = self.timings[name]
        return {
            **self.about[name],
            "batch": self.batches[name],
            "tokens_per_second": _MILLION / timing.median,
            "rounds": [_MILLION / seconds for seconds in timing.seconds],
            "utilisation": {
                precision: self.utilisation(name, precision) for precision in PRECISIONS
            },
        }


def bench_training(
    sizes: Sequence[BenchSize], batches: Sequence[Batch], conditions: Conditions, *, tell: Tell
) -> Iterator[SizeResult]:
    """A result for each size and batch, in order; the processes of one end before the next."""
    for size in sizes:
        for batch in batches:
            yield _bench_size(size, batch, conditions, tell=tell)


def setup_of(side: str, size: BenchSize, conditions: Conditions, *, batch: int) -> TrainerSetup:
    """What the side's process is told."""
    return TrainerSetup(
        side,
        size,
        batch,
        optimizer=conditions.optimizer,
        compile=conditions.compile,
        device=conditions.device,
    )


def _bench_size(size: BenchSize, batch: Batch, conditions: Conditions, *, tell: Tell) -> SizeResult:
    setups = {
        side: setup_of(
            side, size, conditions, batch=batch if isinstance(batch, int) else size.batch
        )
        for side in conditions.sides
    }
    if batch == "best":
        for side, setup in setups.items():
            best = find_best_batch(setup, seconds=conditions.seconds, tell=tell)
            setups[side] = replace(setup, batch=best)
    with ExitStack() as stack:
        peaks = stack.enter_context(
            TrainerProcess(setup_of(MATMUL, size, conditions, batch=size.batch))
        )
        sides: dict[str, TrainerProcess] = {}
        for name, setup in setups.items():
            sides[name] = stack.enter_context(TrainerProcess(setup))
            tell(_started(sides[name]))
        work = {name: partial(_million_tokens, side, conditions) for name, side in sides.items()}
        work |= {f"{MATMUL} {name}": partial(_tera, peaks, name) for name in PRECISIONS}
        timings = time_in_turn(work, rounds=conditions.rounds, tell=tell, show=_speed)
        return SizeResult(
            size=size,
            batch=batch,
            batches={name: setup.batch for name, setup in setups.items()},
            about={name: side.about for name, side in sides.items()},
            timings={name: timings[name] for name in sides},
            peaks={name: timings[f"{MATMUL} {name}"] for name in PRECISIONS},
        )


def _speed(name: str, seconds: float) -> str:
    if name.startswith(MATMUL):
        return f"{_TERA / seconds / 1e9:,.0f} GFLOP/s"
    return f"{_MILLION / seconds:,.0f} tokens a second"


def _started(side: TrainerProcess) -> str:
    setup = side.setup
    return f"{setup.size.name}, batch {setup.batch}: {setup.side} {_described(side.about)}"


def _described(about: Mapping[str, Any]) -> str:
    return (
        f"in {about['precision']}{', compiled' if about['compiled'] else ', not compiled'}; ready "
        f"after {about['start_seconds']:.1f} s, of which the first step was "
        f"{about['first_step_seconds']:.1f} s"
    )


def _million_tokens(side: TrainerProcess, conditions: Conditions) -> float:
    found = side.steps(conditions.seconds)
    return _MILLION * found["seconds"] / found["tokens"]


def _tera(side: TrainerProcess, precision: str) -> float:
    return _TERA / side.peak(precision)
