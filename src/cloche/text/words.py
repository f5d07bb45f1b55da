"""The word tokenizer: words and punctuation marks, parted by a regular expression.

White space always ends a word and is no token; what else does, a pattern says (`patterns.py`). Ids
are the ranks of the words in sorted order; behind them come the special tokens. Spaces are not
kept, so decoding joins words by single spaces and takes out those before , . ? ! " ( ) '

Saved, it is an ordinary Hugging Face tokenizer (word-level), which splits, looks up and joins in
the same way: that file is also what encodes here, so that there is one way to read a pattern.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import PreTokenizer

from cloche.errors import TokenizerError
from cloche.text.files import added_tokens, write_tokenizer
from cloche.text.patterns import PATTERNS, Separator, find_separator
from cloche.text.specials import split_special
from cloche.text.surrogates import refuse_lone_surrogate
from cloche.text.tokenizer import END_OF_TEXT, UNKNOWN, SpecialIds

SPECIAL_TOKENS = (END_OF_TEXT, UNKNOWN)
"""The special tokens there can be, in the order of their ids."""

_NO_SPACE_BEFORE = tuple(",.?!\"()'")
# What Python takes for white space; the engine's \s lacks the four separators of ASCII.
_WHITE_SPACE = r"[\s\x1c-\x1f]"
# A special token's name, typed in a text, becomes two words: as one it would have the token's id.
_TYPED_SPECIAL = r"(?<=\A<\|endoftext)\|>\z|(?<=\A<\|unk)\|>\z"
_PIECE_CHARACTERS = 65_536
_LONGEST_WORD = 16_000_000  # characters; what has no white space for so long is no text of words


class WordTokenizer:
    """One token a word or punctuation mark."""

    def __init__(
        self,
        words: Collection[str],
        *,
        pattern: str = "colons",
        special: Collection[str] = SPECIAL_TOKENS,
    ) -> None:
        """Over these distinct words, parted by `pattern`, with the `special` tokens behind them.

        Without the unknown token, a text with another word is an error. Raises TokenizerError where
        there is no word, one holds white space, or the pattern cannot be used.
        """
        self._words = tuple(sorted(set(words)))
        _check(self._words, special)
        self._separator = find_separator(pattern)
        names = [name for name in SPECIAL_TOKENS if name in special]
        self._special = {name: len(self._words) + rank for rank, name in enumerate(names)}
        self._ids = {word: rank for rank, word in enumerate(self._words)}
        self._spaced = [_with_space(word) for word in self._words]
        self._json = _tokenizer_json(self._words, self._special, self._separator)
        self._engine = Tokenizer.from_str(self._json.decode("utf-8"))
        self._engine.encode_special_tokens = True  # typed in a text, they are text

    def __reduce__(self) -> tuple[Any, ...]:
        # The engine forgets what it was told when it is copied to another process.
        return read_words, (json.loads(self._json), self._json)

    @property
    def kind(self) -> str:
        """`words`."""
        return "words"

    @property
    def words(self) -> tuple[str, ...]:
        """The words in the order of their ids."""
        return self._words

    @property
    def pattern(self) -> str:
        """What parts words: a name of PATTERNS, or a regular expression."""
        return self._separator.pattern

    @property
    def vocab_size(self) -> int:
        """Number of ids: the words, and behind them the special tokens."""
        return len(self._words) + len(self._special)

    @property
    def special_ids(self) -> SpecialIds:
        """The end-of-text token begins and ends texts and pads them."""
        end = self._special.get(END_OF_TEXT)
        return SpecialIds(bos=end, eos=end, pad=end, unk=self._special.get(UNKNOWN))

    @property
    def special_tokens(self) -> dict[str, int]:
        """The end-of-text and the unknown token, where it has them."""
        return dict(self._special)

    @property
    def joinable(self) -> bool:
        """Never: a pattern need not part words at Chinese punctuation, where texts are cut."""
        return False

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its `tokenizer.json`."""
        return hashlib.sha256(self._json).hexdigest()

    def encode(self, text: str, *, allowed_special: Collection[str] = ()) -> list[int]:
        """Ids of `text`, the unk token for words the vocabulary lacks.

        Special tokens in it are plain text unless allowed by name. Raises TokenizerError naming the
        first unknown word where there is no unk token.
        """
        ids: list[int] = []
        for part in split_special(text, ids=self._special, allowed=allowed_special):
            ids += [part] if isinstance(part, int) else self.encode_array(part).tolist()
        return ids

    def encode_training(self, text: str) -> list[int]:
        """Ids of `text`, as `encode` gives them."""
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> NDArray[np.int32]:
        """`encode_training` as an array, for much text."""
        refuse_lone_surrogate(text)
        pieces = list(_cut_at_white_space([text]))
        if UNKNOWN not in self._special:
            self._require_known(pieces)
        found = self._engine.encode_batch_fast(pieces)
        arrays = [np.array(encoding.ids, dtype=np.int32) for encoding in found]
        return np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens left out. Raises TokenizerError for an id out of range."""
        return "".join(map(self._piece, ids)).removeprefix(" ")

    def decode_with_special(self, ids: Sequence[int]) -> str:
        """Text of `ids`, in which special tokens stand as words, by their names."""
        names = {number: f" {name}" for name, number in self._special.items()}
        return "".join(names.get(n) or self._piece(n) for n in ids).removeprefix(" ")

    def stream(self) -> "WordStream":
        """A new streaming decoder."""
        return WordStream(self)

    def token_bytes(self, token_id: int) -> bytes:
        """The word in UTF-8, without a space; none for a special token."""
        return self._piece(token_id).removeprefix(" ").encode("utf-8")

    def token_text(self, token_id: int) -> str:
        """The word, or the name of the special token."""
        names = {number: name for name, number in self._special.items()}
        return names.get(token_id) or self._piece(token_id).removeprefix(" ")

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` into `folder`."""
        special = self.special_ids
        write_tokenizer(folder, self._json, names=self._special, special=special, extra={})

    def _piece(self, token_id: int) -> str:
        """A word and the space before it, if one belongs there; nothing for a special token."""
        if not 0 <= token_id < self.vocab_size:
            raise TokenizerError(
                f"{token_id} is no id of this tokenizer: they go from 0 to {self.vocab_size - 1}"
            )
        return self._spaced[token_id] if token_id < len(self._words) else ""

    def _require_known(self, pieces: Iterable[str]) -> None:
        position = 0
        for piece in pieces:
            for word, _ in _pre_tokenizer(self._engine).pre_tokenize_str(piece):
                position += 1
                if word not in self._ids:
                    raise TokenizerError(
                        f"the word {word[:80]!r}, number {position} of the text, is not among the "
                        f"{len(self._words):,} words this tokenizer was made from; leave it out, "
                        f"or make the tokenizer with {UNKNOWN} (--text.unknown on)"
                    )


