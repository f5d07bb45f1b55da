import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.data import conversation_checks, conversation_similarity
from cloche.data.conversation_checks import drop_duplicates, find_duplicates, find_leaks
from cloche.data.conversation_similarity import SimilarTexts, folded
from cloche.data.conversation_split import Split, split_records
from cloche.data.conversations import read_conversations, to_conversations
from cloche.data.records import Record

LONG = "Write down the names of all the rivers that flow into the North Sea, from the longest on"


def conversations_of(*pairs):
    rows = [{"prompt": prompt, "completion": answer} for prompt, answer in pairs]
    return to_conversations([Record(f"r{n}", row, n) for n, row in enumerate(rows)])


def pieces(text):
    text = folded(text)
    return {text[start : start + 5] for start in range(max(1, len(text) - 4))}


@given(
    texts=st.lists(st.text("ab c", min_size=5, max_size=12), max_size=12),
    similarity=st.sampled_from([0.3, 0.5, 0.8, 1.0]),
)
@settings(max_examples=80, deadline=None)
def test_similar_texts_are_exactly_those_that_share_enough_pieces(texts, similarity):
    similar = SimilarTexts(texts, similarity=similarity)
    for number, text in enumerate(texts):
        likeness = [
            len(pieces(text) & pieces(other)) / len(pieces(text) | pieces(other))
            for other in texts[:number]
        ]
        found = similar.find(number)
        assert (found is not None) == any(share >= similarity for share in likeness)
        if found is not None:
            assert found[1] == pytest.approx(likeness[found[0]])
        similar.add(number)


def test_duplicates_are_told_and_dropped_only_when_asked():
    found = conversations_of(
        (LONG + ".", "The Rhine."),
        ("What is 2 + 3?", "5"),
        (LONG.upper() + ".", "the  rhine."),
        (LONG + "!", "The Rhine."),
        ("What is 2 + 4?", "6"),
    )
    duplicates = find_duplicates(found)
    assert [(like.place, like.other, like.similarity) for like in duplicates.exact] == [
        ("r2", "r0", 1)
    ]
    assert [(like.place, like.other) for like in duplicates.near] == [("r3", "r0")]
    exact, near = duplicates.lines()
    assert exact == "The same as an earlier one, word for word: 1 (r2 and r0, 1.00)."
    assert near.startswith("Like an earlier one (0.8 or more): 1 (r3 and r0, 0.")
    assert len(found) == 5
    kept = drop_duplicates(found, duplicates)
    assert [record.place for record in kept] == ["r0", "r1", "r3", "r4"]
    kept = drop_duplicates(found, duplicates, near=duplicates.near)
    assert [record.place for record in kept] == ["r0", "r1", "r4"]
    assert find_duplicates(kept).lines() == []


def test_held_out_questions_that_were_learned_are_told_whatever_their_answer():
    found = conversations_of(
        (LONG + ".", "The Rhine."),
        ("What is 2 + 3?", "5"),
        (LONG + "!", "The Elbe, and others."),
        ("what is  2 + 3?", "five"),
        ("What is 7 + 3?", "5"),
    )
    leaks = find_leaks(found, Split(train=(0, 1), validation=(2,), test=(3, 4)))
    assert [(like.place, like.other) for like in leaks.validation] == [("r2", "r0")]
    assert [(like.place, like.other, like.similarity) for like in leaks.test] == [("r3", "r1", 1)]
    assert leaks.lines()[1].startswith(
        "Test records ask what a training record asks (0.8 or more alike): 1 ("
    )
    assert find_leaks(found, Split(train=(4,), validation=(1,), test=())).lines() == []


def test_what_is_too_long_to_compare_is_still_compared_word_for_word(monkeypatch):
    monkeypatch.setattr(conversation_checks, "MOST_CHARACTERS", 10)
    found = conversations_of((LONG, "x"), (LONG, "x"), (LONG + "!", "x"))
    duplicates = find_duplicates(found)
    assert (len(duplicates.exact), len(duplicates.near)) == (1, 0)
    assert "Near-duplicates were not looked for" in duplicates.lines()[-1]
    leaks = find_leaks(found, Split(train=(0,), validation=(1,), test=(2,)))
    assert (len(leaks.validation), len(leaks.test)) == (1, 0)
    assert "Near-duplicates were not looked for" in leaks.lines()[-1]


def test_thousands_of_nearly_equal_conversations_are_not_all_compared_with_all(monkeypatch):
    found = conversations_of(*((f"{LONG}, number {number}", "x") for number in range(2000)))
    compared = []
    likeness = SimilarTexts._likeness
    monkeypatch.setattr(
        SimilarTexts, "_likeness", lambda *which: compared.append(which[1]) or likeness(*which)
    )
    assert len(find_duplicates(found).near) == 1999
    assert len(compared) == 1999


def test_the_published_split_asks_14_held_out_questions_that_it_learns(shared_data):
    found = read_conversations(shared_data / "instruction-data.json")
    leaks = find_leaks(found, split_records(1100, split=(0.85, 0.05, 0.1), seed=0))
    assert (len(leaks.validation), len(leaks.test)) == (9, 5)
    asked = {record.place: record.conversation[0] for record in found}
    exact = [like for like in leaks.test if like.similarity == 1]
    assert exact
    assert all(asked[like.place] == asked[like.other] for like in exact)


def test_records_with_too_much_in_common_are_compared_for_a_while_only(monkeypatch):
    monkeypatch.setattr(conversation_similarity, "MOST_LOOKED_UP", 100)
    chance = random.Random(0)
    texts = [" ".join(chance.choices(LONG.split(), k=12)) for _ in range(60)]
    found = conversations_of(*((text, "x") for text in [*texts, texts[0]]))
    duplicates = find_duplicates(found)
    assert not duplicates.compared
    assert len(duplicates.exact) == 1
    assert "too much in common with one another" in duplicates.lines()[-1]
    monkeypatch.undo()
    assert find_duplicates(found).compared
