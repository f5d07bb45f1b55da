"""The tokenizer in a GGUF file, and how its model is spoken to.

Two kinds are read: byte-level BPE ("gpt2"), whose splitting rule the file names, and the BPE of
SentencePiece ("llama"), carried over as `text.sentencepiece` does. Ids are those of llama.cpp, but
for characters that the original tokenizer composes first (NFC) and llama.cpp leaves as they are.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer
"""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import TokenType

from cloche.errors import CheckpointError, TokenizerError
from cloche.text.characters import CharacterTokenizer
from cloche.text.files import added_tokens
from cloche.text.hub import HubTokenizer
from cloche.text.sentencepiece import convert_sentencepiece
from cloche.text.tokenizer import UNKNOWN, SpecialIds, Tokenizer
from cloche.weights.gguf_header import GGUFFile
from cloche.weights.gguf_splitters import SPLITTERS, Splitter

PREFIX = "tokenizer.ggml."
TEMPLATE_KEY = "tokenizer.chat_template"
ENDS = (
    *("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>"),
    *("<|eom_id|>", "<EOT>", "</s>", "<eos>", "<｜end▁of▁sentence｜>"),
)
"""Tokens that llama.cpp takes for the end of an answer by their name alone."""
_ROLE_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "pad": "padding_token_id",
    "unk": "unknown_token_id",
}
_SENTENCEPIECE_IDS = {"bos": 1, "eos": 2, "unk": 0}
"""Where a file with a SentencePiece vocabulary does not say."""
_SPACE = "▁"