class WordStream:
    """Ids to text one by one: every token is a whole word."""

    def __init__(self, tokenizer: WordTokenizer) -> None:
        self._tokenizer = tokenizer
        self._begun = False

    def push(self, token_id: int) -> str:
        """The word and the space before it; nothing for a special token."""
        piece = self._tokenizer._piece(token_id)
        shown = piece if self._begun else piece.removeprefix(" ")
        self._begun = self._begun or bool(piece)
        return shown

    def close(self) -> str:
        """Nothing: no word is ever held back."""
        return ""


def split_words(text: str, pattern: str) -> list[str]:
    """The words and marks of `text`, as Python's `re.split` finds them; blank ones dropped.

    `pattern` is a name of PATTERNS or a regular expression; what its groups match is kept.
    """
    try:
        pieces = re.split(PATTERNS.get(pattern, pattern), text)
    except re.error as exc:
        raise TokenizerError(f"the pattern {pattern!r} is no regular expression: {exc}") from exc
    return [piece.strip() for piece in pieces if piece and not piece.isspace()]


def distinct_words(pieces: Iterable[str], *, pattern: str) -> set[str]:
    """The distinct words of a text that comes in pieces, which may cut words.

    An empty piece ends a document, and so a word. Memory grows with the vocabulary, not with the
    text. Raises TokenizerError where the text has no white space for very long.
    """
    engine = Tokenizer.from_str(_tokenizer_json((), {}, find_separator(pattern)).decode("utf-8"))
    engine.model = models.WordLevel({}, unk_token=UNKNOWN)
    trainer = trainers.WordLevelTrainer(  # counts on all processor cores; nothing is too rare
        vocab_size=2**62, min_frequency=0, show_progress=False, special_tokens=[]
    )
    engine.train_from_iterator(_well_formed(_cut_at_white_space(pieces)), trainer=trainer)
    return set(engine.get_vocab())


