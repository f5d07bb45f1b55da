"""Scorers: opened by transformers with equal scores, and folders that are refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from weights_parity import assert_equal_logits

from cloche.errors import CheckpointError
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.scorer import Scorer, make_scorer
from cloche.text.bpe import train_bpe
from cloche.text.hub import open_hub_tokenizer
from cloche.text.tokenizer import Tokenizer
from cloche.weights.checkpoint import TrainerState, load_model, load_trainer
from cloche.weights.scorers import REWARD, load_scorer, padding_token, save_scorer

LABELS = ("ham", "spam", "不知道")


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    text = "It was the best of times, it was the worst. " * 9
    return train_bpe([text], vocab_size=280, rule="gpt-2")


def with_tokens(tokenizer: Tokenizer, folder: Path, *names: str) -> Tokenizer:
    """The same tokenizer with more special tokens, kept in `folder`."""
    tokenizer.save(folder)
    path = folder / "tokenizer.json"
    saved = json.loads(path.read_text())
    for name in names:
        token = saved["added_tokens"][-1]
        saved["added_tokens"].append(token | {"content": name, "id": token["id"] + 1})
    path.write_text(json.dumps(saved))
    return open_hub_tokenizer(folder)


@pytest.fixture
def make(tiny, bpe):
    def build(*, vocab_size: int | None = None, **options) -> Scorer:
        decoder, _ = tiny(vocab_size or bpe.vocab_size, ModelOptions(**options))
        assert isinstance(decoder, Decoder)
        return make_scorer(decoder, 3, seed=4).eval()

    return build


@pytest.fixture
def saved(tmp_path, make, bpe):
    """A saved scorer's folder."""
    save_scorer(tmp_path / "s", scorer=make(), labels=LABELS, tokenizer=bpe, card="# S\n")
    return tmp_path / "s"


FAMILIES = {
    "qwen3": {},
    "llama": {"family": "llama"},
    "gpt2": {"family": "gpt2"},
    "moe": {"family": "moe", "experts": 4},
}


@pytest.mark.parametrize("options", FAMILIES.values(), ids=FAMILIES)
def test_transformers_gives_the_same_scores(tmp_path, make, bpe, options):
    scorer = make(**options)
    save_scorer(tmp_path / "s", scorer=scorer, labels=LABELS, tokenizer=bpe, card="")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "s").eval()
    assert theirs.config.id2label == dict(enumerate(LABELS))
    for length in (1, 5, 16):
        ids = torch.arange(length)[None] + 3
        read = torch.zeros(1, length, dtype=torch.bool)
        read[0, -1] = True
        with torch.no_grad():
            assert_equal_logits(scorer(ids, read=read), theirs(ids).logits)


def test_transformers_gives_the_same_scores_for_texts_it_pads_itself(tmp_path, make, bpe):
    tokenizer = with_tokens(bpe, tmp_path / "t", "<|pad|>")
    scorer = make(vocab_size=tokenizer.vocab_size, family="llama")
    save_scorer(tmp_path / "s", scorer=scorer, labels=LABELS, tokenizer=tokenizer, card="")
    their_tokenizer = AutoTokenizer.from_pretrained(tmp_path / "s")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "s").eval()
    texts = ["it was", "the best of"]
    padded = their_tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = theirs(padded.input_ids, attention_mask=padded.attention_mask).logits
    for row, text in zip(found, texts, strict=True):
        ids = torch.tensor([tokenizer.encode(text)])
        assert_equal_logits(scorer.score_of(scorer.hidden(ids))[0, -1], row)


@pytest.mark.parametrize("family", ["qwen3", "gpt2", "gpt"])
def test_every_scorer_comes_back_bit_by_bit(tmp_path, make, bpe, family):
    scorer = make(family=family)
    trainer = TrainerState({"m": torch.arange(3.0)}, {"step": 5})
    save_scorer(
        tmp_path / "s", scorer=scorer, labels=LABELS, tokenizer=bpe, card="", trainer=trainer
    )
    opened = load_scorer(tmp_path / "s")
    assert opened.labels == LABELS
    assert opened.config == scorer.config
    assert load_trainer(tmp_path / "s").values == {"step": 5}
    for name, tensor in scorer.state_dict().items():
        assert torch.equal(opened.scorer.state_dict()[name], tensor)


def test_a_scorer_of_transformers_is_opened(tmp_path, saved):
    theirs = AutoModelForSequenceClassification.from_pretrained(saved)
    theirs.save_pretrained(tmp_path / "theirs")
    opened = load_scorer(tmp_path / "theirs")
    assert opened.labels == LABELS
    assert torch.equal(opened.scorer.score.weight, load_scorer(saved).scorer.score.weight)


def test_the_padding_token_never_ends_a_text(tmp_path, bpe):
    special = bpe.special_ids
    assert special.pad in (None, special.eos)
    assert padding_token(bpe, special_ids=special) is None
    more = with_tokens(bpe, tmp_path, "<|stop|>", "<|pad|>")
    stop = more.special_tokens["<|stop|>"]
    assert padding_token(more, special_ids=more.special_ids, stop_ids=[stop]) == "<|pad|>"


def test_a_reward_is_one_number(tmp_path, tiny, bpe):
    decoder, _ = tiny(bpe.vocab_size)
    scorer = make_scorer(decoder, 1, seed=0)
    save_scorer(tmp_path / "r", scorer=scorer, labels=REWARD, tokenizer=bpe, card="")
    values = json.loads((tmp_path / "r" / "config.json").read_text())
    assert values["problem_type"] == "regression"
    assert values["architectures"] == ["Qwen3ForSequenceClassification"]


def test_a_scorer_is_no_model_that_writes(saved):
    with pytest.raises(CheckpointError, match="scores texts and writes none"):
        load_model(saved)


def test_a_model_that_writes_is_no_scorer(tmp_path, save):
    with pytest.raises(CheckpointError, match="writes texts and scores none"):
        load_scorer(save(tmp_path / "m"))


DAMAGE = {
    "id2label that skips a number": ("config", {"id2label": {"0": "a", "2": "b"}}, "id2label"),
    "labels of another number": ("config", {"id2label": {"0": "a", "1": "b"}}, "score.weight"),
    "no labels named": ("config", {"id2label": None, "num_labels": "two"}, "num_labels"),
    "no score": ("weights", None, "score.weight .* missing"),
    "a score that is no number": ("weights", float("nan"), "none"),
}


@pytest.mark.parametrize(("part", "value", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_scorer_is_told(tmp_path, saved, part, value, message):
    folder = tmp_path / "damaged"
    shutil.copytree(saved, folder)
    (folder / "manifest.json").unlink()
    if part == "config":
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | value))
    else:
        tensors = load_file(folder / "model.safetensors")
        score = tensors.pop("score.weight")
        if value is not None:
            tensors["score.weight"] = torch.full_like(score, value)
        save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_scorer(folder)
