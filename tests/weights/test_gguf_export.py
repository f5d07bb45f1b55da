"""Exports to GGUF: whole, checked and with a Modelfile, or absent."""

import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_samples import EXTRA_ROWS, build, byte_pairs, configurations

from cloche.errors import CheckpointError, SettingError
from cloche.model.build import LanguageModel
from cloche.weights import gguf_checking, gguf_llama_cpp, gguf_writing
from cloche.weights.checking import ExportCheck
from cloche.weights.gguf_header import open_gguf
from cloche.weights.gguf_reading import import_gguf
from cloche.weights.gguf_writing import export_gguf
from cloche.weights.ollama import modelfile

TOKENIZER = byte_pairs()
CONFIGS = configurations(TOKENIZER.vocab_size + EXTRA_ROWS)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def model() -> LanguageModel:
    return build(CONFIGS["llama"])


def _export(out: Path, model: LanguageModel, **changes: Any) -> ExportCheck:
    options: dict[str, Any] = {
        "model": model,
        "config": model.config,
        "tokenizer": TOKENIZER,
        "special_ids": TOKENIZER.special_ids,
        "stop_ids": (TOKENIZER.special_ids.eos,),
    }
    return export_gguf(out, **(options | changes))


@pytest.fixture
def without_llama_cpp(monkeypatch) -> None:
    monkeypatch.setattr(gguf_checking, "has_llama_cpp", lambda: False)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0"])
def test_an_export_is_checked_by_cloche_and_llama_cpp(kind, model, tmp_path):
    pytest.importorskip("xllamacpp")
    check = _export(tmp_path / "tale.gguf", model, kind=kind)
    assert check.compared_with == ("cloche", "llama.cpp")
    assert check.texts >= 6
    assert (check.largest_difference == 0) == (kind == "F32")
    assert check.largest_difference < 0.2 * check.rms
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tale.Modelfile", "tale.gguf"]


@pytest.mark.parametrize("name", ["qwen3moe", "gpt2", "qwen2 sharper yarn"])
def test_other_architectures_pass_their_check_in_f16(name, tmp_path):
    pytest.importorskip("xllamacpp")
    check = _export(tmp_path / "tale.gguf", build(CONFIGS[name]), kind="F16")
    assert check.compared_with == ("cloche", "llama.cpp")


@pytest.mark.usefixtures("without_llama_cpp")
def test_without_llama_cpp_the_check_is_our_own(model, tmp_path):
    assert _export(tmp_path / "tale.gguf", model).compared_with == ("cloche",)


@pytest.mark.usefixtures("without_llama_cpp")
def test_the_model_is_left_in_the_mode_it_was_in(model, tmp_path):
    _export(tmp_path / "tale.gguf", model.train())
    assert model.training


@pytest.mark.usefixtures("without_llama_cpp")
def test_name_and_description_are_in_the_file(model, tmp_path):
    _export(tmp_path / "tale.gguf", model, name="A tale", description="Grown in a minute.")
    values = open_gguf(tmp_path / "tale.gguf").values
    assert values["general.name"] == "A tale"
    assert values["general.description"] == "Grown in a minute."


@pytest.mark.parametrize("name", ["my-phi3-tale", "Modern-BERT"])
def test_a_name_that_changes_tokens_in_llama_cpp_is_left_out(name, model, tmp_path):
    pytest.importorskip("xllamacpp")
    _export(tmp_path / "tale.gguf", model, name=name)  # llama.cpp opens it
    assert "general.name" not in open_gguf(tmp_path / "tale.gguf").values


@pytest.mark.parametrize("taken", ["tale.gguf", "tale.Modelfile"])
def test_what_exists_is_never_replaced(taken, model, tmp_path):
    (tmp_path / taken).write_text("mine")
    with pytest.raises(CheckpointError, match=rf"{taken} exists already"):
        _export(tmp_path / "tale.gguf", model)
    assert (tmp_path / taken).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_another_ending_is_refused(model, tmp_path):
    with pytest.raises(CheckpointError, match=r"let its name end in \.gguf"):
        _export(tmp_path / "tale.bin", model)


def test_an_unknown_type_is_refused_with_those_there_are(model, tmp_path):
    with pytest.raises(SettingError, match=r"'Q9' is no type.*F32, F16, BF16, Q8_0.*Q4_K_M"):
        _export(tmp_path / "tale.gguf", model, kind="Q9")


def test_a_smaller_type_says_where_the_quantizer_is_from(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"Q4_K_M needs.*llama-quantize.*export as F16"):
        _export(tmp_path / "tale.gguf", model, kind="Q4_K_M")


