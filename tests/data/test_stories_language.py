"""The language of the stories: grammar that can be checked, variety, and words."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.data.stories.chinese import word_chinese
from cloche.data.stories.corpus import stories_text, story, tell_tale
from cloche.data.stories.english import article, plural, word_english
from cloche.data.stories.places import PLACES, SPOTS
from cloche.data.stories.things import KINDS
from cloche.data.stories.words import BLUE, CHILDREN, ORANGE, SMALL
from cloche.data.stories.world import Amount, Group, Thing

SIZE_BYTES = 400_000


@pytest.fixture(scope="module")
def english_text():
    return stories_text("en", size_bytes=SIZE_BYTES, seed=11)


@pytest.fixture(scope="module")
def chinese_text():
    return stories_text("zh", size_bytes=SIZE_BYTES, seed=11)


@pytest.fixture(scope="module")
def both():
    return [
        (story(i, seed=6, language="en"), story(i, seed=6, language="zh", part="train"))
        for i in range(300)
    ]


def test_articles_fit_the_word_that_follows(english_text):
    assert re.findall(r"\b[Aa] [aeiouAEIOU]\w*", english_text) == []
    assert set(re.findall(r"\b[Aa]n ([^aeiouAEIOU]\w*)", english_text)) <= {"hour"}


def test_nothing_is_left_of_the_templates(english_text, chinese_text):
    for text in (english_text, chinese_text):
        assert not set("{}|_") & set(text)
        assert "  " not in text
        assert not re.search(r"[ \n]\n\n|\n\n\n| \n|\n ", text)
        assert "None" not in text


def test_pronouns_are_never_given_the_ending_of_a_name(english_text):
    assert not re.search(r"\b(she|he|they|it)'s\b", english_text, re.IGNORECASE)
    assert not re.search(r"\b(to|for|from|with|at|and) (she|he|they)\b", english_text)


def test_every_english_sentence_begins_with_a_capital_and_ends_with_a_mark(both):
    for english, _ in both:
        for sentence in english.sentences:
            assert re.match(r'"?[A-Z]', sentence), sentence
            assert re.search(r'[.!?]"?$', sentence), sentence
            assert sentence.count('"') % 2 == 0, sentence


def test_every_chinese_sentence_has_full_width_marks_and_no_latin_letter(both):
    for _, chinese in both:
        for sentence in chinese.sentences:
            assert re.search(r"[。！？]”?$", sentence), sentence
            assert not re.search(r"[A-Za-z0-9 ,.!?:;\"']", sentence), sentence
            assert sentence.count("“") == sentence.count("”"), sentence


def test_new_sentences_within_an_english_text_begin_with_a_capital(english_text):
    assert not re.search(r"\. [a-z]", english_text)
    assert not re.search(r'[.!?] "[a-z]', english_text)


def test_chinese_words_do_not_stumble(chinese_text):
    assert not re.search(r"的的|了了。|太太太|一个个|她的自己|他的自己", chinese_text)


@pytest.mark.parametrize(
    ("language", "she", "he"), [("en", r"\b[Ss]he\b", r"\b[Hh]e\b"), ("zh", "她", "他")]
)
def test_pronouns_fit_the_people_of_the_story(language, she, he):
    only = Counter()
    for index in range(300):
        _, tale, _ = tell_tale(index, seed=6, language=language, part="train")
        text = "\n".join(sentence for lines in tale.paragraphs for sentence in lines)
        text = text.replace("吉他", "")  # a guitar is written with the sign of he
        genders = {person.gender for person in tale.people()}
        if len(genders) == 1:
            (gender,) = genders
            only[gender] += 1
            assert not re.search(he if gender == "f" else she, text), text
    assert min(only["f"], only["m"]) > 20


def test_several_hundred_words_are_used_in_each_language(english_text, chinese_text):
    words = Counter(re.findall(r"[a-z]+", english_text.lower()))
    assert sum(count >= 3 for count in words.values()) > 800
    characters = Counter(re.findall(r"[一-鿿]", chinese_text))
    assert sum(count >= 3 for count in characters.values()) > 800


def test_at_least_thirty_six_shapes_are_told():
    assert len({story(i, seed=8, language="en").shape for i in range(500)}) >= 36


@pytest.mark.parametrize("language", ["en", "zh"])
def test_few_of_two_hundred_stories_begin_with_the_same_two_sentences(language):
    beginnings = [story(i, seed=1, language=language).sentences[:2] for i in range(200)]
    assert len(set(beginnings)) >= 196


def test_stories_are_short_but_not_too_short(both):
    lengths = [len(english.text.split()) for english, _ in both]
    assert min(lengths) >= 40
    assert max(lengths) <= 160


def test_most_sentences_are_told_in_many_ways(both):
    told = Counter(sentence for english, _ in both for sentence in english.sentences)
    assert len(told) > 0.6 * told.total()


def test_some_stories_have_dialogue_and_some_several_paragraphs(both):
    texts = [english.text for english, _ in both]
    assert sum('"' in text for text in texts) > 150
    assert sum("\n" in text for text in texts) > 150


@given(st.sampled_from(KINDS), st.integers(2, 10))
def test_amounts_have_plurals_and_measure_words(kind, number):
    english = word_english(Amount(kind, number))[""]
    chinese = word_chinese(Amount(kind, number))[""]
    assert english.endswith(kind.plural)
    assert kind.plural != kind.english
    assert chinese.endswith(kind.measure + kind.chinese)
    assert not chinese.startswith("二")


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("apple", "apples"),
        ("box", "boxes"),
        ("peach", "peaches"),
        ("toy", "toys"),
        ("daisy", "daisies"),
        ("tomato", "tomatoes"),
        ("leaf", "leaves"),
        ("scarf", "scarves"),
        ("calf", "calves"),
    ],
)
def test_plurals(noun, many):
    assert plural(noun) == many


def test_articles():
    assert [article(words) for words in ("egg", "old ball", "red apple")] == [
        "an egg",
        "an old ball",
        "a red apple",
    ]


def test_a_thing_is_worded_with_size_before_colour_in_english_and_after_it_in_chinese():
    ball = next(kind for kind in KINDS if kind.english == "ball")
    thing = Thing(ball, BLUE, SMALL)
    assert word_english(thing)["a"] == "a small blue ball"
    assert word_chinese(thing)["a"] == "一个蓝色的小皮球"
    orange = Thing(ball, ORANGE, None)
    assert word_english(orange)["a"] == "an orange ball"
    assert word_english(orange)["full"] == "the orange ball"


def test_two_girls_have_a_pronoun_of_their_own_in_chinese():
    girls = [child for child in CHILDREN if child.gender == "f"]
    boys = [child for child in CHILDREN if child.gender == "m"]
    assert word_chinese(Group(girls[0], girls[1]))["he"] == "她们"
    assert word_chinese(Group(girls[0], boys[0]))["he"] == "他们"
    assert word_chinese(Group(boys[0], boys[1]))["he"] == "他们"


def test_words_are_listed_once_in_each_language():
    for words in (KINDS, PLACES, CHILDREN, *SPOTS.values()):
        assert len({word.english for word in words}) == len(words)
        assert len({word.chinese for word in words}) == len(words)
