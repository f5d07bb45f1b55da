"""The engine writes what the model itself says, whatever shares the batch."""

import math
import random

import pytest
import torch

from cloche.errors import RequestError, SettingError
from cloche.generation.engine import Completion, Engine, kept_when_sliding
from cloche.generation.request import GenerationRequest
from cloche.model.bigram import Bigram
from cloche.model.build import LanguageModel, build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.tokenizer import END_OF_TEXT, UNKNOWN
from cloche.text.words import WordTokenizer

PROMPT = (10, 20, 30)


def engine_of(model, tokenizer, *, context=16, rows=4) -> Engine:
    return Engine(model, tokenizer, context=context, rows=rows)


@torch.inference_mode()
def greedy_by_full_forwards(model: LanguageModel, prompt, *, count: int, context: int) -> list[int]:
    """The likeliest tokens one by one, the whole window read anew for each."""
    window, made = list(prompt), []
    for _ in range(count):
        if len(window) > context:
            window = window[-kept_when_sliding(context) :]
        made.append(model(torch.tensor([window]))[0, -1].argmax().item())
        window.append(made[-1])
    return made


def endless(prompt=PROMPT, **asked) -> GenerationRequest:
    """A request that no token ends, so that the lengths are known."""
    return GenerationRequest(prompt, stop_ids=(), **asked)


@pytest.mark.parametrize("prompt", [(7,), PROMPT, tuple(range(40, 56))])
def test_greedy_takes_what_repeated_full_forwards_take_also_past_the_context(
    model, tokenizer, prompt
):
    request = endless(prompt, max_tokens=40, temperature=0.0)
    [[completion]] = engine_of(model, tokenizer).generate([request])
    expected = greedy_by_full_forwards(model, prompt, count=40, context=16)
    assert list(completion.token_ids) == expected
    assert completion.finish_reason == "length"


def test_a_context_smaller_than_the_models_is_kept(model, tokenizer):
    request = endless(max_tokens=20, temperature=0.0)
    [[completion]] = engine_of(model, tokenizer, context=5).generate([request])
    assert list(completion.token_ids) == greedy_by_full_forwards(model, PROMPT, count=20, context=5)


def test_a_context_of_one_token_slides_too(writer_of, tokenizer):
    model = writer_of(b"abcdef")
    request = GenerationRequest(tuple(b"a"), temperature=0.0)
    [[completion]] = Engine(model, tokenizer, context=1).generate([request])
    assert completion.text == "bcdef"


