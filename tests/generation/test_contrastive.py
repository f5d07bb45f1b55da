"""Contrastive search takes what a slow reading of the whole text for each candidate takes."""

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional as F

from cloche.errors import RequestError, SettingError
from cloche.generation.continuation import PROMPT_PIECE
from cloche.generation.contrastive import ContrastiveSettings, find_contrastive
from cloche.generation.forward import ModelForward, Place
from cloche.generation.searching import find_continuations
from cloche.model.build import LanguageModel, build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete

CONTEXT = 48
PROMPT = (10, 20, 30)


@pytest.fixture(scope="module", params=["qwen3", "gpt2"])
def wide(request) -> LanguageModel:
    """A model with strong opinions, and room for a text."""
    torch.manual_seed(2)
    options = ModelOptions(family=request.param)
    model = build_model(complete(options, vocab_size=60, layers=2, width=32, context=CONTEXT))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter *= 3
    return model.eval()


@torch.inference_mode()
def by_full_forwards(
    model, prompt, *, alpha, top_k, count, stop_ids=(), vocab_size=None
) -> tuple[list[int], float]:
    """The tokens and the mean of their scores, the whole text read anew for each candidate.

    With a `vocab_size`, only ids below it come, and no two come in the same order twice.
    """
    text, scores = list(prompt), []
    for _ in range(count):
        before = model.hidden(torch.tensor([text]))[0]
        logits = model.head(before[-1:])[0]
        if vocab_size is not None:
            repeats = [one for last, one in itertools.pairwise(text) if last == text[-1]]
            logits = logits[:vocab_size].clone()
            logits[repeats] = -math.inf
        probabilities = logits.softmax(dim=-1)
        found = probabilities.topk(top_k)
        options = []
        for token_id in found.indices[found.values > 0].tolist():
            vector = model.hidden(torch.tensor([[*text, token_id]]))[0, -1]
            likeness = F.cosine_similarity(before, vector[None], dim=-1).max()
            score = (1 - alpha) * probabilities[token_id] - alpha * likeness
            options.append((score.item(), token_id))
        score, chosen = max(options)
        scores.append(score)
        text.append(chosen)
        if chosen in stop_ids:
            break
    return text[len(prompt) :], sum(scores) / len(scores)


def search(model, prompt=PROMPT, *, stop_ids=(), capacity=CONTEXT, **asked):
    settings = ContrastiveSettings(**asked)
    forward = ModelForward(model, rows=settings.rows, capacity=capacity)
    size = model.config.vocab_size
    return find_contrastive(forward, prompt, settings, vocab_size=size, stop_ids=stop_ids)


@pytest.mark.parametrize("prompt", [(7,), PROMPT, tuple(range(20))], ids=len)
@pytest.mark.parametrize(("alpha", "top_k"), [(0.6, 4), (0.3, 8), (1.0, 3), (0.6, 20)])
def test_each_token_is_the_best_of_its_candidates(wide, prompt, alpha, top_k):
    found = search(wide, prompt, penalty_alpha=alpha, top_k=top_k, max_tokens=20)
    ids, score = by_full_forwards(wide, prompt, alpha=alpha, top_k=top_k, count=20)
    assert list(found.ids) == ids
    assert found.score == pytest.approx(score, rel=1e-4, abs=1e-5)
    assert found.finish_reason == "length"


@pytest.mark.parametrize("asked", [{"penalty_alpha": 0.0}, {"top_k": 1}], ids=str)
def test_without_a_penalty_or_a_choice_it_is_greedy_search(wide, asked):
    found = search(wide, max_tokens=25, **asked)
    text = list(PROMPT)
    with torch.inference_mode():
        for _ in range(25):
            text.append(wide(torch.tensor([text]))[0, -1].argmax().item())
    assert list(found.ids) == text[len(PROMPT) :]


def test_it_repeats_itself_less_than_greedy_search_does(wide):
    def variety(alpha: float) -> int:
        return len(set(search(wide, penalty_alpha=alpha, top_k=6, max_tokens=40).ids))

    assert variety(0.8) > variety(0.0)


def test_a_stop_id_ends_the_text_and_is_its_last_token(wide):
    [*_, stop] = search(wide, max_tokens=6).ids
    found = search(wide, max_tokens=30, stop_ids=(stop,))
    assert found.finish_reason == "stop"
    assert found.ids.index(stop) == len(found.ids) - 1
    asked = {"alpha": 0.6, "top_k": 4, "count": 30, "stop_ids": (stop,)}
    assert list(found.ids) == by_full_forwards(wide, PROMPT, **asked)[0]


