"""Foreign folders as a whole: model, tokenizer, stops, chat template; saved as checkpoints."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer as Engine
from tokenizers import models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from weights_parity import assert_equal_models

from cloche.errors import CheckpointError, TokenizerError
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.saved import load_tokenizer
from cloche.text.tokenizer import SpecialIds
from cloche.weights.checkpoint import load_model
from cloche.weights.importing import as_family, import_card, import_folder, save_imported
from cloche.weights.manifest import verify
from cloche.weights.prompting import load_begins_with_bos, load_chat_template, load_stop_ids

CONTEXT = 32
WORDS = ["<s>", "</s>", "<|user|>", "<|end|>", "a", "b", "c", "猫"]


def llama_tokenizer(folder: Path, *, adds_bos: bool) -> None:
    """A tokenizer.json with special tokens that begins texts with <s>, as Llama 3's does."""
    engine = Engine(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="a"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    engine.add_special_tokens(WORDS[:4])
    if adds_bos:
        engine.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    engine.save(str(folder / "tokenizer.json"))
    roles = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ messages }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(roles))


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A folder as an instructed Llama's, its embedding larger than its tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS) + 3,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config).bfloat16()
    model.generation_config.eos_token_id = [1, 3]
    folder = tmp_path / "Tiny-Instruct"
    model.save_pretrained(folder)
    llama_tokenizer(folder, adds_bos=True)
    return folder


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    """A folder as GPT-2's, with a byte-level BPE."""
    tokenizer = train_bpe(["once upon a time " * 50], vocab_size=270, rule="gpt-2")
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=tokenizer.vocab_size, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT
    )
    folder = tmp_path / "gpt2"
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


def test_everything_that_a_folder_says_is_opened(llama):
    imported = import_folder(llama)
    assert imported.special_ids == SpecialIds(bos=0, eos=1, unk=imported.special_ids.unk)
    assert imported.stop_ids == (1, 3)
    assert imported.begins_with_bos
    assert imported.chat_template == "{{ messages }}"
    assert imported.origin == "Hugging Face folder Tiny-Instruct (llama, bfloat16)"
    assert {parameter.dtype for parameter in imported.model.parameters()} == {torch.float32}
    assert imported.tokenizer.encode("a 猫") == [4, 7]
    theirs = LlamaForCausalLM.from_pretrained(llama, dtype=torch.float32)
    assert_equal_models(imported.model, theirs, vocab_size=len(WORDS), time=CONTEXT)


@pytest.mark.parametrize("adds_bos", [True, False])
def test_what_is_saved_says_the_same_to_us_and_to_transformers(tmp_path, llama, adds_bos):
    llama_tokenizer(llama, adds_bos=adds_bos)
    imported, out = import_folder(llama), tmp_path / "runs" / "mine"
    save_imported(imported, out, card=import_card(imported))
    verify(out)
    again = import_folder(out)
    for part in ("config", "special_ids", "stop_ids", "begins_with_bos", "chat_template"):
        assert getattr(again, part) == getattr(imported, part)
    assert load_begins_with_bos(out) == adds_bos
    assert load_stop_ids(out) == (1, 3)
    assert load_chat_template(out) == "{{ messages }}"
    for name, tensor in imported.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)
    theirs = AutoTokenizer.from_pretrained(out)
    ids = load_tokenizer(out).encode("a b 猫")
    assert theirs("a b 猫")["input_ids"] == [0] * adds_bos + ids
    assert theirs.chat_template == "{{ messages }}"


def test_a_tokenizer_that_puts_nothing_first_learns_to(tmp_path, gpt2):
    tokenizer = load_tokenizer(gpt2)
    end = tokenizer.special_ids.eos
    assert end is not None
    imported, out = replace(import_folder(gpt2), begins_with_bos=True), tmp_path / "mine"
    imported = replace(imported, special_ids=SpecialIds(bos=end, eos=end))
    save_imported(imported, out, card="")
    assert load_begins_with_bos(out)
    text = "once upon a time"
    assert AutoTokenizer.from_pretrained(out)(text)["input_ids"] == [end, *tokenizer.encode(text)]
    assert import_folder(out).tokenizer.encode(text) == tokenizer.encode(text)


def test_the_card_says_where_a_model_came_from(llama):
    card = import_card(import_folder(llama))
    assert "| imported from | Hugging Face folder Tiny-Instruct (llama, bfloat16) |" in card
    assert "| context | 32 tokens |" in card


