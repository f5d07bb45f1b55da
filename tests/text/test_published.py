import hashlib
import json
import os
import pickle
import socket
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
import tiktoken
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from mixed_text import mixed_text
from transformers import AutoTokenizer

from cloche.errors import TokenizerError
from cloche.text import published as published_module
from cloche.text.cutting import safe_pieces
from cloche.text.kinds import PUBLISHED
from cloche.text.published import PublishedTokenizer, open_published, read_published
from cloche.text.ranks import ENCODINGS, O200K, find_encoding, ranks_sha256
from cloche.text.saved import load_tokenizer
from cloche.text.tokenizer import END_OF_TEXT, SpecialIds, Tokenizer

CACHED = ("gpt2", "cl100k_base")
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.text(
        st.sampled_from("aſS'tlre 12\n\r\t.!，。一座😀e\u0301\u0300AÅ/<|endoftext|>"), max_size=60
    ),
)


@pytest.fixture(scope="module", params=[*CACHED, "o200k_base"])
def tokenizer(request) -> PublishedTokenizer:
    """Of o200k_base, the splits, over the ranks of gpt2: its own are not at hand everywhere."""
    name = request.param
    if "TIKTOKEN_CACHE_DIR" not in os.environ:
        pytest.skip("TIKTOKEN_CACHE_DIR does not name a folder with the published ranks")
    if name in CACHED:
        return open_published(name)
    ranks = tiktoken.get_encoding("gpt2")._mergeable_ranks
    return PublishedTokenizer(replace(O200K, special={END_OF_TEXT: 50256}), ranks)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(tokenizer.kind)
    tokenizer.save(folder)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')  # as in a checkpoint
    return folder


@pytest.fixture(scope="module")
def engine(folder) -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    engine.encode_special_tokens = True
    return engine


