import functools
import json
import re

import pytest
import tokenizers
from hub_engines import CORPUS, KINDS, byte_fallback, byte_level, unigram, word_piece, words
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers

from cloche.errors import TokenizerError
from cloche.text.bpe import train_bpe
from cloche.text.cutting import safe_pieces
from cloche.text.hub import HubTokenizer, open_hub_tokenizer
from cloche.text.kinds import RULES
from cloche.text.splitting import byte_of_letter
from cloche.text.tokenizer import SpecialIds


def test_bytes_of_a_byte_level_vocabulary_are_true_bytes(tmp_path):
    tokenizer = HubTokenizer(byte_level().to_str().encode(), roles={})
    single = {tokenizer.token_bytes(number) for number in range(tokenizer.vocab_size)}
    assert {bytes([byte]) for byte in range(256)} <= single
    text = "the cat 猫😀 <think>"
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))) == text.encode()


def test_bytes_of_fallback_tokens_and_of_the_space_mark():
    engine = byte_fallback()
    tokenizer = HubTokenizer(engine.to_str().encode(), roles={})
    assert tokenizer.token_bytes(engine.token_to_id("<0xE4>") or 0) == b"\xe4"
    assert tokenizer.token_text(engine.token_to_id("<0xE4>") or 0) == "<E4>"
    assert tokenizer.token_bytes(engine.token_to_id("▁the") or 0) == b" the"
    ids = tokenizer.encode("😀 ok")
    assert len(ids) > 4
    assert tokenizer.decode(ids) == "😀 ok"
    # good characters stay, where the engine would lose them to a bad byte beside them
    assert tokenizer.decode([*ids[1:5], ids[1], ids[2]]) == "😀\ufffd"


def test_word_piece_tokens_are_shown_without_the_space_between_words():
    engine = word_piece()
    tokenizer = HubTokenizer(engine.to_str().encode(), roles={})
    assert tokenizer.token_text(engine.token_to_id("cat") or 0) == "cat"
    assert tokenizer.token_text(engine.token_to_id("##s") or 0) == "s"


def test_a_stream_shows_what_is_certain_at_once():
    tokenizer = HubTokenizer(byte_fallback().to_str().encode(), roles={})
    stream = tokenizer.stream()
    ids = tokenizer.encode("the 😀")
    pieces = [stream.push(number) for number in ids]
    assert pieces[-4:] == ["", "", "", "😀"]
    assert stream.close() == ""


@pytest.mark.parametrize("rule", RULES)
def test_text_may_be_cut_under_known_splitting_rules(rule):
    trained = train_bpe(CORPUS, vocab_size=320, rule=rule)
    hub = HubTokenizer(trained.engine.to_str().encode(), roles={})
    assert hub.joinable
    text = "The cat said，今天 12 天\n\n  hello. " * 3000
    whole = trained.engine.encode(text).ids
    assert hub.encode(text) == hub.encode_array(text).tolist() == whole


# As published by Qwen: https://huggingface.co/Qwen/Qwen2-0.5B/blob/main/tokenizer.json
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# As published by OpenAI: https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py
O200K = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


def _with_pattern(pattern: str) -> tokenizers.Tokenizer:
    engine = byte_level()
    content = json.loads(engine.to_str())
    content["added_tokens"] = content["added_tokens"][:2]
    engine = tokenizers.Tokenizer.from_str(json.dumps(content))
    engine.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, trim_offsets=False)
    engine.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    return engine


def test_the_patterns_of_qwen_and_o200k_are_known():
    for pattern in (QWEN, O200K):
        engine = _with_pattern(pattern)
        hub = HubTokenizer(engine.to_str().encode(), roles={})
        assert hub.joinable
        text = "The cat sAid，今天 12 天\n\n  e\u0301hello. " * 3000
        assert hub.encode(text) == engine.encode(text).ids


@pytest.mark.parametrize("kind", list(KINDS))
def test_where_splits_are_not_certain_text_is_encoded_whole(kind):
    # The byte-level one has an added token that is searched in normalized text.
    assert not HubTokenizer(KINDS[kind]().to_str().encode(), roles={}).joinable


def _without_unknown() -> dict[str, tokenizers.Tokenizer]:
    split = pre_tokenizers.WhitespaceSplit()
    pieces = [("▁", -1.0), ("the", -2.0), ("t", -3.0), ("h", -3.0), ("e", -3.0)]
    engines = {
        "words": tokenizers.Tokenizer(models.WordLevel({"the": 0}, unk_token="[UNK]")),
        "bpe": tokenizers.Tokenizer(models.BPE(dict(zip("the", range(3), strict=True)), [])),
        "unigram": tokenizers.Tokenizer(models.Unigram(pieces, None, False)),
    }
    for engine in engines.values():
        engine.pre_tokenizer = split
        engine.add_special_tokens(["</s>"])
    return engines


