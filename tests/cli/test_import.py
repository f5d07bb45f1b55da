"""`cloche import`: from what a person brings to a model that writes."""

import json
import os
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from cloche.cli.main import main
from cloche.run import load
from cloche.text.characters import CharacterTokenizer
from cloche.weights.checkpoint import load_model

TOKENIZER = CharacterTokenizer("abcdefghijklmnop \n")
BOOK_NAMES = {
    "trf_blocks.0.att.W_query.weight": (32, 32),
    "trf_blocks.0.att.W_key.weight": (32, 32),
    "trf_blocks.0.att.W_value.weight": (32, 32),
    "trf_blocks.0.att.out_proj.weight": (32, 32),
    "trf_blocks.0.att.out_proj.bias": (32,),
    "trf_blocks.0.ff.layers.0.weight": (128, 32),
    "trf_blocks.0.ff.layers.0.bias": (128,),
    "trf_blocks.0.ff.layers.2.weight": (32, 128),
    "trf_blocks.0.ff.layers.2.bias": (32,),
    "trf_blocks.0.norm1.scale": (32,),
    "trf_blocks.0.norm1.shift": (32,),
    "trf_blocks.0.norm2.scale": (32,),
    "trf_blocks.0.norm2.shift": (32,),
    "final_norm.scale": (32,),
    "final_norm.shift": (32,),
    "tok_emb.weight": (TOKENIZER.vocab_size, 32),
    "pos_emb.weight": (16, 32),
    "out_head.weight": (TOKENIZER.vocab_size, 32),
}


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    """A Hugging Face folder with a tiny GPT-2."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=TOKENIZER.vocab_size, n_embd=32, n_layer=1, n_head=2, n_positions=16
    )
    folder = tmp_path / "tiny-gpt2"
    GPT2LMHeadModel(config).save_pretrained(folder)
    TOKENIZER.save(folder)
    return folder


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """The textbook's state dict, as torch saves it."""
    torch.manual_seed(0)
    tensors = {name: torch.randn(shape) for name, shape in BOOK_NAMES.items()}
    torch.save(tensors, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def test_a_folder_becomes_a_model_that_writes(tmp_path, gpt2, capsys):
    out = tmp_path / "runs" / "tiny"
    assert main(["import", str(gpt2), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["origin"] == "Hugging Face folder tiny-gpt2 (gpt2, float32)"
    assert (told["family"], told["context"], told["run"]) == ("gpt2", 16, str(out))
    assert "| imported from | Hugging Face folder tiny-gpt2" in (out / "README.md").read_text()
    assert main(["generate", str(out), "abc", "--max-new-tokens", "5", "--greedy"]) == 0
    assert capsys.readouterr().out.startswith("abc")


def test_gpt2_comes_in_as_a_gpt(tmp_path, gpt2, capsys):
    out = tmp_path / "gpt"
    assert main(["import", str(gpt2), "--out", str(out), "--family", "gpt"]) == 0
    assert "family gpt" in capsys.readouterr().out
    config = load_model(out)[1]
    assert (config.family, config.qkv_bias) == ("gpt", True)
    theirs = GPT2LMHeadModel.from_pretrained(gpt2).eval()
    with torch.no_grad():
        expected = theirs(torch.tensor([[1, 2, 3]])).logits[0]
    torch.testing.assert_close(load(out).logits([1, 2, 3]), expected, rtol=1e-4, atol=1e-4)


def test_a_pickle_needs_consent(tmp_path, pickled, capsys):
    TOKENIZER.save(tmp_path / "tokenizer")
    arguments = ["import", str(pickled), "--out", str(tmp_path / "out"), "--heads", "4"]
    arguments += ["--tokenizer", str(tmp_path / "tokenizer")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "refused" in error
    assert "--pickle-ok" in error
    assert main([*arguments, "--pickle-ok"]) == 0
    assert capsys.readouterr().err == ""
    assert load_model(tmp_path / "out")[1].heads == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{gpt2}", "--heads", "2"], "--heads has no meaning"),
        (["{gpt2}", "--heads", "0"], "--heads must be at least 1"),
        (["{tmp}/nowhere"], "nowhere does not exist"),
        (["{tmp}/x.gguf", "--tokenizer", "gpt2"], "--tokenizer has no meaning"),
        (["{tmp}/x.gguf"], "x.gguf"),
        (["{tmp}/notes.txt"], "no model that cloche knows"),
        (["{tmp}/run"], "is a run of cloche already"),
        (["{tmp}/ggufs"], r"holds GGUF files: name one of them (a.gguf, b.gguf)"),
        (["{tmp}/empty"], "config.json is missing"),
        (["{tmp}/old"], "cloche import SOURCE --out RUN --pickle-ok"),
    ],
)
def test_what_cannot_be_taken_in_is_one_message(tmp_path, gpt2, capsys, arguments, message):
    for name in ("x.gguf", "notes.txt"):
        (tmp_path / name).write_text("no model")
    for name in ("run/checkpoints", "ggufs", "empty", "old"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("ggufs/a.gguf", "ggufs/b.gguf", "old/pytorch_model.bin", "old/config.json"):
        (tmp_path / name).write_text("{}")
    filled = [each.format(gpt2=gpt2, tmp=tmp_path) for each in arguments]
    before = sorted(os.listdir(tmp_path))
    assert main(["import", *filled, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("cloche: ")
    assert message in captured.err
    assert sorted(os.listdir(tmp_path)) == before


def test_what_exists_is_never_written_over(tmp_path, gpt2, capsys):
    assert main(["import", str(gpt2), "--out", str(gpt2)]) == 2
    assert "exists already" in capsys.readouterr().err
