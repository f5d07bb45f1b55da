"""Rounds, ratios and the search, against processes whose speed is known."""

import json
from dataclasses import dataclass, field, replace

import pytest

from cloche.bench import search, training
from cloche.bench.paired import Timing
from cloche.bench.processes import TrainerProcess
from cloche.bench.search import MemoryResult, find_best_batch, measure_memory
from cloche.bench.sizes import (
    SIDES,
    BenchSize,
    TrainerSetup,
    find_batches,
    find_sides,
    find_sizes,
)
from cloche.bench.training import Conditions, SizeResult, bench_training, setup_of
from cloche.errors import ClocheError, SettingError
from cloche.planning.flops import flops_per_token

TINY = BenchSize("tiny", layers=1, heads=1, width=8, context=100, vocab_size=10, batch=2)
SPEEDS = {
    "cloche": 4000.0,
    "textbook": 1000.0,
    "transformers float32": 800.0,
    "transformers bfloat16": 2000.0,
}
GROWTH = {1: 1.0, 2: 1.0, 4: 1.5, 8: 1.6, 16: 1.61}
"""Speed at a batch against that at 2."""


@dataclass
class Watched:
    """What the stand-ins have in common."""

    alive: int = 0
    most_alive: int = 0
    largest: int = 16
    batches: list[int] = field(default_factory=list)


def known_processes(watched: Watched) -> type[TrainerProcess]:
    """Stand-ins for TrainerProcess; their speed follows from side and batch."""

    class KnownProcess(TrainerProcess):
        def __init__(self, setup: TrainerSetup) -> None:
            if setup.batch > watched.largest:
                raise ClocheError(f"{setup.side} ran out of memory")
            self.setup = setup
            self.about = {
                "precision": "float32",
                "compiled": setup.side == "cloche",
                "start_seconds": 2.0,
                "first_step_seconds": 1.5,
            }
            watched.batches.append(setup.batch)
            watched.alive += 1
            watched.most_alive = max(watched.alive, watched.most_alive)

        def close(self) -> None:
            watched.alive -= 1

        def steps(self, seconds: float) -> dict[str, float]:
            tokens = self.setup.batch * self.setup.size.context
            speed = SPEEDS[self.setup.side] * GROWTH[self.setup.batch]
            return {"steps": 1, "tokens": tokens, "seconds": tokens / speed}

        def peak(self, precision: str) -> float:
            return {"float32": 1e9, "bfloat16": 4e9}[precision]

        def memory(self) -> dict[str, int]:
            return {"peak_bytes": 100 * self.setup.batch, "before_bytes": 50}

    return KnownProcess


@pytest.fixture(autouse=True)
def watched(monkeypatch) -> Watched:
    found = Watched()
    for module in (training, search):
        monkeypatch.setattr(module, "TrainerProcess", known_processes(found))
    return found


def silently(_message: str) -> None:
    pass


def test_speeds_ratios_and_utilisation_follow_from_the_rounds(watched):
    told = []
    (found,) = bench_training([TINY], ["own"], Conditions(rounds=2), tell=told.append)
    assert found.ratios() == pytest.approx(
        {
            "cloche over textbook": 4.0,
            "cloche over transformers float32": 5.0,
            "cloche over transformers bfloat16": 2.0,
        }
    )
    operations = flops_per_token(TINY.config())
    assert found.utilisation("cloche", "float32") == pytest.approx(operations * 4000 / 1e9)
    assert found.utilisation("cloche", "bfloat16") == pytest.approx(operations * 1000 / 1e9)
    assert watched.alive == 0
    assert watched.most_alive == len(SIDES) + 1
    assert any("cloche 4,000 tokens a second" in line for line in told)
    assert any("matmul bfloat16 4 GFLOP/s" in line for line in told)


def test_the_values_are_json_and_complete():
    results = bench_training([TINY], [4, "own"], Conditions(rounds=3), tell=silently)
    first, second = (json.loads(json.dumps(result.to_values())) for result in results)
    assert (first["batch"], second["batch"]) == (4, "own")
    assert first["sides"]["cloche"]["batch"] == 4
    assert second["sides"]["cloche"]["batch"] == TINY.batch
    side = first["sides"]["textbook"]
    assert side["tokens_per_second"] == pytest.approx(1500.0)
    assert len(side["rounds"]) == 3
    assert set(side["utilisation"]) == {"float32", "bfloat16"}
    assert first["matmul_flops_per_second"]["bfloat16"] == pytest.approx([4e9] * 3)


def test_a_result_is_there_before_the_next_size_begins(watched):
    larger = replace(TINY, name="larger", batch=32)
    results = bench_training([TINY, larger], ["own"], Conditions(rounds=1), tell=silently)
    assert next(results).size == TINY
    with pytest.raises(ClocheError, match="ran out of memory"):
        next(results)
    assert watched.alive == 0


