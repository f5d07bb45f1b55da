"""Byte-level byte-pair encoding: trained on the text at hand, by the `tokenizers` engine.

All 256 bytes are in the vocabulary, so any text has ids and comes back exactly.

Source: Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; over bytes: Radford et al. 2019,
"Language Models are Unsupervised Multitask Learners" (GPT-2).
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from cloche.errors import TokenizerError
from cloche.text.byte_stream import ByteTextStream, decode_bytes
from cloche.text.cutting import safe_pieces
from cloche.text.files import write_tokenizer
from cloche.text.kinds import RULES, Rule
from cloche.text.specials import split_special
from cloche.text.splitting import byte_of_letter, pre_tokenizer, rule_of
from cloche.text.surrogates import refuse_lone_surrogate
from cloche.text.tokenizer import END_OF_TEXT, UNKNOWN, SpecialIds

SMALLEST_VOCAB = 257
"""The 256 bytes and the end-of-text token."""

_BATCH_PIECES = 64  # encoded at once, over all processor cores


class BytePairTokenizer:
    """A trained byte-level BPE."""

    def __init__(self, data: bytes) -> None:
        """From the bytes of its `tokenizer.json`.

        Raises TokenizerError where that is no byte-level BPE under one of the three rules.
        """
        self._json = data
        self._rule: Rule = _check(json.loads(data))
        try:
            self.engine = Tokenizer.from_str(data.decode("utf-8"))
        except Exception as exc:  # the engine raises plain ones
            raise TokenizerError(f"the engine cannot read it: {exc}") from exc
        self.engine.encode_special_tokens = True  # typed in a text, they are text
        added = self.engine.get_added_tokens_decoder()
        self._special = {token.content: number for number, token in added.items()}
        self._token_bytes = _bytes_of_tokens(self.engine, special=set(added))

    def __reduce__(self) -> tuple[type["BytePairTokenizer"], tuple[bytes]]:
        # The engine forgets what it was told when it is copied to another process.
        return BytePairTokenizer, (self._json,)

    @property
    def kind(self) -> str:
        """`bpe`."""
        return "bpe"

    @property
    def rule(self) -> Rule:
        """How it splits text before merging, by llama.cpp's name."""
        return self._rule

    @property
    def vocab_size(self) -> int:
        """Number of ids: bytes, merges and special tokens."""
        return len(self._token_bytes)

    @property
    def special_ids(self) -> SpecialIds:
        """The end-of-text token begins and ends texts and pads them."""
        end = self._special[END_OF_TEXT]
        return SpecialIds(bos=end, eos=end, pad=end, unk=self._special.get(UNKNOWN))

    @property
    def special_tokens(self) -> dict[str, int]:
        """Names of the special tokens and their ids."""
        return dict(self._special)

    @property
    def joinable(self) -> bool:
        """Always: no rule lets a token reach over a safe place."""
        return True

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its `tokenizer.json`."""
        return hashlib.sha256(self._json).hexdigest()

    def encode(self, text: str, *, allowed_special: Collection[str] = ()) -> list[int]:
        """Ids of `text`; special tokens in it are plain text unless allowed by name.

        Long text is encoded in safe pieces on all processor cores, with the ids of the whole.
        """
        ids: list[int] = []
        for part in split_special(text, ids=self._special, allowed=allowed_special):
            if isinstance(part, int):
                ids.append(part)
            else:
                for piece_ids in self._encode_pieces(safe_pieces([part], most=None)):
                    ids += piece_ids
        return ids

    def encode_training(self, text: str) -> list[int]:
        """Ids of `text`; nothing is unknown to bytes."""
        return self.encode(text)

    def encode_array(self, text: str) -> NDArray[np.int32]:
        """`encode_training` as an array, for much text."""
        parts = self._encode_pieces(safe_pieces([text], most=None))
        arrays = [np.array(ids, dtype=np.int32) for ids in parts]
        return np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens left out; one replacement sign for a run of bad bytes.

        Raises TokenizerError for an id out of range.
        """
        return decode_bytes(b"".join(map(self.token_bytes, ids)))

    def stream(self) -> "BytePairStream":
        """A new streaming decoder."""
        return BytePairStream(self.token_bytes)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; none for a special token."""
        if not 0 <= token_id < len(self._token_bytes):
            raise TokenizerError(
                f"{token_id} is no id of this tokenizer: they go from 0 to {self.vocab_size - 1}"
            )
        return self._token_bytes[token_id]

    def token_text(self, token_id: int) -> str:
        """The token's text, or its bytes as hex where they are no text by themselves."""
        for name, number in self._special.items():
            if number == token_id:
                return name
        data = self.token_bytes(token_id)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return f"<{data.hex(' ').upper()}>"

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` into `folder`."""
        extra = {"cloche_rule": self._rule}
        special = self.special_ids
        write_tokenizer(folder, self._json, names=self._special, special=special, extra=extra)

    def _encode_pieces(self, pieces: Iterable[str]) -> Iterator[list[int]]:
        """Ids of each piece, some of them at a time."""
        for batch in _batches(pieces):
            for piece in batch:
                refuse_lone_surrogate(piece)
            for encoding in self.engine.encode_batch_fast(batch):
                yield encoding.ids


class BytePairStream:
    """Ids to text one by one, never half a character."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        """`token_bytes` gives the bytes of a token."""
        self._token_bytes = token_bytes
        self._text = ByteTextStream()

    def push(self, token_id: int) -> str:
        """The text up to the last whole character that this token completes."""
        return self._text.push(self._token_bytes(token_id))

    def close(self) -> str:
        """One replacement sign where bytes were left that never became a character."""
        return self._text.close()


def train_bpe(pieces: Iterable[str], *, vocab_size: int, rule: Rule) -> BytePairTokenizer:
    """A byte-level BPE of at most `vocab_size` ids, trained on `pieces`.

    Give pieces as `safe_pieces` cuts them, or whole texts. Merges go on while some pair of tokens
    occurs twice, so that little text gives a smaller vocabulary: `vocab_size` of the outcome is the
    true one. The same text gives the same bytes. Raises TokenizerError where there is no text.
    """
    if rule not in RULES:
        raise TokenizerError(f"{rule!r} is no splitting rule; use {', '.join(RULES)}")
    if vocab_size < SMALLEST_VOCAB:
        raise TokenizerError(
            f"a byte-level BPE has at least {SMALLEST_VOCAB} ids (256 bytes and the end-of-text "
            f"token), got {vocab_size}"
        )
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizer(rule)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    count = _Count()
    engine.train_from_iterator(count.counted(pieces), trainer=trainer)
    if not count.characters:
        raise TokenizerError("there is no text to train a tokenizer on")
    engine.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return BytePairTokenizer((engine.to_str(pretty=True) + "\n").encode("utf-8"))


class _Count:
    """Counts what goes by."""

    characters = 0

    def counted(self, pieces: Iterable[str]) -> Iterator[str]:
        for piece in pieces:
            self.characters += len(piece)
            yield piece


def _check(saved: dict) -> Rule:
    """The rule of a saved tokenizer, if it is one that BytePairTokenizer stands for."""
    model, added = saved["model"], saved["added_tokens"]
    rule = rule_of(saved.get("pre_tokenizer"))
    changes = ("normalizer", "post_processor", "truncation", "padding")
    problems = {
        "its model is no byte-level BPE": model["type"] != "BPE" or model.get("byte_fallback"),
        "it leaves out merges by chance (dropout)": model.get("dropout") is not None,
        "its vocabulary lacks some of the 256 bytes": set(byte_of_letter()) - set(model["vocab"]),
        "its decoder is not ByteLevel": (saved.get("decoder") or {}).get("type") != "ByteLevel",
        f"its splitting rule is none of {', '.join(RULES)}": rule is None,
        f"it changes text or ids ({', '.join(changes)})": any(saved.get(key) for key in changes),
        "it has added tokens that are not special": not all(token["special"] for token in added),
        f"it has no {END_OF_TEXT}": END_OF_TEXT not in {token["content"] for token in added},
    }
    found = [problem for problem, holds in problems.items() if holds]
    if found or rule is None:
        raise TokenizerError("; ".join(found))
    return rule


def _bytes_of_tokens(engine: Tokenizer, *, special: set[int]) -> list[bytes]:
    """The bytes of every token by id; none for special tokens."""
    letters = byte_of_letter()
    found = [b""] * engine.get_vocab_size(with_added_tokens=True)
    for token, number in engine.get_vocab(with_added_tokens=True).items():
        if number not in special:
            found[number] = bytes(letters[letter] for letter in token)
    return found


def _batches(pieces: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(pieces)
    while batch := list(islice(rest, _BATCH_PIECES)):
        yield batch
