"""Hugging Face folders whose weights are pickled only, as older versions of transformers wrote."""

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from weights_parity import assert_equal_models

from cloche.errors import CheckpointError
from cloche.text.characters import CharacterTokenizer
from cloche.weights.pickles import holds_only_pickles, import_pickled_folder

TOKENIZER = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz .")
VOCAB, WIDTH, HEADS, CONTEXT = TOKENIZER.vocab_size, 32, 4, 16


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    """The path of the tokenizer that goes with the models of this file."""
    TOKENIZER.save(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


def pickled_llama(folder: Path, *, sharded: bool) -> LlamaForCausalLM:
    """A folder as older versions of transformers wrote it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT,
    )
    theirs = LlamaForCausalLM(config).eval()
    theirs.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    tensors = theirs.state_dict()
    if not sharded:
        torch.save(tensors, folder / "pytorch_model.bin")
        return theirs
    places = {name: f"part-{n % 2}.bin" for n, name in enumerate(tensors)}
    for file in set(places.values()):
        part = {name: tensors[name] for name in tensors if places[name] == file}
        torch.save(part, folder / file)
    index = json.dumps({"weight_map": places})
    (folder / "pytorch_model.bin.index.json").write_text(index)
    return theirs


@pytest.mark.parametrize("sharded", [False, True])
def test_a_folder_of_pickled_weights_computes_the_same(tmp_path, tokenizer, sharded, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    theirs = pickled_llama(tmp_path / "old", sharded=sharded)
    assert holds_only_pickles(tmp_path / "old")
    imported = import_pickled_folder(tmp_path / "old", tokenizer=tokenizer)
    assert imported.origin == "Hugging Face folder old (llama, float32)"
    assert_equal_models(imported.model, theirs, vocab_size=VOCAB, time=CONTEXT)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_pickled_index_may_not_lead_out_of_its_folder(tmp_path, tokenizer):
    pickled_llama(tmp_path / "old", sharded=True)
    index = tmp_path / "old" / "pytorch_model.bin.index.json"
    index.write_text(index.read_text().replace("part-1.bin", "../part-1.bin"))
    with pytest.raises(CheckpointError, match="no file of this folder: refused"):
        import_pickled_folder(tmp_path / "old", tokenizer=tokenizer)
