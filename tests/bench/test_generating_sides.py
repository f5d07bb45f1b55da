"""What each side does with a tiny model: as many tokens as asked, whatever would end an answer."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from cloche.bench import generating_cloche
from cloche.bench.generating_model import make_model, shapes
from cloche.bench.generating_works import Work
from cloche.bench.generators import (
    Generator,
    GeneratorProcess,
    GeneratorSetup,
    Writing,
    serve_writing,
)
from cloche.bench.processes import BandwidthProcess, SideProcess
from cloche.bench.processes import make_model as make_model_apart
from cloche.errors import CheckpointError, ClocheError
from cloche.generation.kernels import choosing
from cloche.generation.kernels.building import KernelError
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.planning.flops import parameter_count
from cloche.run import load

CONFIG: ModelConfig = complete(
    ModelOptions(family="llama", heads=2, tied=True, mlp_width=64),
    vocab_size=40,
    layers=2,
    width=32,
    context=64,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "model"
    make_model(path, CONFIG)
    return path


@pytest.fixture(scope="module")
def gguf(folder) -> Path:
    pytest.importorskip("xllamacpp")
    from cloche.weights.gguf_writing import export_gguf

    lm = load(folder)
    path = folder.parent / "model.gguf"
    special = lm.tokenizer.special_ids
    assert special.eos is not None
    export_gguf(
        path,
        model=lm.model,
        config=lm.config,
        tokenizer=lm.tokenizer,
        special_ids=special,
        stop_ids=(special.eos,),
        kind="F32",
    )
    return path


def cloche_setup(folder: Path, precision: str = "float32") -> GeneratorSetup:
    return GeneratorSetup("cloche", str(folder), precision, threads=1)


def check_times(generator: Generator, *, batch: int) -> None:
    work = Work(batch, 5, 12)
    for turn in (0, 1):  # what is kept after the first serves the second
        writing = work.draw(turn, vocab_size=generator.vocab_size)
        times = generator.write(writing)
        assert [len(answer) for answer in times] == [writing.new_tokens] * batch
        assert all(answer == sorted(answer) for answer in times)
        assert times[0][0] > 0
        assert work.seconds_per_token(times) > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch", [1, 3])
def test_cloche_writes_what_was_asked(folder, precision, batch):
    generator = generating_cloche.build_generator(cloche_setup(folder, precision))
    size = 4 if precision == "float32" else 2
    assert generator.weight_bytes == size * parameter_count(CONFIG)
    assert (generator.vocab_size, generator.context) == (40, 64)
    assert generator.parameters == parameter_count(CONFIG)
    check_times(generator, batch=batch)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch", [1, 3])
def test_transformers_writes_what_was_asked(folder, precision, batch):
    pytest.importorskip("transformers")
    from cloche.bench.generating_transformers import build_generator

    generator = build_generator(GeneratorSetup("transformers", str(folder), precision, 1))
    size = 4 if precision == "float32" else 2
    assert generator.weight_bytes == size * parameter_count(CONFIG)
    assert (generator.vocab_size, generator.context) == (40, 64)
    assert generator.parameters == parameter_count(CONFIG)
    check_times(generator, batch=batch)


def test_what_ends_an_answer_otherwise_ends_none(tmp_path):
    """A model that says nothing but its end-of-text token."""
    pytest.importorskip("transformers")
    from cloche.bench import generating_transformers
    from cloche.model.build import build_model
    from cloche.model.initialise import initialise
    from cloche.text.characters import CharacterTokenizer
    from cloche.weights.checkpoint import save_checkpoint

    model = build_model(CONFIG)
    initialise(model, seed=0)
    with torch.no_grad():
        model.embed_tokens.weight.fill_(0.01)
        model.embed_tokens.weight[39] = 1.0
        model.norm.weight.fill_(1.0)  # pyright: ignore
    tokenizer = CharacterTokenizer([chr(0x4E00 + number) for number in range(39)])
    save_checkpoint(tmp_path / "m", model=model, config=CONFIG, tokenizer=tokenizer, card="")
    lm = load(tmp_path / "m")
    assert lm.stop_ids == (39,)
    writing = Writing([[39, 39, 39]], new_tokens=6, room=9)
    assert lm.logits([39, 39, 39])[-1].argmax() == 39
    for build, engine in (
        (generating_cloche.build_generator, "cloche"),
        (generating_transformers.build_generator, "transformers"),
    ):
        generator = build(GeneratorSetup(engine, str(tmp_path / "m"), "float32", 1))
        assert len(generator.write(writing)[0]) == 6


def test_llama_cpp_writes_what_was_asked_in_a_process_of_its_own(gguf):
    with GeneratorProcess(GeneratorSetup("llama_cpp", str(gguf), gguf.name, 1)) as side:
        assert side.setup.name == "llama.cpp model.gguf"
        assert side.about["vocab_size"] >= 40
        assert side.about["context"] == 64
        for batch in (1, 3):
            work = Work(batch, 5, 50)  # so tiny a model is else done before the next prompt comes
            times = side.write(work.draw(1, vocab_size=40))
            assert [len(answer) for answer in times] == [50] * batch
            assert all(answer == sorted(answer) and answer[0] > 0 for answer in times)
            assert work.seconds_per_token(times) > 0
        assert len(side.write(Work(1, 20, 1).draw(1, vocab_size=40))[0]) == 1
        assert side.memory()["peak_bytes"] > 1_000_000


def test_llama_cpps_weights_are_those_of_the_file(gguf):
    from cloche.bench.generating_llama_cpp import weight_bytes
    from cloche.weights.gguf_header import open_gguf

    extra = open_gguf(gguf).tensors["token_embd.weight"].shape[0] - 40
    assert weight_bytes(open_gguf(gguf)) == 4 * (parameter_count(CONFIG) + extra * 32)


def test_a_file_that_is_no_gguf_is_told(tmp_path):
    (tmp_path / "no.gguf").write_bytes(b"GGML of old")
    with pytest.raises(ClocheError, match=r"no\.gguf"):
        GeneratorProcess(GeneratorSetup("llama_cpp", str(tmp_path / "no.gguf"), "no", 1))


@pytest.mark.parametrize(
    ("heard", "count", "wanted"),
    [
        ([1.0, 2.0, 3.0], 3, [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 4.0, 5.0], 5, [1.0, 2.0, 3.0, 4.0, 5.0]),
        ([1.0, 5.0], 5, [1.0, 2.0, 3.0, 4.0, 5.0]),
        ([0.5, 0.6], 1, [0.6]),
    ],
)
def test_tokens_that_end_within_a_character_fill_the_longest_waits(heard, count, wanted):
    from cloche.bench.generating_llama_cpp import fill_in

    assert fill_in(heard, count) == pytest.approx(wanted)


def test_cloche_without_kernels_says_that_it_is_slow(folder, monkeypatch):
    def fail(*_args, **_more):
        raise KernelError("there is no compiler")

    monkeypatch.setattr(choosing, "load_library", fail)
    answers: list[dict] = []
    lines = [json.dumps(asdict(cloche_setup(folder)))]
    serve_writing(generating_cloche.build_generator, iter(lines), answers.append)
    (note,) = answers[0]["notes"]
    assert "slower: there is no compiler" in note


def test_cloche_keeps_its_kernels_where_it_is_told(folder, monkeypatch, tmp_path):
    asked = []

    def note(folder, **_more):
        asked.append(folder)
        raise KernelError("this is not about them")

    monkeypatch.setattr(choosing, "load_library", note)
    setup = replace(cloche_setup(folder), kernels=str(tmp_path))
    generating_cloche.build_generator(setup).write(Writing([[1]], new_tokens=2, room=3))
    assert asked == [tmp_path]


def test_a_process_says_what_it_is_and_how_long_it_took_to_start(folder):
    with GeneratorProcess(cloche_setup(folder)) as side:
        assert side.about["start_seconds"] > side.about["first_seconds"] > 0
        assert len(side.write(Work(2, 3, 4).draw(1, vocab_size=40))) == 2
        memory = side.memory()
        assert memory["peak_bytes"] >= memory["before_bytes"] > 1_000_000


def test_a_model_that_is_not_there_is_told_without_a_traceback(tmp_path):
    with pytest.raises(ClocheError, match=r"^.*nowhere does not exist"):
        GeneratorProcess(cloche_setup(tmp_path / "nowhere"))


def test_a_side_that_makes_another_number_of_tokens_is_refused(folder, monkeypatch):
    monkeypatch.setattr(
        GeneratorProcess, "_ask", lambda self, request: {"times": [[0.1, 0.2], [0.1]]}
    )
    monkeypatch.setattr(SideProcess, "__init__", lambda self, *args, **more: None)
    monkeypatch.setattr(GeneratorProcess, "about", {}, raising=False)
    side = GeneratorProcess(cloche_setup(folder))
    with pytest.raises(ClocheError, match=r"cloche float32 made \[2, 1\] tokens where 2 were"):
        side.write(Work(2, 3, 2).draw(1, vocab_size=40))


def test_requests_are_answered_in_order(folder):
    answers: list[dict] = []
    work = Work(1, 3, 4).draw(1, vocab_size=40)
    lines = [
        json.dumps(asdict(cloche_setup(folder))),
        json.dumps({"ask": "write", "writing": asdict(work)}),
        json.dumps({"ask": "memory"}),
    ]
    serve_writing(generating_cloche.build_generator, iter(lines), answers.append)
    assert all("compiling" in note for note in answers[0]["notes"])
    assert answers[0]["parameters"] == parameter_count(CONFIG)
    assert len(answers[1]["times"][0]) == 4
    assert answers[2]["peak_bytes"] > 0


def test_a_precision_that_there_is_not_is_told(folder):
    with pytest.raises(ClocheError, match="precision must be"):
        generating_cloche.build_generator(cloche_setup(folder, "int3"))


def test_an_error_of_the_engine_is_raised(folder):
    generator = generating_cloche.build_generator(cloche_setup(folder))
    with pytest.raises(ClocheError):
        generator.write(Writing([[40]], new_tokens=2, room=3))


def test_a_damaged_checkpoint_is_told_by_transformers_side_too(tmp_path):
    pytest.importorskip("transformers")
    from cloche.bench.generating_transformers import build_generator

    make_model(tmp_path / "m", CONFIG)
    (tmp_path / "m" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError):
        build_generator(GeneratorSetup("transformers", str(tmp_path / "m"), "float32", 1))


def test_a_folder_that_others_have_written_is_timed_too(tmp_path):
    pytest.importorskip("transformers")
    from cloche.bench.generating_transformers import build_generator

    make_model(tmp_path / "m", CONFIG)
    (tmp_path / "m" / "manifest.json").unlink()
    generator = build_generator(GeneratorSetup("transformers", str(tmp_path / "m"), "float32", 1))
    assert len(generator.write(Writing([[1]], new_tokens=2, room=3))[0]) == 2


def test_memory_is_read_in_several_ways():
    with BandwidthProcess(threads=1, device="cpu", size=1 << 22) as side:
        assert side.about["threads"] == 1
        found = side.bytes_per_second()
        assert len(found) >= 4
        assert all(speed > 1e6 for speed in found.values())


def test_a_copy_counts_what_it_reads_and_what_it_writes():
    from cloche.bench.generating_bandwidth import ways_to_read

    ways = ways_to_read(1 << 20, "cpu")
    assert {size for _, size in ways.values()} == {1 << 20}
    total, _ = ways["sum of int64"]
    assert total() == (1 << 20) // 8
    ways["copy"][0]()


def test_memory_of_a_device_that_is_not_there_is_told():
    with pytest.raises(ClocheError, match="tpu is not available here"):
        BandwidthProcess(threads=1, device="tpu", size=1 << 20)


def test_the_random_models_have_the_sizes_they_are_called_by():
    counts = {name: parameter_count(config) for name, config in shapes().items()}
    assert counts["135M"] == 134_515_008  # SmolLM2's
    assert counts["10M"] == pytest.approx(10_000_000, rel=0.1)


def test_a_random_model_is_made_in_a_process_of_its_own(tmp_path):
    make_model_apart("10M", tmp_path / "model")
    assert load(tmp_path / "model").tokenizer.vocab_size == shapes()["10M"].vocab_size


def test_who_starts_the_sides_loads_no_torch():
    script = "import sys, cloche.bench.generating; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
