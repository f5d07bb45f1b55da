"""Each answer draws as its request says, alone or in company, and drawing changes nothing."""

import math

import pytest
import torch
from scipy.stats import chisquare

from cloche.errors import RequestError
from cloche.generation.answers import Answer, Draw, draw_tokens
from cloche.generation.request import GenerationRequest
from cloche.generation.sampling import filter_logits, pick
from cloche.text.bpe import train_bpe

VOCAB, END = 8, 256
BYTES_ALONE = train_bpe(["abc"], vocab_size=257, rule="gpt-2")
LOGITS = torch.tensor([0.3, -1.0, 2.0, 1.1, -0.4, 1.7, 0.0, -2.5])


@pytest.fixture
def start(tokenizer):
    def make(*, choice: int = 0, seed: int = 1, stop_ids: tuple[int, ...] = (), **asked) -> Answer:
        request = GenerationRequest((1, 2), **asked)
        stream = tokenizer.stream()
        return Answer(
            request, request_id=0, choice=choice, seed=seed, stop_ids=stop_ids, stream=stream
        )

    return make


def drawn(answers: list[Answer], logits: torch.Tensor | None = None) -> list[Draw]:
    rows = LOGITS.expand(len(answers), -1) if logits is None else logits
    return draw_tokens(rows, answers, vocab_size=rows.shape[-1])


def written(answer: Answer, text: bytes) -> tuple[str, str | None]:
    """What is shown of these tokens, up to the one that ends the answer, and why it ended."""
    shown = ""
    for byte in text:
        event = answer.accept(Draw(byte), room=True)
        shown += event.text
        if event.finish_reason is not None:
            return shown, event.finish_reason
    return shown, None


def test_drawing_changes_no_answer_and_accepting_moves_on(start):
    answer = start()
    first = drawn([answer])
    assert drawn([answer]) == first
    numbers = [answer.uniform(ahead) for ahead in range(3)]
    answer.accept(first[0], room=True)
    assert [answer.uniform(ahead) for ahead in range(2)] == numbers[1:]


def test_every_token_has_the_same_number_whoever_looked_ahead(start):
    looking, plain = start(), start()
    looking.uniform(5)
    for _ in range(6):
        draw = drawn([plain])[0]
        assert drawn([looking])[0] == draw
        looking.accept(draw, room=True)
        plain.accept(draw, room=True)


def test_an_answer_that_stands_in_a_batch_several_times_draws_token_after_token(start):
    ahead, stepwise = start(), start()
    together = drawn([ahead] * 4)
    for draw in together:
        assert drawn([stepwise])[0] == draw
        stepwise.accept(draw, room=True)


def test_what_a_row_draws_does_not_depend_on_its_company(start):
    settings = [
        {},
        {"top_p": 0.7},
        {"temperature": 0.0},
        {"top_p": 0.7, "repetition_penalty": 3.0},
        {"typical_p": 0.6, "logprobs": 2},
        {"banned": ((2,),), "top_k": 3},
    ]
    answers = [start(choice=i, **asked) for i, asked in enumerate(settings)] * 2
    answers = answers[:6] + [start(choice=i + 6, **asked) for i, asked in enumerate(settings)]
    logits = torch.randn(12, 50, generator=torch.Generator().manual_seed(2))
    together = drawn(answers, logits)
    for i, answer in enumerate(answers):
        assert drawn([answer], logits[[i]])[0] == together[i]


RULES = {
    "bias": ({"logit_bias": ((0, 2.0), (2, -2.0))}, {0: 2.0, 2: -2.0}),
    "presence and frequency": (
        {"presence_penalty": 0.5, "frequency_penalty": 0.25},
        {3: -0.5 - 2 * 0.25, 5: -0.5 - 0.25},
    ),
    "repetition": ({"repetition_penalty": 2.0}, {1: -1.0, 2: -1.0, 3: -0.55, 5: -0.85}),
    "no repeated n-grams": ({"no_repeat_ngram": 2}, {5: -math.inf}),
    "bans": ({"banned": ((2,), (3, 6), (5, 0))}, {2: -math.inf, 6: -math.inf}),
    "minimum length": ({"min_tokens": 4}, {7: -math.inf}),
    "forced words": ({"forced_words": ((6, 6),), "max_tokens": 6}, {7: -math.inf}),
}