def read_words(saved: dict[str, Any], data: bytes) -> WordTokenizer:
    """The tokenizer of a saved `tokenizer.json`, given parsed and as bytes.

    Raises TokenizerError where cloche would have saved it otherwise: it would not mean the same.
    """
    vocab: dict[str, int] = saved["model"]["vocab"]
    special = {token["content"] for token in saved["added_tokens"]}
    split = saved["pre_tokenizer"]["pretokenizers"][1]
    kept = split["behavior"] == "Isolated"
    pattern = Separator(split["pattern"]["Regex"], kept=kept).pattern
    tokenizer = WordTokenizer(set(vocab) - special, pattern=pattern, special=special)
    if json.loads(tokenizer._json) != saved:
        raise TokenizerError("it is not a word tokenizer as cloche writes it")
    tokenizer._json = data
    return tokenizer


def _check(words: Iterable[str], special: Collection[str]) -> None:
    unknown = sorted(set(special) - set(SPECIAL_TOKENS))
    if unknown:
        raise TokenizerError(
            f"{unknown[0]!r} cannot be a special token here; use {', '.join(SPECIAL_TOKENS)}"
        )
    if not words:
        raise TokenizerError("a word tokenizer needs text to take its words from")
    for word in words:
        refuse_lone_surrogate(word)
        if not word or word in SPECIAL_TOKENS or any(map(str.isspace, word)):
            raise TokenizerError(f"{word!r} is no word; a word holds something, and no white space")


def _with_space(word: str) -> str:
    return word if word.startswith(_NO_SPACE_BEFORE) else f" {word}"


def _pre_tokenizer(engine: Tokenizer) -> PreTokenizer:
    found = engine.pre_tokenizer
    assert found is not None, "written by _tokenizer_json"
    return found


def _well_formed(pieces: Iterable[str]) -> Iterator[str]:
    for piece in pieces:
        refuse_lone_surrogate(piece)
        yield piece


def _cut_at_white_space(pieces: Iterable[str]) -> Iterator[str]:
    """The text of `pieces`, cut anew: not within words, nor into pieces much larger than needed."""
    text = ""
    for piece in pieces:
        if not piece and text:
            yield text
        text = text + piece if piece else ""
        start = 0
        while len(text) - start > _PIECE_CHARACTERS:
            place = _after_last_space(text, start, start + _PIECE_CHARACTERS)
            if place is None:
                break
            yield text[start:place]
            start = place
        text = text[start:]
    if text:
        yield text


_SPACE = re.compile(r"\s")


def _after_last_space(text: str, start: int, end: int) -> int | None:
    """Where the last white space before `end` ends, else the first one after it; None: nowhere."""
    for place in range(end, start, -1):
        if text[place - 1].isspace():
            return place
    match = _SPACE.search(text, end)
    if match:
        return match.end()
    if len(text) - start > _LONGEST_WORD:
        raise TokenizerError(
            f"{text[start : start + 40]!r}... goes on for more than {_LONGEST_WORD:,} characters "
            f"without white space: this text has no words to split; use --text.tokenizer bpe"
        )
    return None


def _tokenizer_json(words: Sequence[str], special: dict[str, int], separator: Separator) -> bytes:
    """The Hugging Face form; the same words give the same bytes."""
    marks = re.escape("".join(_NO_SPACE_BEFORE))
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(special),
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                _split(f"{_WHITE_SPACE}+", behavior="Removed"),
                _split(separator.regex, behavior="Isolated" if separator.kept else "Removed"),
                _split(_TYPED_SPECIAL, behavior="Isolated"),
            ],
        },
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"Regex": r"\A"}, "content": " "},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
                {"type": "Replace", "pattern": {"Regex": f" (?=[{marks}])"}, "content": ""},
            ],
        },
        "model": {
            "type": "WordLevel",
            "vocab": {word: rank for rank, word in enumerate(words)} | special,
            "unk_token": UNKNOWN,
        },
    }
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode("utf-8")


def _split(regex: str, *, behavior: str) -> dict[str, Any]:
    pattern = {"Regex": regex}
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": False}