def _quantizer(folder: Path, monkeypatch, *, body: str) -> None:
    """A program of that name on the PATH: what llama.cpp's takes and gives, without its work."""
    program = folder / "llama-quantize"
    program.write_text(f"#!{sys.executable}\nimport shutil, sys\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("without_llama_cpp")
def test_the_quantizer_gets_a_file_in_f32_and_a_type(model, tmp_path, monkeypatch):
    tools, out = tmp_path / "tools", tmp_path / "out" / "tale.gguf"
    tools.mkdir()
    body = "shutil.copy(sys.argv[1], sys.argv[2]); open(__file__ + '.type', 'w').write(sys.argv[3])"
    _quantizer(tools, monkeypatch, body=body)
    _export(out, model, kind="Q4_K_M")
    assert (tools / "llama-quantize.type").read_text() == "Q4_K_M"
    assert {place.type.name for place in open_gguf(out).tensors.values()} == {"F32"}
    assert len(list(out.parent.iterdir())) == 2


def test_a_quantizer_that_fails_leaves_nothing(model, tmp_path, monkeypatch):
    tools, out = tmp_path / "tools", tmp_path / "out" / "tale.gguf"
    tools.mkdir()
    _quantizer(tools, monkeypatch, body="sys.exit('no such type')")
    with pytest.raises(CheckpointError, match="could not quantize the model as Q6_K: no such type"):
        _export(out, model, kind="Q6_K")
    assert list(out.parent.iterdir()) == []


def test_an_export_that_computes_something_else_is_deleted(model, tmp_path, monkeypatch):
    def spoiled(path: Path) -> Any:
        read = import_gguf(path)
        with torch.no_grad():
            read.model.state_dict()["layers.0.mlp.up_proj.weight"].mul_(1.01)
        return read

    monkeypatch.setattr(gguf_checking, "import_gguf", spoiled)
    with pytest.raises(CheckpointError, match="more than storing as F32 explains"):
        _export(tmp_path / "tale.gguf", model, kind="F32")
    assert list(tmp_path.iterdir()) == []


def test_an_export_with_other_ids_is_deleted(model, tmp_path, monkeypatch):
    monkeypatch.setattr(
        gguf_checking, "import_gguf", lambda path: replace(import_gguf(path), tokenizer=other)
    )
    other = byte_pairs(rule="deepseek-v3")
    with pytest.raises(CheckpointError, match="cloche reads other ids from the export"):
        _export(tmp_path / "tale.gguf", model)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        ({"ids": [[1]]}, "llama.cpp reads other ids"),
        ({"pieces": ["?"]}, "llama.cpp reads the text '\\?'"),
        ({"likeliest": [[(0, 5.0)]]}, "llama.cpp computes something else"),
        ({"likeliest": [[(0, float("nan"))]]}, "differ by nan"),
        ({"likeliest": [[(0, -3.0), (1, float("nan"))]]}, "differ by nan"),
    ],
)
def test_what_llama_cpp_reads_otherwise_is_deleted(spoiled, message, model, tmp_path, monkeypatch):
    pytest.importorskip("xllamacpp")
    ask = gguf_llama_cpp.ask_llama_cpp

    def changed(path, questions):
        answers = ask(path, questions)
        firsts = {k: [*v, *getattr(answers, k)[1:]] for k, v in spoiled.items()}
        return replace(answers, **firsts)

    monkeypatch.setattr(gguf_checking, "ask_llama_cpp", changed)
    with pytest.raises(CheckpointError, match=message):
        _export(tmp_path / "tale.gguf", model, kind="F32")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["write_gguf", "check_gguf", "_write_text", "_put_in_place"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.usefixtures("without_llama_cpp")
def test_a_failure_at_any_step_leaves_nothing(step, error, model, tmp_path, monkeypatch):
    done = getattr(gguf_writing, step)

    def failing(*arguments: Any, **options: Any) -> None:
        if step == "write_gguf":
            done(*arguments, **options)  # the file is there already
        raise error

    monkeypatch.setattr(gguf_writing, step, failing)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else CheckpointError
    with pytest.raises(expected):
        _export(tmp_path / "tale.gguf", model)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from gguf_samples import EXTRA_ROWS, build, byte_pairs, configurations
from cloche.weights import gguf_writing
tokenizer = byte_pairs()
model = build(configurations(tokenizer.vocab_size + EXTRA_ROWS)["llama"])
def wait(*_, **__):
    print("written", flush=True)
    time.sleep(60)
gguf_writing.check_gguf = wait
gguf_writing.export_gguf(Path(sys.argv[1]), model=model, config=model.config, tokenizer=tokenizer,
                         special_ids=tokenizer.special_ids)
"""


@pytest.mark.usefixtures("without_llama_cpp")
def test_what_a_killed_export_left_is_swept_by_the_next(model, tmp_path):
    out = tmp_path / "tale.gguf"
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(out), here], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".tale.gguf.")  # nothing bears the name of the export
    _export(out, model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tale.Modelfile", "tale.gguf"]


def test_a_modelfile_of_a_model_that_continues_text():
    assert modelfile("tale.gguf", chat_template=None, stops=("<|endoftext|>",), context=128) == (
        'FROM ./tale.gguf\nTEMPLATE """{{ .Prompt }}"""\nPARAMETER stop "<|endoftext|>"\n'
        "PARAMETER num_ctx 128\nPARAMETER temperature 0.8\n"
    )


def test_a_modelfile_in_ollamas_words_for_chatml():
    text = modelfile("tale.gguf", chat_template=CHATML, stops=("<|im_end|>",), context=64)
    assert 'TEMPLATE """{{- range .Messages }}<|im_start|>{{ .Role }}\n' in text


@pytest.mark.parametrize(
    "template",
    [
        "{{ bos_token }}[INST] {{ messages[0].content }} [/INST]",
        CHATML.replace("im_end", "end"),
        "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
        + CHATML,
        "{% for",
        "{{ raise_exception('no') }}",
        "{% for a in range(10**9) %}{% endfor %}",
    ],
)
def test_any_other_template_is_left_to_the_file(template):
    text = modelfile("tale.gguf", chat_template=template, stops=(), context=64)
    assert "TEMPLATE" not in text
    assert "lies in the GGUF file" in text


def test_a_stop_is_quoted():
    text = modelfile("t.gguf", chat_template=None, stops=('a"b\n',), context=1)
    assert 'PARAMETER stop "a\\"b\\n"\n' in text
