import json
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from cloche.errors import TokenizerError
from cloche.text.bpe import BytePairTokenizer, train_bpe
from cloche.text.byte_stream import ByteTextStream, decode_bytes
from cloche.text.kinds import RULES
from cloche.text.saved import load_tokenizer
from cloche.text.splitting import byte_of_letter, rule_of
from cloche.text.tokenizer import END_OF_TEXT, SpecialIds, Tokenizer

CORPUS = (
    "Once upon a time there was a little cat. It's 12345 o'clock!\n\n  The cat said: hello.\r\n"
    "从前有一座山，山里有一座庙。庙里有个老和尚。今天天气很好，我们去公园玩。\n"
) * 8
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.text(st.sampled_from("catlo' 12\n\r\t.!，。一座山里😀e\u0301<|endoftext|>"), max_size=60),
)


@pytest.fixture(scope="module", params=RULES)
def tokenizer(request) -> BytePairTokenizer:
    return train_bpe([CORPUS], vocab_size=340, rule=request.param)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bpe")
    tokenizer.save(folder)
    # as in a checkpoint: transformers must not take it for the family's own tokenizer
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    return folder


@pytest.fixture(scope="module")
def automatic(folder):
    return AutoTokenizer.from_pretrained(folder)


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
def test_tokenizers_and_transformers_give_the_same_ids_and_text(tokenizer, folder, automatic, text):
    ids = tokenizer.encode(text)
    engine = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    engine.encode_special_tokens = True
    assert engine.encode(text).ids == ids
    assert engine.decode(ids) == text
    assert automatic.encode(text, split_special_tokens=True) == ids
    assert automatic.decode(ids) == text