def test_the_screen_shows_speeds_ratios_and_what_compiling_took():
    (found,) = bench_training([TINY], ["own"], Conditions(rounds=1), tell=silently)
    shown = "\n".join(found.lines())
    assert "4,000" in shown
    assert "cloche over transformers float32   5.00 times the speed" in shown
    assert "the first step was 1.5 s" in shown


def test_chosen_sides_alone_are_timed_and_without_cloche_there_are_no_ratios():
    conditions = Conditions(sides=("textbook",), rounds=1)
    (found,) = bench_training([TINY], ["own"], conditions, tell=silently)
    assert list(found.timings) == ["textbook"]
    assert found.ratios() == {}


def test_ratios_pair_the_times_of_one_round():
    def timing(*seconds: float) -> Timing:
        return Timing("", seconds)

    found = SizeResult(
        TINY,
        "own",
        {"cloche": 2, "textbook": 2},
        {},
        {"cloche": timing(1.0, 10.0, 2.0), "textbook": timing(2.0, 40.0, 3.0)},
        {},
    )
    assert found.ratios() == {"cloche over textbook": 2.0}


def test_the_best_batch_is_doubled_while_that_pays(watched):
    setup = setup_of("cloche", TINY, Conditions(), batch=2)
    assert find_best_batch(setup, seconds=1.0, tell=silently) == 16
    assert watched.batches == [2, 4, 8, 16]


def test_each_side_is_timed_at_a_best_batch_of_its_own(watched):
    watched.largest = 4
    told = []
    conditions = Conditions(sides=("cloche", "textbook"), rounds=1)
    (found,) = bench_training([TINY], ["best"], conditions, tell=told.append)
    assert found.batches == {"cloche": 4, "textbook": 4}
    assert any("ran out of memory\nbatch 4 is taken" in line for line in told)


def test_a_side_that_fails_at_its_smallest_batch_is_an_error(watched):
    watched.largest = 1
    setup = setup_of("cloche", TINY, Conditions(), batch=2)
    with pytest.raises(ClocheError, match="ran out of memory"):
        find_best_batch(setup, seconds=1.0, tell=silently)


def test_doubling_ends_where_a_step_would_take_too_long(watched, monkeypatch):
    monkeypatch.setattr(search, "LONGEST_STEP_SECONDS", 2 * 400 / 6000.0)
    setup = setup_of("cloche", TINY, Conditions(), batch=2)
    assert find_best_batch(setup, seconds=1.0, tell=silently) == 8
    assert watched.batches == [2, 4, 8]


def test_doubling_ends_where_memory_would_not_suffice(monkeypatch):
    monkeypatch.setattr(search, "LARGEST_SHARE", 0.0)
    setup = setup_of("cloche", TINY, Conditions(), batch=2)
    assert find_best_batch(setup, seconds=1.0, tell=silently) == 2


def test_memory_is_measured_one_process_at_a_time(watched):
    setups = [setup_of(side, TINY, Conditions(), batch=8) for side in ("cloche", "textbook")]
    found = measure_memory(setups, tell=silently)
    assert watched.most_alive == 1
    assert found.sides["cloche"] == {"peak_bytes": 800, "before_bytes": 50}
    assert found.to_values()["ratios"] == {"cloche over textbook": 1.0}


def test_the_memory_of_cloche_is_told_as_a_share_of_the_others():
    peaks = {"cloche": 700_000_000, "textbook": 1_000_000_000}
    sides = {
        name: {"peak_bytes": peak, "before_bytes": 100_000_000} for name, peak in peaks.items()
    }
    found = MemoryResult("124M", 8, 256, sides)
    assert found.ratios() == {"cloche over textbook": 0.7}
    shown = "\n".join(found.lines())
    assert "0.70 GB  (0.10 GB without a model)" in shown
    assert "70% of the memory" in shown


def test_names_are_parted_by_commas_and_come_once():
    assert [size.name for size in find_sizes(" 10M,0.8M, 10M")] == ["10M", "0.8M"]
    assert find_sides("cloche, transformers float32") == ("cloche", "transformers float32")
    assert find_batches("2,best, 16") == [2, "best", 16]
    assert find_batches("") == ["own"]


@pytest.mark.parametrize(
    ("find", "names", "message"),
    [
        (find_sizes, "10M,7B", "--sizes takes 0.8M, 10M, 124M, comma between them; got 7B"),
        (find_sizes, ",", "got none"),
        (find_sides, "cloche,jax", "--sides takes cloche, textbook, .*; got jax"),
        (find_batches, "2,0", "--batch takes numbers of at least 1, and best; got 0"),
        (find_batches, "-2", "got -2"),
        (find_batches, "large", "got large"),
    ],
)
def test_names_that_there_are_not_are_told(find, names, message):
    with pytest.raises(SettingError, match=message):
        find(names)
