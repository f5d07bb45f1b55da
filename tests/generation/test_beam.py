from itertools import product

import pytest
import torch

from cloche.errors import RequestError, SettingError
from cloche.generation.beam import Search, find_targets
from cloche.model.build import build_network
from cloche.model.config import ModelOptions
from cloche.model.presets import complete

VOCAB, EOS, BOS, TOKENS = 4, 0, 3, 4
SOURCES = [[1, 2, 3], [3], [2, 2, 1, 3, 3], [1, 2]]


@pytest.fixture(params=[0, 1, 2])
def model(request):
    config = complete(
        ModelOptions(family="seq2seq", heads=2), vocab_size=VOCAB, layers=2, width=16, context=8
    )
    torch.manual_seed(request.param)
    built = build_network(config).eval()
    for parameter in built.parameters():
        parameter.data.normal_(0.0, 0.4)  # uneven enough for targets to differ in length
    return built


@torch.no_grad()
def log_probability(model, source, ids):
    """Of a target as the uncached model gives it; one that ends has the end-of-text token."""
    inputs = torch.tensor([[BOS, *ids[:-1]]])
    logits = model(inputs, sources=torch.tensor([[*source, EOS]]))[0]
    return float(logits.log_softmax(-1)[range(len(ids)), list(ids)].sum())


def likeliest_of_all(model, source, search):
    """The best target that ends within the limit, every one of them looked at."""
    inner = [token for token in range(VOCAB) if token != EOS]
    best = (float("-inf"), ())
    for length in range(TOKENS):
        for ids in product(inner, repeat=length):
            total = log_probability(model, source, (*ids, EOS))
            best = max(best, (search.score(total, length + 1), ids))
    return best


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_search_that_keeps_everything_finds_the_best_target_there_is(model, alpha):
    search = Search(BOS, EOS, max_tokens=TOKENS, beams=3**TOKENS, length_penalty=alpha)
    found = find_targets(model, SOURCES, search)
    greedy = find_targets(model, SOURCES, Search(BOS, EOS, max_tokens=TOKENS, length_penalty=alpha))
    for source, hypothesis, plain in zip(SOURCES, found, greedy, strict=True):
        score, ids = likeliest_of_all(model, source, search)
        assert hypothesis.finished
        assert hypothesis.ids == ids
        assert hypothesis.score == pytest.approx(score, rel=1e-4)
        assert not plain.finished or hypothesis.score >= plain.score - 1e-6


def test_greedy_takes_the_likeliest_token_each_time(model):
    search = Search(BOS, EOS, max_tokens=6)
    for source, found in zip(SOURCES, find_targets(model, SOURCES, search), strict=True):
        ids = []
        while len(ids) < 6 and EOS not in ids:
            inputs = torch.tensor([[BOS, *ids]])
            with torch.no_grad():
                logits = model(inputs, sources=torch.tensor([[*source, EOS]]))
            ids.append(int(logits[0, -1].argmax()))
        assert found.finished == (ids[-1] == EOS)
        assert list(found.ids) == [token for token in ids if token != EOS]
        assert found.log_probability == pytest.approx(log_probability(model, source, ids), rel=1e-4)


@pytest.mark.parametrize("beams", [1, 2, 3])
def test_sources_searched_together_find_what_each_finds_alone(model, beams):
    search = Search(BOS, EOS, max_tokens=6, beams=beams)
    together = find_targets(model, SOURCES, search)
    for source, found in zip(SOURCES, together, strict=True):
        alone = find_targets(model, [source], search)[0]
        assert found.ids == alone.ids
        assert found.score == pytest.approx(alone.score, rel=1e-4)


@pytest.mark.parametrize("beams", [2, 3])
def test_a_score_is_that_of_the_target_it_belongs_to(model, beams):
    search = Search(BOS, EOS, max_tokens=6, beams=beams)
    for source, found in zip(SOURCES, find_targets(model, SOURCES, search), strict=True):
        ids = (*found.ids, EOS) if found.finished else found.ids
        total = log_probability(model, source, ids)
        assert found.log_probability == pytest.approx(total, rel=1e-4)
        assert found.score == pytest.approx(total / ((5 + len(ids)) / 6) ** 0.6, rel=1e-4)


def test_a_larger_penalty_gives_no_shorter_target(model):
    def length(alpha):
        search = Search(BOS, EOS, max_tokens=TOKENS, beams=3**TOKENS, length_penalty=alpha)
        return [len(found.ids) for found in find_targets(model, SOURCES, search)]

    unpenalised, penalised = length(0.0), length(5.0)
    assert all(a <= b for a, b in zip(unpenalised, penalised, strict=True))
    assert sum(unpenalised) < sum(penalised)


def test_what_cannot_be_searched_for_is_refused(model):
    with pytest.raises(SettingError, match="beams must be at least 1"):
        Search(BOS, EOS, max_tokens=4, beams=0)
    with pytest.raises(SettingError, match="penalty"):
        Search(BOS, EOS, max_tokens=4, length_penalty=-1.0)
    search = Search(BOS, EOS, max_tokens=4)
    with pytest.raises(RequestError, match="9 tokens"):
        find_targets(model, [[1] * 9], search)
    with pytest.raises(RequestError, match="0 tokens"):
        find_targets(model, [[]], search)
    assert find_targets(model, [], search) == []
    model.lm_head.weight.data[0, 0] = float("nan")
    with pytest.raises(RequestError, match="no usable numbers"):
        find_targets(model, [[1]], search)
    with pytest.raises(RuntimeError, match="eval"):
        find_targets(model.train(), [[1]], search)