@pytest.mark.parametrize("name", RULES)
def test_draws_follow_the_exact_probabilities_after_the_rules(start, name):
    asked, change = RULES[name]
    draws = 20_000
    stop_ids = (7,) if name in ("minimum length", "forced words") else ()
    answer = start(temperature=0.8, stop_ids=stop_ids, **asked)
    for token_id in (3, 5, 3):  # the prompt is 1, 2
        answer.accept(Draw(token_id), room=True)
    changed = LOGITS.double().clone()
    for token_id, value in change.items():
        changed[token_id] += value
    exact = (changed / 0.8).softmax(-1)
    filtered = filter_logits(answer.rules.apply(LOGITS)[None], temperature=0.8)
    numbers = torch.rand(draws, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    counts = pick(filtered.expand(draws, -1), numbers).bincount(minlength=VOCAB)
    (draw,) = drawn([answer])
    number = torch.tensor([answer.uniform()], dtype=torch.float64)
    assert draw.token_id == pick(filtered, number).item()
    kept = exact > 0
    assert counts[~kept].sum() == 0
    assert chisquare(counts[kept].numpy(), (exact[kept] * draws).numpy()).pvalue > 1e-4


def test_log_probabilities_are_told_before_and_after_rules_and_filters(start):
    answer = start(logprobs=2, temperature=0.5, top_k=2, banned=((2,),))
    (draw,) = drawn([answer])
    model = LOGITS.log_softmax(-1)
    assert draw.token_id in (3, 5)
    assert draw.logprob == pytest.approx(model[draw.token_id].item())
    assert [token_id for token_id, _ in draw.top_logprobs] == [2, 5]
    kept = (LOGITS[[3, 5]] / 0.5).log_softmax(-1)
    expected = kept[[3, 5].index(draw.token_id)].item()
    assert draw.filtered_logprob == pytest.approx(expected)
    event = answer.accept(draw, room=True)
    assert (event.logprob, event.filtered_logprob) == (draw.logprob, draw.filtered_logprob)


def test_a_greedy_token_is_drawn_with_certainty(start):
    (draw,) = drawn([start(logprobs=0, temperature=0.0)])
    assert (draw.token_id, draw.filtered_logprob) == (2, 0.0)
    assert draw.logprob == pytest.approx(LOGITS.log_softmax(-1)[2].item())


def test_without_logprobs_none_are_told(start):
    (draw,) = drawn([start()])
    assert (draw.logprob, draw.filtered_logprob, draw.top_logprobs) == (None, None, ())


def test_an_answer_with_no_token_left_fails_alone(start):
    stuck = start(banned=tuple((i,) for i in range(VOCAB)), logprobs=1)
    fine = start(choice=1)
    alone = drawn([fine])
    failed, drew = drawn([stuck, fine])
    assert [drew] == alone
    assert isinstance(failed.error, RequestError)
    event = stuck.accept(failed, room=True)
    assert event.token_id is None
    assert event.finish_reason == "stop"
    assert "no token is left to go on with" in str(event.error)


def test_only_ids_of_the_tokenizer_are_drawn(start):
    logits = torch.tensor([[0.0, 0.0, 50.0]])
    for answer in (start(), start(temperature=0.0), start(logit_bias=((1, 1.0),))):
        (draw,) = draw_tokens(logits, [answer], vocab_size=2)
        assert draw.token_id < 2


@pytest.mark.parametrize("asked", [{"temperature": 0.0}, {"temperature": 1.3, "top_p": 0.8}])
def test_a_draft_of_the_same_model_is_what_will_be_drawn(start, asked):
    answer = start(**asked)
    drafts = [answer.draft_draw(LOGITS, ahead=ahead) for ahead in range(5)]
    for draft in drafts:
        (draw,) = drawn([answer])
        assert draw.token_id == draft
        answer.accept(draw, room=True)


def test_a_stop_text_is_found_across_tokens_and_not_shown(start):
    assert written(start(stop=("END",)), b"one END two") == ("one ", "stop")


def test_a_stop_text_that_is_never_reached_leaves_all_text(start):
    assert written(start(stop=("END",), max_tokens=7), b"one EN.") == ("one EN.", "length")
    assert written(start(stop=("END",), max_tokens=6), b"one EN") == ("one EN", "length")


def test_bytes_that_are_no_character_are_shown_as_one_sign(start):
    stream = BYTES_ALONE.stream()
    request = GenerationRequest((1,), max_tokens=4)
    answer = Answer(request, request_id=0, choice=0, seed=1, stop_ids=(), stream=stream)
    ids = [BYTES_ALONE.encode("a"), BYTES_ALONE.encode("你")[1:], BYTES_ALONE.encode("b")]
    pieces = [answer.accept(Draw(i), room=True).text for some in ids for i in some]
    assert pieces == ["a", "", "", "\ufffdb"]
    assert written(start(max_tokens=2), b"a\xe4") == ("a\ufffd", "length")


def test_neither_a_token_nor_a_text_ends_an_answer_that_is_too_short(start):
    answer = start(min_tokens=5, stop=("b",), stop_ids=(END,), max_tokens=20)
    assert written(answer, b"ababab") == ("ababa", "stop")
    short = start(min_tokens=3, stop=("b",), max_tokens=20)
    assert written(short, b"abac") == ("abac", None)
    assert written(short, b"db") == ("d", "stop")


def test_a_stop_text_waits_for_the_forced_words(start):
    answer = start(forced_words=(tuple(b"xy"),), stop=(".",), max_tokens=20)
    assert written(answer, b"a.xy.") == ("a.xy", "stop")


def test_a_forced_word_that_would_end_the_answer_is_refused(start):
    with pytest.raises(RequestError, match="holds the id 256, which ends the answer"):
        start(forced_words=((1, END),), stop_ids=(END,))
