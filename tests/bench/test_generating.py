"""Rounds, ratios and shares, with processes whose speed is known."""

import json
from dataclasses import replace
from typing import ClassVar

import pytest
from generating_stand_ins import KnownBandwidth, KnownGenerator

from cloche.bench import generating
from cloche.bench.generating import SIDES, Conditions, bench_generating, find_sides
from cloche.bench.generating_works import Lengths, Work
from cloche.errors import SettingError

LENGTHS = Lengths(prompt=10, new=20, prefill=100)
CONDITIONS = Conditions("model", batches=(1, 4), lengths=LENGTHS, rounds=2, seconds=0.0)


@pytest.fixture(autouse=True)
def known(monkeypatch) -> type[KnownGenerator]:
    class Known(KnownGenerator):
        alive = most_alive = 0
        asked: ClassVar = []

    monkeypatch.setattr(generating, "GeneratorProcess", Known)
    monkeypatch.setattr(generating, "BandwidthProcess", KnownBandwidth)
    monkeypatch.setattr(generating, "_REST_SECONDS", 0.0)
    return Known


def silently(_message: str) -> None:
    pass


def test_speeds_ratios_and_shares_follow_from_the_rounds():
    found = bench_generating(CONDITIONS, tell=silently)
    alone, together, reading = found.timings
    assert 1000 / found.timings[alone]["cloche int8"].median == pytest.approx(120.0)
    assert 1000 / found.timings[together]["cloche int8"].median == pytest.approx(4 * 60.0)
    assert 1000 / found.timings[reading]["cloche int8"].median == pytest.approx(1200.0)
    ratios = found.ratios(alone)
    assert len(ratios) == 4 * 2
    assert ratios["cloche float32 over transformers float32"] == pytest.approx(4.0)
    assert ratios["cloche int4 over transformers bfloat16"] == pytest.approx(8.0)
    # 0.25 GB a token, 80 tokens a second, of 20 GB/s
    assert found.bandwidth_share("cloche bfloat16", alone) == pytest.approx(1.0)
    assert found.bandwidth_share("transformers bfloat16", alone) == pytest.approx(0.25)
    assert found.bandwidth_share("cloche bfloat16", together) is None
    assert found.over_batch_1("cloche bfloat16", together) == pytest.approx(2.0)
    assert found.over_batch_1("cloche bfloat16", alone) is None


def test_all_sides_are_given_the_same_prompts_and_never_the_same_twice(known):
    bench_generating(CONDITIONS, tell=silently)
    by_side = {side: [w for name, w in known.asked if name == side] for side in SIDES}
    first = by_side["cloche float32"]
    # three works: warmed up, then in two rounds; and one answer whose memory is measured
    assert len(first) == 3 * 3 + 1
    assert all(writings == first for writings in by_side.values())
    timed = [tuple(prompt) for writing in first[:-1] for prompt in writing.prompts]
    assert len(set(timed)) == len(timed)


def test_a_turn_lasts_as_long_as_was_asked_for_and_has_new_prompts(known):
    conditions = replace(CONDITIONS, sides=("cloche int4",), batches=(1,), rounds=1, seconds=0.5)
    found = bench_generating(conditions, tell=silently)
    first, *timed = [writing for _, writing in known.asked if writing.new_tokens > 1]
    assert first.new_tokens == 8
    # 0.13 s each, and the one whose memory is measured
    assert len(timed) == 4 + 1
    assert len({tuple(prompt) for writing in timed[:-1] for prompt in writing.prompts}) == 4
    assert 1000 / found.timings[Work(1, 10, 20)]["cloche int4"].median == pytest.approx(160.0)


def test_sides_take_turns_within_a_work(known):
    bench_generating(replace(CONDITIONS, rounds=1), tell=silently)
    names = [name for name, _ in known.asked]
    timed = names[3 * len(SIDES) : -len(SIDES)]
    assert timed == list(SIDES) * 3


