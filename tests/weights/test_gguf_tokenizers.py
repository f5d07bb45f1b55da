"""Tokenizers in GGUF files: the same ids in ours, in the one read back, and in llama.cpp."""

import io
import json
import os
import random
import re
import tempfile
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from gguf_samples import EXTRA_ROWS, TEXT, build, byte_pairs, configurations, write
from tokenizers import Tokenizer as Engine
from tokenizers import models, trainers

from cloche.errors import CheckpointError, TokenizerError
from cloche.text.characters import CharacterTokenizer
from cloche.text.hub import HubTokenizer
from cloche.text.published import open_published
from cloche.text.sentencepiece import open_sentencepiece
from cloche.text.splitting import byte_of_letter
from cloche.text.tokenizer import END_OF_TEXT, SpecialIds, Tokenizer
from cloche.text.words import WordTokenizer
from cloche.weights.gguf_architecture import express
from cloche.weights.gguf_file import write_gguf
from cloche.weights.gguf_listing import list_tokens
from cloche.weights.gguf_llama_cpp import Questions, ask_llama_cpp
from cloche.weights.gguf_reading import import_gguf
from cloche.weights.gguf_splitters import EXACT, SPLITTERS
from cloche.weights.gguf_vocabulary import vocabulary_keys

NFC = {"type": "NFC"}
_KINDS_OF_TEXT = (
    "abcdefgh ABC 'sS'tT're'LL'vE'm'd",
    "  \t\n\r\n\u00a0\u3000\u2028\u0085\u200b\ufeff",
    "0123456789٣४¼²Ⅷ一二",
    "春眠不觉晓。，！？「」ー・ぁアｱ가힣",
    "éèñßıİŉǅΣσςПриветМирЂ",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~€£¥§©±∑√",
    "😀👍🏽👨‍👩‍👧‍👦e\u0301\u0308\u093f\u0ba4\u0bbfน้ำ",
    "\x00\x01\x1f\x7f\u00ad",
)


def _texts(count: int, *, seed: int) -> list[str]:
    dice = random.Random(seed)
    drawn = [
        "".join(
            letter
            for kind in dice.choices(_KINDS_OF_TEXT, k=dice.randint(1, 20))
            for letter in dice.choices(kind, k=dice.randint(1, 4))
        )
        for _ in range(count)
    ]
    return [TEXT, TEXT[::-1], "", " ", "\n\n  a", "<|endoftext|> </s> <0x41>", *drawn]


TEXTS = _texts(120, seed=1)


@cache
def _trained(name: str, special: tuple[str, ...]) -> str:
    """A byte-level BPE under a splitting rule, as the JSON of its file."""
    saved = json.loads(Engine(models.BPE()).to_str())
    saved["pre_tokenizer"] = SPLITTERS[name].to_json()
    saved["decoder"] = {
        "type": "ByteLevel",
        "add_prefix_space": True,
        "trim_offsets": True,
        "use_regex": True,
    }
    engine = Engine.from_str(json.dumps(saved))
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        min_frequency=2,
        initial_alphabet=sorted(byte_of_letter()),
        show_progress=False,
        special_tokens=list(special),
    )
    engine.train_from_iterator(_texts(500, seed=2), trainer)
    return engine.to_str()


def _hub(name: str, *, special: tuple[str, ...] = (END_OF_TEXT,), **changes: Any) -> HubTokenizer:
    """That as a Hugging Face tokenizer, with changes to its file."""
    saved = json.loads(_trained(name, special))
    saved["model"]["ignore_merges"] = SPLITTERS[name].looks_up_words
    saved["normalizer"] = NFC if SPLITTERS[name].composes else None
    saved |= {key: value for key, value in changes.items() if key != "model"}
    saved["model"] |= changes.get("model", {})
    return HubTokenizer(json.dumps(saved).encode(), roles={})


