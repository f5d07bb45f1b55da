import json

import pytest

from cloche.errors import TokenizerError
from cloche.text.bpe import train_bpe
from cloche.text.saved import load_tokenizer


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


def test_an_unknown_kind_is_an_error_that_says_what_is_supported(tmp_path):
    message = refusal(tmp_path, '{"model": {"type": "Unigram"}}')
    assert "of the kind Unigram" in message
    assert "Supported are character and word tokenizers" in message


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"normalizer": {"type": "NFC"}}, "it changes text or ids"),
        ({"decoder": None}, "its decoder is not ByteLevel"),
        ({"pre_tokenizer": None}, "its splitting rule is none of"),
        ({"added_tokens": []}, "it has no <|endoftext|>"),
    ],
)
def test_a_bpe_that_would_mean_something_else_is_refused(tmp_path, saved, change, problem):
    message = refusal(tmp_path, json.dumps(saved | change))
    assert problem in message
    assert "Supported are" in message