def test_the_log_probability_is_the_models_own(wide):
    found = search(wide, max_tokens=12, repetition_penalty=1.4, no_repeat_ngram=2)
    with torch.inference_mode():
        table = wide(torch.tensor([[*PROMPT, *found.ids]]))[0].log_softmax(dim=-1)
    values = [table[len(PROMPT) - 1 + place, one].item() for place, one in enumerate(found.ids)]
    assert found.log_probability == pytest.approx(sum(values), rel=1e-4)


def test_rows_that_had_no_candidate_for_a_while_catch_up(wide):
    settings = ContrastiveSettings(top_k=5, no_repeat_ngram=2, max_tokens=14)
    rows: list[list[int]] = []

    class Watched(ModelForward):
        def hidden(self, places: Sequence[Place]) -> torch.Tensor:
            rows.append(sorted({place.row for place in places}))
            return super().hidden(places)

    forward = Watched(wide, rows=5, capacity=CONTEXT)
    found = find_contrastive(forward, (0, 1), settings, vocab_size=5)
    expected, _ = by_full_forwards(wide, (0, 1), alpha=0.6, top_k=5, count=14, vocab_size=5)
    assert list(found.ids) == expected
    counts = [len(step) for step in rows]
    assert any(before < after for before, after in itertools.pairwise(counts))


def test_a_full_context_ends_the_text_with_length(wide):
    found = search(wide, PROMPT, capacity=10, max_tokens=50)
    assert len(found.ids) == 7
    assert found.finish_reason == "length"
    with pytest.raises(RequestError, match="10 tokens, but this search has room for 9"):
        search(wide, (1,) * 10, capacity=10)


def test_a_long_prompt_is_read_in_pieces():
    torch.manual_seed(2)
    context = PROMPT_PIECE + 20
    options = ModelOptions()
    model = build_model(complete(options, vocab_size=60, layers=1, width=16, context=context))
    prompt = [place % 60 for place in range(PROMPT_PIECE + 7)]
    found = search(model.eval(), prompt, capacity=context, max_tokens=3)
    ids, _ = by_full_forwards(model, prompt, alpha=0.6, top_k=4, count=3)
    assert list(found.ids) == ids


def test_no_token_left_is_told(wide):
    settings = ContrastiveSettings(no_repeat_ngram=1)
    forward = ModelForward(wide, rows=4, capacity=CONTEXT)
    with pytest.raises(RequestError, match="no token is left to go on with after 5"):
        find_contrastive(forward, (0, 1, 2), settings, vocab_size=5)


def test_a_model_that_gives_no_numbers_is_told():
    torch.manual_seed(2)
    model = build_model(complete(ModelOptions(), vocab_size=9, layers=1, width=16, context=16))
    with torch.no_grad():
        model.embed_tokens.weight[4] = math.nan
    with pytest.raises(RequestError, match="no usable numbers"):
        search(model.eval(), (1, 4), capacity=16)


class Counted(ModelForward):
    """What is left of a forward where the model counts: places in tables in place of vectors."""

    def read(self, row: int, ids: Sequence[int], *, start: int) -> torch.Tensor:
        return super().read(row, ids, start=start).to(torch.int64)


def test_a_counted_model_has_no_vectors_to_compare(wide):
    forward = Counted(wide, rows=4, capacity=CONTEXT)
    with pytest.raises(RequestError, match="a counted model has none: use beams"):
        find_contrastive(forward, PROMPT, ContrastiveSettings(), vocab_size=60)


def test_one_way_in_serves_both_searches(wide):
    settings = ContrastiveSettings(max_tokens=9)
    forward = ModelForward(wide, rows=4, capacity=CONTEXT)
    found = find_continuations(forward, PROMPT, settings, vocab_size=60)
    assert found == [search(wide, max_tokens=9)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"penalty_alpha": 1.1}, r"penalty_alpha must be in \[0, 1\], got 1.1"),
        ({"penalty_alpha": math.nan}, r"penalty_alpha must be in \[0, 1\], got nan"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"top_k": 0, "max_tokens": -1}, "2 settings cannot be used"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(asked, said):
    with pytest.raises(SettingError, match=said):
        ContrastiveSettings(**asked)
