import io
import json
import random
import re
import sys
from pathlib import Path

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from transformers import PreTrainedTokenizerFast

from cloche.errors import TokenizerError
from cloche.text.hub import HubTokenizer, open_hub_tokenizer
from cloche.text.sentencepiece import convert_sentencepiece, open_sentencepiece
from cloche.text.tokenizer import SpecialIds

WORDS = [
    *("the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran", "away", "from", "home"),
    *("12345", "hello", "world", "don't", "state-of-the-art"),
]
CHINESE = "从前有一座山山里有一座庙庙里有个老和尚今天天气很好我们去公园玩"
HARD = [
    *"abcthe cat  ▁<>/s0x41\t\n，。座山ＦｕｌｌﬁｶﾞかÅ①½ 　😀é猫犬한각ㄱ\u0301\u0323\u3099\u0331\x01",
    *("<sep>", "<s>", "</s>", "<unk>", "<0x41>", "  ", " the", " cat", "e\u0301", "\r\n", "[X]"),
    *("ab", "a\u0323\u0302", "か\u3099", "\u1112\u1161\u11ab", "👨‍👩‍👧", "🇨🇳", "\u0651\u064e"),
]
SYMBOLS = ["<sep>", "[X]", "ab"]
PLAIN = {"normalization_rule_name": "identity"}
BARE = {**PLAIN, "add_dummy_prefix": False, "remove_extra_whitespaces": False}
KINDS = {
    "unigram": {"model_type": "unigram"},
    "unigram of bytes": {"model_type": "unigram", "byte_fallback": True, "pad_id": 3},
    "unigram with symbols": {**PLAIN, "model_type": "unigram", "user_defined_symbols": SYMBOLS},
    "unigram over words": {
        "model_type": "unigram",
        **BARE,
        "split_by_whitespace": False,
        "split_digits": True,
        "byte_fallback": True,
    },
    "bpe": {"model_type": "bpe", "normalization_rule_name": "nfkc"},
    "bpe of bytes": {**PLAIN, "model_type": "bpe", "byte_fallback": True},
    "bpe with symbols": {**PLAIN, "model_type": "bpe", "user_defined_symbols": SYMBOLS},
    "bpe with spaces as symbols": {
        "model_type": "bpe",
        **BARE,
        "byte_fallback": True,
        "user_defined_symbols": ["<sep>", "▁▁", "▁▁▁"],
    },
    "characters": {**PLAIN, "model_type": "char"},
}


def _lines(count: int, *, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [
        " ".join(rng.choices(WORDS, k=8)) + "，" + "".join(rng.choices(CHINESE, k=10)) + "。"
        for _ in range(count)
    ]


def _hard_texts(count: int, *, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(HARD, k=rng.randrange(12))) for _ in range(count)]


def _train(**options) -> bytes:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_lines(400, seed=0)),
        model_writer=written,
        minloglevel=2,
        hard_vocab_limit=False,
        **{"vocab_size": 500, **options},
    )
    return written.getvalue()


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "spiece.model"
    path.write_bytes(_train(**KINDS[request.param]))
    return path


@pytest.fixture(scope="module")
def library(model) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(model))


@pytest.fixture(scope="module")
def tokenizer(model) -> HubTokenizer:
    return open_sentencepiece(model)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    tokenizer.save(folder)
    return folder


def test_ids_of_common_text_are_those_of_the_library(tokenizer, library):
    for text in [*_lines(300, seed=1), *_lines(20, seed=2), "", " ", "  the  cat ", "\u3000猫 "]:
        assert tokenizer.encode(text) == library.encode(text)


def test_ids_of_hard_text_are_those_of_the_library(tokenizer, library):
    for text in _hard_texts(700, seed=3):
        assert tokenizer.encode(text) == library.encode(text), ascii(text)


def test_text_comes_back_as_the_library_gives_it(tokenizer, library):
    for text in _lines(100, seed=4):
        ids = tokenizer.encode(text)
        if library.unk_id() not in ids:
            assert tokenizer.decode(ids) == library.decode(ids)
            stream = tokenizer.stream()
            assert "".join(map(stream.push, ids)) + stream.close() == tokenizer.decode(ids)


def test_transformers_reads_the_saved_file_to_the_same_ids(tokenizer, folder):
    reference = PreTrainedTokenizerFast.from_pretrained(folder)
    for text in [*_lines(50, seed=5), *_hard_texts(200, seed=6)]:
        for name in tokenizer.special_tokens:  # which it finds in text
            text = text.replace(name, "")
        ids = reference.encode(text, add_special_tokens=False)
        assert tokenizer.encode(text) == ids, ascii(text)


def test_roles_and_size_are_those_of_the_model_also_when_saved(tokenizer, library, folder):
    roles = [library.bos_id(), library.eos_id(), library.pad_id(), library.unk_id()]
    expected = SpecialIds(*(None if number < 0 else number for number in roles))
    assert tokenizer.special_ids == open_hub_tokenizer(folder).special_ids == expected
    assert tokenizer.vocab_size == library.vocab_size()


def test_tokens_of_other_names_have_their_roles(tmp_path):
    path = tmp_path / "m.model"
    names = {"bos_piece": "<begin>", "eos_id": -1, "unk_piece": "<?>"}
    path.write_bytes(_train(model_type="bpe", **PLAIN, **names))
    assert open_sentencepiece(path).special_tokens == {"<?>": 0, "<begin>": 1}
    assert open_sentencepiece(path).special_ids == SpecialIds(bos=1, unk=0)