@pytest.mark.parametrize("kind", ["words", "bpe", "unigram"])
def test_what_no_token_stands_for_is_an_error_that_names_it(kind):
    engine = _without_unknown()[kind]
    tokenizer = HubTokenizer(engine.to_str().encode(), roles={})
    assert tokenizer.encode("the") == engine.encode("the").ids
    assert tokenizer.special_tokens == {"</s>": engine.token_to_id("</s>")}
    with pytest.raises(TokenizerError, match=r"the text holds '猫' \(U\+732B\), character 5 of it"):
        tokenizer.encode("the 猫")
    with pytest.raises(TokenizerError, match="the text holds"):
        tokenizer.encode_training("the </s>")
    assert tokenizer.encode("the</s>", allowed_special=["</s>"])[-1] == engine.token_to_id("</s>")


def test_added_tokens_keep_their_ids_where_an_unknown_token_is_lent():
    engine = tokenizers.Tokenizer(models.BPE(dict(zip("the", range(3), strict=True)), []))
    engine.add_tokens(["<a>", "<b>"])
    tokenizer = HubTokenizer(engine.to_str().encode(), roles={})
    assert tokenizer.encode("t<b>h<a>e") == engine.encode("t<b>h<a>e").ids == [0, 4, 1, 3, 2]
    assert tokenizer.vocab_size == 5


def test_ids_without_a_token_are_empty_text():
    engine = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 5}, unk_token="a"))
    tokenizer = HubTokenizer(engine.to_str().encode(), roles={"unk": None})
    assert tokenizer.vocab_size == 6
    assert tokenizer.decode([0, 3, 5]) == "a b"
    assert tokenizer.token_bytes(3) == b""
    assert tokenizer.token_text(3) == "<no token 3>"
    with pytest.raises(TokenizerError, match="6 is no id of this tokenizer: they go from 0 to 5"):
        tokenizer.decode([6])
    with pytest.raises(TokenizerError, match="-1 is no id"):
        tokenizer.stream().push(-1)


