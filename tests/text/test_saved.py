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


def test_merges_left_out_by_chance_are_left_to_the_reader_that_switches_that_off(tmp_path, saved):
    changed = saved | {"model": saved["model"] | {"dropout": 0.5}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(changed))
    loaded = load_tokenizer(tmp_path)
    expected = tokenizers.Tokenizer.from_str(json.dumps(saved)).encode("a cat, a cat" * 20).ids
    assert loaded.kind == "hub"
    assert all(loaded.encode("a cat, a cat" * 20) == expected for _ in range(5))


def test_a_folder_keeps_the_roles_that_it_names(tmp_path, saved):
    engine = tokenizers.Tokenizer.from_str(json.dumps(saved))
    engine.add_special_tokens(["</s>"])
    (tmp_path / "tokenizer.json").write_text(engine.to_str())
    assert load_tokenizer(tmp_path).kind == "bpe"
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"eos_token": "</s>", "pad_token": null}')
    loaded = load_tokenizer(tmp_path)
    assert loaded.special_ids.eos == engine.token_to_id("</s>")
    assert loaded.special_ids.pad is None
    loaded.save(tmp_path / "again")
    assert load_tokenizer(tmp_path / "again").special_ids == loaded.special_ids
    config.write_text('{"eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}')
    assert load_tokenizer(tmp_path).kind == "bpe"


@pytest.mark.parametrize(
    "made",
    [
        CharacterTokenizer("ab"),
        WordTokenizer(["a", "b"]),
        train_bpe(["a cat, a cat"], vocab_size=260, rule="gpt-2"),
    ],
)
def test_what_cloche_saved_comes_back_as_what_it_was(tmp_path, made):
    made.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert type(loaded) is type(made)
    assert loaded.special_ids == made.special_ids
