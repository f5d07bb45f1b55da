"""The engine of a Hugging Face tokenizer, made ready for text that is nothing but text.

Many files list their special tokens in the vocabulary of the model itself, where a typed `</s>`
would find them. So the engine that encodes gets them under names that nobody can type. It also gets
a token for what it does not know, where it has none: else such text would silently be left out.
"""

import json
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from tokenizers import Tokenizer

from cloche.errors import TokenizerError
from cloche.text.splitting import byte_of_letter
from cloche.text.surrogates import refuse_lone_surrogate

_BATCH_TEXTS = 64  # encoded at once, over all processor cores


class HubEngine:
    """Text to the ids that the file gives it, with some special tokens out of reach."""

    def __init__(
        self,
        saved: Mapping[str, Any],
        *,
        ids: Mapping[str, int],
        plain: Collection[str],
        allowed: Collection[str] = (),
    ) -> None:
        """From a parsed `tokenizer.json` and the ids of all its tokens.

        Of the special tokens, those in `plain` are text, and those in `allowed` are found in it.
        Raises TokenizerError where the engine cannot be built.
        """
        mark = f"\ufdd0{secrets.token_hex(8)}"  # cannot be guessed, and is in no result
        renamed = {name: mark + name for name in plain}
        prepared = _renamed(saved, renamed)
        if not _knows_all(prepared):
            prepared = {**prepared, "model": _with_unknown(prepared["model"], mark)}
        self._engine = load_engine(prepared)
        added = {token.content for token in self._engine.get_added_tokens_decoder().values()}
        self._engine.add_special_tokens([name for name in allowed if name not in added])
        reachable = [name for name in ids if name not in renamed]
        found = self._engine.get_vocab(with_added_tokens=True)
        self._unknown_id = found.get(mark)
        # Added tokens are numbered after the model's, among which there may now be one more.
        self._moved = {found[name]: ids[name] for name in reachable if found[name] != ids[name]}

    def encode(self, text: str) -> list[int]:
        """The ids of `text`. Raises TokenizerError for what no token stands for."""
        return next(iter(self.encode_each([text])))

    def encode_each(self, texts: Iterable[str]) -> Iterator[list[int]]:
        """The ids of each text, some texts at a time on all processor cores."""
        rest = iter(texts)
        while batch := list(islice(rest, _BATCH_TEXTS)):
            for text in batch:
                refuse_lone_surrogate(text)
            encodings = self._encode_batch(batch)
            for text, ids in zip(batch, encodings, strict=True):
                if self._unknown_id is not None and self._unknown_id in ids:
                    raise self._unknown(text, self._unknown_id)
                yield [self._moved.get(number, number) for number in ids] if self._moved else ids

    def _encode_batch(self, batch: list[str]) -> list[list[int]]:
        try:
            encodings = self._engine.encode_batch_fast(batch, add_special_tokens=False)
        except Exception as exc:  # the engine raises plain Exception
            raise TokenizerError(f"the tokenizer cannot encode the text: {exc}") from exc
        except BaseException as exc:
            if type(exc).__name__ != "PanicException":  # a fault of the engine; no public class
                raise
            raise TokenizerError(f"the engine failed at encoding the text: {exc}") from exc
        return [encoding.ids for encoding in encodings]

    def _unknown(self, text: str, unknown_id: int) -> TokenizerError:
        encoding = self._engine.encode(text, add_special_tokens=False)
        start, end = encoding.offsets[encoding.ids.index(unknown_id)]
        place = text[start:end] or text[start : start + 1]
        shown = place if len(place) <= 40 else place[:40] + "..."
        codes = " ".join(f"U+{ord(character):04X}" for character in place[:4])
        return TokenizerError(
            f"the text holds {shown!r} ({codes}), character {start + 1} of it, for which this "
            f"tokenizer has no token, nor one for unknown text; leave it out, or take another one"
        )


def load_engine(saved: Mapping[str, Any]) -> Tokenizer:
    """The engine of a parsed file, without its truncation, padding, additions and chance.

    Raises TokenizerError that says what the engine cannot read.
    """
    model = dict(saved["model"])
    if model.get("dropout") is not None:
        model["dropout"] = None  # merges left out by chance: for training only
    changes = {"model": model, "truncation": None, "padding": None, "post_processor": None}
    try:
        return Tokenizer.from_str(json.dumps({**saved, **changes}, ensure_ascii=False))
    except Exception as exc:  # the engine raises plain Exception
        raise TokenizerError(f"it is damaged, or newer than the engine: {exc}") from exc


def _knows_all(saved: Mapping[str, Any]) -> bool:
    """Whether the model has a token for unknown text, or knows every byte."""
    model = saved["model"]
    if model["type"] == "Unigram":
        return model.get("unk_id") is not None
    if model.get("unk_token") is not None and model["unk_token"] in model["vocab"]:
        return True
    return knows_all_bytes(saved)


def knows_all_bytes(saved: Mapping[str, Any]) -> bool:
    """Whether a model works on bytes and has them all, so that no text is unknown to it."""
    model = saved["model"]
    if model["type"] == "Unigram":
        return False
    pre_tokenizer = json.dumps(saved.get("pre_tokenizer") or {})
    return '"ByteLevel"' in pre_tokenizer and model["vocab"].keys() >= _letters_needed(model)


def _letters_needed(model: Mapping[str, Any]) -> set[str]:
    """The letters of all bytes, as the model spells them within, before and at the end of words."""
    prefixes = {"", model.get("continuing_subword_prefix") or ""}
    suffixes = {"", model.get("end_of_word_suffix") or ""}
    letters = byte_of_letter()
    return {f"{begin}{letter}{end}" for begin in prefixes for letter in letters for end in suffixes}


def _renamed(saved: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The file with tokens renamed."""
    model = dict(saved["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [[renamed.get(piece, piece), score] for piece, score in model["vocab"]]
    else:
        model["vocab"] = {renamed.get(token, token): n for token, n in model["vocab"].items()}
        own = model.get("unk_token")
        model["unk_token"] = renamed.get(own or "", own)
        if "merges" in model:
            prefix = model.get("continuing_subword_prefix") or ""
            model["merges"] = _merges_without(model["merges"], renamed, prefix=prefix)
    added = [
        {**token, "content": renamed.get(token["content"], token["content"])}
        for token in saved.get("added_tokens") or []
    ]
    return {**saved, "model": model, "added_tokens": added}


def _with_unknown(model: Mapping[str, Any], unknown: str) -> dict[str, Any]:
    """The model with one more token, which stands for unknown text."""
    vocab = model["vocab"]
    if model["type"] == "Unigram":
        return {**model, "vocab": [*vocab, [unknown, 0.0]], "unk_id": len(vocab)}
    number = max(vocab.values(), default=-1) + 1
    return {**model, "vocab": {**vocab, unknown: number}, "unk_token": unknown}


def _merges_without(merges: list, names: Collection[str], *, prefix: str) -> list:
    """The merges in which none of these tokens has a part."""
    if not names:
        return merges
    kept, hidden = [], set(names)
    for merge in merges:
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        if not hidden & {left, right, left + right.removeprefix(prefix)}:
            kept.append(merge)
    return kept
