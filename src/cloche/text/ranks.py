"""A published encoding as a Hugging Face `tokenizer.json`, and its vocabulary back from one.

An encoding is a rank for each token: of all neighbouring tokens in a piece of text, those are
merged first whose joint token has the lowest rank. A `tokenizer.json` lists merges instead. For
each token it is the last merge that its own bytes go through: no other pair is ever merged into it,
as text around a pair has no part in how the pair came about.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cloche.text.files import added_tokens
from cloche.text.splitting import byte_of_letter
from cloche.text.tokenizer import END_OF_TEXT

_ADDRESS = "https://openaipublic.blob.core.windows.net"


@dataclass(frozen=True)
class Encoding:
    """What is published of an encoding, but for its ranks."""

    name: str
    files: tuple[str, ...]
    """Where its ranks are published."""
    special: Mapping[str, int]
    split: str
    """How text is split before merging, as `tiktoken` has it."""
    engine_split: str | None
    """The same in the dialect of `tokenizers`; None where its ByteLevel splits so by itself."""
    ranks_sha256: str
    """Of its ranks, written as `tiktoken` publishes them."""


# Both dialects give the same splits of any text. tiktoken takes white space that ends a text for
# one piece (\s++$), which older conversions of cl100k_base lack. Possessive marks only save time,
# and mean something else to the engine where they follow braces.
GPT2 = Encoding(
    name="gpt2",
    files=(
        f"{_ADDRESS}/gpt-2/encodings/main/vocab.bpe",
        f"{_ADDRESS}/gpt-2/encodings/main/encoder.json",
    ),
    special={END_OF_TEXT: 50256},
    split=r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    engine_split=None,
    ranks_sha256="306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
)
CL100K = Encoding(
    name="cl100k_base",
    files=(f"{_ADDRESS}/encodings/cl100k_base.tiktoken",),
    special={
        END_OF_TEXT: 100257,
        "<|fim_prefix|>": 100258,
        "<|fim_middle|>": 100259,
        "<|fim_suffix|>": 100260,
        "<|endofprompt|>": 100276,
    },
    split=(
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    engine_split=(
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    ranks_sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
)
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SHORTENED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_O200K_SPLIT = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SHORTENED}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_SHORTENED}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = Encoding(
    name="o200k_base",
    files=(f"{_ADDRESS}/encodings/o200k_base.tiktoken",),
    special={END_OF_TEXT: 199999, "<|endofprompt|>": 200018},
    split=_O200K_SPLIT,
    engine_split=_O200K_SPLIT,
    ranks_sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
)
ENCODINGS = {encoding.name: encoding for encoding in (GPT2, CL100K, O200K)}
"""The published encodings by name."""


def ranks_to_json(encoding: Encoding, ranks: Mapping[bytes, int]) -> bytes:
    """The Hugging Face form, which gives the ids that the ranks give."""
    letters = {byte: letter for letter, byte in byte_of_letter().items()}
    spelled = {token: "".join(map(letters.__getitem__, token)) for token in ranks}
    in_order = sorted(ranks, key=ranks.__getitem__)
    pairs = [pair for token in in_order if (pair := _last_merge(token, ranks)) is not None]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(encoding.special),
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(encoding),
        "post_processor": None,
        "decoder": _byte_level(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,  # a whole piece that is a token is never merged
            "vocab": {spelled[token]: ranks[token] for token in in_order} | dict(encoding.special),
            "merges": [[spelled[left], spelled[right]] for left, right in pairs],
        },
    }
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def find_encoding(saved: dict[str, Any]) -> tuple[Encoding, dict[bytes, int]] | None:
    """The published encoding that a parsed `tokenizer.json` is, and its ranks; None for another.

    Its vocabulary must be the published one to the last token; its merges follow from that.
    """
    special = {token["content"]: token["id"] for token in saved["added_tokens"]}
    for encoding in ENCODINGS.values():
        if special == encoding.special and _reads_text_as(encoding, saved):
            ranks = _ranks(saved["model"]["vocab"], special=special)
            return (encoding, ranks) if ranks_sha256(ranks) == encoding.ranks_sha256 else None
    return None


def ranks_sha256(ranks: Mapping[bytes, int]) -> str:
    """SHA-256 of ranks, written as `tiktoken` publishes them."""
    lines = (
        base64.b64encode(token) + b" %d\n" % rank
        for token, rank in sorted(ranks.items(), key=lambda item: item[1])
    )
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _last_merge(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two tokens that merge into `token`; None for a byte, and where none ever do."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        lowest, at = len(ranks), -1
        for place, (left, right) in enumerate(pairwise(parts)):
            rank = ranks.get(left + right, lowest)
            if rank < lowest:
                lowest, at = rank, place
        if at < 0:
            return None
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return (parts[0], parts[1]) if len(parts) == 2 else None


def _ranks(vocab: Mapping[str, int], *, special: Mapping[str, int]) -> dict[bytes, int]:
    """The ranks; another letter than those of bytes makes them others than the published ones."""
    bytes_of = byte_of_letter()
    return {
        bytes(bytes_of.get(letter, 0) for letter in spelled): rank
        for spelled, rank in vocab.items()
        if spelled not in special
    }


def _reads_text_as(encoding: Encoding, saved: dict[str, Any]) -> bool:
    """Whether a `tokenizer.json` splits text as the encoding does, and neither changes nor adds."""
    split = saved.get("pre_tokenizer") or {}
    if split.get("type") == "ByteLevel":
        split = {"use_regex": True} | split  # older files leave it out
    after = (saved.get("post_processor") or {}).get("type")
    return (
        split == _pre_tokenizer(encoding)
        and after in (None, "ByteLevel")
        and not any(saved.get(key) for key in ("normalizer", "truncation", "padding"))
    )


def _pre_tokenizer(encoding: Encoding) -> dict[str, Any]:
    if encoding.engine_split is None:
        return _byte_level(use_regex=True)
    pattern = {"Regex": encoding.engine_split}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }
