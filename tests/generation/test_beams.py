"""Beam search finds what transformers finds, and on a tiny vocabulary what is best of all."""

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from cloche.errors import RequestError, SettingError
from cloche.generation.beams import BeamSettings, find_beams
from cloche.generation.continuation import PROMPT_PIECE, Continuation
from cloche.generation.forward import ModelForward, Place
from cloche.model.bigram import Bigram
from cloche.model.build import LanguageModel, build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.weights.checkpoint import load_model

VOCAB, CONTEXT, STOP = 40, 64, (3, 11)
PROMPTS = [(7,), (1, 2, 3, 4, 5), tuple(range(12, 35))]


def their_llama() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT,
            initializer_range=0.3,
            eos_token_id=list(STOP),
        )
    )


def their_gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=CONTEXT,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=list(STOP),
        )
    )


@pytest.fixture(scope="module", params=[their_llama, their_gpt2], ids=["llama", "gpt2"])
def pair(request, tmp_path_factory) -> tuple[LanguageModel, torch.nn.Module]:
    """The same random weights as our model and as theirs."""
    torch.manual_seed(3)
    theirs = request.param().eval()
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder)
    return load_model(folder)[0].eval(), theirs


def their_search(theirs, prompt, *, stop_ids=STOP, **asked) -> list[tuple[tuple[int, ...], float]]:
    """The ids, up to the one that ended them, and the score of each continuation they find."""
    ids = torch.tensor([prompt])
    found = theirs.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        pad_token_id=0,
        eos_token_id=list(stop_ids) or -1,
        return_dict_in_generate=True,
        output_scores=True,
        **asked,
    )
    made = found.sequences[:, len(prompt) :].tolist()
    ended = [up_to_stop(ids, stop_ids) for ids in made]
    return list(zip(ended, found.sequences_scores.tolist(), strict=True))


def up_to_stop(ids: list[int], stop_ids: tuple[int, ...]) -> tuple[int, ...]:
    ends = [place for place, token_id in enumerate(ids) if token_id in stop_ids]
    return tuple(ids[: ends[0] + 1] if ends else ids)


def search(model: LanguageModel, prompt, *, stop_ids=STOP, capacity=CONTEXT, **asked):
    settings = BeamSettings(**asked)
    forward = ModelForward(model, rows=settings.rows, capacity=capacity)
    size = model.config.vocab_size
    return find_beams(forward, prompt, settings, vocab_size=size, stop_ids=stop_ids)


def assert_same(mine: list[Continuation], theirs: list[tuple[tuple[int, ...], float]]) -> None:
    assert [one.ids for one in mine] == [ids for ids, _ in theirs]
    scores = [score for _, score in theirs]
    assert [one.score for one in mine] == pytest.approx(scores, rel=1e-4, abs=1e-5)


@torch.inference_mode()
def log_probability(model: LanguageModel, prompt, ids) -> float:
    """Of `ids` behind the prompt, everything read anew."""
    table = model(torch.tensor([[*prompt, *ids[:-1]]]))[0, len(prompt) - 1 :].log_softmax(dim=-1)
    return sum(table[place, token_id].item() for place, token_id in enumerate(ids))


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [-1.0, 0.6, 1.0, 2.0])
def test_the_best_continuations_and_their_scores_are_those_of_transformers(
    pair, prompt, early_stopping, length_penalty
):
    mine, theirs = pair
    shared = {"length_penalty": length_penalty, "early_stopping": early_stopping}
    expected = their_search(
        theirs, prompt, num_beams=4, num_return_sequences=4, max_new_tokens=20, **shared
    )
    assert_same(search(mine, prompt, beams=4, n=4, max_tokens=20, **shared), expected)


def test_what_is_compared_has_answers_that_end_and_answers_that_are_cut_off(pair):
    mine, _ = pair
    found = [
        one
        for penalty in (-1.0, 1.0, 2.0)
        for one in search(mine, (7,), beams=4, n=4, max_tokens=20, length_penalty=penalty)
    ]
    assert {one.finish_reason for one in found} == {"stop", "length"}
    assert all((one.ids[-1] in STOP) == (one.finish_reason == "stop") for one in found)


@pytest.mark.parametrize("beams", [2, 7])
@pytest.mark.parametrize("stop_ids", [(3,), ()])
def test_any_number_of_beams_and_of_stop_ids_agrees_with_transformers(pair, beams, stop_ids):
    mine, theirs = pair
    shared = {"num_beams": beams, "num_return_sequences": beams, "max_new_tokens": 15}
    expected = their_search(theirs, PROMPTS[1], stop_ids=stop_ids, **shared)
    found = search(mine, PROMPTS[1], beams=beams, n=beams, max_tokens=15, stop_ids=stop_ids)
    assert_same(found, expected)