def test_all_wait_while_one_is_timed_and_memory_is_measured_alone(known):
    told = []
    found = bench_generating(CONDITIONS, tell=told.append)
    assert known.alive == 0
    assert known.most_alive == len(SIDES)
    assert found.memory["cloche int8"] == {"peak_bytes": 700_000_000, "before_bytes": 200_000_000}
    assert any("batch 1: cloche int8 120.0 tokens a second" in line for line in told)
    assert any("memory 20.0 GB/s" in line for line in told)


def test_the_values_are_json_and_complete():
    values = json.loads(json.dumps(bench_generating(CONDITIONS, tell=silently).to_values()))
    assert (values["source"], values["rounds"], values["threads"]) == ("model", 2, 1)
    assert values["memory_bytes_per_second"] == pytest.approx([20e9, 20e9])
    assert values["ways_to_read"] == [{"sum of int64": 20e9, "copy": 15e9}] * 2
    alone, together = values["decode"]
    assert (alone["batch"], alone["prompt_tokens"], alone["new_tokens"]) == (1, 10, 20)
    side = alone["sides"]["cloche bfloat16"]
    assert side["tokens_per_second"] == pytest.approx(80.0)
    assert len(side["rounds"]) == 2
    assert side["bytes_per_second"] == pytest.approx(20e9)
    assert side["bandwidth_share"] == pytest.approx(1.0)
    assert together["sides"]["cloche bfloat16"]["over_batch_1"] == pytest.approx(2.0)
    assert values["prefill"]["prompt_tokens"] == 100
    assert values["prefill"]["ratios"]["cloche int8 over transformers bfloat16"] == pytest.approx(6)
    start = values["sides"]["transformers float32"]
    assert (start["start_seconds"], start["peak_bytes"]) == (2.0, 700_000_000)


def test_the_screen_shows_speeds_shares_ratios_starts_and_memory():
    shown = "\n".join(bench_generating(CONDITIONS, tell=silently).lines())
    assert "memory: 20.0 GB/s (20.0 - 20.0), by sum of int64" in shown
    assert "writing 20 tokens after 10, batch 1\n" in shown
    assert "80.0 tokens/s  (80.0 - 80.0)" in shown
    assert "reads 20.0 GB/s, 100% of the memory's" in shown
    assert "batch 4, all answers together" in shown
    assert "2.0 times batch 1" in shown
    assert "cloche int8: 12.00 times transformers float32, 6.00 times transformers" in shown
    assert "reading a prompt of 100 tokens" in shown
    assert "2.0 s, of it 1.5 s for the first tokens    0.70 GB (0.20 GB)  0.250 GB" in shown


def test_what_a_side_says_of_itself_is_told_and_shown():
    told = []
    found = bench_generating(CONDITIONS, tell=told.append)
    assert any(line.endswith("\ncloche int4: slow here") for line in told)
    assert found.lines()[-1] == "  cloche int4: slow here"


def test_files_are_timed_beside_the_others(tmp_path):
    pytest.importorskip("xllamacpp")
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    conditions = replace(CONDITIONS, sides=("cloche int8",), gguf=(str(path),))
    found = bench_generating(conditions, tell=silently)
    (ratio,) = found.ratios(Work(1, 10, 20)).items()
    assert ratio == ("cloche int8 over llama.cpp model.gguf", pytest.approx(1.2))


def test_without_cloche_there_are_no_ratios():
    conditions = replace(CONDITIONS, sides=("transformers float32",))
    found = bench_generating(conditions, tell=silently)
    assert found.ratios(Work(1, 10, 20)) == {}
    assert "times transformers" not in "\n".join(found.lines())


def test_without_batch_1_nothing_is_held_against_it():
    found = bench_generating(replace(CONDITIONS, batches=(4,)), tell=silently)
    assert found.over_batch_1("cloche int8", Work(4, 10, 20)) is None
    assert "bandwidth_share" not in found.to_values()["decode"][0]["sides"]["cloche int8"]