def _sentencepiece(folder: Path, *, prefix: bool, **options: Any) -> HubTokenizer:
    library = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.split("\n") * 20),
        model_writer=written,
        minloglevel=2,
        hard_vocab_limit=False,
        remove_extra_whitespaces=False,
        add_dummy_prefix=prefix,
        **{
            "vocab_size": 420,
            "model_type": "bpe",
            "byte_fallback": True,
            "normalization_rule_name": "identity",
            **options,
        },
    )
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    return open_sentencepiece(folder / "tokenizer.model")


EXPORTED: dict[str, Callable[[Path], Tokenizer]] = {
    "trained, gpt-2": lambda _: byte_pairs(rule="gpt-2"),
    "trained, llama-bpe": lambda _: byte_pairs(rule="llama-bpe"),
    "trained, deepseek-v3": lambda _: byte_pairs(rule="deepseek-v3"),
    **{f"hub, {name}": lambda _, name=name: _hub(name) for name in EXACT},
    "pieces after a space": lambda folder: _sentencepiece(folder, prefix=True),
    "pieces": lambda folder: _sentencepiece(folder, prefix=False),
}


def _written(tokenizer: Tokenizer, path: Path, **options: Any) -> Path:
    config = configurations(tokenizer.vocab_size + EXTRA_ROWS)["llama"]
    return write(path, build(config), tokenizer, **options)


@pytest.mark.parametrize("name", EXPORTED)
def test_the_same_ids_and_text_here_there_and_back(name, tmp_path):
    pytest.importorskip("xllamacpp")
    tokenizer = EXPORTED[name](tmp_path)
    path = _written(tokenizer, tmp_path / "model.gguf")
    splitter = SPLITTERS.get(name.removeprefix("hub, "), SPLITTERS["gpt-2"])
    texts = [unicodedata.normalize("NFC", t) if splitter.composes else t for t in TEXTS]
    answers, read = ask_llama_cpp(path, Questions(texts=texts)), import_gguf(path).tokenizer
    for text, theirs, shown in zip(texts, answers.ids, answers.pieces, strict=True):
        ours = tokenizer.encode(text)
        assert theirs == ours, text
        assert read.encode(text) == ours, text
        assert read.decode(ours) == tokenizer.decode(ours)
        # llama.cpp shows the space that is set before a text.
        assert shown in (tokenizer.decode(ours), " " + tokenizer.decode(ours))


def test_characters_go_over_as_pieces_that_never_merge(tmp_path):
    pytest.importorskip("xllamacpp")
    dice = random.Random(3)
    tokenizer = CharacterTokenizer(set("".join(_KINDS_OF_TEXT)) - {"\0"}, with_unknown=True)
    texts = ["".join(dice.choices(tokenizer.characters, k=60)) for _ in range(200)]
    texts += ["  a  b  ", "", " ", "\n"]
    path = _written(tokenizer, tmp_path / "model.gguf")
    answers, read = ask_llama_cpp(path, Questions(texts=texts)), import_gguf(path)
    assert answers.ids == [tokenizer.encode(text) for text in texts]
    assert answers.pieces == texts
    assert isinstance(read.tokenizer, CharacterTokenizer)
    assert read.tokenizer.fingerprint == tokenizer.fingerprint
    assert read.special_ids.unk == tokenizer.special_ids.unk


def test_an_unknown_character_is_an_error_in_llama_cpp_as_it_is_here(tmp_path):
    pytest.importorskip("xllamacpp")
    path = _written(CharacterTokenizer(set("abc ")), tmp_path / "model.gguf")
    with pytest.raises(CheckpointError, match="cannot use"):
        ask_llama_cpp(path, Questions(texts=["abz"]))


@pytest.mark.parametrize(("character", "reason"), [("▁", "as a space"), ("\0", "ends texts")])
def test_characters_that_llama_cpp_cannot_tell_apart_are_refused(character, reason):
    with pytest.raises(CheckpointError, match=reason):
        list_tokens(CharacterTokenizer({"a", character}))


