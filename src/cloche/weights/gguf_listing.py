"""A tokenizer's tokens as llama.cpp lists them, where it has a kind that gives the same ids.

Byte-level BPE under a splitting rule that llama.cpp knows, and BPE from SentencePiece, go over as
they are. Characters go over as a SentencePiece vocabulary in which nothing is ever merged. What
llama.cpp has no kind for is refused with the reason.

Source: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
"""

import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import TokenType
from tokenizers import Tokenizer as Engine

from cloche.errors import CheckpointError
from cloche.text.characters import CharacterTokenizer
from cloche.text.files import TOKENIZER_FILE
from cloche.text.splitting import byte_of_letter
from cloche.text.tokenizer import Tokenizer
from cloche.weights.gguf_pieces import SPACE, is_sentencepiece, piece_scores, sets_space_first
from cloche.weights.gguf_splitters import EXACT, SPLITTERS, name_splitter

_PUBLISHED = {"gpt2": "gpt-2", "cl100k_base": "llama-bpe"}
"""Rules that are written otherwise, and split so that the same tokens come out."""
_REACHING = ("single_word", "lstrip", "rstrip")


@dataclass(frozen=True)
class Listing:
    """The tokens, and what else decides ids."""

    kind: str
    """gpt2 or llama, as llama.cpp calls byte-level BPE and SentencePiece."""
    tokens: Mapping[int, str]
    types: Mapping[int, TokenType]
    keys: Mapping[str, Any]
    """More keys, without what stands before them all."""


def list_tokens(tokenizer: Tokenizer) -> Listing:
    """The tokens for llama.cpp. Raises CheckpointError where it could not give the same ids."""
    if isinstance(tokenizer, CharacterTokenizer):
        return _characters(tokenizer)
    saved = _tokenizer_json(tokenizer)
    model = saved["model"]
    if model["type"] != "BPE":
        raise _no_kind(tokenizer, f"llama.cpp has no tokenizer of the kind {model['type']}")
    special = _special(saved, tokenizer)
    if is_sentencepiece(saved):
        return _pieces(saved, special)
    return _byte_level(saved, tokenizer, special=special)


def _characters(tokenizer: CharacterTokenizer) -> Listing:
    unsayable = {SPACE: "which llama.cpp shows as a space", "\0": "which ends texts in llama.cpp"}
    for character, reason in unsayable.items():
        if character in tokenizer.characters:
            raise CheckpointError(
                f"the characters of this tokenizer cannot go to llama.cpp: among them is "
                f"{character!r}, {reason}. Train with --text.tokenizer bpe"
            )
    tokens = {n: SPACE if c == " " else c for n, c in enumerate(tokenizer.characters)}
    types = dict.fromkeys(tokens, TokenType.NORMAL)
    special = {number: name for name, number in tokenizer.special_tokens.items()}
    types |= dict.fromkeys(special, TokenType.CONTROL)
    keys = {"scores": [0.0] * tokenizer.vocab_size, "add_space_prefix": False}
    return Listing("llama", tokens | special, types, keys)


def _byte_level(
    saved: Mapping[str, Any], tokenizer: Tokenizer, *, special: Collection[str]
) -> Listing:
    model, added = saved["model"], saved.get("added_tokens") or []
    name = _PUBLISHED.get(tokenizer.kind) or name_splitter(
        saved.get("pre_tokenizer"),
        looks_up_words=bool(model.get("ignore_merges")),
        composes=bool(saved.get("normalizer")),
    )
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    found = [token["content"] for token in added if token["content"] not in special]
    spelled = {**model["vocab"], **{token["content"]: token["id"] for token in added}}
    learned = {token: n for token, n in spelled.items() if token not in {*special, *found}}
    problems = {
        f"its splitting rule is none of those that llama.cpp has exactly ({', '.join(EXACT)})": (
            name is None
        ),
        "it changes text before splitting it": not _composes_at_most(saved.get("normalizer")),
        # Without such a token, text that holds them is an error here; llama.cpp leaves them out.
        "it has a token for bytes that its vocabulary lacks": bool(
            model.get("unk_token") and byte_of_letter().keys() - learned.keys()
        ),
        "its tokens are marked within words or at their ends": bool(
            model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
        ),
        "it has no merges": not merges,
        "it finds tokens in text with the spaces around them": any(
            token.get(flag) for token in added if token["content"] in found for flag in _REACHING
        ),
    }
    _refuse(tokenizer, [problem for problem, holds in problems.items() if holds])
    if name is None or bool(model.get("ignore_merges")) != SPLITTERS[name].looks_up_words:
        _refuse_unreached(model, learned, tokenizer)
    types = dict.fromkeys(learned.values(), TokenType.NORMAL)
    types |= {spelled[token]: TokenType.USER_DEFINED for token in found}
    types |= {spelled[token]: TokenType.CONTROL for token in special}
    keys = {"pre": name, "merges": [f"{left} {right}" for left, right in merges]}
    return Listing("gpt2", {n: token for token, n in spelled.items()}, types, keys)


