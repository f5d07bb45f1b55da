"""How fast cloche writes, against transformers and llama.cpp, on this machine. Loads no torch.

Every side works in a process of its own and is given the same prompts, each side once in every
round; so is the speed of the machine's memory measured, which decoding is held against.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from statistics import fmean

from cloche.bench.generating_result import GIGA, THOUSAND, GenerationResult
from cloche.bench.generating_works import Lengths, Work
from cloche.bench.generators import GeneratorProcess, GeneratorSetup
from cloche.bench.paired import time_in_turn
from cloche.bench.processes import BandwidthProcess
from cloche.errors import SettingError, join_problems

SIDES = (
    *(f"cloche {precision}" for precision in ("float32", "bfloat16", "int8", "int4")),
    *(f"transformers {precision}" for precision in ("float32", "bfloat16")),
)
"""Those that need no file of their own."""
_PACKAGES = {"transformers": "transformers", "llama_cpp": "xllamacpp"}
_MEMORY = "memory"
_LONGEST_TURN = 3600.0
_REST_SECONDS = 0.05  # in which the threads of the side before fall asleep
_ALIKE = 0.01  # share by which models may differ in size: formats keep different tables

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Conditions:
    """Who is timed with which model, and how."""

    source: str
    """A run, a checkpoint or a Hugging Face folder."""
    sides: tuple[str, ...] = SIDES
    gguf: tuple[str, ...] = ()
    """Files with the same model, for llama.cpp."""
    batches: tuple[int, ...] = (1, 16)
    lengths: Lengths = field(default_factory=Lengths)
    threads: int = 1
    device: str = "cpu"
    rounds: int = 3
    seconds: float = 1.0
    """Of each side in each turn, at least; answers are whole."""
    kernels: str | None = None
    """Where cloche keeps what it compiles; in the user's cache when not given."""
    bandwidth_bytes: int = 1 << 30
    """Of the array that is read."""

    def setups(self) -> list[GeneratorSetup]:
        """What the process of each side is told."""
        sides = [
            GeneratorSetup(engine, self.source, precision, self.threads, self.device, self.kernels)
            for engine, precision in (side.split() for side in self.sides)
        ]
        names = [Path(path).name for path in self.gguf]
        called = names if len(set(names)) == len(names) else self.gguf
        files = [
            GeneratorSetup("llama_cpp", path, name, self.threads)
            for path, name in zip(self.gguf, called, strict=True)
        ]
        return [*sides, *files]

    def check(self) -> None:
        """Raises SettingError for all that cannot be used."""
        if problems := self._problems():
            raise SettingError(join_problems(problems))

    def _problems(self) -> list[str]:
        found = self.lengths.problems()
        if not self.sides and not self.gguf:
            found.append("nobody is left to be timed: name some of --sides, or a file with --gguf")
        for name, value in (("rounds", self.rounds), ("threads", self.threads)):
            if value < 1:
                found.append(f"--{name} must be at least 1, got {value}")
        if not 0.0 <= self.seconds < _LONGEST_TURN:
            found.append(f"--seconds must be from 0 to {_LONGEST_TURN:.0f}, got {self.seconds}")
        found += [f"--gguf {path} is no file" for path in self.gguf if not Path(path).is_file()]
        if self.gguf and self.device != "cpu":
            found.append(f"--gguf is timed on the processor: it has no --device {self.device}")
        return found + _absent_packages(self.setups())


def bench_generating(conditions: Conditions, *, tell: Tell) -> GenerationResult:
    """What was measured on all sides, in turn.

    Raises SettingError for what cannot be used, ClocheError where a side fails.
    """
    conditions.check()
    with ExitStack() as stack:
        sides: dict[str, GeneratorProcess] = {}
        for setup in conditions.setups():
            sides[setup.name] = stack.enter_context(GeneratorProcess(setup))
            tell(_started(sides[setup.name]))
        _require_one_model(sides.values())
        context = min(side.about["context"] for side in sides.values())
        works = conditions.lengths.works(list(conditions.batches), context=context)
        vocab_size = min(side.about["vocab_size"] for side in sides.values())
        memory = stack.enter_context(_start_bandwidth(conditions))
        ways: list[dict[str, float]] = []
        timed: dict[str, Callable[[], float]] = {_MEMORY: partial(_read, memory, ways)}
        for work in works:
            tell(f"{work.name}: every side writes a little, untimed")
            for name, side in sides.items():
                side.write(work.draw(0, vocab_size=vocab_size))
                turns = _turns(work, side, vocab_size=vocab_size, seconds=conditions.seconds)
                timed[f"{work.name}: {name}"] = partial(next, turns)
        timings = time_in_turn(timed, rounds=conditions.rounds, tell=tell, show=_speed)
        about = {name: side.about for name, side in sides.items()}
    return GenerationResult(
        source=conditions.source,
        threads=conditions.threads,
        device=conditions.device,
        about=about,
        timings={work: {name: timings[f"{work.name}: {name}"] for name in about} for work in works},
        bandwidth=timings[_MEMORY],
        ways=ways,
        memory=_measure_memory(conditions.setups(), works[0], vocab_size=vocab_size, tell=tell),
    )


