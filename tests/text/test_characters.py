import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from cloche.errors import TokenizerError
from cloche.text.characters import CharacterTokenizer, read_characters
from cloche.text.saved import load_tokenizer
from cloche.text.tokenizer import END_OF_TEXT, UNKNOWN, SpecialIds, Tokenizer

ODD = "a\n\r\t \u2028\u3000中e\u0301😀\u200d\ufeff<|>endoftextunk.\x1c\x85"
ODD_TEXTS = st.text(st.sampled_from(sorted(set(ODD))), max_size=60)


@pytest.fixture(scope="module")
def odd() -> CharacterTokenizer:
    return CharacterTokenizer(set(ODD), with_unknown=True)


@pytest.fixture(scope="module")
def odd_folder(odd, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    odd.save(folder)
    # as in a checkpoint: transformers must not take it for the family's own tokenizer
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    return folder


def test_shakespeare_has_the_published_ids(shared_data):
    text = (shared_data / "shakespeare.txt").read_text()
    tokenizer = CharacterTokenizer(set(text))
    assert len(tokenizer.characters) == 65
    assert tokenizer.encode("hii there") == [46, 47, 47, 1, 58, 46, 43, 56, 43]
    assert tokenizer.encode(text)[:8] == [18, 47, 56, 57, 58, 1, 15, 47]
    assert tokenizer.decode(tokenizer.encode_array(text).tolist()) == text
    assert tokenizer.vocab_size == 66


def test_special_tokens_come_after_the_characters():
    plain = CharacterTokenizer("ba")
    assert isinstance(plain, Tokenizer)
    assert plain.special_ids == SpecialIds(bos=2, eos=2, pad=2, unk=None)
    assert CharacterTokenizer("ab", with_unknown=True).special_ids.unk == 3


@given(text=ODD_TEXTS)
@settings(max_examples=60, deadline=None)
def test_any_text_of_its_characters_comes_back_also_as_a_stream(odd, text):
    ids = odd.encode(text)
    assert len(ids) == len(text)
    assert odd.decode(ids) == text
    stream = odd.stream()
    assert "".join(map(stream.push, ids)) + stream.close() == text


@given(text=ODD_TEXTS)
@settings(max_examples=60, deadline=None)
def test_tokenizers_and_transformers_give_the_same_ids_and_text(odd, odd_folder, text):
    ids = odd.encode(text)
    engine = tokenizers.Tokenizer.from_file(str(odd_folder / "tokenizer.json"))
    engine.encode_special_tokens = True
    assert engine.encode(text).ids == ids
    assert engine.decode(ids) == text
    auto = automatic(odd_folder)
    assert auto.encode(text, split_special_tokens=True) == ids
    assert auto.decode(ids) == text


def automatic(folder: Path, cache: dict = {}):  # noqa: B006 (loaded once for all examples)
    return cache.setdefault(folder, AutoTokenizer.from_pretrained(folder))


def test_transformers_knows_the_special_tokens(odd, odd_folder):
    auto = automatic(odd_folder)
    special = odd.special_ids
    assert len(auto) == odd.vocab_size
    assert auto.eos_token_id == auto.bos_token_id == auto.pad_token_id == special.eos
    assert auto.unk_token_id == special.unk
    assert auto.decode([0, special.eos], skip_special_tokens=True) == odd.decode([0, special.eos])


def test_an_unknown_character_is_named_with_code_point_and_position():
    tokenizer = CharacterTokenizer("abc")
    with pytest.raises(TokenizerError, match=r"'é' \(U\+00E9\), number 3 of the text"):
        tokenizer.encode("abé")
    with pytest.raises(TokenizerError, match=r"U\+00E9"):
        tokenizer.encode_training("abé")


def test_with_an_unknown_token_training_text_uses_it_and_prompts_do_not():
    tokenizer = CharacterTokenizer("abc", with_unknown=True)
    assert tokenizer.encode_training("aéb") == [0, 4, 1]
    assert tokenizer.encode_array("aéb").tolist() == [0, 4, 1]
    with pytest.raises(TokenizerError, match="é"):
        tokenizer.encode("aéb")
    assert tokenizer.decode([0, 4, 1]) == "ab"


def test_a_lone_surrogate_is_an_unknown_character():
    with pytest.raises(TokenizerError, match=r"U\+D800"):
        CharacterTokenizer("abc").encode("a\ud800")


def test_special_tokens_in_a_text_are_text_unless_allowed_by_name(odd):
    text = f"a{END_OF_TEXT}e{UNKNOWN}"
    assert odd.special_ids.eos not in odd.encode(text)
    assert odd.decode(odd.encode(text)) == text
    allowed = odd.encode(text, allowed_special={END_OF_TEXT})
    assert allowed == [*odd.encode("a"), odd.special_ids.eos, *odd.encode(f"e{UNKNOWN}")]
    with pytest.raises(TokenizerError, match="not a special token"):
        odd.encode(text, allowed_special={"<|im_end|>"})


@pytest.mark.parametrize("ids", [[-1], [5], [0, 99]])
def test_an_id_out_of_range_is_an_error(ids):
    with pytest.raises(TokenizerError, match=f"{ids[-1]} is no id .* from 0 to 3"):
        CharacterTokenizer("abc").decode(ids)


def test_tokens_read_as_their_characters_or_names(odd):
    assert odd.token_text(odd.encode("中")[0]) == "中"
    assert odd.token_text(odd.special_ids.eos) == END_OF_TEXT


def test_saving_and_loading_keeps_ids_bytes_and_fingerprint(odd, odd_folder, tmp_path):
    loaded = load_tokenizer(odd_folder)
    assert isinstance(loaded, CharacterTokenizer)
    assert loaded.characters == odd.characters
    assert loaded.special_ids == odd.special_ids
    assert loaded.fingerprint == odd.fingerprint
    loaded.save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (odd_folder / name).read_bytes()


def test_a_changed_file_is_not_read_as_ours(odd_folder):
    saved = json.loads((odd_folder / "tokenizer.json").read_bytes())
    vocab = saved["model"]["vocab"]
    vocab["a"], vocab["e"] = vocab["e"], vocab["a"]
    with pytest.raises(TokenizerError, match="not a character tokenizer as cloche writes it"):
        read_characters(saved, b"")


@pytest.mark.parametrize("characters", [set(), {"ab"}, {"a", ""}, {"\ud800"}])
def test_what_is_no_set_of_characters_is_refused(characters):
    with pytest.raises(TokenizerError, match="character"):
        CharacterTokenizer(characters)


def test_arrays_decode_too():
    tokenizer = CharacterTokenizer("abc")
    assert tokenizer.decode(np.array([2, 1, 0]).tolist()) == "cba"
    assert tokenizer.decode([]) == ""
