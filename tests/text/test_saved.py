import json

import pytest
import tokenizers

from cloche.errors import TokenizerError
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.hub import HubTokenizer
from cloche.text.saved import load_tokenizer
from cloche.text.words import WordTokenizer


@pytest.fixture(scope="module")
def saved() -> dict:
    return json.loads(train_bpe(["a cat, a cat"], vocab_size=260, rule="gpt-2").engine.to_str())


def refusal(folder, content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    (folder / "tokenizer.json").write_bytes(data)
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(folder)
    assert str(folder / "tokenizer.json") in str(caught.value)
    return str(caught.value)


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
    with pytest.raises(TokenizerError, match=r"tokenizer\.json cannot be read: No such file"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"model": 3}', b"\xff\xfe", '{"model": {"type": "BPE"}}']
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, content):
    assert "damaged" in refusal(tmp_path, content)


def test_a_cut_off_file_is_an_error(tmp_path, saved):
    assert "damaged" in refusal(tmp_path, json.dumps(saved)[:-200])


def test_a_kind_that_no_engine_knows_is_an_error(tmp_path):
    message = refusal(tmp_path, '{"model": {"type": "Trigram", "vocab": {}}}')
    assert "'Trigram'" in message


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFC"}},
        {"decoder": None},
        {"pre_tokenizer": None},
        {"added_tokens": []},
    ],
)
def test_a_bpe_that_means_something_else_is_opened_as_what_it_is(tmp_path, saved, change):
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved | change))
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, HubTokenizer)
    engine = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert loaded.encode("cat,acat") == engine.encode("cat,acat").ids


@pytest.mark.parametrize("made", [CharacterTokenizer("ab"), WordTokenizer(["a", "b"])])
def test_a_changed_vocabulary_is_opened_as_it_is(tmp_path, made):
    made.save(tmp_path)
    saved = json.loads((tmp_path / "tokenizer.json").read_bytes())
    vocab = saved["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    loaded = load_tokenizer(tmp_path)
    assert (loaded.kind, loaded.encode("a")) == ("hub", [1])
    assert loaded.fingerprint != made.fingerprint
