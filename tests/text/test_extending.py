"""Special tokens come behind all others, in tokenizers of every kind."""

import json

import pytest
from hub_engines import CORPUS, KINDS
from transformers import AutoTokenizer

from cloche.errors import TokenizerError
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.extending import with_special_tokens
from cloche.text.hub import HubTokenizer
from cloche.text.names import open_tokenizer
from cloche.text.tokenizer import Tokenizer
from cloche.text.words import WordTokenizer, split_words

NAMES = ("<|im_start|>", "<|im_end|>")
TEXT = "".join(dict.fromkeys(CORPUS))


def make(kind: str) -> Tokenizer:
    if kind == "characters":
        return CharacterTokenizer(set(TEXT))
    if kind == "own words":
        return WordTokenizer(set(split_words(TEXT, "colons")))
    if kind == "bpe":
        return train_bpe(CORPUS, vocab_size=300, rule="gpt-2")
    return HubTokenizer(KINDS[kind]().to_str().encode(), roles={})


def check(tokenizer: Tokenizer, folder) -> None:
    """That it can be extended, and nothing else changes, also once saved and opened again."""
    extended = with_special_tokens(tokenizer, NAMES)
    extended.save(folder)
    again = open_tokenizer(str(folder))
    size = tokenizer.vocab_size
    for found in (extended, again):
        assert found.special_tokens == tokenizer.special_tokens | {
            NAMES[0]: size,
            NAMES[1]: size + 1,
        }
        assert found.vocab_size == size + 2
        assert found.special_ids == tokenizer.special_ids
        assert found.encode(TEXT) == tokenizer.encode(TEXT)
        assert found.decode(found.encode(TEXT)) == tokenizer.decode(tokenizer.encode(TEXT))
        assert found.encode("".join(NAMES), allowed_special=NAMES) == [size, size + 1]
    assert again.fingerprint == extended.fingerprint != tokenizer.fingerprint


@pytest.mark.parametrize("kind", [*KINDS, "characters", "own words", "bpe"])
def test_any_tokenizer_gets_new_tokens_at_the_end_and_keeps_its_own(kind, tmp_path):
    check(make(kind), tmp_path)


def test_ids_that_a_tokenizer_leaves_out_stay_out(tmp_path):
    saved = json.loads(KINDS["words"]().to_str())
    vocab = saved["model"]["vocab"]
    vocab |= {word: number + 7 for word, number in vocab.items() if number > 4}
    check(HubTokenizer(json.dumps(saved).encode(), roles={}), tmp_path)


@pytest.mark.parametrize("kind", ["byte level", "byte fallback", "characters", "bpe"])
def test_transformers_gives_the_same_ids(kind, tmp_path):
    extended = with_special_tokens(make(kind), NAMES)
    extended.save(tmp_path)
    reference = AutoTokenizer.from_pretrained(tmp_path)
    text = f"{NAMES[0]}{CORPUS[0]}{NAMES[1]}"
    ids = reference(text, add_special_tokens=False)["input_ids"]
    assert extended.encode(text, allowed_special=NAMES) == ids


def test_tokens_that_are_typed_stay_text():
    extended = with_special_tokens(make("bpe"), NAMES)
    assert extended.decode(extended.encode("a<|im_end|>")) == "a<|im_end|>"
    assert extended.special_tokens["<|im_end|>"] not in extended.encode("a<|im_end|>")


def test_what_is_special_already_is_left_alone():
    tokenizer = with_special_tokens(make("bpe"), NAMES)
    assert with_special_tokens(tokenizer, NAMES) is tokenizer
    assert with_special_tokens(tokenizer, [*NAMES, "<|x|>", "<|x|>"]).vocab_size == (
        tokenizer.vocab_size + 1
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "holds something"),
        ("<a b>", "no white space"),
        ("a", "found in any text"),
        ("<\ud800>", "half a character"),
        ("cat", "has it as a token of plain text"),
        ("<think>", "has it as a token of plain text"),
    ],
)
def test_what_cannot_be_a_special_token_is_refused(name, said):
    with pytest.raises(TokenizerError, match=said):
        with_special_tokens(make("byte level"), ["<|x|>", name])


def test_all_names_that_cannot_be_are_told_at_once():
    with pytest.raises(TokenizerError, match=r"(?s)2 settings .*' '.*'a'"):
        with_special_tokens(make("bpe"), [" ", "a"])
