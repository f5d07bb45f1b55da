"""SentencePiece models as a Hugging Face `tokenizer.json` with the same ids.

Unigram, BPE and character models are carried over with all that decides ids: normalization rules,
spaces, bytes for unknown characters, symbols defined by the user. What the other format has no way
to say is refused by name.

Source: Kudo and Richardson 2018, https://arxiv.org/abs/1808.06226; the model file:
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from cloche.errors import TokenizerError
from cloche.text.charsmap import charsmap_normalizer
from cloche.text.hub import HubTokenizer

SPACE = "▁"
"""How SentencePiece writes a space."""

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_UNIGRAM, _BPE, _WORD, _CHARACTER = 1, 2, 3, 4
_USER_DEFINED_SCORE = -0.1  # better than any piece that was learned, as the library has it


@dataclass(frozen=True)
class _Piece:
    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class _Model:
    """What a model file says, as far as it decides ids."""

    kind: int
    pieces: tuple[_Piece, ...]
    byte_fallback: bool
    normalizer: dict[str, Any] | None
    prefix: bool
    """Whether a space is set before the text."""
    collapse: bool
    """Whether spaces at the ends, and all but one of several, are left out."""
    roles: dict[str, str | None]

    def texts(self, *kinds: int) -> list[str]:
        """The pieces of these kinds."""
        return [piece.text for piece in self.pieces if piece.kind in kinds]


def convert_sentencepiece(path: Path) -> bytes:
    """The `tokenizer.json` that gives the ids which a SentencePiece `.model` file gives.

    Raises TokenizerError where the file is damaged, or has a feature that has no counterpart.
    """
    return _convert(_read(path), path=path)


def open_sentencepiece(path: Path) -> HubTokenizer:
    """The tokenizer of a SentencePiece `.model` file, with the roles that it gives its tokens.

    Raises TokenizerError as `convert_sentencepiece` does.
    """
    model = _read(path)
    return HubTokenizer(_convert(model, path=path), roles=model.roles, path=path)


def _read(path: Path) -> _Model:
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as exc:
        raise TokenizerError(
            f"{path} is a SentencePiece model, and reading it needs a library more: pip install "
            f"'cloche[sentencepiece]'"
        ) from exc
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise TokenizerError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        # The generated module has no types; any error of its parser means damage.
        proto: Any = sentencepiece_model_pb2.ModelProto.FromString(data)  # pyright: ignore
    except Exception as exc:
        raise TokenizerError(f"{path} is damaged, or no SentencePiece model: {exc}") from exc
    if not proto.pieces:
        raise TokenizerError(f"{path} is no SentencePiece model: it holds no pieces")
    try:
        return _model(proto)
    except TokenizerError as exc:
        raise TokenizerError(f"{path} cannot be converted: {exc}") from exc


def _model(proto: Any) -> _Model:
    trainer, rules = proto.trainer_spec, proto.normalizer_spec
    pieces = tuple(_Piece(piece.piece, piece.score, piece.type) for piece in proto.pieces)
    _refuse_features(proto, pieces)
    name = rules.name or "of the user"
    normalizer = charsmap_normalizer(rules.precompiled_charsmap, name=name)
    by_role = {
        role: getattr(trainer, f"{role}_piece") or default
        for role, default in (("bos", "<s>"), ("eos", "</s>"), ("pad", "<pad>"), ("unk", "<unk>"))
    }
    special = {piece.text for piece in pieces if piece.kind in (_CONTROL, _UNKNOWN)}
    return _Model(
        kind=trainer.model_type,
        pieces=pieces,
        byte_fallback=trainer.byte_fallback or any(piece.kind == _BYTE for piece in pieces),
        normalizer=json.loads(normalizer.__getstate__()) if normalizer else None,
        prefix=rules.add_dummy_prefix,
        collapse=rules.remove_extra_whitespaces,
        roles={role: token if token in special else None for role, token in by_role.items()},
    )


def _refuse_features(proto: Any, pieces: Iterable[_Piece]) -> None:
    """Raise TokenizerError for what cannot be said in a `tokenizer.json`."""
    trainer, rules = proto.trainer_spec, proto.normalizer_spec
    kinds = Counter(piece.kind for piece in pieces)
    texts = Counter(piece.text for piece in pieces)
    twice = [text for text, count in texts.items() if count > 1]
    problems = {
        "it is a model of whole words (model_type: word)": trainer.model_type == _WORD,
        f"its model type {trainer.model_type} is not known": trainer.model_type
        not in (_UNIGRAM, _BPE, _WORD, _CHARACTER),
        "it sets spaces behind words (treat_whitespace_as_suffix)": (
            trainer.treat_whitespace_as_suffix
        ),
        "it keeps spaces as they are (escape_whitespaces: false)": not rules.escape_whitespaces,
        "it has rules for its output (denormalizer_spec)": bool(
            proto.denormalizer_spec.precompiled_charsmap
        ),
        f"{kinds[_UNUSED]} of its pieces are marked as unused": kinds[_UNUSED] > 0,
        f"it has {kinds[_UNKNOWN]} unknown pieces, not one": kinds[_UNKNOWN] != 1,
        f"the piece {twice[0] if twice else ''!r} is in it twice": bool(twice),
    }
    found = [problem for problem, holds in problems.items() if holds]
    if found:
        raise TokenizerError("; ".join(found))


def _convert(model: _Model, *, path: Path) -> bytes:
    try:
        content = _content(model)
    except TokenizerError as exc:
        raise TokenizerError(f"{path} cannot be converted: {exc}") from exc
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def _content(model: _Model) -> dict[str, Any]:
    """The `tokenizer.json`, parsed."""
    _refuse_changed_symbols(model)
    symbols = model.texts(_USER_DEFINED)
    found_by_engine = bool(symbols) and model.kind != _UNIGRAM
    # Added tokens are looked for in normalized text, but their own text is normalized, too: so they
    # serve only where nothing is set before a text and nothing taken from its ends.
    added = symbols if found_by_engine and not (model.prefix or model.collapse) else []
    isolated = symbols if found_by_engine and not added else []
    engine_model = _unigram(model) if model.kind == _UNIGRAM else _bpe(model)
    if isolated:
        engine_model = _whole_pieces_first(engine_model, model)
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    special = {_CONTROL: True, _UNKNOWN: True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": piece.text,
                **flags,
                "normalized": piece.kind not in special,
                "special": piece.kind in special,
            }
            for number, piece in enumerate(model.pieces)
            if piece.kind in special or piece.text in added
        ],
        "normalizer": _normalizer(model),
        "pre_tokenizer": _pre_tokenizer(model, isolated=isolated),
        "post_processor": None,
        "decoder": _decoder(model),
        "model": engine_model,
    }


def _refuse_changed_symbols(model: _Model) -> None:
    """Symbols of the user stand outside all rules there; here they must not be touched by them."""
    for symbol in model.texts(_USER_DEFINED):
        changed = _run_normalizer(model.normalizer, symbol) if model.normalizer else symbol
        if changed != symbol:
            raise TokenizerError(
                f"its user-defined symbol {symbol!r} is changed by its normalization rules, to "
                f"{changed!r}"
            )


def _run_normalizer(saved: dict[str, Any], text: str) -> str:
    model = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
    content = {"version": "1.0", "added_tokens": [], "normalizer": saved, "model": model}
    normalizer = Tokenizer.from_str(json.dumps(content)).normalizer
    return text if normalizer is None else normalizer.normalize_str(text)


def _normalizer(model: _Model) -> dict[str, Any]:
    steps = [model.normalizer] if model.normalizer else []
    if model.collapse:
        steps += [_replace({"Regex": " {2,}"}, " "), _replace({"Regex": r"\A "}, "")]
    if model.prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
    steps.append(_replace({"String": " "}, SPACE))
    if model.collapse:  # a mark for a space that was typed at the end goes as well
        steps.append(_replace({"Regex": rf"{SPACE}+\z"}, ""))
    return {"type": "Sequence", "normalizers": steps}


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _pre_tokenizer(model: _Model, *, isolated: list[str]) -> dict[str, Any] | None:
    steps = []
    learned = model.texts(_NORMAL, _USER_DEFINED)
    if isolated:
        longest_first = sorted(isolated, key=len, reverse=True)
        steps.append(_split({"Regex": "|".join(map(_escaped, longest_first))}, "Isolated"))
    elif SPACE in learned and not any(SPACE in text[1:] for text in learned):
        # No piece reaches over a space: words are encoded one by one, and remembered.
        steps.append(_split({"String": SPACE}, "MergedWithNext"))
    if model.kind == _UNIGRAM and model.byte_fallback:
        # The engine would take a typed <0x41> for the byte.
        steps.append(_split({"Regex": "(?<=<)(?=0x[0-9A-F]{2}>)"}, "Isolated"))
    return {"type": "Sequence", "pretokenizers": steps} if steps else None


def _split(pattern: dict[str, str], behavior: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": False}


def _escaped(text: str) -> str:
    return "".join(f"\\x{{{ord(character):X}}}" for character in text)


def _decoder(model: _Model) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [_replace({"String": SPACE}, " ")]
    if model.byte_fallback:
        steps.append({"type": "ByteFallback"})
    steps.append({"type": "Fuse"})
    if model.prefix or model.collapse:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _unigram(model: _Model) -> dict[str, Any]:
    scores = {_USER_DEFINED: _USER_DEFINED_SCORE}
    return {
        "type": "Unigram",
        "unk_id": next(n for n, piece in enumerate(model.pieces) if piece.kind == _UNKNOWN),
        "vocab": [[piece.text, scores.get(piece.kind, piece.score)] for piece in model.pieces],
        "byte_fallback": model.byte_fallback,
    }


def _bpe(model: _Model) -> dict[str, Any]:
    """BPE, or a model of characters, which is one without merges."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": model.texts(_UNKNOWN)[0],
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": model.byte_fallback,
        "ignore_merges": False,
        "vocab": {piece.text: number for number, piece in enumerate(model.pieces)},
        "merges": _merges(model.pieces) if model.kind == _BPE else [],
    }