def _pieces(saved: Mapping[str, Any], special: Collection[str]) -> Listing:
    model = saved["model"]
    added = {token["content"]: token["id"] for token in saved.get("added_tokens") or []}
    spelled = {**model["vocab"], **added}
    found = added.keys() - set(special)
    if found and sets_space_first(saved):
        raise CheckpointError(
            f"this tokenizer sets a space before a text and finds tokens such as "
            f"{min(found)!r} in it: llama.cpp sets one after each of them, too, and would give "
            f"other ids"
        )
    scores = piece_scores(saved, among=spelled.keys() - set(special) - found)
    types = dict.fromkeys(spelled.values(), TokenType.NORMAL)
    types |= {spelled[f"<0x{byte:02X}>"]: TokenType.BYTE for byte in range(256)}
    types |= {spelled[token]: TokenType.USER_DEFINED for token in found}
    types |= {spelled[token]: TokenType.CONTROL for token in special}
    if model.get("unk_token") in spelled:
        types[spelled[model["unk_token"]]] = TokenType.UNKNOWN
    tokens = {number: token for token, number in spelled.items()}
    in_order = [scores.get(tokens.get(n, ""), 0.0) for n in range(max(tokens) + 1)]
    keys = {"scores": in_order, "add_space_prefix": sets_space_first(saved)}
    return Listing("llama", tokens, types, keys)


def _special(saved: Mapping[str, Any], tokenizer: Tokenizer) -> set[str]:
    added = saved.get("added_tokens") or []
    return {token["content"] for token in added if token["special"]} | set(tokenizer.special_tokens)


def _refuse(tokenizer: Tokenizer, problems: list[str]) -> None:
    if problems:
        raise _no_kind(tokenizer, "; ".join(problems))


def _no_kind(tokenizer: Tokenizer, reason: str) -> CheckpointError:
    return CheckpointError(
        f"this tokenizer ({tokenizer.kind}) cannot go to llama.cpp with the same ids: {reason}. "
        f"Train with --text.tokenizer bpe, or try a Hugging Face folder (--to hf)"
    )


def _composes_at_most(normalizer: Mapping[str, Any] | None) -> bool:
    """Whether a normalizer does nothing, or no more than to compose characters (NFC).

    llama.cpp does not compose, for Qwen's own models either; almost all text is composed already.
    """
    if normalizer is None:
        return True
    if normalizer["type"] == "Sequence":
        return all(_composes_at_most(step) for step in normalizer["normalizers"])
    return normalizer["type"] == "NFC"


def _refuse_unreached(
    model: Mapping[str, Any], learned: Mapping[str, int], tokenizer: Tokenizer
) -> None:
    """CheckpointError where looking words up, or not, makes a difference.

    It makes none where merges lead to every token from its own bytes.
    """
    content = {"version": "1.0", "added_tokens": [], "model": {**model, "ignore_merges": False}}
    engine = Engine.from_str(json.dumps(content))
    encodings = engine.encode_batch_fast(list(learned))
    for (token, number), encoding in zip(learned.items(), encodings, strict=True):
        if encoding.ids != [number]:
            raise _no_kind(
                tokenizer,
                f"its merges alone never lead to some of its tokens, such as {token!r}, and "
                f"llama.cpp does not look words up under its splitting rule",
            )


def _tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="cloche-") as folder:
        tokenizer.save(Path(folder))
        return json.loads((Path(folder) / TOKENIZER_FILE).read_bytes())