def test_a_folder_that_exists_is_never_written_to(tmp_path, llama):
    (tmp_path / "out").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    imported = import_folder(llama)
    for name in ("out", "file", "link"):
        with pytest.raises(CheckpointError, match="exists already"):
            save_imported(imported, tmp_path / name, card="")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_import_that_is_interrupted_leaves_nothing(tmp_path, llama, monkeypatch):
    def interrupt(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("cloche.weights.checkpoint.write_manifest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_imported(import_folder(llama), tmp_path / "runs" / "mine", card="")
    assert list((tmp_path / "runs").iterdir()) == []


def test_gpt2_becomes_a_gpt_that_computes_the_same(tmp_path, gpt2):
    imported = as_family(import_folder(gpt2), "gpt")
    theirs = GPT2LMHeadModel.from_pretrained(gpt2)
    assert (imported.config.family, imported.config.qkv_bias) == ("gpt", True)
    assert imported.model.config == imported.config
    assert_equal_models(imported.model, theirs, vocab_size=260, time=CONTEXT)
    save_imported(imported, tmp_path / "mine", card="")
    model, config = load_model(tmp_path / "mine")
    assert config == imported.config
    assert_equal_models(model, theirs, vocab_size=260, time=CONTEXT)


def test_no_other_family_becomes_another(llama, gpt2):
    with pytest.raises(CheckpointError, match="a llama model cannot become a gpt"):
        as_family(import_folder(llama), "gpt")
    assert as_family(imported := import_folder(gpt2), "gpt2") is imported


def test_a_tokenizer_larger_than_the_embedding_is_refused(gpt2):
    CharacterTokenizer([chr(n) for n in range(0x4E00, 0x4E00 + 400)]).save(gpt2)
    with pytest.raises(
        CheckpointError, match="its tokenizer has 401 tokens, its model's embedding"
    ):
        import_folder(gpt2)


def test_a_folder_without_a_tokenizer_asks_for_one(tmp_path, gpt2):
    (gpt2 / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match=r"holds no tokenizer.*--tokenizer"):
        import_folder(gpt2)
    CharacterTokenizer("abc").save(tmp_path / "characters")
    imported = import_folder(gpt2, tokenizer=str(tmp_path / "characters"))
    assert imported.tokenizer.kind == "characters"


def test_roles_that_the_model_leaves_open_are_the_tokenizers(gpt2):
    values = json.loads((gpt2 / "config.json").read_text())
    for key in ("bos_token_id", "eos_token_id"):
        values[key] = None
    (gpt2 / "config.json").write_text(json.dumps(values))
    (gpt2 / "generation_config.json").unlink()
    end = load_tokenizer(gpt2).special_ids.eos
    imported = import_folder(gpt2)
    assert imported.special_ids.eos == end
    assert imported.stop_ids == (end,)


def test_roles_that_a_checkpoint_of_ours_leaves_open_were_never_learned(tmp_path, save):
    folder = save(tmp_path / "m")
    values = json.loads((folder / "config.json").read_text())
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        values[key] = None
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "generation_config.json").write_text("{}")
    (folder / "manifest.json").unlink()
    imported = import_folder(folder)
    assert imported.special_ids == SpecialIds()
    assert imported.stop_ids == ()


def test_a_sentencepiece_model_is_the_tokenizer_where_there_is_no_other(tmp_path, llama):
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    (llama / "tokenizer.json").unlink()
    (llama / "tokenizer_config.json").unlink()
    (tmp_path / "text.txt").write_text("a b c a b a a\n" * 20)
    trainer.train(
        input=str(tmp_path / "text.txt"),
        model_prefix=str(llama / "tokenizer"),
        vocab_size=8,
        model_type="bpe",
        minloglevel=2,
        num_threads=1,
    )
    os.remove(llama / "tokenizer.vocab")
    values = json.loads((llama / "config.json").read_text()) | {"bos_token_id": 1}
    (llama / "config.json").write_text(json.dumps(values))
    imported = import_folder(llama)
    assert imported.tokenizer.decode(imported.tokenizer.encode("a b c")) == "a b c"
    assert imported.begins_with_bos
    save_imported(imported, tmp_path / "mine", card="")
    ids = load_tokenizer(tmp_path / "mine").encode("a b c")
    assert AutoTokenizer.from_pretrained(tmp_path / "mine")("a b c")["input_ids"] == [1, *ids]