def test_roles_come_from_the_files_beside_it(tmp_path):
    (tmp_path / "tokenizer.json").write_text(word_piece().to_str(), encoding="utf-8")
    known = open_hub_tokenizer(tmp_path).special_ids
    assert known == SpecialIds(bos=2, eos=3, pad=0, unk=1)
    (tmp_path / "special_tokens_map.json").write_text(
        '{"bos_token": "[SEP]", "pad_token": "[PAD]"}'
    )
    config = {"bos_token": {"content": "[MASK]", "lstrip": True}, "eos_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert open_hub_tokenizer(tmp_path).special_ids == SpecialIds(bos=4, eos=None, pad=0, unk=1)


def test_well_known_names_give_the_roles_of_a_file_by_itself():
    llama = HubTokenizer(byte_fallback().to_str().encode(), roles={})
    assert llama.special_ids == SpecialIds(bos=1, eos=2, pad=None, unk=0)
    assert HubTokenizer(words().to_str().encode(), roles={}).special_ids.eos == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            '{"bos_token": "<nothing>"}',
            "names '<nothing>' \\(bos\\), which its tokenizer.json does not",
        ),
        ('{"bos_token": 3}', "bos_token is no token, but 3"),
        ('{"bos_token": {"text": "a"}}', "bos_token is no token"),
        ('{"bos_token"', "tokenizer_config.json is damaged at line 1, column 13"),
        ("[]", "holds no JSON object"),
    ],
)
def test_roles_that_cannot_be_are_errors(tmp_path, config, message):
    (tmp_path / "tokenizer.json").write_text(words().to_str(), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(TokenizerError, match=message):
        open_hub_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged at line 1, column 1"),
        (b'{"model": {\n "type": "BPE", }', "damaged at line 2, column 17"),
        (b'{"model": "\xff"}', "damaged at byte 11"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{}", "no model with a vocabulary"),
        (b'{"model": {"type": "Magic", "vocab": {}}}', "of the kind 'Magic'"),
        (b'{"model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}}', "damaged, or newer"),
        (b'{"model": {"type": "BPE", "vocab": [], "merges": []}}', "damaged, or newer"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_the_place(tmp_path, content, message):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=f"{re.escape(str(path))} .*{message}"):
        open_hub_tokenizer(path)


def test_an_absent_file_is_an_error(tmp_path):
    with pytest.raises(TokenizerError, match="does not exist; name a tokenizer"):
        open_hub_tokenizer(tmp_path)


def test_files_of_older_versions_open_too():
    content = json.loads(byte_level().to_str())
    del content["model"]["type"]
    merges = content["model"]["merges"]
    content["model"]["merges"] = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in merges
    ]
    older = HubTokenizer(json.dumps(content).encode(), roles={})
    assert older.encode("the cat</s>") == HubTokenizer(
        byte_level().to_str().encode(), roles={}
    ).encode("the cat</s>")


def test_merges_left_out_by_chance_are_for_training_only():
    content = json.loads(byte_level().to_str())
    content["model"]["dropout"] = 0.9
    tokenizer = HubTokenizer(json.dumps(content).encode(), roles={})
    assert tokenizer.encode("once upon a time") == byte_level().encode("once upon a time").ids


def test_a_special_token_that_is_not_there_cannot_be_allowed():
    tokenizer = HubTokenizer(words().to_str().encode(), roles={})
    with pytest.raises(TokenizerError, match="'<x>' is not a special token"):
        tokenizer.encode("a", allowed_special=["<x>"])


def test_a_lone_surrogate_is_an_error_in_any_kind():
    tokenizer = HubTokenizer(unigram().to_str().encode(), roles={})
    with pytest.raises(TokenizerError, match=r"lone surrogate U\+D83D"):
        tokenizer.encode("a\ud83db")


def test_the_letters_of_bytes_in_added_tokens_are_their_own_text():
    engine = byte_level()
    engine.add_tokens(["猫 cat"])
    tokenizer = HubTokenizer(engine.to_str().encode(), roles={})
    assert set("猫 cat") - set(byte_of_letter())
    ids = tokenizer.encode("the 猫 cat")
    assert tokenizer.token_bytes(ids[-1]) == "猫 cat".encode()
    assert tokenizer.decode(ids) == "the 猫 cat"


def test_a_token_that_only_has_a_role_stays_the_text_it_is(tmp_path):
    engine = byte_level()
    (tmp_path / "tokenizer.json").write_text(engine.to_str(), encoding="utf-8")
    config = {"pad_token": "!", "eos_token": "</s>", "cls_token": "ve"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = open_hub_tokenizer(tmp_path)
    text = "I've a cat! It's!! the !"
    assert tokenizer.special_ids.pad == engine.token_to_id("!")
    assert set(tokenizer.special_tokens) == {"<s>", "</s>"}
    ids = tokenizer.encode(text)
    assert ids == tokenizer.encode_array(text).tolist() == engine.encode(text).ids
    assert tokenizer.decode(ids) == text
    tokenizer.save(tmp_path / "again")
    again = open_hub_tokenizer(tmp_path / "again")
    assert again.special_ids == tokenizer.special_ids
    assert again.encode(text) == ids


@pytest.mark.parametrize("make", [unigram, words])
def test_a_mark_that_only_has_a_role_cannot_be_typed(tmp_path, make):
    content = json.loads(make().to_str())
    content["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    tokenizer = open_hub_tokenizer(tmp_path)
    end = tokenizer.special_ids.eos
    assert end is not None
    assert end not in tokenizer.encode("the </s> cat")
    assert tokenizer.encode("</s>", allowed_special=["</s>"])[-1] == end


def test_a_byte_that_the_file_calls_special_is_an_error_in_a_text_and_not_left_out():
    engine = byte_level()
    engine.add_special_tokens(["!"])
    tokenizer = HubTokenizer(engine.to_str().encode(), roles={})
    with pytest.raises(TokenizerError, match="the text holds '!'"):
        tokenizer.encode("the cat!")


def test_a_byte_that_the_vocabulary_lacks_at_the_end_of_words_is_an_error():
    letters = {letter: number for number, letter in enumerate(byte_of_letter())}
    engine = tokenizers.Tokenizer(models.BPE(letters, [], end_of_word_suffix="</w>"))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = HubTokenizer(engine.to_str().encode(), roles={})
    assert engine.encode("ab").ids == [letters["a"]]  # the engine leaves it out
    with pytest.raises(TokenizerError, match="the text holds"):
        tokenizer.encode("ab")


ADDED = ["<tool_call>", "</tool_call>", "<a><b>", "猫", "  "]


def _with_added(*tokens: tokenizers.AddedToken) -> tokenizers.Tokenizer:
    engine = _with_pattern(QWEN)
    engine.add_tokens(list(tokens))
    return engine


@given(
    parts=st.lists(st.sampled_from([*ADDED, "<s>", "cat", " ", "\n", "。", "<", ">", "e\u0301"]))
)
@settings(max_examples=150, deadline=None)
def test_text_with_added_tokens_may_be_cut_at_safe_places(parts):
    engine = _joinable_with_added()
    engine.encode_special_tokens = True
    hub = HubTokenizer(engine.to_str().encode(), roles={})
    assert hub.joinable
    text = "".join(parts)
    whole = engine.encode(text).ids
    for size in (1, 5):
        pieces = safe_pieces([text], size=size, most=None)
        assert [number for piece in pieces for number in hub.encode(piece)] == whole


@functools.cache
def _joinable_with_added() -> tokenizers.Tokenizer:
    plain = [tokenizers.AddedToken(name, normalized=False) for name in ADDED]
    return _with_added(*plain)


@pytest.mark.parametrize(
    "token",
    [
        tokenizers.AddedToken("two words", normalized=False),
        tokenizers.AddedToken("天。", normalized=False),
        tokenizers.AddedToken("<t>", normalized=False, lstrip=True),
        tokenizers.AddedToken("<t>", normalized=False, rstrip=True),
        tokenizers.AddedToken("<t>", normalized=False, single_word=True),
        tokenizers.AddedToken("<t>", normalized=True),
    ],
)
def test_an_added_token_that_reaches_over_safe_places_needs_text_whole(token):
    assert not HubTokenizer(_with_added(token).to_str().encode(), roles={}).joinable