@pytest.mark.parametrize(("name", "rule"), [("gpt2", "gpt-2"), ("cl100k_base", "llama-bpe")])
def test_published_encodings_go_under_a_rule_that_gives_the_same_tokens(name, rule):
    """The ids themselves are held against llama.cpp by scripts/gguf_bars.py, in some seconds."""
    if "TIKTOKEN_CACHE_DIR" not in os.environ:
        pytest.skip("TIKTOKEN_CACHE_DIR does not name a folder with the published ranks")
    tokenizer = open_published(name)
    listing = list_tokens(tokenizer)
    assert listing.keys["pre"] == rule
    spelled = {letter: bytes([byte]) for letter, byte in byte_of_letter().items()}
    for number in (0, 300, 50_000):
        assert b"".join(spelled[c] for c in listing.tokens[number]) == tokenizer.token_bytes(number)
    if name == "cl100k_base":
        # It takes white space that ends a text for one piece, llama-bpe parts that at its last line
        # end. No merge reaches over that place: no token holds a line end and ends in another.
        tokens = map(tokenizer.token_bytes, range(tokenizer.vocab_size))
        assert not any(re.search(rb"[\r\n][^\r\n]*[^\r\n]\Z", token) for token in tokens)


def test_words_are_refused_with_the_reason():
    tokenizer = WordTokenizer(["it", "was"], pattern="colons")
    with pytest.raises(CheckpointError, match=r"\(words\).*no tokenizer of the kind WordLevel"):
        list_tokens(tokenizer)


