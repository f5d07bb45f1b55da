"""What an answer shows is exactly what follows the text of its prompt."""

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.generation.answers import stream_behind
from cloche.text.bpe import train_bpe
from cloche.text.hub import HubTokenizer
from cloche.text.published import open_published
from cloche.text.tokenizer import END_OF_TEXT, UNKNOWN, Tokenizer
from cloche.text.words import WordTokenizer

PROMPTS = ["你好", "今天天气", "🙂", "a 🙂", "naïve", "好的 ", "x" * 30]
BYTES_ALONE = train_bpe(["abc"], vocab_size=257, rule="gpt-2")


@pytest.fixture(scope="module")
def gpt2():
    if not os.environ.get("TIKTOKEN_CACHE_DIR"):
        pytest.skip("TIKTOKEN_CACHE_DIR does not name a folder with the published ranks")
    return open_published("gpt2")


@pytest.fixture(scope="module")
def kinds():
    """Small tokenizers of Hugging Face, from beside the tests of text."""
    place = Path(__file__).parents[1] / "text" / "hub_engines.py"
    spec = importlib.util.spec_from_file_location("hub_engines_of_text", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.KINDS


def shown(tokenizer: Tokenizer, prompt: list[int], answer: list[int]) -> str:
    stream = stream_behind(tokenizer, prompt)
    return "".join(map(stream.push, answer)) + stream.close()


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("answer", ["，很好", "b", "🙂", " ok", ""])
def test_with_gpt2_no_prompt_leaves_a_replacement_sign(gpt2, prompt, answer):
    assert shown(gpt2, gpt2.encode(prompt), gpt2.encode(answer)) == answer


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("answer", ["，很好", "b", "🙂"])
def test_characters_cut_into_bytes_leave_no_replacement_sign(prompt, answer):
    assert shown(BYTES_ALONE, BYTES_ALONE.encode(prompt), BYTES_ALONE.encode(answer)) == answer


@given(st.text(max_size=20), st.text(max_size=20))
def test_whatever_the_prompt_the_answer_is_its_own_text(prompt, answer):
    ids = BYTES_ALONE.encode(prompt), BYTES_ALONE.encode(answer)
    assert shown(BYTES_ALONE, *ids) == answer


def test_a_character_that_the_answer_completes_belongs_to_the_answer():
    ids = BYTES_ALONE.encode("好你")
    assert shown(BYTES_ALONE, ids[:-1], [*ids[-1:], *BYTES_ALONE.encode("a")]) == "你a"
    assert shown(BYTES_ALONE, ids[:-1], BYTES_ALONE.encode("a")) == "a"


def test_bytes_of_the_answer_that_are_no_character_are_shown():
    stray = BYTES_ALONE.encode("你")[1:2]
    assert shown(BYTES_ALONE, BYTES_ALONE.encode("好"), stray) == "\ufffd"


def test_words_are_parted_from_known_and_unknown_words_but_begin_a_text():
    words = WordTokenizer(["dog", "the", "sat"], special=(END_OF_TEXT, UNKNOWN))
    sat = words.encode("sat")
    assert shown(words, words.encode("the dog"), sat) == " sat"
    assert shown(words, words.encode("the bird"), sat) == " sat"
    assert shown(words, [*words.encode("dog"), words.special_tokens[END_OF_TEXT]], sat) == "sat"


@pytest.mark.parametrize(
    "kind", ["unigram", "word piece", "byte fallback", "suffixed", "words", "byte level"]
)
@pytest.mark.parametrize("prompt", ["the cats", "the dogs", "今天天气", "cats 🙂"])
def test_hub_tokenizers_show_what_follows_the_prompt(kinds, kind, prompt):
    hub = HubTokenizer(kinds[kind]().to_str().encode(), roles={})
    ids, answer = hub.encode(prompt), hub.encode("the birds do")
    whole = hub.decode([*ids, *answer])
    assert shown(hub, ids, answer) == whole.removeprefix(hub.decode(ids))
