import json
import random

import numpy as np
import pytest
import torch

from cloche.data.batches import IGNORED
from cloche.data.options import DataOptions
from cloche.data.pair_batches import (
    POOL_BATCHES,
    PairOrder,
    PairTokens,
    evenly_spread,
    require_pairs,
)
from cloche.data.pair_tokens import beginning_and_end, open_pairs, prepare_pairs, split_pairs
from cloche.data.pairs import Pair, inspect_pairs
from cloche.errors import DataError, TokenizerError
from cloche.text.characters import CharacterTokenizer
from cloche.text.options import TextOptions
from cloche.text.sources import find_sources
from cloche.text.tokenizer import SpecialIds

END = 26


def words(count, *, longest=9):
    chance = random.Random(0)
    return [
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(1, longest)))
        for _ in range(count)
    ]


@pytest.fixture
def reversals(tmp_path):
    path = tmp_path / "reversals.tsv"
    path.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words(300)), encoding="utf-8")
    return path


def prepared(folder, path, **text):
    sources, told = find_sources([str(path)]), []
    made = prepare_pairs(
        folder,
        sources,
        inspect_pairs(sources),
        text=TextOptions(**text),
        data=DataOptions(),
        tell=told.append,
    )
    return made, " ".join(told)


def training_pairs(tmp_path, path, *, context=16):
    made, _ = prepared(tmp_path / "tokens", path)
    return PairTokens(made.train, context=context, bos=END)


def test_no_source_is_on_both_sides_of_the_cut_and_none_is_lost(tmp_path):
    path = tmp_path / "doubled.tsv"
    chosen = words(200, longest=3) * 2  # many twice, with another target each time
    path.write_text("".join(f"{w}\t{w}{n % 7}\n" for n, w in enumerate(chosen)), encoding="utf-8")
    made, _ = prepared(tmp_path / "tokens", path, tokenizer="characters")
    bos, _ = beginning_and_end(made.tokenizer)
    parts = [PairTokens(part, context=99, bos=bos) for part in (made.train, made.validation)]
    decode = made.tokenizer.decode
    found = [[tuple(map(decode, p.texts(n))) for n in range(len(p))] for p in parts]
    sides = [{source for source, _ in pairs} for pairs in found]
    assert sides[0].isdisjoint(sides[1])
    assert sides[0] | sides[1] == set(chosen)
    assert sorted(found[0] + found[1]) == sorted((w, f"{w}{n % 7}") for n, w in enumerate(chosen))
    assert len(sides[1]) == round(0.1 * len(set(chosen)))


def test_the_cut_depends_on_the_sources_and_the_seed_alone():
    pairs = [Pair(word, "x") for word in words(500)]
    known = [split_pairs(iter(order), share=0.8) for order in (pairs, pairs[::-1], pairs * 2)]
    sides = [[in_training(pair.source) for pair in pairs] for in_training in known]
    assert sides[0] == sides[1] == sides[2]
    other = split_pairs(iter(pairs), share=0.8, seed=1)
    assert [other(pair.source) for pair in pairs] != sides[0]


def test_each_part_gets_something_and_one_source_alone_is_refused():
    in_training = split_pairs(iter([Pair("a", "x"), Pair("b", "x")]), share=0.99)
    assert in_training("a") != in_training("b")
    with pytest.raises(DataError, match="same source"):
        split_pairs(iter([Pair("a", "x"), Pair("a", "y")]), share=0.5)


def test_the_tokenizer_sees_the_training_part_only(tmp_path):
    path = tmp_path / "x.tsv"
    pairs = [(f"{word}", word) for word in words(100)]
    path.write_text("".join(f"{s}\t{t}\n" for s, t in pairs), encoding="utf-8")
    in_training = split_pairs((Pair(*pair) for pair in pairs), share=0.9)
    held_out = next(source for source, _ in pairs if not in_training(source))
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(f"{held_out}\t{held_out}", f"{held_out}\té"), encoding="utf-8")
    made, told = prepared(tmp_path / "tokens", path, tokenizer="characters")
    assert made.tokenizer.special_ids.unk in made.validation.tokens[:].tolist()
    assert isinstance(made.tokenizer, CharacterTokenizer)
    assert "é" not in made.tokenizer.characters
    assert "unknown token, such as 'é'" in told


def test_tokens_are_made_once_and_again_when_pairs_or_options_change(tmp_path, reversals):
    folder = tmp_path / "tokens"
    first, told = prepared(folder, reversals)
    assert "made earlier" not in told
    made = (folder / "train" / "tokens.ds").stat().st_mtime_ns
    _, told = prepared(folder, reversals)
    assert "made earlier" in told
    assert (folder / "train" / "tokens.ds").stat().st_mtime_ns == made
    assert open_pairs(folder).tokenizer.fingerprint == first.tokenizer.fingerprint
    reversals.write_text(reversals.read_text() + "new\twen\n")
    again, told = prepared(folder, reversals)
    assert "made earlier" not in told
    assert len(again.train.ends) + len(again.validation.ends) == 602
    bpe, _ = prepared(folder, reversals, tokenizer="bpe", vocab_size=300)
    assert bpe.tokenizer.kind == "bpe"