def test_a_file_with_another_model_is_refused(known, monkeypatch, tmp_path):
    pytest.importorskip("xllamacpp")
    path = tmp_path / "other.gguf"
    path.write_bytes(b"GGUF")

    class Other(known):
        def __init__(self, setup):
            super().__init__(setup)
            if setup.engine == "llama_cpp":
                self.about["parameters"] = 102_000_000

    monkeypatch.setattr(generating, "GeneratorProcess", Other)
    conditions = replace(CONDITIONS, sides=("cloche int8",), gguf=(str(path),))
    with pytest.raises(SettingError, match=r"other.gguf has 102,000,000 parameters, but cloche"):
        bench_generating(conditions, tell=silently)
    assert Other.alive == 0


def test_lengths_that_do_not_fit_end_all_processes(known):
    conditions = replace(CONDITIONS, lengths=Lengths(prompt=990, new=20))
    with pytest.raises(SettingError, match="are 1010 tokens, but the model reads 1000"):
        bench_generating(conditions, tell=silently)
    assert known.alive == 0


def test_an_absent_package_is_told_with_the_sides_that_need_it(monkeypatch):
    monkeypatch.setattr(generating, "find_spec", lambda name: None)
    with pytest.raises(SettingError) as found:
        bench_generating(CONDITIONS, tell=silently)
    message = str(found.value)
    assert "transformers float32, transformers bfloat16: there is no transformers" in message
    assert "pip install 'cloche[dev]'" in message
    assert "xllamacpp" not in message
    assert "cloche float32" not in message


def test_all_that_cannot_be_used_is_told_before_any_side_starts(known, tmp_path):
    conditions = Conditions(
        "model",
        gguf=(str(tmp_path / "none.gguf"),),
        lengths=Lengths(new=1),
        threads=0,
        rounds=0,
        seconds=-1.0,
        device="cuda",
    )
    with pytest.raises(SettingError) as found:
        conditions.check()
    for part in (
        "--new-tokens must be at least 2",
        "--rounds must be at least 1, got 0",
        "--threads must be at least 1, got 0",
        "--seconds must be from 0 to 3600, got -1.0",
        "none.gguf is no file",
        "it has no --device cuda",
    ):
        assert part in str(found.value)
    assert known.most_alive == 0


def test_somebody_has_to_be_timed():
    with pytest.raises(SettingError, match="nobody is left to be timed"):
        replace(CONDITIONS, sides=()).check()


def test_sides_are_found_by_name():
    assert find_sides("cloche int8, transformers bfloat16,cloche int8") == (
        "cloche int8",
        "transformers bfloat16",
    )
    assert find_sides("") == ()
    with pytest.raises(SettingError, match=r"got vllm, cloche \(llama.cpp is timed on each file"):
        find_sides("vllm,cloche int4,cloche")


def test_setups_name_engines_and_precisions():
    conditions = replace(CONDITIONS, sides=("cloche int4",), gguf=("a.gguf",), threads=3)
    ours, theirs = conditions.setups()
    assert (ours.engine, ours.precision, ours.threads, ours.name) == (
        *("cloche", "int4", 3),
        "cloche int4",
    )
    assert (theirs.engine, theirs.source, theirs.threads) == ("llama_cpp", "a.gguf", 3)


def test_files_go_by_their_names_unless_two_have_the_same():
    def names(*paths: str) -> list[str]:
        return [setup.name for setup in replace(CONDITIONS, sides=(), gguf=paths).setups()]

    assert names("q4/a.gguf", "q8/b.gguf") == ["llama.cpp a.gguf", "llama.cpp b.gguf"]
    assert names("q4/a.gguf", "q8/a.gguf") == ["llama.cpp q4/a.gguf", "llama.cpp q8/a.gguf"]
