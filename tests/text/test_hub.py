import pickle
from pathlib import Path

import pytest
import tokenizers
from hub_engines import KINDS
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from cloche.text.hub import HubTokenizer, open_hub_tokenizer
from cloche.text.tokenizer import Tokenizer

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text(st.sampled_from("catlo' 12\n\t.!，。一座山里😀é<>s/[]CLSP"), max_size=60),
    st.lists(st.sampled_from(["the", " cat", "<s>", "</s>", "[CLS]", "<0x41>", " "])).map("".join),
)


@pytest.fixture(scope="module", params=KINDS)
def engine(request) -> tokenizers.Tokenizer:
    return KINDS[request.param]()


@pytest.fixture(scope="module")
def file(engine, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hub") / "tokenizer.json"
    path.write_text(engine.to_str(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer(file) -> HubTokenizer:
    return open_hub_tokenizer(file)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def reference(folder) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(folder)


@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_ids_are_those_of_transformers(tokenizer, reference, text):
    for name in tokenizer.special_tokens:
        text = text.replace(name, "")
    ids = reference.encode(text, add_special_tokens=False)
    assert tokenizer.encode(text) == tokenizer.encode_training(text) == ids
    assert tokenizer.encode_array(text).tolist() == ids


@given(text=TEXTS)
@settings(max_examples=40, deadline=None)
def test_allowed_special_tokens_are_found_as_transformers_finds_them(tokenizer, reference, text):
    names = list(tokenizer.special_tokens)
    text = f"the{names[-1]} cat {text}{names[0]}said"
    ids = reference.encode(text, add_special_tokens=False)
    assert tokenizer.encode(text, allowed_special=names) == ids


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_ids_decode_as_in_transformers_and_stream_to_the_same(tokenizer, reference, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=24))
    text = tokenizer.decode(ids)
    stream = tokenizer.stream()
    assert "".join(map(stream.push, ids)) + stream.close() == text
    expected = reference.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if "\ufffd" not in expected:
        assert text == expected


@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_the_text_of_encoded_text_is_that_of_transformers(tokenizer, reference, text):
    ids = tokenizer.encode(text)
    expected = reference.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if "\ufffd" not in expected:
        assert tokenizer.decode(ids) == expected


@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_special_tokens_typed_in_a_text_are_text(tokenizer, text):
    special = set(tokenizer.special_tokens.values()) - {tokenizer.special_ids.unk}
    for typed in (text, *(f"{text}{name}" for name in tokenizer.special_tokens)):
        assert not special & set(tokenizer.encode(typed))


def test_saving_keeps_the_file_and_the_roles(tokenizer, file, folder, tmp_path):
    again = open_hub_tokenizer(folder)
    assert (folder / "tokenizer.json").read_bytes() == file.read_bytes()
    assert again.special_ids == tokenizer.special_ids
    assert again.special_tokens == tokenizer.special_tokens
    assert again.fingerprint == tokenizer.fingerprint
    again.save(tmp_path)
    name = "tokenizer_config.json"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_copy_in_another_process_is_the_same(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    text = "the cat </s><s>[CLS] said"
    assert copy.encode(text) == tokenizer.encode(text)
    assert copy.special_ids == tokenizer.special_ids


def test_every_token_has_bytes_and_reads_as_text_or_hex(tokenizer, engine):
    assert tokenizer.vocab_size == engine.get_vocab_size()
    assert isinstance(tokenizer, Tokenizer)
    for number in range(tokenizer.vocab_size):
        data = tokenizer.token_bytes(number)
        shown = tokenizer.token_text(number)
        if number in tokenizer.special_tokens.values():
            assert not data
            assert tokenizer.special_tokens[shown] == number
        else:
            assert "\ufffd" not in shown
            assert shown.encode() == data or shown == f"<{data.hex(' ').upper()}>"
