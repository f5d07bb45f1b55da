"""Any Hugging Face tokenizer: whatever its `tokenizer.json` says, served by the engine it is for.

Byte-level BPE (GPT-2, Llama 3, Qwen), BPE and Unigram from SentencePiece (Llama 2, T5), WordPiece
(BERT), word level, with any normalizer, pre-tokenizer and decoder. Ids and text are those that
`tokenizers` and `transformers` give, with these differences, all meant:

* special tokens typed in a text are text, unless allowed by name, also where the vocabulary of the
  model itself holds them; nothing is added at the ends, cut or padded;
* a token that only has a role, such as `!` for padding, and that neither `tokenizer.json` calls
  special nor anyone would take for a mark such as `</s>`, stays the text that it is;
* what a vocabulary without an unknown token cannot express is an error, not left out;
* bytes that form no character are one replacement sign for a whole run, and never take good
  characters beside them away; ids without a token, which some files have, are empty text.

Source of the format: https://huggingface.co/docs/tokenizers
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from cloche.errors import TokenizerError
from cloche.text.cutting import safe_pieces
from cloche.text.files import TOKENIZER_FILE, write_tokenizer
from cloche.text.hub_engine import HubEngine, knows_all_bytes, load_engine
from cloche.text.hub_roles import ROLES, is_mark, name_roles, parse_json, read_roles
from cloche.text.hub_splitting import splits_at_safe_places, splits_bytes_alone
from cloche.text.specials import split_special
from cloche.text.token_decoding import TokenDecoder, TokenTextStream
from cloche.text.tokenizer import SpecialIds

_MODELS = ("BPE", "Unigram", "WordPiece", "WordLevel")


class HubTokenizer:
    """A tokenizer read from a `tokenizer.json`."""

    def __init__(
        self, data: bytes, *, roles: Mapping[str, str | None], path: Path = Path(TOKENIZER_FILE)
    ) -> None:
        """From the bytes of the file, and the special token of each role (`bos`, `eos`, ...).

        A role that is not given is looked for by well-known names; one that is None has no token.
        `path` is what messages call the file. Raises TokenizerError where it is damaged.
        """
        self._arguments = (data, dict(roles), path)
        try:
            self._saved = _read(data, path=path)
            engine = load_engine(self._saved)
            self._ids = engine.get_vocab(with_added_tokens=True)
            added = engine.get_added_tokens_decoder().values()
            special = [token.content for token in added if token.special]
            unknown = _model_unknown(self._saved)
            self._roles = name_roles(roles, ids=self._ids, special=special, unknown=unknown)
            marks = [
                token
                for token in self._roles.values()
                if is_mark(token) or (token == unknown and not knows_all_bytes(self._saved))
            ]
            names = dict.fromkeys([*special, *marks])
            self._special = {name: self._ids[name] for name in names}
            self._plain_engine = HubEngine(self._saved, ids=self._ids, plain=self._special)
            self._decoder = TokenDecoder(self._saved.get("decoder"))
        except TokenizerError as exc:
            raise TokenizerError(f"{path} cannot be used: {exc}") from exc
        self._joinable = splits_at_safe_places(self._saved)
        self._fingerprint = hashlib.sha256(data).hexdigest()
        self._allowing: dict[frozenset[str], HubEngine] = {}
        self._tokens: list[str | None] = [None] * (max(self._ids.values(), default=-1) + 1)
        for token, number in self._ids.items():
            self._tokens[number] = token
        self._names = {number: name for name, number in self._special.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        # The engine forgets what it was told when it is copied to another process.
        return _reopen, self._arguments

    @property
    def kind(self) -> str:
        """`hub`."""
        return "hub"

    @property
    def vocab_size(self) -> int:
        """The highest id and one more; some files leave ids below it without a token."""
        return len(self._tokens)

    @property
    def special_ids(self) -> SpecialIds:
        """Ids of the special tokens by role."""
        return SpecialIds(
            **{role: self._ids[self._roles[role]] for role in ROLES[:4] if role in self._roles}
        )

    @property
    def special_tokens(self) -> dict[str, int]:
        """Names of the special tokens and their ids."""
        return dict(self._special)

    @property
    def joinable(self) -> bool:
        """Whether it surely splits text at the places where `cutting.safe_pieces` cuts."""
        return self._joinable

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its `tokenizer.json`."""
        return self._fingerprint

    def encode(self, text: str, *, allowed_special: Collection[str] = ()) -> list[int]:
        """Ids of `text`; special tokens in it are plain text unless allowed by name.

        What is unknown becomes the unk token. Raises TokenizerError where there is none.
        """
        # Names are checked here in any case.
        parts = list(split_special(text, ids=self._special, allowed=allowed_special))
        if allowed_special and not splits_bytes_alone(self._saved):
            return self._engine_allowing(frozenset(allowed_special)).encode(text)
        ids: list[int] = []
        for part in parts:
            ids += [part] if isinstance(part, int) else self.encode_training(part)
        return ids

    def encode_training(self, text: str) -> list[int]:
        """Ids of `text`, with the unk token for what is unknown.

        Raises TokenizerError where it has no such token and needs one.
        """
        ids: list[int] = []
        for piece_ids in self._plain_engine.encode_each(self._pieces(text)):
            ids += piece_ids
        return ids

    def encode_array(self, text: str) -> Int32[np.ndarray, " time"]:
        """`encode_training` as an array, for much text."""
        parts = self._plain_engine.encode_each(self._pieces(text))
        arrays = [np.array(ids, dtype=np.int32) for ids in parts]
        return np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens left out. Raises TokenizerError for an id out of range."""
        found = [self._token(number) for number in ids]
        return self._decoder.decode([token for token in found if token is not None])

    def stream(self) -> "HubStream":
        """A new streaming decoder."""
        return HubStream(self, decoder=self._decoder)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; none for a special token."""
        token = self._token(token_id)
        return b"" if token is None else self._decoder.token_bytes(token)

    def token_text(self, token_id: int) -> str:
        """The token's text, or its bytes as hex where they are no text by themselves."""
        if token_id in self._names:
            return self._names[token_id]
        if self._token(token_id) is None:
            return f"<no token {token_id}>"
        data = self.token_bytes(token_id)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return f"<{data.hex(' ').upper()}>"

    def save(self, folder: Path) -> None:
        """Write the `tokenizer.json` as it was, and a `tokenizer_config.json`, into `folder`."""
        extra = {f"{role}_token": self._roles[role] for role in ROLES[4:] if role in self._roles}
        data, special = self._arguments[0], self.special_ids
        names = {name: self._ids[name] for name in (*self._special, *self._roles.values())}
        write_tokenizer(folder, data, names=names, special=special, extra=extra)

    def visible_token(self, token_id: int) -> str | None:
        """The token as the vocabulary spells it; None for special ones and ids without a token.

        Raises TokenizerError for an id out of range.
        """
        return self._token(token_id)

    def _token(self, token_id: int) -> str | None:
        if not 0 <= token_id < len(self._tokens):
            raise TokenizerError(
                f"{token_id} is no id of this tokenizer: they go from 0 to {self.vocab_size - 1}"
            )
        return None if token_id in self._names else self._tokens[token_id]

    def _pieces(self, text: str) -> list[str]:
        if not text:
            return []
        return list(safe_pieces([text], most=None)) if self.joinable else [text]

    def _engine_allowing(self, allowed: frozenset[str]) -> HubEngine:
        """The engine that finds these special tokens itself, with what the file says of spaces
        around them and of text between them."""
        if allowed not in self._allowing:
            plain = self._special.keys() - allowed
            self._allowing[allowed] = HubEngine(
                self._saved, ids=self._ids, plain=plain, allowed=sorted(allowed)
            )
        return self._allowing[allowed]