def find_sides(names: str) -> tuple[str, ...]:
    """The sides named, comma between them; none where nothing is named.

    SettingError tells which there are not.
    """
    wanted = list(dict.fromkeys(filter(None, map(str.strip, names.split(",")))))
    unknown = [name for name in wanted if name not in SIDES]
    if unknown:
        raise SettingError(
            f"--sides takes {', '.join(SIDES)}, comma between them; got {', '.join(unknown)} "
            "(llama.cpp is timed on each file that --gguf names)"
        )
    return tuple(wanted)


def _absent_packages(setups: Sequence[GeneratorSetup]) -> list[str]:
    found = []
    for engine, package in _PACKAGES.items():
        names = [setup.name for setup in setups if setup.engine == engine]
        if names and find_spec(package) is None:
            found.append(
                f"{', '.join(names)}: there is no {package} here: pip install 'cloche[dev]', or "
                f"leave {'it' if len(names) == 1 else 'them'} out with --sides and --gguf"
            )
    return found


def _start_bandwidth(conditions: Conditions) -> BandwidthProcess:
    return BandwidthProcess(
        threads=conditions.threads, device=conditions.device, size=conditions.bandwidth_bytes
    )


def _require_one_model(sides: Iterable[GeneratorProcess]) -> None:
    """Raises SettingError where a file holds a model of another size than the others."""
    first, *others = sides
    size = first.about["parameters"]
    problems = [
        f"{side.setup.name} has {side.about['parameters']:,} parameters, but {first.setup.name} "
        f"{size:,}: only one model can be compared"
        for side in others
        if abs(side.about["parameters"] - size) > _ALIKE * size
    ]
    if problems:
        raise SettingError(join_problems(problems))


def _turns(
    work: Work, side: GeneratorProcess, *, vocab_size: int, seconds: float
) -> Iterator[float]:
    """Of each turn in order, the seconds that a thousand tokens take this side."""
    for turn in count(1):
        time.sleep(_REST_SECONDS)
        found, taken = [], 0.0
        while not found or taken < seconds:
            times = side.write(work.draw(turn, vocab_size=vocab_size, again=len(found)))
            found.append(work.seconds_per_token(times))
            taken += max(answer[-1] for answer in times)
        yield THOUSAND * fmean(found)


def _read(memory: BandwidthProcess, ways: list[dict[str, float]]) -> float:
    """Seconds in which a gigabyte is read, by the best of the ways that are noted."""
    ways.append(memory.bytes_per_second())
    return GIGA / max(ways[-1].values())


def _measure_memory(
    setups: Sequence[GeneratorSetup], work: Work, *, vocab_size: int, tell: Tell
) -> dict[str, dict[str, int]]:
    """The peak of each side, alone in a new process in which it writes one answer."""
    found = {}
    alone = Work(1, work.prompt_tokens, work.new_tokens)
    for setup in setups:
        with GeneratorProcess(setup) as side:
            side.write(alone.draw(1, vocab_size=vocab_size))
            found[setup.name] = side.memory()
        tell(f"{setup.name}: {found[setup.name]['peak_bytes'] / 1e9:.2f} GB at its peak")
    return found


def _speed(name: str, seconds: float) -> str:
    if name == _MEMORY:
        return f"{1.0 / seconds:.1f} GB/s"
    return f"{THOUSAND / seconds:,.1f} tokens a second"


def _started(side: GeneratorProcess) -> str:
    about = side.about
    ready = (
        f"{side.setup.name}: ready after {about['start_seconds']:.1f} s, of which the first tokens "
        f"took {about['first_seconds']:.1f} s"
    )
    return "\n".join([ready, *(f"{side.setup.name}: {note}" for note in about["notes"])])
