"""Exports that transformers opens: checked, or gone; what no class computes is refused."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer as Engine
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer
from weights_parity import assert_equal_models

from cloche.errors import CheckpointError
from cloche.model.build import build_model, build_network
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.model.rope import RopeScaling
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.hub import open_hub_tokenizer
from cloche.text.published import open_published
from cloche.text.tokenizer import SpecialIds, Tokenizer
from cloche.weights import exporting
from cloche.weights.checkpoint import load_model
from cloche.weights.exporting import export_folder
from cloche.weights.expressing import express
from cloche.weights.imported import Imported
from cloche.weights.importing import import_folder, save_imported
from cloche.weights.layouts.qwen3 import QWEN3

TEXT = "The boat lay still, 春眠不觉晓，处处闻啼鸟。 Nobody came; the door was open.\n"
CARD = "---\nlibrary_name: transformers\ntags: [cloche]\n---\n# Mine\n\n| steps | 120 |\n"
CONTEXT = 48


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train_bpe([TEXT * 30], vocab_size=320, rule="deepseek-v3")


def parts(tokenizer: Tokenizer, options: ModelOptions | None = None, **changes) -> Imported:
    """A tiny model, its weights random, norms and biases too."""
    config = complete(
        options or ModelOptions(),
        vocab_size=tokenizer.vocab_size,
        layers=2,
        width=32,
        context=CONTEXT,
    )
    config = replace(config, **changes)
    torch.manual_seed(0)
    model = build_model(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.normal_(centre, 0.2)
    special = tokenizer.special_ids
    stops = () if special.eos is None else (special.eos,)
    return Imported(model, config, tokenizer, special, stops, False, None, "a test")


def family(name: str, **options) -> ModelOptions:
    return ModelOptions(**{"family": name, **options})


GENUINE = {
    "qwen3": (ModelOptions(kv_heads=1), {}),
    "qwen3, tied, windowed": (ModelOptions(tied=True), {"window": 5, "full_layers": 1}),
    "qwen3, biases in queries alone": (ModelOptions(qkv_bias=True), {}),
    "qwen3, yarn": (ModelOptions(), {"rope_scaling": RopeScaling("yarn", 4.0, 12)}),
    "moe": (family("moe", experts=4), {}),
    "llama": (family("llama"), {}),
    "llama, llama3 scaling": (
        family("llama"),
        {"rope_scaling": RopeScaling("llama3", 8.0, 16), "norm_eps": 1e-5},
    ),
    "qwen2": (family("llama", qkv_bias=True), {}),
    "mistral": (family("llama", window=7), {}),
    "gpt2": (family("gpt2"), {}),
}
GPTS = {
    "textbook": {},
    "sinusoidal": {"positions": "sinusoidal"},
    "no positions": {"positions": "none"},
    "relu": {"activation": "relu"},
    "exact gelu": {"activation": "gelu"},
    "squared relu": {"activation": "relu_squared"},
    "biases": {"qkv_bias": True},
    "tied": {"tied": True},
    "shared keys": {"heads": 4, "kv_heads": 2},
}


@pytest.mark.parametrize(("options", "changes"), GENUINE.values(), ids=GENUINE)
def test_what_is_exported_computes_the_same_in_transformers(tmp_path, bpe, options, changes):
    mine, out = parts(bpe, options, **changes), tmp_path / "out"
    check = export_folder(mine, out, card=CARD)
    assert check.compared_with == ("cloche", "transformers")
    assert check.texts >= 6
    assert check.largest_difference < 1e-3 * check.rms
    theirs = AutoModelForCausalLM.from_pretrained(out, local_files_only=True)
    assert type(theirs).__module__.startswith("transformers.models.")
    assert theirs.dtype == torch.float32
    assert_equal_models(mine.model, theirs, vocab_size=bpe.vocab_size, time=CONTEXT)


@pytest.mark.parametrize("qwen2s", [True, False])
def test_biases_in_queries_alone_are_qwen2s_only_beside_its_kind_of_tokenizer(
    tmp_path, bpe, qwen2s_tokenizer, qwen2s
):
    """transformers reads any other tokenizer in a folder of that type wrongly."""
    tokenizer = qwen2s_tokenizer if qwen2s else bpe
    mine = parts(tokenizer, family("llama", qkv_bias=True))
    export_folder(mine, tmp_path / "out")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert type(theirs).__name__ == ("Qwen2ForCausalLM" if qwen2s else "LlamaForCausalLM")
    assert_equal_models(mine.model, theirs, vocab_size=tokenizer.vocab_size, time=CONTEXT)
    save_imported(mine, tmp_path / "checkpoint", card="")
    described = json.loads((tmp_path / "checkpoint" / "config.json").read_text())
    assert described["model_type"] == ("qwen2" if qwen2s else "cloche")
    assert load_model(tmp_path / "checkpoint")[1] == mine.config


@pytest.mark.parametrize("options", GPTS.values(), ids=GPTS)
def test_a_gpt_becomes_a_gpt2_that_computes_the_same(tmp_path, bpe, options):
    mine, out = parts(bpe, family("gpt", **options)), tmp_path / "out"
    check = export_folder(mine, out)
    assert check.largest_difference < 1e-3 * check.rms
    theirs = AutoModelForCausalLM.from_pretrained(out)
    assert type(theirs).__name__ == "GPT2LMHeadModel"
    assert_equal_models(mine.model, theirs, vocab_size=bpe.vocab_size, time=CONTEXT)
    again, config = load_model(out)
    assert config.family == "gpt2"
    assert_equal_logits_of(again, mine)


def assert_equal_logits_of(model, mine: Imported) -> None:
    window = torch.arange(10)[None]
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(window), mine.model(window), rtol=1e-4, atol=1e-4)


def tokenizers(bpe: Tokenizer, folder: Path) -> dict[str, Tokenizer]:
    """One of every kind, all of them for English and Chinese."""
    bpe.save(folder / "bpe")
    return {
        "bpe": bpe,
        "characters": CharacterTokenizer(set(TEXT)),
        "hub": open_hub_tokenizer(folder / "bpe"),
    }


@pytest.mark.parametrize("kind", ["bpe", "characters", "hub"])
@pytest.mark.parametrize("text", ["The boat lay still, ", "春眠不觉晓，处处闻啼鸟。"])
def test_ids_and_text_are_equal_in_transformers(tmp_path, bpe, kind, text):
    tokenizer = tokenizers(bpe, tmp_path)[kind]
    export_folder(parts(tokenizer), tmp_path / "out")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs(text)["input_ids"] == tokenizer.encode(text)
    assert theirs.decode(tokenizer.encode(text)) == text


def test_gpt2s_ids_are_equal_in_transformers(tmp_path, gpt2_ranks):
    tokenizer = open_published("gpt2")
    export_folder(parts(tokenizer, family("gpt2")), tmp_path / "out")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in ("The boat lay still, 12,450 times", "春眠不觉晓，处处闻啼鸟。 😀"):
        assert theirs(text)["input_ids"] == tokenizer.encode(text)


def test_the_folder_holds_what_tools_look_for_and_a_card_with_the_figures(tmp_path, bpe):
    mine = replace(
        parts(bpe),
        special_ids=SpecialIds(bos=1, eos=2),
        stop_ids=(2, 5),
        chat_template="{{ messages }}",
    )
    out = tmp_path / "deep" / "out"
    check = export_folder(mine, out, card=CARD)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert card.count("library_name") == 1
    assert "# Mine\n\n| steps | 120 |" in card
    assert f"{check.largest_difference:.3g} over {check.tokens:,} tokens" in card
    assert "Hugging Face folder (Qwen3ForCausalLM, float32)" in card
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [2, 5]
    again = import_folder(out)
    assert (again.stop_ids, again.chat_template) == ((2, 5), "{{ messages }}")
    assert not list(out.parent.glob(".*"))


@pytest.mark.parametrize("begins", [True, False])
def test_transformers_begins_texts_as_the_model_does(tmp_path, bpe, begins):
    folder = tmp_path / "tokenizer"
    bpe.save(folder)
    engine = Engine.from_file(str(folder / "tokenizer.json"))
    end = "<|endoftext|>"
    number = engine.token_to_id(end)
    engine.post_processor = TemplateProcessing(single=f"{end} $A", special_tokens=[(end, number)])
    engine.save(str(folder / "tokenizer.json"))
    tokenizer = open_hub_tokenizer(folder)
    mine = replace(parts(tokenizer), begins_with_bos=begins)
    export_folder(mine, tmp_path / "out")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs("The boat")["input_ids"] == [number] * begins + tokenizer.encode("The boat")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["qwen3", "gpt2", "moe"])
def test_half_precision_is_stored_and_its_difference_told(tmp_path, bpe, precision, name):
    mine = parts(bpe, family(name))
    check = export_folder(mine, tmp_path / "out", precision=precision)
    dtype = getattr(torch, precision)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == dtype
    assert 1e-4 < check.largest_difference / check.rms < (5.0 if name == "moe" else 0.5)


def test_numbers_too_large_for_half_precision_are_named(tmp_path, bpe):
    mine = parts(bpe)
    with torch.no_grad():
        mine.model.get_parameter("norm.weight")[0] = 1e6
    with pytest.raises(CheckpointError, match=r"model.norm.weight has numbers that float16 cannot"):
        export_folder(mine, tmp_path / "out", precision="float16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (family("bigram"), "bigram model cannot be exported"),
        (family("ngram"), "ngram model cannot be exported"),
        (family("gpt", head_bias=True), "a bias of the output head"),
        (family("gpt", norm="rmsnorm"), "the norm rmsnorm"),
        (family("gpt", window=5), "a window"),
        (ModelOptions(norm="layernorm"), "the norm layernorm"),
        (ModelOptions(head_bias=True), "a bias of the output head"),
        (ModelOptions(positions="learned"), "learned positions|normalised queries"),
        (family("llama", activation="gelu"), "an MLP with gelu"),
    ],
)
def test_what_no_class_computes_is_refused_with_the_reason(tmp_path, bpe, options, message):
    config = complete(options, vocab_size=bpe.vocab_size, layers=1, width=32, context=CONTEXT)
    mine = replace(parts(bpe), model=build_model(config), config=config)
    with pytest.raises(CheckpointError, match=message):
        export_folder(mine, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_decoder_is_refused_with_the_reason(bpe):
    config = complete(family("seq2seq"), vocab_size=20, layers=1, width=32, context=CONTEXT)
    with pytest.raises(CheckpointError, match="seq2seq model cannot be exported"):
        express(build_network(config), config)


def test_a_folder_that_exists_is_never_written_to(tmp_path, bpe):
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="exists already"):
        export_folder(parts(bpe), tmp_path / "out")


def test_an_export_whose_logits_differ_is_deleted(tmp_path, bpe, monkeypatch):
    def spoil(*given, **more):
        expressed = express(*given, **more)
        tensors = dict(expressed.tensors)
        tensors["norm.weight"] = tensors["norm.weight"] * 1.01
        return replace(expressed, tensors=tensors)

    monkeypatch.setattr(exporting, "express", spoil)
    with pytest.raises(CheckpointError, match=r"does not compute what the model does.*deleted"):
        export_folder(parts(bpe), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_transformers_computes_otherwise_is_deleted(tmp_path, bpe, monkeypatch):
    def with_another_theta(config):
        values = QWEN3.to_values(config)
        return values | {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}

    changed = replace(QWEN3, to_values=with_another_theta)
    monkeypatch.setattr(
        exporting,
        "express",
        lambda *given, **more: replace(express(*given, **more), layout=changed),
    )
    monkeypatch.setattr(exporting, "_compare_rounded", lambda *_, **__: None)
    read = exporting.load_model
    monkeypatch.setattr(exporting, "load_model", lambda folder: (parts(bpe).model, read(folder)[1]))
    with pytest.raises(CheckpointError, match=r"transformers computes something else.*deleted"):
        export_folder(parts(bpe), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_export_whose_ids_differ_is_deleted(tmp_path, bpe, monkeypatch):
    class Shifted:
        """A tokenizer that was read back wrongly."""

        def encode(self, text):
            return [each + 1 for each in bpe.encode(text)]

    monkeypatch.setattr(exporting, "open_tokenizer", lambda name: Shifted())
    with pytest.raises(CheckpointError, match=r"cloche reads other ids.*deleted"):
        export_folder(parts(bpe), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_transformers_our_own_reader_checks(tmp_path, bpe, monkeypatch):
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    check = export_folder(parts(bpe), tmp_path / "out")
    assert check.compared_with == ("cloche",)


def test_a_disk_that_refuses_is_told(tmp_path, bpe):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not write"):
        export_folder(parts(bpe), tmp_path / "file" / "out")


def test_an_interrupted_export_leaves_nothing(tmp_path, bpe, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "_check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_folder(parts(bpe), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_swept_by_the_next(tmp_path, bpe):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    left = tmp_path / f".out.{process.pid}.tmp"
    (left / "half").mkdir(parents=True)
    others = tmp_path / f".other.{process.pid}.tmp"
    others.mkdir()
    export_folder(parts(bpe), tmp_path / "out")
    assert left.exists()  # its writer lives
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    export_folder(parts(bpe), tmp_path / "again")
    assert left.exists()  # it was to become another folder
    (tmp_path / "out").rename(tmp_path / "moved")
    export_folder(parts(bpe), tmp_path / "out")
    assert not left.exists()
    assert others.exists()
