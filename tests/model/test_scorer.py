"""Scores: read at the last token of each example, whatever row it lies in."""

import numpy as np
import torch

from cloche.data.batches import IGNORED
from cloche.data.examples import Example, lay_out
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.model.scorer import make_scorer


def tiny_decoder(**options) -> Decoder:
    config = complete(ModelOptions(**options), vocab_size=20, layers=2, width=32, context=16)
    torch.manual_seed(0)
    model = build_model(config).eval()
    assert isinstance(model, Decoder)
    return model


def examples(*lengths: int) -> list[Example]:
    """Texts of these lengths; behind each stands what marks its last token."""
    generator = np.random.default_rng(1)
    found = []
    for length in lengths:
        learned = np.zeros(length + 1, bool)
        learned[-1] = True
        found.append(Example(generator.integers(0, 20, length + 1), learned))
    return found


def test_packed_examples_have_the_scores_of_each_alone():
    scorer = make_scorer(tiny_decoder(), 3, seed=1)
    texts = examples(3, 9, 1, 5, 7)
    batch = lay_out(texts, row_tokens=12)
    read = batch.targets != IGNORED
    packed = scorer(batch.inputs, read=read, positions=batch.positions, documents=batch.documents)
    for number, text in enumerate(texts):
        ids = torch.from_numpy(text.ids[:-1])[None]
        alone = scorer.score_of(scorer.hidden(ids))[0, -1]
        torch.testing.assert_close(packed[number], alone, rtol=1e-5, atol=1e-6)


def test_rows_without_numbers_are_scored_in_their_order():
    scorer = make_scorer(tiny_decoder(), 1, seed=1)
    ids = torch.arange(8).reshape(2, 4)
    read = torch.tensor([[False, False, True, False], [False, False, False, True]])
    expected = scorer.score_of(scorer.hidden(ids))
    torch.testing.assert_close(scorer(ids, read=read), expected[[0, 1], [2, 3]])


def test_a_scorer_reads_what_its_decoder_reads_and_has_no_head():
    decoder = tiny_decoder(tied=False, head_bias=True)
    scorer = make_scorer(decoder, 1, seed=1)
    ids = torch.arange(6)[None]
    assert torch.equal(scorer.hidden(ids), decoder.hidden(ids))
    head = sum(parameter.numel() for parameter in decoder.lm_head.parameters())
    body = sum(parameter.numel() for parameter in decoder.parameters()) - head
    assert sum(parameter.numel() for parameter in scorer.parameters()) == body + 32


def test_the_same_seed_draws_the_same_score():
    first, same, other = (make_scorer(tiny_decoder(), 1, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.score.weight, same.score.weight)
    assert not torch.equal(first.score.weight, other.score.weight)


def test_a_scorer_in_bfloat16_scores_in_float32():
    scorer = make_scorer(tiny_decoder(), 1, seed=1).bfloat16()
    assert scorer.score_of(scorer.hidden(torch.arange(6)[None])).dtype == torch.float32
