import math

import numpy as np
import pytest
import torch

from cloche.data.batches import TokensInMemory
from cloche.evaluation.likelihood import Likelihood, evaluation_mode, mean_loss, summed_nats
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete

VOCAB, CONTEXT = 13, 8


@pytest.fixture(scope="module")
def model():
    config = complete(
        ModelOptions(dropout=0.5), vocab_size=VOCAB, layers=2, width=32, context=CONTEXT
    )
    torch.manual_seed(0)
    built = build_model(config)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built


def tokens(count, *, ends=None, separated=False):
    values = np.random.default_rng(1).integers(0, VOCAB, count).astype(np.uint16)
    return TokensInMemory(values, np.asarray(ends or [count], dtype=np.int64), separated)


def slowly(model, text, *, bos, context, stride):
    """The same sum, a token at a time."""
    ids = [int(token) for token in text.tokens]
    last = len(ids) - 1
    context = min(context, last)
    total = _nats(model, [bos], ids[0])
    starts = [*range(0, last - context, min(stride, context)), last - context]
    done = 0
    for start in starts:
        for place in range(max(done, start), start + context):
            total += _nats(model, ids[start : place + 1], ids[place + 1])
        done = start + context
    assert done == last
    return total


def _nats(model, context, target):
    with evaluation_mode(model):
        logits = model(torch.tensor([context]))[0, -1]
    return -float(logits.log_softmax(-1)[target])


@pytest.mark.parametrize("count", [1, 2, 5, 8, 9, 10, 23, 40])
@pytest.mark.parametrize("stride", [1, 3, 8])
@pytest.mark.parametrize("rows", [1, 3])
def test_every_token_is_scored_once_with_the_promised_context(model, count, stride, rows):
    text = tokens(count)
    found = summed_nats(model, text, bos=0, context=CONTEXT, stride=stride, rows=rows)
    expected = (
        slowly(model, text, bos=0, context=CONTEXT, stride=stride)
        if count > 1
        else _nats(model, [0], int(text.tokens[0]))
    )
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_uniform_model_costs_the_logarithm_of_the_vocabulary():
    config = complete(
        ModelOptions(family="bigram"), vocab_size=VOCAB, layers=1, width=8, context=CONTEXT
    )
    uniform = build_model(config)
    with torch.no_grad():
        for parameter in uniform.parameters():
            parameter.zero_()
    text = tokens(50)
    total = summed_nats(uniform, text, bos=0, context=CONTEXT, stride=4)
    assert total == pytest.approx(50 * math.log(VOCAB), rel=1e-5)
    mean = mean_loss(uniform, text, starts=np.array([0, 8, 16]), context=CONTEXT, rows=2)
    assert mean == pytest.approx(math.log(VOCAB), rel=1e-5)


def test_documents_do_not_see_one_another(model):
    text = tokens(20, ends=[9, 20], separated=True)
    other = TokensInMemory(text.tokens.copy(), text.ends, separated=True)
    other.tokens[:8] = (other.tokens[:8] + 1) % VOCAB  # the first document, but for its end

    def second_document(source):
        whole = summed_nats(model, source, bos=0, context=19, stride=19)
        first = TokensInMemory(source.tokens[:9], np.array([9]), separated=False)
        return whole - summed_nats(model, first, bos=0, context=19, stride=19)

    assert second_document(text) == pytest.approx(second_document(other), rel=1e-4)


def test_evaluation_turns_dropout_off_and_gives_the_mode_back(model):
    model.train()
    text = tokens(30)
    sums = {summed_nats(model, text, bos=0, context=CONTEXT, stride=4) for _ in range(3)}
    assert len(sums) == 1
    assert model.training
    with evaluation_mode(model):
        assert not model.training
    with pytest.raises(ZeroDivisionError), evaluation_mode(model):
        raise ZeroDivisionError
    assert model.training


def test_a_stride_outside_the_context_is_our_mistake(model):
    with pytest.raises(ValueError, match="stride must be from 1"):
        summed_nats(model, tokens(9), bos=0, context=CONTEXT, stride=CONTEXT + 1)


def test_the_measures_follow_from_the_sum():
    found = Likelihood(nats=math.log(2) * 80, tokens=20, characters=40, utf8_bytes=50)
    assert found.nats_per_token == pytest.approx(4 * math.log(2))
    assert found.perplexity == pytest.approx(16)
    assert found.nats_per_character == pytest.approx(2 * math.log(2))
    assert found.bits_per_byte == pytest.approx(1.6)