@pytest.fixture(scope="module")
def automatic(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def gpt2() -> PublishedTokenizer:
    if "TIKTOKEN_CACHE_DIR" not in os.environ:
        pytest.skip("TIKTOKEN_CACHE_DIR does not name a folder with the published ranks")
    return open_published("gpt2")


def test_gpt2_gives_the_published_ids(gpt2, shared_data):
    text = "Hello, do you like tea? <|endoftext|> In the sunlit terracesof someunknownPlace."
    ids = gpt2.encode(text, allowed_special={END_OF_TEXT})
    assert ids == [
        *(15496, 11, 466, 345, 588, 8887, 30, 220, 50256, 554, 262, 4252, 18250, 8812, 2114),
        *(1659, 617, 34680, 27271, 13),
    ]
    before, after = text.split(END_OF_TEXT)
    assert gpt2.decode(ids) == before + after
    assert "".join(map(gpt2.token_text, ids)) == text
    verdict = (shared_data / "the-verdict.txt").read_text(encoding="utf-8")
    assert len(gpt2.encode(verdict)) == 5145
    assert gpt2.encode(verdict)[:5] == [40, 367, 2885, 1464, 1807]


@pytest.mark.parametrize("name", CACHED)
def test_what_is_known_of_an_encoding_is_what_tiktoken_has(name, gpt2):
    published, known = tiktoken.get_encoding(name), ENCODINGS[name]
    assert known.split == published._pat_str
    assert dict(known.special) == published._special_tokens
    assert known.ranks_sha256 == ranks_sha256(published._mergeable_ranks)
    assert open_published(name).vocab_size == published.n_vocab


@given(text=TEXTS)
@settings(max_examples=80, deadline=None)
def test_any_text_comes_back_also_as_a_stream(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_training(text) == tokenizer.encode_array(text).tolist() == ids
    stream = tokenizer.stream()
    assert "".join(map(stream.push, ids)) + stream.close() == text


@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_tokenizers_and_transformers_give_the_same_ids_and_text(tokenizer, engine, automatic, text):
    ids = tokenizer.encode(text)
    assert engine.encode(text).ids == ids
    assert engine.decode(ids) == text
    assert automatic.encode(text, split_special_tokens=True) == ids
    assert automatic.decode(ids) == text


def test_megabytes_of_every_kind_have_the_same_ids_everywhere(
    tokenizer, engine, automatic, shared_data
):
    text = mixed_text(2_300_000, seed=1, data=shared_data)
    assert len(text.encode()) > 3_333_333  # 10 MB with the three
    ids = tokenizer.encode_array(text)
    if tokenizer.kind in CACHED:
        assert ids.tolist() == tiktoken.get_encoding(tokenizer.kind).encode_ordinary(text)
    pieces = list(safe_pieces([text], size=5000))
    found = [encoding.ids for encoding in engine.encode_batch_fast(pieces)]
    assert [number for piece in found for number in piece] == ids.tolist()
    head = "".join(pieces[:20])
    head_ids = tokenizer.encode(head)
    assert automatic.encode(head, split_special_tokens=True) == head_ids
    assert engine.encode(head).ids == head_ids
    assert tokenizer.decode(head_ids) == head


def test_text_cut_at_safe_places_has_the_ids_of_the_whole(tokenizer, shared_data):
    text = mixed_text(200_000, seed=2, data=shared_data)
    pieces = [tokenizer.encode_array(piece) for piece in safe_pieces([text], size=200)]
    assert len(pieces) > 200
    np.testing.assert_array_equal(np.concatenate(pieces), tokenizer.encode_array(text))


def test_tokens_have_their_ids_in_the_saved_file(tokenizer, engine):
    spelled = [tokenizer.token_bytes(number) for number in range(0, tokenizer.vocab_size, 5)]
    texts = [data.decode() for data in spelled if data and data.isascii()]
    assert len(texts) > 8_000
    found = engine.encode_batch_fast(texts)
    assert [encoding.ids for encoding in found] == [tokenizer.encode(text) for text in texts]


def test_merges_are_found_for_every_token(tokenizer, folder):
    model = json.loads((folder / "tokenizer.json").read_bytes())["model"]
    longer = sum(len(tokenizer.token_bytes(n)) > 1 for n in range(tokenizer.vocab_size))
    assert len(model["merges"]) == longer


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_stream_of_any_ids_gives_the_text_of_them_all(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
    stream = tokenizer.stream()
    assert "".join(map(stream.push, ids)) + stream.close() == tokenizer.decode(ids)


def test_special_tokens_in_a_text_are_text_unless_allowed_by_name(tokenizer, automatic):
    text = f"a cat{END_OF_TEXT} said"
    end = tokenizer.special_ids.eos
    assert tokenizer.special_ids == SpecialIds(bos=end, eos=end, pad=end)
    assert end not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    allowed = tokenizer.encode(text, allowed_special=[END_OF_TEXT])
    assert allowed == [*tokenizer.encode("a cat"), end, *tokenizer.encode(" said")]
    assert allowed == automatic.encode(text)
    assert automatic.eos_token_id == automatic.bos_token_id == automatic.pad_token_id == end
    assert isinstance(tokenizer, Tokenizer)
    with pytest.raises(TokenizerError, match="not a special token"):
        tokenizer.encode(text, allowed_special=["<|im_end|>"])


def test_a_saved_one_opens_without_a_network_as_the_same(tokenizer, folder, tmp_path, monkeypatch):
    if tokenizer.kind not in CACHED:
        pytest.skip("its ranks are not the published ones here")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    loaded = load_tokenizer(folder)
    assert isinstance(loaded, PublishedTokenizer)
    assert (loaded.kind, loaded.fingerprint) == (tokenizer.kind, tokenizer.fingerprint)
    assert loaded.encode("It's 中文 😀") == tokenizer.encode("It's 中文 😀")
    loaded.save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    copy = pickle.loads(pickle.dumps(loaded))
    assert (copy.kind, copy.fingerprint) == (tokenizer.kind, tokenizer.fingerprint)


@pytest.mark.parametrize("change", ["vocabulary", "normalizer", "splits", "special"])
def test_what_is_not_the_published_encoding_to_the_last_token_is_not_taken_for_it(
    gpt2, tmp_path, change
):
    gpt2.save(tmp_path)
    saved = json.loads((tmp_path / "tokenizer.json").read_bytes())
    assert find_encoding(saved) is not None
    if change == "vocabulary":
        vocab = saved["model"]["vocab"]
        vocab["zz"], vocab["yy"] = vocab["yy"], vocab["zz"]
    elif change == "normalizer":
        saved["normalizer"] = {"type": "NFC"}
    elif change == "splits":
        saved["pre_tokenizer"]["add_prefix_space"] = True
    else:
        saved["added_tokens"][0]["content"] = "<|other|>"
    assert read_published(saved, b"") is None


def test_a_million_blanks_in_a_row_are_encoded_too(gpt2):
    ids = gpt2.encode_array("a" + " " * 1_000_000 + "x y")
    assert ids.tolist() == [64, *[220] * 999_999, *gpt2.encode(" x y")]


def test_a_lone_surrogate_is_an_error(tokenizer):
    for encode in (tokenizer.encode, tokenizer.encode_array):
        with pytest.raises(TokenizerError, match=r"lone surrogate U\+D83D"):
            encode("a\ud83db")


def test_an_id_out_of_range_is_an_error_and_one_without_meaning_is_empty(tokenizer):
    for number in (-1, tokenizer.vocab_size):
        with pytest.raises(TokenizerError, match=f"{number} is no id"):
            tokenizer.decode([number])
    if tokenizer.kind == "cl100k_base":
        assert tokenizer.decode([100256, 64, 100270]) == "a"
        assert tokenizer.token_text(100256) == "<unused>"


def test_tokens_read_as_text_as_hex_or_by_name(gpt2):
    assert gpt2.token_text(gpt2.encode(" tea")[0]) == " tea"
    assert [gpt2.token_text(n) for n in gpt2.encode("座")] == ["<E5 BA>", "<A7>"]
    assert gpt2.token_text(50256) == END_OF_TEXT
    assert gpt2.token_bytes(50256) == b""


def test_an_unknown_name_is_an_error_that_lists_the_known():
    with pytest.raises(TokenizerError, match="gpt2, cl100k_base, o200k_base"):
        open_published("gpt9")


@pytest.mark.parametrize("name", ENCODINGS)
def test_without_a_network_it_is_said_what_to_put_where(name, tmp_path, monkeypatch):
    def refuse(url, **options):
        raise requests.ConnectionError(url)

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(requests, "get", refuse)
    with pytest.raises(TokenizerError, match="TIKTOKEN_CACHE_DIR name the folder") as caught:
        open_published(name)
    for address in ENCODINGS[name].files:
        assert f"{address} as {hashlib.sha1(address.encode()).hexdigest()}" in str(caught.value)


def test_a_network_that_never_answers_is_not_waited_for(tmp_path, monkeypatch):
    released = threading.Event()

    def hang(url, **options):
        released.wait(30)
        raise requests.ConnectionError(url)

    def refuse(address, timeout):
        raise TimeoutError

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(requests, "get", hang)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(published_module, "getproxies", dict)
    monkeypatch.setattr(published_module, "_ANSWER_SECONDS", 0.1)
    try:
        with pytest.raises(TokenizerError, match="does not answer"):
            open_published("o200k_base")
    finally:
        released.set()


def test_every_published_encoding_is_known_by_its_name():
    assert tuple(ENCODINGS) == PUBLISHED
