"""The published encodings: gpt2, cl100k_base and o200k_base, through `tiktoken`.

Their ranks are downloaded once by `tiktoken`, which keeps them in the folder that
TIKTOKEN_CACHE_DIR names. A tokenizer that was saved holds them itself: it opens on any machine.
"""

import hashlib
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import tiktoken
from numpy.typing import NDArray
from tiktoken_ext import openai_public
from tokenizers import Tokenizer

from cloche.errors import TokenizerError
from cloche.text.bpe import BytePairStream
from cloche.text.byte_stream import decode_bytes
from cloche.text.cutting import safe_pieces
from cloche.text.files import write_tokenizer
from cloche.text.kinds import PUBLISHED
from cloche.text.ranks import ENCODINGS, Encoding, find_encoding, ranks_to_json
from cloche.text.specials import split_special
from cloche.text.surrogates import refuse_lone_surrogate
from cloche.text.tokenizer import END_OF_TEXT, SpecialIds

_ANSWER_SECONDS = 4  # for the machine that publishes them; a cached encoding opens in less
_DOWNLOAD_SECONDS = 300


class PublishedTokenizer:
    """A published byte-level BPE."""

    def __init__(
        self, encoding: Encoding, ranks: Mapping[bytes, int], *, data: bytes | None = None
    ) -> None:
        """From the encoding's ranks; `data` is its `tokenizer.json` where there is one already."""
        self._published = encoding
        self._ranks = dict(ranks)
        self._special = dict(encoding.special)
        self._given_json = data
        self._encoding = tiktoken.Encoding(
            encoding.name,
            pat_str=encoding.split,
            mergeable_ranks=self._ranks,
            special_tokens=self._special,
        )
        self._token_bytes = [b""] * (max(*ranks.values(), *self._special.values()) + 1)
        for token, rank in ranks.items():
            self._token_bytes[rank] = token

    @property
    def kind(self) -> str:
        """The encoding's name."""
        return self._published.name

    @property
    def vocab_size(self) -> int:
        """The largest id and one. Some ids below it may stand for nothing."""
        return len(self._token_bytes)

    @property
    def special_ids(self) -> SpecialIds:
        """The end-of-text token begins and ends texts and pads them."""
        end = self._special[END_OF_TEXT]
        return SpecialIds(bos=end, eos=end, pad=end)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Names of the special tokens and their ids."""
        return dict(self._special)

    @property
    def joinable(self) -> bool:
        """Always: no published split reaches over a safe place."""
        return True

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its `tokenizer.json`."""
        return hashlib.sha256(self._json).hexdigest()

    def encode(self, text: str, *, allowed_special: Collection[str] = ()) -> list[int]:
        """Ids of `text`; special tokens in it are plain text unless allowed by name."""
        ids: list[int] = []
        for part in split_special(text, ids=self._special, allowed=allowed_special):
            ids += [part] if isinstance(part, int) else self.encode_array(part).tolist()
        return ids

    def encode_training(self, text: str) -> list[int]:
        """Ids of `text`; nothing is unknown to bytes."""
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """`encode_training` as an array, for much text; it cannot be written to."""
        try:
            return self._encoding.encode_to_numpy(text, disallowed_special=())
        except UnicodeEncodeError:
            refuse_lone_surrogate(text)
            raise
        except ValueError:
            # tiktoken gives up on about a million blanks in a row that are not a text's last.
            arrays = [self._encode_piece(piece) for piece in safe_pieces([text], most=None)]
            return np.concatenate(arrays)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens left out; one replacement sign for a run of bad bytes.

        Raises TokenizerError for an id out of range.
        """
        return decode_bytes(b"".join(map(self.token_bytes, ids)))

    def stream(self) -> BytePairStream:
        """A new streaming decoder."""
        return BytePairStream(self.token_bytes)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; none for a special token or an id without meaning."""
        if not 0 <= token_id < len(self._token_bytes):
            raise TokenizerError(
                f"{token_id} is no id of this tokenizer: they go from 0 to {self.vocab_size - 1}"
            )
        return self._token_bytes[token_id]

    def token_text(self, token_id: int) -> str:
        """The token's text, or its bytes as hex where they are no text by themselves."""
        data = self.token_bytes(token_id)
        if not data:
            names = {number: name for name, number in self._special.items()}
            return names.get(token_id, "<unused>")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return f"<{data.hex(' ').upper()}>"

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` into `folder`."""
        extra = {"cloche_encoding": self.kind}
        special = self.special_ids
        write_tokenizer(folder, self._json, names=self._special, special=special, extra=extra)

    @cached_property
    def _json(self) -> bytes:
        return self._given_json or ranks_to_json(self._published, self._ranks)

    @cached_property
    def _engine(self) -> Tokenizer:
        engine = Tokenizer.from_str(self._json.decode("utf-8"))
        engine.encode_special_tokens = True
        return engine

    def _encode_piece(self, piece: str) -> NDArray[np.uint32]:
        try:
            return self._encoding.encode_to_numpy(piece, disallowed_special=())
        except ValueError:  # the other engine gives the same ids, more slowly
            return np.array(self._engine.encode(piece).ids, dtype=np.uint32)


def open_published(name: str) -> PublishedTokenizer:
    """The published encoding of that name, downloaded where it was never used on this machine.

    Raises TokenizerError where there is none of that name, or where it can neither be found nor
    downloaded; then it says what to put where.
    """
    if name not in ENCODINGS:
        raise TokenizerError(f"{name!r} is no published encoding; there are {', '.join(PUBLISHED)}")
    encoding = ENCODINGS[name]
    return PublishedTokenizer(encoding, _load_ranks(encoding))


def read_published(saved: dict[str, Any], data: bytes) -> PublishedTokenizer | None:
    """The published encoding of a saved `tokenizer.json`, given parsed and as bytes, if it is one.

    Nothing is downloaded.
    """
    found = find_encoding(saved)
    return PublishedTokenizer(found[0], found[1], data=data) if found else None


def _load_ranks(encoding: Encoding) -> dict[bytes, int]:
    """The ranks, from tiktoken's cache or downloaded by it.

    tiktoken sets no time limit, so it works in a thread of its own, which is left behind where the
    machine that publishes them does not answer.
    """
    load: Callable[[], dict[str, Any]] = openai_public.ENCODING_CONSTRUCTORS[encoding.name]
    found: list[dict[bytes, int]] = []
    problems: list[Exception] = []

    def work() -> None:
        try:
            found.append(load()["mergeable_ranks"])
        except Exception as exc:  # told by the thread that waits
            problems.append(exc)

    worker = Thread(target=work, daemon=True)
    worker.start()
    worker.join(_ANSWER_SECONDS)
    if worker.is_alive() and _answers(encoding.files[0]):
        worker.join(_DOWNLOAD_SECONDS)
    if found:
        return found[0]
    cause = problems[0] if problems else None
    raise TokenizerError(_how_to_get(encoding, cause)) from cause


def _answers(address: str) -> bool:
    """Whether a machine accepts connections; assumed where a proxy stands between."""
    if getproxies():
        return True
    try:
        with socket.create_connection((urlsplit(address).netloc, 443), timeout=_ANSWER_SECONDS):
            return True
    except OSError:
        return False


def _how_to_get(encoding: Encoding, cause: Exception | None) -> str:
    host = urlsplit(encoding.files[0]).netloc
    reason = f"{host} does not answer" if cause is None else f"{type(cause).__name__}"
    steps = " and ".join(
        f"{address} as {hashlib.sha1(address.encode()).hexdigest()}" for address in encoding.files
    )
    return (
        f"the encoding {encoding.name} is not on this machine and could not be downloaded "
        f"({reason}). Download, where there is a network, {steps}; put that into a folder, and let "
        f"TIKTOKEN_CACHE_DIR name the folder"
    )
