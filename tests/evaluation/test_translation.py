"""Translators opened from runs, and measured on pairs they never saw."""

import numpy as np
import pytest
import torch

import cloche
from cloche.data.batches import TokensInMemory
from cloche.data.pair_batches import PairTokens
from cloche.errors import CheckpointError, DataError
from cloche.evaluation.translation import (
    count_exact,
    is_translator,
    load_translator,
    measure_files,
    measure_held_out,
    summed_nats,
)
from cloche.text.characters import CharacterTokenizer
from cloche.text.sources import find_sources

OPTIONS = {
    "model.family": "seq2seq",
    "model.layers": 1,
    "model.width": 16,
    "text.tokenizer": "characters",
    "text.unknown": "on",
    "train.steps": 4,
    "train.save_every": 2,
    "train.eval_every": 2,
    "train.batch": 8,
    "train.sample_tokens": 0,
}


def make_run(folder):
    table = folder / "pairs.tsv"
    lines = [f"{a}{b}\t{b}{a}\n" for a in "abcdef" for b in "abcdef"]
    table.write_text("".join(lines), encoding="utf-8")
    cloche.train(table, out=folder / "run", options=OPTIONS, listeners=[])
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("measured"))


def test_the_loss_is_the_mean_over_target_tokens(run):
    translator = load_translator(run)
    found = measure_held_out(translator, run)
    assert (found.pairs, found.tokens) == (4, 12)
    from_checkpoint = measure_held_out(translator, translator.folder)
    assert from_checkpoint == found
    files = measure_files(translator, find_sources([str(run.parent / "pairs.tsv")]))
    assert files.pairs == 36
    assert files.perplexity == pytest.approx(np.exp(files.nats / files.tokens))


def test_the_loss_does_not_depend_on_the_rows_of_a_batch(run):
    translator = load_translator(run)
    ends = np.cumsum([3, 3, 2, 4, 5, 2])
    tokens = TokensInMemory(np.arange(19) % 6, ends, separated=True)
    pairs = PairTokens(tokens, context=5, bos=translator.bos)
    together = summed_nats(translator.model, pairs, np.arange(3), rows=3)
    alone = summed_nats(translator.model, pairs, np.arange(3), rows=1)
    assert together == pytest.approx(alone, rel=1e-4)


def test_exactly_right_means_every_character(run):
    translator = load_translator(run)
    tokenizer, eos = translator.tokenizer, translator.eos
    sources = ["ab", "cd", "ee"]
    written = [translator.translate(source) for source in sources]
    ids = [
        [*tokenizer.encode(text), eos]
        for pair in zip(sources, written, strict=True)
        for text in pair
    ]
    ids[3] = [*ids[3][:-1], ids[0][0], eos]  # one token too many in the second target
    tokens = TokensInMemory(np.concatenate(ids), np.cumsum(list(map(len, ids))), separated=True)
    pairs = PairTokens(tokens, context=9, bos=translator.bos)
    search = translator.search()
    finished = [found.finished for found in translator.hypotheses(sources, search)]
    found = count_exact(translator.model, tokenizer, pairs, np.arange(3), search=search)
    assert found == finished[0] + finished[2]


def test_what_is_unknown_is_never_exactly_right(run, tmp_path):
    translator = load_translator(run)
    unknown = translator.tokenizer.special_ids.unk
    assert unknown is not None
    with torch.no_grad():  # a model that only ever writes the unknown token, and ends
        weights = translator.model.state_dict()
        weights["decoder.norm.weight"].zero_()
        weights["decoder.norm.bias"].copy_(weights["embed_tokens.weight"][unknown])
    path = tmp_path / "x.tsv"
    path.write_text("ab\tÄ\ncd\tÖ\n", encoding="utf-8")
    found = measure_files(translator, find_sources([str(path)]))
    assert (found.pairs, found.exact_pairs) == (2, 0)


def test_a_damaged_best_checkpoint_is_told_and_the_other_one_opened(tmp_path):
    run = make_run(tmp_path)
    best = (run / "best").resolve()
    weights = best / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    told = []
    opened = load_translator(run, warn=told.append)
    assert opened.folder.name != best.name
    assert "falling back to" in told[0]
    for folder in (run / "checkpoints").iterdir():
        (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError):
        load_translator(run, warn=told.append)


def test_only_a_seq2seq_run_is_a_translator(run, tmp_path):
    assert is_translator(run)
    assert is_translator(run / "best")
    assert not is_translator(tmp_path)
    book = tmp_path / "book.txt"
    book.write_text("Some text goes here. " * 50, encoding="utf-8")
    options = {"train.steps": 1, "model.family": "bigram", "model.context": 8}
    cloche.train(book, out=tmp_path / "other", options=options, listeners=[])
    assert not is_translator(tmp_path / "other")
    with pytest.raises(CheckpointError, match="does not translate"):
        load_translator(tmp_path / "other")
    translator = load_translator(run)
    with pytest.raises(DataError, match="holds no pairs"):
        measure_held_out(translator, tmp_path / "other")
    assert "seq2seq" in repr(translator)


def test_pairs_of_another_tokenizer_are_refused(tmp_path):
    run = make_run(tmp_path)
    translator = load_translator(run)
    for part in ("train", "validation"):
        path = run / "tokens" / part / "tokens.ds.metadata"
        other = CharacterTokenizer("abcdefg")
        path.write_text(
            path.read_text().replace(translator.tokenizer.fingerprint, other.fingerprint)
        )
        other.save(run / "tokens" / "tokenizer")
    with pytest.raises(DataError, match="not that of the model"):
        measure_held_out(translator, run)


def test_a_run_that_translates_is_told_how_to_open_and_nothing_is_fallen_back_to(run):
    with pytest.raises(CheckpointError, match=r"open it with cloche\.load_translator"):
        cloche.load(run, warn=lambda text: pytest.fail(text))
    assert repr(cloche.load_translator(run)).startswith("Translator(seq2seq")
