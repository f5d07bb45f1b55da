"""What of a preference is learned: the answer and its stop token, and nothing before it."""

import pytest
from small_preferences import CHARACTERS

from cloche.alignment.preference_batches import EncodedVote
from cloche.alignment.preference_encoding import (
    AnswerWriter,
    as_votes,
    encode_pairs,
    encode_votes,
)
from cloche.data.preferences import PreferencePair
from cloche.errors import TextError
from cloche.text.characters import CharacterTokenizer
from cloche.text.chat import preset
from cloche.text.extending import with_special_tokens
from cloche.text.messages import ASSISTANT, USER, Conversation, Message


@pytest.fixture(name="writer", scope="module")
def a_writer() -> AnswerWriter:
    template = preset("chatml")
    names = list(template.special_tokens())
    tokenizer = with_special_tokens(CharacterTokenizer(set(CHARACTERS)), names)
    return AnswerWriter(template, tokenizer, context=200)


def pair(*prompt: str, chosen: str = "yes.", rejected: str = "no.", number: int = 0):
    """Turns of user and assistant, and two answers to the last."""
    roles = (USER, ASSISTANT)
    asked: Conversation = tuple(Message(roles[n % 2], text) for n, text in enumerate(prompt))
    better, worse = (Message(ASSISTANT, chosen),), (Message(ASSISTANT, rejected),)
    return PreferencePair(f"file, record {number}", asked, better, worse, number)


def learned_text(writer: AnswerWriter, example) -> str:
    return writer.tokenizer.decode(example.ids[example.learned].tolist())


def test_the_last_answer_and_its_stop_token_are_learned_and_no_earlier_one(writer):
    [found] = encode_pairs([pair("who?", "me.", "sure?")], writer).items
    stop = writer.tokenizer.special_tokens["<|im_end|>"]
    for example, text in zip(found.examples, ("yes.", "no."), strict=True):
        assert learned_text(writer, example).startswith(text)
        assert int(example.learned.sum()) == len(text) + 1
        assert example.ids[example.learned][-1] == stop


def test_a_cut_answer_keeps_its_beginning(writer):
    whole = encode_pairs([pair("who?", chosen="a" * 50)], writer)
    [length] = whole.lengths
    short = AnswerWriter(writer.template, writer.tokenizer, length - 20)
    cut = encode_pairs([pair("who?", chosen="a" * 50)], short)
    [found] = cut.items
    assert len(found.chosen.ids) == length - 19, "inputs as long as the context, and a last target"
    assert cut.lengths == (length,)
    assert learned_text(short, found.chosen) in "a" * 50


def test_pairs_that_differ_beyond_the_context_only_are_left_out_by_place(writer):
    twins = pair("who?", chosen="a" * 60 + "b", rejected="a" * 60 + "c", number=4)
    short = AnswerWriter(writer.template, writer.tokenizer, 60)
    found = encode_pairs([pair("why?", number=3), twins], short)
    assert found.empty == ("file, record 4",)
    assert [record.number for record in found.records] == [3]


def test_all_records_that_cannot_be_written_are_told_by_place(writer):
    bad = [pair("春?", number=2), pair("who?", chosen="眠", number=5)]
    with pytest.raises(TextError) as told:
        encode_pairs([pair("who?"), *bad], writer)
    assert "2 of 3 records" in str(told.value)
    assert "file, record 2: " in str(told.value)
    assert "file, record 5: " in str(told.value)


def test_a_pair_is_two_votes_each_beside_an_answer_to_another_prompt(writer):
    pairs = [
        pair(f"is it {name}?", chosen=f"yes {name}.", number=n) for n, name in enumerate("abc")
    ]
    votes = as_votes(pairs)
    assert [vote.good for vote in votes] == [True, False] * 3
    for vote, item in zip(votes, encode_votes(votes, writer, seed=1).items, strict=True):
        assert isinstance(item, EncodedVote)
        read = writer.tokenizer.decode(item.mismatched.ids.tolist())
        assert vote.prompt[0].content in read
        name = vote.prompt[0].content[-2]
        assert f"yes {name}." not in learned_text(writer, item.mismatched)