def test_transformers_knows_the_special_tokens(tokenizer, automatic):
    end = tokenizer.special_ids.eos
    assert len(automatic) == tokenizer.vocab_size
    assert automatic.eos_token_id == automatic.bos_token_id == automatic.pad_token_id == end
    assert automatic.encode(END_OF_TEXT) == [end]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_stream_of_any_ids_gives_the_text_of_them_all(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
    stream = tokenizer.stream()
    pieces = [stream.push(number) for number in ids]
    assert "".join(pieces) + stream.close() == tokenizer.decode(ids)


HARD_BYTES = st.sampled_from(
    [b"a", "é".encode(), "中".encode(), "😀".encode(), "\ufffd".encode()]
    + [bytes([byte]) for byte in b"\x80\xbf\xc0\xc3\xe4\xb8\xad\xed\xa0\xf0\x9f\x98\xf4\x90\xff"]
)


@given(chunks=st.lists(st.lists(HARD_BYTES, max_size=4).map(b"".join), max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_stream_of_bytes_is_never_half_a_character_and_ends_as_the_whole(chunks):
    stream = ByteTextStream()
    shown = ""
    for chunk in chunks:
        shown += stream.push(chunk)
        shown.encode("utf-8")  # whole characters only
    assert shown + stream.close() == decode_bytes(b"".join(chunks))


def test_a_run_of_bad_bytes_is_one_sign_at_its_end():
    assert decode_bytes(b"a\xff\xfe\x80b\xe4\xb8") == "a\ufffdb\ufffd"
    stream = ByteTextStream()
    parts = [b"a", b"\xff", b"\xfe", b"\x80", b"\x80\x80", b"b", b"\xe4", b"\xb8"]
    assert [stream.push(part) for part in parts] == ["a", "", "", "", "", "\ufffdb", "", ""]
    assert stream.close() == "\ufffd"
    assert stream.close() == ""


def test_replacement_signs_that_are_in_the_text_stay_as_many_as_they_are():
    assert decode_bytes("\ufffd\ufffd".encode()) == "\ufffd\ufffd"


def test_a_bpe_is_a_tokenizer_with_all_bytes_and_the_end_token_last(tokenizer):
    assert tokenizer.vocab_size == 340
    assert tokenizer.special_ids == SpecialIds(bos=339, eos=339, pad=339)
    single = {tokenizer.token_bytes(number) for number in range(340)}
    assert {bytes([byte]) for byte in range(256)} <= single
    assert isinstance(tokenizer, Tokenizer)


def test_special_tokens_in_a_text_are_text_unless_allowed_by_name(tokenizer):
    text = f"a cat{END_OF_TEXT} said"
    end = tokenizer.special_ids.eos
    assert end not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    allowed = tokenizer.encode(text, allowed_special=[END_OF_TEXT])
    assert allowed == [*tokenizer.encode("a cat"), end, *tokenizer.encode(" said")]
    assert tokenizer.decode(allowed) == "a cat said"
    with pytest.raises(TokenizerError, match="not a special token"):
        tokenizer.encode(text, allowed_special=["<|im_end|>"])


def test_training_twice_gives_the_same_bytes_also_in_another_process(tokenizer):
    again = train_bpe([CORPUS], vocab_size=340, rule=tokenizer.rule)
    assert again.fingerprint == tokenizer.fingerprint
    code = (
        "import sys; from cloche.text.bpe import train_bpe\n"
        "text = sys.stdin.buffer.read().decode('utf-8')\n"
        f"print(train_bpe([text], vocab_size=340, rule={tokenizer.rule!r}).fingerprint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=CORPUS.encode(), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == tokenizer.fingerprint


def test_little_text_gives_a_smaller_vocabulary_than_asked():
    small = train_bpe(["a cat, a cat, a cat"], vocab_size=5000, rule="gpt-2")
    assert 257 < small.vocab_size < 270
    assert small.decode(small.encode("quite another text ✓")) == "quite another text ✓"


@pytest.mark.parametrize(
    ("pieces", "vocab_size", "rule", "message"),
    [
        ([], 300, "gpt-2", "no text to train"),
        (["", ""], 300, "gpt-2", "no text to train"),
        (["abc"], 256, "gpt-2", "at least 257 ids"),
    ],
)
def test_what_cannot_be_trained_is_an_error(pieces, vocab_size, rule, message):
    with pytest.raises(TokenizerError, match=message):
        train_bpe(pieces, vocab_size=vocab_size, rule=rule)


def test_the_rules_split_as_the_published_ones_do():
    text = "It's 12345 o'clock，山里有3座庙。 ok!\n\nひら漢字"
    parts = {rule: list(_pre_tokenize(rule, text)) for rule in RULES}
    assert parts["gpt-2"] == [
        *("It", "'s", " 12345", " o", "'", "clock", "，", "山里有", "3", "座庙", "。", " ok"),
        *("!", "\n", "\n", "ひら漢字"),
    ]
    assert parts["llama-bpe"] == [
        *("It", "'s", " ", "123", "45", " o", "'clock", "，山里有", "3", "座庙", "。", " ok"),
        *("!\n\n", "ひら漢字"),
    ]
    assert parts["deepseek-v3"] == [
        *("It", "'s", " ", "123", "45", " o", "'clock", "，", "山里有", "3", "座庙", "。", " ok"),
        *("!\n\n", "ひら漢字"),
    ]


def _pre_tokenize(rule, text):
    """The splits, as text."""
    engine = train_bpe(["ab"], vocab_size=257, rule=rule).engine
    letters = byte_of_letter()
    for token, _ in engine.pre_tokenizer.pre_tokenize_str(text):
        yield bytes(letters[letter] for letter in token).decode()


def test_the_letters_of_bytes_are_those_of_the_engine():
    letters = byte_of_letter()
    assert set(letters) == set(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    assert sorted(letters.values()) == list(range(256))


def test_the_rule_is_stored_and_told_from_the_file(tokenizer, folder):
    saved = json.loads((folder / "tokenizer.json").read_bytes())
    config = json.loads((folder / "tokenizer_config.json").read_bytes())
    assert rule_of(saved["pre_tokenizer"]) == config["cloche_rule"] == tokenizer.rule
    assert config["clean_up_tokenization_spaces"] is False


def test_saving_and_loading_keeps_ids_bytes_and_fingerprint(tokenizer, folder, tmp_path):
    loaded = load_tokenizer(folder)
    assert isinstance(loaded, BytePairTokenizer)
    assert (loaded.rule, loaded.fingerprint) == (tokenizer.rule, tokenizer.fingerprint)
    assert loaded.encode(CORPUS) == tokenizer.encode(CORPUS)
    loaded.save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_tokens_read_as_text_or_as_hex(tokenizer):
    texts = [tokenizer.token_text(number) for number in range(tokenizer.vocab_size)]
    assert texts[-1] == END_OF_TEXT
    assert {" cat", "\n", "<E4>"} <= set(texts)


@pytest.mark.parametrize("number", [-1, 340])
def test_an_id_out_of_range_is_an_error(tokenizer, number):
    with pytest.raises(TokenizerError, match=f"{number} is no id .* from 0 to 339"):
        tokenizer.decode([number])
    with pytest.raises(TokenizerError, match="is no id"):
        tokenizer.stream().push(number)


def test_a_lone_surrogate_is_an_error(tokenizer):
    with pytest.raises(TokenizerError, match=r"lone surrogate U\+D83D"):
        tokenizer.encode("a\ud83db")