def test_damaged_tokens_are_refused(tmp_path, reversals):
    folder = tmp_path / "tokens"
    with pytest.raises(DataError, match="no prepared pairs"):
        open_pairs(folder)
    prepared(folder, reversals)
    path = folder / "pairs.json"
    path.write_text(json.dumps({"choice": {"kind": "bpe"}}))
    with pytest.raises(DataError, match="damaged"):
        open_pairs(folder)
    CharacterTokenizer("ab").save(folder / "tokenizer")
    with pytest.raises(DataError, match="does not fit together"):
        open_pairs(folder)


def test_a_batch_holds_sources_inputs_and_shifted_targets(tmp_path, reversals):
    pairs = training_pairs(tmp_path, reversals)
    numbers = [0, 5, 9]
    batch = pairs.batch(numbers)
    for row, number in enumerate(numbers):
        source, target = pairs.texts(number)
        assert source == target[::-1]
        assert int(batch.source_lengths[row]) == len(source) + 1
        assert batch.sources[row, : len(source) + 1].tolist() == [*source, END]
        assert batch.inputs[row, : len(target) + 1].tolist() == [END, *target]
        assert batch.targets[row, : len(target) + 1].tolist() == [*target, END]
        assert (batch.targets[row, len(target) + 1 :] == IGNORED).all()
    assert batch.targets.shape[1] == max(len(pairs.texts(n)[1]) for n in numbers) + 1


def test_an_epoch_holds_every_pair_once_in_batches_of_like_length(tmp_path, reversals):
    pairs = training_pairs(tmp_path, reversals)
    order = PairOrder(pairs, batch=8, seed=3)
    epoch = [order.number(sample) for sample in range(order.count)]
    assert order.count == len(pairs) // 8 * 8
    assert len(set(epoch)) == order.count
    lengths = pairs.lengths.sum(axis=1)
    spread = np.mean([np.ptp(lengths[epoch[n : n + 8]]) for n in range(0, len(epoch), 8)])
    assert spread < 0.2 * np.ptp(lengths)
    means = [lengths[epoch[n : n + 8]].mean() for n in range(0, len(epoch), 8)]
    assert means != sorted(means)
    following = [order.number(order.count + sample) for sample in range(order.count)]
    assert following != epoch


def test_the_order_is_a_function_of_seed_and_index(tmp_path, reversals):
    pairs = training_pairs(tmp_path, reversals)
    order = PairOrder(pairs, batch=4, seed=3)
    samples = list(range(8 * POOL_BATCHES * 4))
    forward = [order.number(sample) for sample in samples]
    random.Random(1).shuffle(samples)
    assert [PairOrder(pairs, batch=4, seed=3).number(s) for s in samples[:20]] == [
        forward[s] for s in samples[:20]
    ]
    assert [PairOrder(pairs, batch=4, seed=4).number(s) for s in range(20)] != forward[:20]
    halves = [order.batch(first, size=2).inputs for first in (0, 2)]
    whole = order.batch(0, size=4)
    for number, half in enumerate(halves):
        rows = whole.inputs[2 * number : 2 * number + 2, : half.shape[1]]
        assert torch.equal(rows[:, 0], half[:, 0])
        assert torch.equal(
            whole.sources[2 * number, :1], order.batch(2 * number, size=1).sources[0, :1]
        )


@pytest.mark.parametrize("batch", [7, 64, 1000])
def test_few_pairs_fill_any_batch(tmp_path, reversals, batch):
    pairs = training_pairs(tmp_path, reversals)
    order = PairOrder(pairs, batch=batch, seed=0)
    assert len(order.batch(5 * batch, size=batch).inputs) == batch


def test_long_pairs_are_refused_with_their_number_or_left_out(tmp_path, reversals):
    pairs = training_pairs(tmp_path, reversals, context=5)
    kept = sum(len(word) <= 4 for word in words(300))
    assert len(pairs) <= kept
    assert pairs.longest == 10
    with pytest.raises(DataError, match=rf"{pairs.too_long} of 27\d pairs .* has 10 tokens"):
        require_pairs(pairs, context=5, part="training", skip_long=False)
    require_pairs(pairs, context=5, part="training", skip_long=True)
    none = training_pairs(tmp_path, reversals, context=1)
    with pytest.raises(DataError, match="no pair that fits"):
        require_pairs(none, context=1, part="training", skip_long=True)
    with pytest.raises(DataError, match="no pair that fits"):
        PairOrder(none, batch=2, seed=0)


def test_pairs_for_an_evaluation_are_spread_over_all(tmp_path, reversals):
    pairs = training_pairs(tmp_path, reversals)
    chosen = evenly_spread(pairs, most=10)
    assert len(set(chosen.tolist())) == 10
    assert {0, len(pairs) - 1} <= set(chosen.tolist())
    assert sorted(evenly_spread(pairs, most=10_000).tolist()) == list(range(len(pairs)))


def test_a_tokenizer_without_an_end_is_refused():
    class Endless(CharacterTokenizer):
        @property
        def special_ids(self):
            return SpecialIds()

    with pytest.raises(TokenizerError, match="end-of-text token"):
        beginning_and_end(Endless("ab"))