def test_one_beam_is_greedy_search(pair):
    mine, theirs = pair
    ids = torch.tensor([PROMPTS[1]])
    mask = torch.ones_like(ids)
    made = theirs.generate(
        ids, attention_mask=mask, do_sample=False, pad_token_id=0, max_new_tokens=15
    )
    [found] = search(mine, PROMPTS[1], beams=1, max_tokens=15)
    assert found.ids == up_to_stop(made[0, len(PROMPTS[1]) :].tolist(), STOP)


@pytest.mark.parametrize(
    ("ours", "their_names"),
    [
        ({"repetition_penalty": 1.7}, {"repetition_penalty": 1.7}),
        ({"no_repeat_ngram": 2}, {"no_repeat_ngram_size": 2}),
        ({"no_repeat_ngram": 1}, {"no_repeat_ngram_size": 1}),
        ({"min_tokens": 12}, {"min_new_tokens": 12}),
        (
            {"min_tokens": 5, "no_repeat_ngram": 3, "repetition_penalty": 0.8},
            {"min_new_tokens": 5, "no_repeat_ngram_size": 3, "repetition_penalty": 0.8},
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("prompt", PROMPTS[:2], ids=len)
def test_what_is_discouraged_is_as_in_transformers(pair, prompt, ours, their_names):
    mine, theirs = pair
    expected = their_search(
        theirs, prompt, num_beams=4, num_return_sequences=3, max_new_tokens=18, **their_names
    )
    assert_same(search(mine, prompt, beams=4, n=3, max_tokens=18, **ours), expected)


def test_the_log_probability_is_the_models_own_whatever_was_discouraged(pair):
    mine, _ = pair
    asked = {"repetition_penalty": 1.5, "groups": 2, "diversity_penalty": 1.0}
    for one in search(mine, PROMPTS[1], beams=4, n=4, max_tokens=12, **asked):
        expected = log_probability(mine, PROMPTS[1], one.ids)
        assert one.log_probability == pytest.approx(expected, rel=1e-4)
    for one in search(mine, PROMPTS[1], beams=4, n=4, max_tokens=12, length_penalty=0.0):
        assert one.score == pytest.approx(one.log_probability, rel=1e-5)


def tiny_model(*, context=16) -> LanguageModel:
    torch.manual_seed(3)
    model = build_model(complete(ModelOptions(), vocab_size=5, layers=1, width=16, context=context))
    with torch.no_grad():
        model.embed_tokens.weight *= 30
    return model.eval()


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, -0.5])
def test_with_a_beam_for_every_sequence_the_best_of_all_sequences_are_found(length_penalty):
    model, most, stop = tiny_model(), 4, 2
    sequences = [
        ids
        for length in range(1, most + 1)
        for ids in itertools.product(range(5), repeat=length)
        if stop not in ids[:-1] and (ids[-1] == stop or length == most)
    ]
    ranked = sorted(
        (
            (log_probability(model, (1,), ids) / len(ids) ** length_penalty, ids)
            for ids in sequences
        ),
        reverse=True,
    )
    found = search(
        model,
        (1,),
        stop_ids=(stop,),
        capacity=16,
        beams=len(sequences),
        n=20,
        max_tokens=most,
        length_penalty=length_penalty,
        early_stopping="never",
    )
    assert [one.ids for one in found] == [ids for _, ids in ranked[:20]]
    assert [one.score for one in found] == pytest.approx([s for s, _ in ranked[:20]], rel=1e-4)


def test_where_there_are_fewer_continuations_than_beams_all_come():
    found = search(tiny_model(), (1,), stop_ids=(), capacity=16, beams=9, n=9, max_tokens=1)
    assert sorted(one.ids for one in found) == [(0,), (1,), (2,), (3,), (4,)]


def test_a_full_context_ends_an_answer_with_length():
    model = tiny_model(context=16)
    found = search(model, (1,) * 14, stop_ids=(), capacity=16, beams=2, n=2, max_tokens=50)
    assert [(len(one.ids), one.finish_reason) for one in found] == [(3, "length")] * 2
    [whole] = search(model, (1,) * 16, stop_ids=(), capacity=16, beams=2, max_tokens=50)
    assert len(whole.ids) == 1


def test_a_continuation_ends_where_its_tokens_complete_something(pair):
    mine, _ = pair
    settings = BeamSettings(beams=3, n=3, max_tokens=30)
    forward = ModelForward(mine, rows=3, capacity=CONTEXT)
    found = find_beams(
        forward,
        PROMPTS[1],
        settings,
        vocab_size=VOCAB,
        is_complete=lambda ids: len(ids) >= 2 and ids[-1] % 2 == 0,
    )
    for one in found:
        assert one.finish_reason == "stop"
        assert one.ids[-1] % 2 == 0
        assert all(token_id % 2 for token_id in one.ids[1:-1])


def test_only_ids_below_the_vocabulary_size_are_chosen(pair):
    mine, _ = pair
    forward = ModelForward(mine, rows=4, capacity=CONTEXT)
    settings = BeamSettings(beams=4, n=4, max_tokens=12)
    found = find_beams(forward, (1, 2), settings, vocab_size=9)
    assert max(max(one.ids) for one in found) < 9


def test_a_long_prompt_is_read_in_pieces():
    model = tiny_model(context=2 * PROMPT_PIECE)
    prompt = [place % 5 for place in range(PROMPT_PIECE + 7)]
    [found] = search(model, prompt, stop_ids=(), capacity=2 * PROMPT_PIECE, beams=1, max_tokens=3)
    expected = log_probability(model, prompt, found.ids)
    assert found.log_probability == pytest.approx(expected, rel=1e-4)


class Counting(ModelForward):
    """A forward that counts what is asked of it."""

    def __init__(self, *given, **named) -> None:
        super().__init__(*given, **named)
        self.read_rows: list[list[int]] = []
        self.cleared: list[int] = []

    def hidden(self, places: Sequence[Place]) -> torch.Tensor:
        self.read_rows.append([place.row for place in places])
        return super().hidden(places)

    def clear(self, row: int) -> None:
        self.cleared.append(row)
        super().clear(row)


def test_a_search_keeps_to_its_rows_and_reads_them_in_order(pair):
    mine, _ = pair
    forward = Counting(mine, rows=9, capacity=CONTEXT)
    settings = BeamSettings(beams=4, groups=2, max_tokens=20)
    find_beams(forward, PROMPTS[1], settings, vocab_size=VOCAB)
    assert all(rows == sorted(set(rows)) for rows in forward.read_rows)
    assert {row for rows in forward.read_rows for row in rows} == {0, 1, 2, 3}


def test_a_forward_serves_one_search_after_the_other(pair):
    mine, _ = pair
    forward, settings = ModelForward(mine, rows=4, capacity=CONTEXT), BeamSettings(max_tokens=12)
    first = find_beams(forward, PROMPTS[2], settings, vocab_size=VOCAB, stop_ids=STOP)
    find_beams(forward, PROMPTS[1], settings, vocab_size=VOCAB, stop_ids=STOP)
    assert find_beams(forward, PROMPTS[2], settings, vocab_size=VOCAB, stop_ids=STOP) == first


def damage(model: LanguageModel) -> Callable[[], None]:
    kept = model.embed_tokens.weight.data.clone()
    model.embed_tokens.weight.data[:] = math.nan

    def mend() -> None:
        model.embed_tokens.weight.data[:] = kept

    return mend


def test_a_model_that_gives_no_numbers_is_told_and_the_rows_are_clean_again():
    model = tiny_model()
    settings = BeamSettings(beams=2, max_tokens=5)
    forward = Counting(model, rows=2, capacity=16)
    expected = find_beams(forward, (1, 2), settings, vocab_size=5)
    mend = damage(model)
    with pytest.raises(RequestError, match="no usable numbers"):
        find_beams(forward, (1, 2), settings, vocab_size=5)
    assert forward.cleared == [0, 1]
    mend()
    assert find_beams(forward, (1, 2), settings, vocab_size=5) == expected


def test_a_bigram_table_is_searched_too(writer_of):
    model = writer_of(b"abcd")
    assert isinstance(model, Bigram)
    [found] = search(model, tuple(b"a"), stop_ids=(256,), beams=3, max_tokens=9)
    assert found.ids == (*b"bcd", 256)


@pytest.mark.parametrize(
    ("prompt", "asked", "said"),
    [
        ((), {}, "holds no token"),
        ((1,) * 17, {}, "17 tokens, but this search has room for 16"),
        ((1, 5), {}, "holds the id 5, but the model knows 0 to 4"),
        ((1, -1), {}, "holds the id -1"),
        ((0, 1, 2, 3, 4), {"no_repeat_ngram": 1}, "no token is left to go on with after 5"),
    ],
)
def test_a_prompt_that_cannot_be_continued_is_refused(prompt, asked, said):
    forward = ModelForward(tiny_model(), rows=4, capacity=16)
    with pytest.raises(RequestError, match=said):
        find_beams(forward, prompt, BeamSettings(**asked), vocab_size=5)


def test_a_forward_with_too_few_rows_is_refused():
    forward = ModelForward(tiny_model(), rows=3, capacity=16)
    with pytest.raises(SettingError, match="needs 4 rows, and the forward has 3"):
        find_beams(forward, (1,), BeamSettings(beams=4), vocab_size=5)