_FLAGS = {"single_word": False, "rstrip": False, "normalized": False, "special": False}
FOUND = {"id": 700, "content": "<found>", "lstrip": True, **_FLAGS}
REFUSED: dict[str, tuple[Callable[[], Tokenizer], str]] = {
    "only nearly split so": (lambda: _hub("gpt-4o"), "splitting rule is none of those"),
    "lower case": (lambda: _hub("gpt-2", normalizer={"type": "Lowercase"}), "changes text before"),
    "no merges": (lambda: _hub("gpt-2", model={"merges": []}), "no merges"),
    "spaces taken along": (
        lambda: _hub("gpt-2", added_tokens=[FOUND]),
        "with the spaces around them",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_give_other_ids_is_refused_with_the_reason(name):
    make, reason = REFUSED[name]
    with pytest.raises(CheckpointError, match=reason):
        list_tokens(make())


def _lacking(**changes: Any) -> HubTokenizer:
    """A tokenizer without a token for the byte 0x06, as SmolLM2 has none."""
    letter = next(letter for letter, byte in byte_of_letter().items() if byte == 6)
    vocab = _vocab(_hub("gpt-2"))
    del vocab[letter]
    return _hub("gpt-2", model={"vocab": vocab, **changes})


def _vocab(tokenizer: HubTokenizer) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        return json.loads((Path(folder) / "tokenizer.json").read_bytes())["model"]["vocab"]


def test_a_byte_without_a_token_is_no_obstacle_where_its_text_is_an_error(tmp_path):
    pytest.importorskip("xllamacpp")
    tokenizer = _lacking()
    with pytest.raises(TokenizerError, match=r"U\+0006"):
        tokenizer.encode("a\x06b")
    path = _written(tokenizer, tmp_path / "model.gguf")
    texts = [text for text in TEXTS if "\x06" not in text]
    assert ask_llama_cpp(path, Questions(texts=texts)).ids == [*map(tokenizer.encode, texts)]


def test_a_byte_that_is_unknown_here_and_left_out_there_is_refused():
    with pytest.raises(CheckpointError, match="a token for bytes that its vocabulary lacks"):
        list_tokens(_lacking(unk_token=END_OF_TEXT))


def test_unigram_pieces_are_refused(tmp_path):
    tokenizer = _sentencepiece(tmp_path, prefix=True, model_type="unigram", byte_fallback=False)
    with pytest.raises(CheckpointError, match="no tokenizer of the kind Unigram"):
        list_tokens(tokenizer)


def test_pieces_without_tokens_for_bytes_are_refused(tmp_path):
    tokenizer = _sentencepiece(tmp_path, prefix=True, byte_fallback=False)
    with pytest.raises(CheckpointError, match="some of the 256 bytes"):
        list_tokens(tokenizer)


def test_pieces_whose_text_is_normalized_are_refused(tmp_path):
    _sentencepiece(tmp_path, prefix=True).save(tmp_path)
    saved = json.loads((tmp_path / "tokenizer.json").read_bytes())
    saved["normalizer"]["normalizers"].insert(0, {"type": "Lowercase"})
    with pytest.raises(CheckpointError, match="changes text otherwise than by its spaces"):
        list_tokens(HubTokenizer(json.dumps(saved).encode(), roles={}))


def test_looking_words_up_is_refused_only_where_it_makes_a_difference():
    looking = _hub("gpt-2", model={"ignore_merges": True})
    assert list_tokens(looking).keys["pre"] == "gpt-2"  # merges lead to every token
    unreached = {**_vocab(looking), "qzxjk": 700}
    made = _hub("gpt-2", model={"ignore_merges": True, "vocab": unreached})
    with pytest.raises(CheckpointError, match="never lead to some of its tokens, such as 'qzxjk'"):
        list_tokens(made)


def test_names_are_chosen_by_what_the_tokenizer_does_before_splitting():
    """So that it comes back as it was; llama.cpp itself never composes characters."""
    named = {
        (name, composed): list_tokens(_hub(name, normalizer=NFC if composed else None)).keys["pre"]
        for name in ("gpt-2", "smollm", "qwen2")
        for composed in (False, True)
    }
    assert named == {
        ("gpt-2", False): "gpt-2",
        ("gpt-2", True): "olmo",
        ("smollm", False): "smollm",
        ("smollm", True): "command-r",
        ("qwen2", False): "deepseek-r1-qwen",
        ("qwen2", True): "qwen2",
    }


def test_rows_without_a_token_get_names_that_no_text_leads_to():
    tokenizer = byte_pairs()
    keys = _keys(tokenizer, rows=tokenizer.vocab_size + 2)
    assert keys["tokenizer.ggml.tokens"][-2:] == ["[PAD320]", "[PAD321]"]
    assert keys["tokenizer.ggml.token_type"][-3:] == [3, 5, 5]


def test_a_tokenizer_larger_than_the_embedding_is_refused():
    with pytest.raises(CheckpointError, match="320 tokens, the model 300"):
        _keys(byte_pairs(), rows=300)


def _keys(tokenizer: Tokenizer, *, rows: int, **changes: Any) -> dict[str, Any]:
    options = {
        "special_ids": tokenizer.special_ids,
        "stop_ids": (),
        "begins_with_bos": False,
        "chat_template": None,
    }
    return vocabulary_keys(tokenizer, rows=rows, **(options | changes))


SPECIAL = (END_OF_TEXT, "<|im_end|>", "<stop>", "<end>", "<a>", "<b>")


def test_stops_template_and_beginning_come_back(tmp_path):
    tokenizer = _hub("gpt-2", special=SPECIAL)
    config = configurations(tokenizer.vocab_size)["llama"]
    keys = _keys(
        tokenizer,
        rows=config.vocab_size,
        special_ids=SpecialIds(bos=3, eos=2, pad=0),
        stop_ids=(2, 1, 3),
        begins_with_bos=True,
        chat_template="{{ messages }}",
    )
    path, model = tmp_path / "model.gguf", build(config)
    write_gguf(path, express(model, config), kind="F32", keys=keys)
    read = import_gguf(path)
    assert (read.special_ids.bos, read.special_ids.eos) == (3, 2)
    assert set(read.stop_ids) == {0, 1, 2, 3}  # <|endoftext|> ends answers in llama.cpp by its name
    assert read.begins_with_bos
    assert read.chat_template == "{{ messages }}"


def test_more_stops_than_llama_cpp_can_be_told_of_are_refused():
    tokenizer = _hub("gpt-2", special=SPECIAL)
    with pytest.raises(CheckpointError, match=r"'<stop>', '<end>', '<a>', '<b>'.*three such"):
        _keys(tokenizer, rows=900, special_ids=SpecialIds(eos=2), stop_ids=(2, 3, 4, 5))


def test_a_tokenizer_without_any_special_token_is_refused():
    with pytest.raises(CheckpointError, match="no special token at all"):
        _keys(_hub("gpt-2", special=()), rows=900)