def test_rules_of_the_user_are_carried_over(tmp_path):
    table = tmp_path / "rules.tsv"
    # "ab" to "c", the full-width A to "a", an apostrophe to nothing
    table.write_text("61 62\t63\nFF21\t61\n27\t\n")
    path = tmp_path / "m.model"
    path.write_bytes(_train(model_type="bpe", normalization_rule_tsv=str(table)))
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = open_sentencepiece(path)
    for text in ["abab caba Ａbc don't", "aab", "Ａb", *_lines(20, seed=7)]:
        assert tokenizer.encode(text) == library.encode(text)


def test_folding_of_case_is_carried_over(tmp_path):
    path = tmp_path / "m.model"
    path.write_bytes(_train(model_type="bpe", normalization_rule_name="nmt_nfkc_cf"))
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = open_sentencepiece(path)
    for text in ["The CAT Ｓat ŞİIß Ω ώ Α\u0345 I\u0307", *_hard_texts(50, seed=8)]:
        assert tokenizer.encode(text) == library.encode(text)


def _changed(path: Path, change) -> Path:
    """A model file that is changed after its training."""
    model_type = getattr(sentencepiece_model_pb2, "ModelProto")  # noqa: B009  made at run time
    proto = model_type.FromString(_train(model_type="bpe", **PLAIN))
    change(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def _set(part: str, name: str, value) -> object:
    return lambda proto: setattr(getattr(proto, part), name, value)


def _first_normal(proto, *, longer: bool = False):
    return next(p for p in proto.pieces if p.type == 1 and (len(p.piece) > 1 or not longer))


def _drop_a_letter(proto) -> None:
    text = _first_normal(proto, longer=True).piece
    letter = next(p for p in proto.pieces if p.piece == text[-1])
    letter.piece = "\ue000"


def _same_scores(proto) -> None:
    for piece in proto.pieces:
        piece.score = 0.0


def _twice(proto) -> None:
    proto.pieces[-1].piece = proto.pieces[-2].piece


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("trainer_spec", "model_type", 3), "whole words .model_type: word"),
        (_set("trainer_spec", "treat_whitespace_as_suffix", True), "treat_whitespace_as_suffix"),
        (_set("normalizer_spec", "escape_whitespaces", False), "escape_whitespaces"),
        (_set("normalizer_spec", "precompiled_charsmap", b"\1\2"), "rules 'identity' are damaged"),
        (_set("denormalizer_spec", "precompiled_charsmap", b"x"), "denormalizer_spec"),
        (
            lambda proto: setattr(_first_normal(proto), "type", 5),
            "1 of its pieces are marked as un",
        ),
        (lambda proto: setattr(_first_normal(proto), "type", 2), "it has 2 unknown pieces"),
        (_drop_a_letter, "which is no piece by itself"),
        (_same_scores, "have the same score"),
        (_twice, "is in it twice"),
    ],
)
def test_what_cannot_be_carried_over_is_refused_by_name(tmp_path, change, message):
    path = _changed(tmp_path / "m.model", change)
    with pytest.raises(
        TokenizerError, match=f"{re.escape(str(path))} cannot be converted: .*{message}"
    ):
        convert_sentencepiece(path)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("61 61 62\t4E00\n62 63\t4E01\n", "1 replacements .* of 'bc' by '丁'"),
        ("61 62\t63\n63 64\t65\n", "1 replacements .* of 'ab' by 'c'"),
        ("".join(f"61 {0x4E00 + n:X}\t{0x5000 + n:X}\n" for n in range(99)), "'a一' by '倀'"),
    ],
)
def test_rules_that_meet_or_are_too_many_are_refused(tmp_path, rules, message):
    table = tmp_path / "rules.tsv"
    table.write_text(rules)
    path = tmp_path / "m.model"
    path.write_bytes(_train(model_type="bpe", normalization_rule_tsv=str(table)))
    with pytest.raises(TokenizerError, match=f"'user_defined' cannot be carried over .*{message}"):
        convert_sentencepiece(path)


def test_a_symbol_that_the_rules_would_change_is_refused(tmp_path):
    table = tmp_path / "rules.tsv"
    table.write_text("FF38\t58\n")
    path = tmp_path / "m.model"
    options = {"user_defined_symbols": ["<Ｘ>"], "normalization_rule_tsv": str(table)}
    path.write_bytes(_train(model_type="unigram", **options))
    with pytest.raises(TokenizerError, match=r"symbol '<Ｘ>' is changed .*, to '<X>'"):
        convert_sentencepiece(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x0a\x05<unk>"])
def test_a_damaged_model_is_an_error(tmp_path, content):
    path = tmp_path / "m.model"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=r"m\.model is (damaged, or )?no SentencePiece model"):
        convert_sentencepiece(path)


def test_an_absent_file_or_library_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(TokenizerError, match="cannot be read: No such file"):
        convert_sentencepiece(tmp_path / "m.model")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(TokenizerError, match=r"pip install 'cloche\[sentencepiece\]'"):
        convert_sentencepiece(tmp_path / "m.model")


def test_the_converted_file_is_the_same_each_time(tmp_path):
    path = tmp_path / "m.model"
    path.write_bytes(_train(model_type="bpe", **PLAIN))
    data = convert_sentencepiece(path)
    assert data == convert_sentencepiece(path)
    assert json.loads(data)["model"]["type"] == "BPE"