def test_logprobs_are_those_of_the_full_forward_before_temperature_and_filters(model, tokenizer):
    request = endless(max_tokens=10, temperature=0.5, top_k=5, seed=3, logprobs=2)
    [[completion]] = engine_of(model, tokenizer).generate([request])
    made = list(completion.token_ids)
    with torch.inference_mode():
        table = model(torch.tensor([[*PROMPT, *made[:-1]]]))[0, len(PROMPT) - 1 :].log_softmax(-1)
    theirs = table.gather(-1, torch.tensor(made)[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(completion.logprobs), theirs, rtol=1e-4, atol=1e-5)
    best = table.topk(2)
    for place, pairs in enumerate(completion.top_logprobs):
        assert [token_id for token_id, _ in pairs] == best.indices[place].tolist()
        values = torch.tensor([value for _, value in pairs])
        torch.testing.assert_close(values, best.values[place], rtol=1e-4, atol=1e-5)


def test_logprobs_come_only_where_asked_for(model, tokenizer):
    plain, bare = endless(max_tokens=3, seed=1), endless(max_tokens=3, seed=1, logprobs=0)
    [[first], [second]] = engine_of(model, tokenizer).generate([plain, bare])
    assert first.logprobs == ()
    assert len(second.logprobs) == 3
    assert second.top_logprobs == ()
    assert first.token_ids == second.token_ids


def random_request(dice: random.Random) -> GenerationRequest:
    return GenerationRequest(
        tuple(dice.randrange(256) for _ in range(dice.randint(1, 16))),
        max_tokens=dice.randint(1, 30),
        temperature=dice.choice([0.0, 0.7, 1.0, 1.5]),
        top_k=dice.choice([None, 3, 40]),
        top_p=dice.choice([1.0, 0.9]),
        min_p=dice.choice([0.0, 0.05]),
        seed=dice.randrange(1000),
        n=dice.randint(1, 3),
        stop=dice.choice([(), ("a",), ("e", "o")]),
        overflow=dice.choice(["slide", "stop"]),
    )


@pytest.mark.parametrize("schedule", range(4))
def test_an_answer_is_the_same_alone_and_among_others_that_come_go_and_are_cancelled(
    model, tokenizer, schedule
):
    dice = random.Random(schedule)
    engine = engine_of(model, tokenizer, rows=3)
    requests, events, cancelled = {}, {}, set()
    for _ in range(400):
        if len(requests) < 10 and dice.random() < 0.3:
            request = random_request(dice)
            requests[engine.submit(request)] = request
        if requests and dice.random() < 0.05:
            chosen = dice.choice(list(requests))
            cancelled.add(chosen)
            engine.cancel(chosen)
        for event in engine.step():
            events.setdefault((event.request_id, event.choice), []).append(event)
        if len(requests) == 10 and not engine.busy:
            break
    assert not engine.busy
    assert engine.free_rows == 3
    for request_id, request in requests.items():
        if request_id in cancelled:
            continue
        for choice, alone in enumerate(answers_one_by_one(model, tokenizer, request)):
            seen = events[request_id, choice]
            assert "".join(event.text for event in seen) == alone.text
            assert tuple(event.token_id for event in seen) == alone.token_ids
            assert seen[-1].finish_reason == alone.finish_reason


def answers_one_by_one(model, tokenizer, request: GenerationRequest) -> list[Completion]:
    return Engine(model, tokenizer, context=16, rows=1).generate([request])[0]


def test_several_answers_differ_are_reproducible_and_share_the_seed_with_a_smaller_n(
    model, tokenizer
):
    three = endless(max_tokens=12, seed=4, n=3)
    [first] = engine_of(model, tokenizer, rows=8).generate([three])
    [again] = engine_of(model, tokenizer, rows=2).generate([three])
    [[single]] = engine_of(model, tokenizer).generate([endless(max_tokens=12, seed=4)])
    assert first == again
    assert len({answer.token_ids for answer in first}) == 3
    assert single == first[0]


def test_without_a_seed_each_request_has_its_own(model, tokenizer):
    request = endless(max_tokens=12)
    [[first], [second]] = engine_of(model, tokenizer).generate([request, request])
    assert first.token_ids != second.token_ids


def test_the_prompt_of_several_answers_is_read_once(model, tokenizer, monkeypatch):
    lengths = []
    hidden = model.hidden

    def counting(ids, **arguments):
        lengths.append(tuple(ids.shape))
        return hidden(ids, **arguments)

    monkeypatch.setattr(model, "hidden", counting)
    engine_of(model, tokenizer, rows=8).generate([endless(tuple(range(9)), n=5, max_tokens=2)])
    assert lengths == [(1, 8), (5, 1), (5, 1)]


def test_the_end_of_text_token_ends_an_answer_and_is_not_shown(writer_of, tokenizer):
    request = GenerationRequest(tuple(b"o"), temperature=0.0)
    [[completion]] = Engine(writer_of(b"once"), tokenizer, context=64).generate([request])
    assert completion == Completion("nce", (*b"nce", 256), "stop")


def test_other_stop_ids_replace_the_end_of_text_token(writer_of, tokenizer):
    request = GenerationRequest(tuple(b"o"), temperature=0.0, stop_ids=(ord("c"),))
    [[completion]] = Engine(writer_of(b"once"), tokenizer, context=64).generate([request])
    assert completion == Completion("n", tuple(b"nc"), "stop")


def test_a_stop_text_across_tokens_is_never_shown(writer_of, tokenizer):
    engine = Engine(writer_of(b"I amher:go"), tokenizer, context=64)
    request = GenerationRequest(tuple(b"I"), temperature=0.0, stop=("r:g", "m x"))
    events = list(engine.stream(request))
    # "m" and "r" wait, for each could begin a stop text; only "r" does
    assert [event.text for event in events] == [" ", "a", "", "mh", "e", "", "", ""]
    assert events[-1].finish_reason == "stop"
    assert engine.free_rows == 8


def test_text_held_back_is_shown_when_the_answer_ends_by_length(writer_of, tokenizer):
    engine = Engine(writer_of(b"I amher:go"), tokenizer, context=64)
    request = GenerationRequest(tuple(b"I"), temperature=0.0, stop=("her we",), max_tokens=6)
    events = list(engine.stream(request))
    assert [event.text for event in events] == [" ", "a", "m", "", "", "her"]
    assert events[-1].finish_reason == "length"


def test_half_a_character_is_never_shown(writer_of, tokenizer):
    text = "a中é🌱b".encode()
    engine = Engine(writer_of(text), tokenizer, context=64)
    pieces = [e.text for e in engine.stream(GenerationRequest(tuple(b"a"), temperature=0.0))]
    assert [piece for piece in pieces if piece] == ["中", "é", "🌱", "b"]


def test_a_character_cut_by_the_length_ends_as_the_replacement_sign(writer_of, tokenizer):
    engine = Engine(writer_of("a中".encode()), tokenizer, context=64)
    request = GenerationRequest(tuple(b"a"), temperature=0.0, max_tokens=2)
    assert [event.text for event in engine.stream(request)] == ["", "�"]


def test_at_a_full_context_an_answer_may_stop(model, tokenizer):
    request = endless(max_tokens=50, temperature=0.0, overflow="stop")
    [[completion]] = engine_of(model, tokenizer).generate([request])
    # 16 tokens can be read, 3 of them the prompt; one more can be told from them
    assert len(completion.token_ids) == 16 - 3 + 1
    assert completion.finish_reason == "length"
    assert list(completion.token_ids) == greedy_by_full_forwards(
        model, PROMPT, count=14, context=16
    )


def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(model, tokenizer):
    engine = engine_of(model, tokenizer)
    with pytest.raises(RequestError, match=r"17 tokens.*holds 16.*shorten"):
        engine.submit(GenerationRequest(tuple(range(17))))
    with pytest.raises(RequestError, match="17 tokens"):
        engine.stream(GenerationRequest(tuple(range(17))))
    assert not engine.busy


def test_an_id_the_model_does_not_know_is_refused(model, tokenizer):
    engine = engine_of(model, tokenizer)
    with pytest.raises(RequestError, match="the id 257, but the model knows 0 to 256"):
        engine.generate([endless(), GenerationRequest((1, 257))])
    assert not engine.busy


def test_an_answer_that_fails_leaves_the_others_and_its_row_sound(model, tokenizer):
    damaged = 99
    before = model.embed_tokens.weight[damaged].detach().clone()
    good = endless((1, 2, 3), max_tokens=8, seed=1)
    [[alone]] = engine_of(model, tokenizer).generate([good])
    engine = engine_of(model, tokenizer, rows=2)
    try:
        with torch.no_grad():
            model.embed_tokens.weight[damaged] = math.nan
        bad_id = engine.submit(GenerationRequest((damaged,) * 9))
        good_ids = [engine.submit(good), engine.submit(good)]  # the last gets the failed row
        events = []
        while engine.busy:
            events += engine.step()
        with pytest.raises(RequestError, match="no usable number after the token 99"):
            engine.generate([GenerationRequest((damaged,))])
    finally:
        with torch.no_grad():
            model.embed_tokens.weight[damaged] = before
    failures = [event for event in events if event.error is not None]
    assert [failure.request_id for failure in failures] == [bad_id]
    for good_id in good_ids:
        made = tuple(event.token_id for event in events if event.request_id == good_id)
        assert made == alone.token_ids
    assert engine.free_rows == 2


def test_cancelling_frees_rows_at_once_and_twice_is_harmless(model, tokenizer):
    engine = engine_of(model, tokenizer, rows=2)
    request_id = engine.submit(endless(n=5))
    engine.step()
    assert engine.free_rows == 0
    engine.cancel(request_id)
    assert engine.free_rows == 2
    assert not engine.busy
    engine.cancel(request_id)
    engine.cancel(12345)
    assert engine.step() == []


def test_closing_a_stream_cancels_its_request(model, tokenizer):
    engine = engine_of(model, tokenizer)
    stream = engine.stream(endless())
    next(stream)
    assert engine.busy
    stream.close()
    assert not engine.busy
    assert engine.free_rows == 4


def test_an_interrupted_step_can_be_repeated(model, tokenizer, monkeypatch):
    request = endless(max_tokens=20, seed=2)
    [[expected]] = engine_of(model, tokenizer).generate([request])
    engine = engine_of(model, tokenizer)
    engine.submit(request)
    made, forwards = [], 0
    hidden = model.hidden

    def interrupted_at_times(ids, **arguments):
        nonlocal forwards
        forwards += 1
        if forwards % 3 == 0:
            raise KeyboardInterrupt
        result = hidden(ids, **arguments)
        if forwards % 5 == 0:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(model, "hidden", interrupted_at_times)
    while engine.busy:
        try:
            made += [event.token_id for event in engine.step()]
        except KeyboardInterrupt:
            continue
    assert tuple(made) == expected.token_ids


def test_ids_that_only_the_model_has_are_never_drawn(model, tokenizer, monkeypatch):
    monkeypatch.setattr(type(tokenizer), "vocab_size", 100)
    requests = [
        endless((1,), max_tokens=30, temperature=temperature, seed=1, logprobs=9)
        for temperature in (0.0, 5.0)
    ]
    for [completion] in engine_of(model, tokenizer).generate(requests):
        assert max(completion.token_ids) < 100
        assert max(token_id for top in completion.top_logprobs for token_id, _ in top) < 100


def test_a_busy_engine_refuses_the_calls_that_want_it_alone(model, tokenizer):
    engine = engine_of(model, tokenizer)
    engine.submit(endless())
    with pytest.raises(RuntimeError, match="busy"):
        engine.generate([endless()])
    with pytest.raises(RuntimeError, match="busy"):
        engine.stream(endless())


def test_a_model_in_training_mode_is_refused(model, tokenizer):
    engine = engine_of(model, tokenizer)
    engine.submit(endless())
    try:
        model.train()
        with pytest.raises(RuntimeError, match=r"model\.eval\(\)"):
            engine_of(model, tokenizer)
        with pytest.raises(RuntimeError, match=r"model\.eval\(\)"):
            engine.step()
    finally:
        model.eval()


@pytest.mark.parametrize(
    ("settings", "said"), [({"context": 17}, "16"), ({"context": 0}, "got 0"), ({"rows": 0}, "row")]
)
def test_an_impossible_engine_is_refused(model, tokenizer, settings, said):
    with pytest.raises(SettingError, match=said):
        engine_of(model, tokenizer, **settings)


def test_words_are_parted_from_the_prompt_by_a_space():
    words = WordTokenizer(["dog", "the", "sat"], special=(END_OF_TEXT, UNKNOWN))
    options = ModelOptions(family="bigram")
    size = words.vocab_size
    table = build_model(complete(options, vocab_size=size, layers=1, width=1, context=8))
    assert isinstance(table, Bigram)
    dog, sat = words.encode("dog sat")
    with torch.no_grad():
        table.embed_tokens.weight.zero_()
        table.embed_tokens.weight[dog, sat] = 50.0
        table.embed_tokens.weight[words.special_tokens[END_OF_TEXT], dog] = 50.0
    engine = Engine(table.eval(), words, context=8, rows=1)
    prompts = (tuple(words.encode("the dog")), (words.special_tokens[END_OF_TEXT],))
    asked = [GenerationRequest(prompt=prompt, max_tokens=1, temperature=0.0) for prompt in prompts]
    assert [answers[0].text for answers in engine.generate(asked)] == [" sat", "dog"]