@dataclass(frozen=True, eq=False)
class Spoken:
    """How the model in a file is spoken to."""

    tokenizer: Tokenizer
    special_ids: SpecialIds
    stop_ids: tuple[int, ...]
    begins_with_bos: bool
    chat_template: str | None


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a file as it lists them."""

    path: Path
    tokens: list[str]
    types: list[int]
    scores: list[float]
    roles: dict[str, int]
    """Ids of the special tokens by role, as far as there are some."""

    def names(self, *types: TokenType) -> dict[str, int]:
        """The tokens of these types and their ids; those without a text left out."""
        listed = enumerate(zip(self.tokens, self.types, strict=True))
        return {token: number for number, (token, kind) in listed if kind in types and token}

    def role_names(self) -> dict[str, str | None]:
        """The token of each role; None where there is none."""
        return {
            role: self.tokens[self.roles[role]] if role in self.roles else None
            for role in _ROLE_KEYS
        }


def read_vocabulary(file: GGUFFile, *, rows: int) -> Spoken:
    """The tokenizer of a file whose embedding has so many rows, its stops and its template.

    Raises CheckpointError for a kind of tokenizer that is not read, and for a damaged one.
    """
    kind = _value(file, f"{PREFIX}model", str)
    if kind not in ("gpt2", "llama"):
        raise CheckpointError(
            f"{file.path} has a tokenizer of the kind {kind!r}; cloche reads gpt2 (byte-level BPE) "
            f"and llama (SentencePiece)"
        )
    vocabulary = _vocabulary(file, rows=rows, sentencepiece=kind == "llama")
    try:
        if kind == "gpt2":
            splitter = _splitter(file)
            tokenizer, adds_bos = _byte_level(file, vocabulary, splitter), splitter.adds_bos
        else:
            tokenizer, adds_bos = _sentencepiece(file, vocabulary), True
    except TokenizerError as exc:
        raise CheckpointError(f"{file.path}: its tokenizer cannot be used: {exc}") from exc
    roles = vocabulary.roles
    adds_bos = _value(file, f"{PREFIX}add_bos_token", bool, adds_bos)
    return Spoken(
        tokenizer=tokenizer,
        special_ids=SpecialIds(**roles),
        stop_ids=_stop_ids(file, vocabulary),
        begins_with_bos=adds_bos and "bos" in roles,
        chat_template=_value(file, TEMPLATE_KEY, str, "") or None,
    )


def _vocabulary(file: GGUFFile, *, rows: int, sentencepiece: bool) -> Vocabulary:
    tokens = _list(file, f"{PREFIX}tokens")
    if len(tokens) > rows:
        raise CheckpointError(
            f"{file.path} does not fit together: its tokenizer has {len(tokens)} tokens, its "
            f"model {rows}"
        )
    twice = [token for token, count in Counter(tokens).items() if count > 1 and token]
    if twice:
        raise CheckpointError(f"{file.path} is damaged: it has the token {twice[0]!r} twice")
    types = _numbers(file, f"{PREFIX}token_type", tokens, default=float(TokenType.NORMAL))
    scores = _numbers(file, f"{PREFIX}scores", tokens, default=0.0)
    roles = {}
    for role, key in _ROLE_KEYS.items():
        default = _SENTENCEPIECE_IDS.get(role, -1) if sentencepiece else -1
        number = _value(file, PREFIX + key, int, default)
        if 0 <= number < len(tokens):
            roles[role] = number
        elif PREFIX + key in file.values and number not in (-1, 2**32 - 1):  # both say: none
            raise CheckpointError(
                f"{file.path} is damaged: {PREFIX}{key} is {number}, of {len(tokens)} tokens"
            )
    return Vocabulary(file.path, tokens, [int(kind) for kind in types], scores, roles)


def _splitter(file: GGUFFile) -> Splitter:
    name = _value(file, f"{PREFIX}pre", str, "")
    if not name and file.values.get("general.architecture") == "gpt2":
        name = "gpt-2"  # files from before the key was invented; the model has no other tokenizer
    if name not in SPLITTERS:
        said = f"splits text by the rule {name!r}" if name else "does not say how it splits text"
        raise CheckpointError(
            f"the tokenizer in {file.path} {said}; cloche knows {', '.join(SPLITTERS)}. Import the "
            f"model from its Hugging Face folder"
        )
    return SPLITTERS[name]


def _byte_level(file: GGUFFile, vocabulary: Vocabulary, splitter: Splitter) -> HubTokenizer:
    special = vocabulary.names(TokenType.CONTROL, TokenType.UNKNOWN)
    found = vocabulary.names(TokenType.USER_DEFINED)
    learned = vocabulary.names(TokenType.NORMAL, TokenType.BYTE)
    vocab = special | found | learned
    merges = [_merge(line, vocab, file.path) for line in _list(file, f"{PREFIX}merges")]
    marked = [
        token | {"special": token["content"] in special} for token in added_tokens(special | found)
    ]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(marked, key=lambda token: token["id"]),
        "normalizer": {"type": "NFC"} if splitter.composes else None,
        "pre_tokenizer": splitter.to_json(),
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": splitter.looks_up_words,
            "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
            "merges": merges,
        },
    }
    data = (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode("utf-8")
    return HubTokenizer(data, roles=vocabulary.role_names(), path=file.path)


def _merge(line: str, vocab: Mapping[str, int], path: Path) -> list[str]:
    """The two tokens of a merge, which are parted by the first space behind a first letter."""
    place = line.find(" ", 1)
    left, right = line[:place], line[place + 1 :]
    if place < 0 or not {left, right, left + right} <= vocab.keys():
        raise CheckpointError(
            f"{path} is damaged: its merge {line!r} is not made of tokens, or makes none"
        )
    return [left, right]


def _sentencepiece(file: GGUFFile, vocabulary: Vocabulary) -> Tokenizer:
    prefix = _value(file, f"{PREFIX}add_space_prefix", bool, True)
    characters = None if prefix else _characters(vocabulary)
    if characters is not None:
        return characters
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as exc:
        raise CheckpointError(
            f"{file.path} has a SentencePiece vocabulary, and reading it needs a library more: "
            f"pip install 'cloche[sentencepiece]'"
        ) from exc
    proto: Any = sentencepiece_model_pb2.ModelProto()  # pyright: ignore  the module has no types
    proto.trainer_spec.model_type = 2  # BPE
    proto.trainer_spec.byte_fallback = TokenType.BYTE in vocabulary.types
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = prefix
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.escape_whitespaces = True
    pieces = zip(vocabulary.tokens, vocabulary.types, vocabulary.scores, strict=True)
    for number, (token, kind, score) in enumerate(pieces):
        if number == vocabulary.roles.get("unk"):
            kind = TokenType.UNKNOWN
        elif kind in (TokenType.UNUSED, TokenType.UNKNOWN):
            kind = TokenType.CONTROL  # no text leads to it
        proto.pieces.add(piece=token or f"[EMPTY_{number}]", score=score, type=int(kind))
    with tempfile.TemporaryDirectory(prefix="cloche-") as folder:
        path = Path(folder) / "tokenizer.model"
        path.write_bytes(proto.SerializeToString())
        try:
            data = convert_sentencepiece(path)
        except TokenizerError as exc:
            raise TokenizerError(str(exc).replace(str(path), "its vocabulary")) from exc
    return HubTokenizer(data, roles=vocabulary.role_names(), path=file.path)


def _characters(vocabulary: Vocabulary) -> CharacterTokenizer | None:
    """The character tokenizer that a vocabulary of single characters is, as cloche exports it."""
    learned = vocabulary.names(TokenType.NORMAL)
    if (
        not learned
        or any(len(token) != 1 for token in learned)
        or TokenType.BYTE in vocabulary.types
    ):
        return None
    characters = {" " if token == _SPACE else token for token in learned}
    special = vocabulary.names(TokenType.CONTROL)
    tokenizer = CharacterTokenizer(characters, with_unknown=UNKNOWN in special)
    order = {token: n for n, token in enumerate(tokenizer.characters)} | tokenizer.special_tokens
    spelled = {" " if token == _SPACE else token: n for token, n in (learned | special).items()}
    return tokenizer if order == spelled else None


def _stop_ids(file: GGUFFile, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Every token that ends an answer: by the keys, and by the names that llama.cpp knows."""
    control = vocabulary.names(TokenType.CONTROL)
    keys = [_value(file, f"{PREFIX}{name}_token_id", int, -1) for name in ("eot", "eom")]
    by_key = [vocabulary.roles.get("eos", -1), *keys]
    by_name = [control[name] for name in ENDS if name in control]
    found = dict.fromkeys(n for n in (*by_key, *by_name) if 0 <= n < len(vocabulary.tokens))
    return tuple(found)


def _value(file: GGUFFile, key: str, kind: type, default: Any = None) -> Any:
    """The value of a key, of that type."""
    value = file.values.get(key, default)
    if value is None:
        raise CheckpointError(f"{file.path} is not whole: it lacks {key}")
    if not isinstance(value, kind):
        raise CheckpointError(f"{file.path} is damaged: {key} is {str(value)[:40]}")
    return value


def _list(file: GGUFFile, key: str) -> list[str]:
    """A list of texts; an empty one was stored as one of numbers by some writers."""
    value = file.values.get(key)
    if isinstance(value, np.ndarray) and not len(value):
        return []
    return _value(file, key, list)


def _numbers(file: GGUFFile, key: str, tokens: list[str], *, default: float) -> list[float]:
    """A number for each token."""
    value = file.values.get(key)
    if value is None:
        return [default] * len(tokens)
    if not isinstance(value, np.ndarray) or len(value) != len(tokens):
        raise CheckpointError(
            f"{file.path} is damaged: {key} is no list of {len(tokens)} numbers, one a token"
        )
    return value.tolist()