def _merges(pieces: Iterable[_Piece]) -> list[list[str]]:
    """All ways to put pieces together from two others, the best outcome first."""
    normal = {piece.text: piece.score for piece in pieces if piece.kind == _NORMAL}
    longer = {text: score for text, score in normal.items() if len(text) > 1}
    lacking = sorted({letter for text in longer for letter in text} - normal.keys())
    if lacking:
        raise TokenizerError(
            f"its pieces hold the character {lacking[0]!r}, which is no piece by itself"
        )
    if len(set(longer.values())) < len(longer):
        raise TokenizerError("some of its pieces have the same score, so their order is not given")
    return [
        [text[:place], text[place:]]
        for text in sorted(longer, key=lambda text: -longer[text])
        for place in range(1, len(text))
        if text[:place] in normal and text[place:] in normal
    ]


def _whole_pieces_first(engine_model: dict[str, Any], model: _Model) -> dict[str, Any]:
    """The BPE told to look words up before it merges, so that it finds isolated symbols.

    Raises TokenizerError where that would change how another piece is found.
    """
    content = {"version": "1.0", "added_tokens": [], "model": engine_model}
    engine = Tokenizer.from_str(json.dumps(content))
    for number, piece in enumerate(model.pieces):
        if piece.kind == _NORMAL and engine.encode(piece.text).ids != [number]:
            raise TokenizerError(
                f"it has user-defined symbols such as {model.texts(_USER_DEFINED)[0]!r}, and the "
                f"piece {piece.text!r}, which its merges never make"
            )
    return {**engine_model, "ignore_merges": True}