class HubStream:
    """Ids to text one by one, never half a character."""

    def __init__(self, tokenizer: HubTokenizer, *, decoder: TokenDecoder) -> None:
        self._tokenizer = tokenizer
        self._text = TokenTextStream(decoder)

    def push(self, token_id: int) -> str:
        """The text that is certain with this token."""
        token = self._tokenizer.visible_token(token_id)
        return "" if token is None else self._text.push(token)

    def close(self) -> str:
        """What is left, with one replacement sign for bytes that never became a character."""
        return self._text.close()


def open_hub_tokenizer(path: Path) -> HubTokenizer:
    """The tokenizer of a Hugging Face folder, or of a `tokenizer.json` by itself.

    Roles are read from the files beside it. Raises TokenizerError where it is absent or damaged.
    """
    file = path / TOKENIZER_FILE if path.is_dir() else path
    try:
        data = file.read_bytes()
    except FileNotFoundError as exc:
        raise TokenizerError(
            f"{file} does not exist; name a tokenizer.json, or a folder that holds one"
        ) from exc
    except OSError as exc:
        raise TokenizerError(f"{file} cannot be read: {exc.strerror}") from exc
    return HubTokenizer(data, roles=read_roles(file.parent), path=file)


def _reopen(data: bytes, roles: Mapping[str, str | None], path: Path) -> HubTokenizer:
    return HubTokenizer(data, roles=roles, path=path)


def _read(data: bytes, *, path: Path) -> dict[str, Any]:
    """The file parsed, with the type of its model written out. Raises TokenizerError."""
    saved = parse_json(data, path=path)
    model = saved.get("model")
    if not isinstance(model, dict) or "vocab" not in model:
        raise TokenizerError("it holds no model with a vocabulary, so it is no tokenizer.json")
    if "type" not in model:  # as older files have it; the engine finds out by itself
        saved["model"] = parse_json(load_engine(saved).to_str().encode(), path=path)["model"]
    kind = saved["model"]["type"]
    if kind not in _MODELS:
        raise TokenizerError(f"its model is of the kind {kind!r}, not one of {', '.join(_MODELS)}")
    return saved


def _model_unknown(saved: Mapping[str, Any]) -> str | None:
    """The token that the model has for unknown text, or None."""
    model = saved["model"]
    if model["type"] == "Unigram":
        number = model.get("unk_id")
        return None if number is None else model["vocab"][number][0]
    token = model.get("unk_token")
    return token if token in model["vocab"] else None
