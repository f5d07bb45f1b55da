"""Answers that are surely JSON of some schema, or match a regular expression.

A grammar says, for the text so far, which tokens may come next; all others are masked. The work is
done by llguidance, on the bytes of a tokenizer's tokens, so any tokenizer will do whose text is the
bytes of its tokens, one behind the other.

Source: https://github.com/guidance-ai/llguidance
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from torch import Tensor

from cloche.errors import RequestError, TokenizerError, join_problems
from cloche.generation.request import Constraint
from cloche.generation.schema_keywords import unknown_keywords
from cloche.text.tokenizer import Tokenizer

_WHITE_SPACE = "[ ]?"  # a weak model would else write spaces and line ends for ever
_PAIRS_TRIED = 64
_LONGEST_COMPLAINT = 300  # characters


class ConstraintCompiler:
    """Makes constraints for one tokenizer. Keep it: it reads the whole vocabulary, once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises RequestError where the tokens' bytes, joined, are not the text."""
        _require_joined_bytes(tokenizer)
        self._tokenizer = tokenizer
        self._vocabulary = LLTokenizer(TokenizerWrapper(_Vocabulary(tokenizer)))

    def json_schema(self, schema: str | Mapping[str, Any]) -> Constraint:
        """The constraint that an answer is one JSON value as `schema` describes it.

        Between the parts of the value at most one space is written, unless the schema's
        `x-guidance` says otherwise. Raises RequestError for what is no schema, what no value can
        meet, and keywords that are not known.
        """
        what = "the JSON schema"
        grammar = LLMatcher.grammar_from_json_schema(
            _schema_text(schema), defaults={"whitespace_pattern": _WHITE_SPACE}
        )
        return self._compile(grammar, what=what)

    def regex(self, pattern: str) -> Constraint:
        """The constraint that an answer matches `pattern` from its first character to its last.

        The syntax is that of Rust's regex crate: no look-around, no back-references. Raises
        RequestError where `pattern` is no such expression.
        """
        what = f"the regular expression {_shortened(repr(pattern))}"
        try:
            pattern.encode()
        except UnicodeEncodeError as exc:
            raise RequestError(f"{what} holds half a character at {exc.start + 1}") from exc
        return self._compile(LLMatcher.grammar_from_regex(pattern), what=what)

    def _compile(self, grammar: str, *, what: str) -> Constraint:
        limits = LLParserLimits(verbose_errors=False)
        failed, told = LLMatcher.validate_grammar_with_warnings(
            grammar, self._vocabulary, limits=limits
        )
        if failed or told:  # a warning is about a keyword that would be passed over
            raise RequestError(f"{what} cannot be used: {_plain(told[0])}")
        matcher = LLMatcher(self._vocabulary, grammar, log_level=0, limits=limits)
        constraint = Constraint(
            what,
            matcher,
            vocab_size=self._tokenizer.vocab_size,
            fingerprint=self._tokenizer.fingerprint,
        )
        begun = ConstrainedText(constraint, stop_ids=())
        if begun.trouble:
            raise RequestError(begun.trouble)
        if begun.complete:
            raise RequestError(f"{what} lets nothing but an empty answer through")
        return constraint


class ConstrainedText:
    """The rule that one answer follows a grammar: an answer may end exactly where it may."""

    def __init__(self, constraint: Constraint, *, stop_ids: Collection[int]) -> None:
        self._matcher: LLMatcher = constraint.matcher.deep_copy()
        self._what = constraint.what
        self._vocab_size = constraint.vocab_size
        self._stop_ids = [token_id for token_id in stop_ids if token_id < self._vocab_size]
        self._written = 0
        self.complete = False
        """Whether the grammar has been met and nothing can follow."""
        self.trouble = ""
        """Why the answer can neither go on nor end; empty where it can."""
        self._allowed = self._find_allowed()

    def apply(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """Logits with only the tokens that the grammar allows next."""
        return logits.masked_fill(~self._allowed.to(logits.device), -torch.inf)

    def accept(self, token_id: int) -> None:
        """Take in the token that was drawn."""
        if token_id in self._stop_ids:
            return
        self._written += 1
        self._matcher.consume_token(token_id)
        self._allowed = self._find_allowed()

    def _find_allowed(self) -> Bool[Tensor, " vocab"]:
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        bits = np.unpackbits(packed, count=self._vocab_size, bitorder="little")
        allowed = torch.from_numpy(bits.astype(np.bool_))
        allowed[self._stop_ids] = False
        may_end = self._matcher.is_accepting() and not self._matcher.is_error()
        more = bool(allowed.any())
        self.complete = may_end and not more
        if not may_end and not more:
            self.trouble = self._why_stuck()
        if may_end:
            allowed[self._stop_ids] = True
        return allowed

    def _why_stuck(self) -> str:
        error = self._matcher.get_error()
        if error and self._matcher.stop_reason() not in ("NoExtension", "NoExtensionBias"):
            complaint = _plain(error)
        else:
            complaint = "the vocabulary has no token for what must come next"
        where = f"after {self._written} tokens" if self._written else "at the beginning"
        return f"{self._what} cannot be followed {where}: {complaint}"


class _Vocabulary:
    """A tokenizer as llguidance reads it: the bytes of each token, and one more that ends a text.

    Which tokens end an answer is the request's affair, so none of the tokenizer's own is named.
    """

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        count = tokenizer.vocab_size
        special = {number for number in tokenizer.special_tokens.values() if number < count}
        # a special token has no bytes, so no grammar ever asks for it
        self.tokens = [b"" if i in special else tokenizer.token_bytes(i) for i in range(count)]
        self.tokens.append(b"<end>")
        self.eos_token_id = count
        self.special_token_ids = [count]
        self._tokenizer = tokenizer
        self._ids = {data: i for i, data in enumerate(self.tokens[:-1]) if data}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: bytes) -> list[int]:
        """Ids of a text that a grammar leaves no choice about: how the tokenizer would write it.

        Where it would not, the longest tokens that fit; the end where none does, which a grammar
        that wants more text does not allow.
        """
        try:
            ids = self._tokenizer.encode(text.decode("utf-8"))
        except (TokenizerError, UnicodeDecodeError):
            return self._longest_that_fit(text)
        written = b"".join(self.tokens[token_id] for token_id in ids)
        return ids if written == text else self._longest_that_fit(text)

    def _longest_that_fit(self, text: bytes) -> list[int]:
        ids = []
        while text:
            lengths = range(min(len(text), self._longest), 0, -1)
            fitting = next((length for length in lengths if text[:length] in self._ids), None)
            if fitting is None:
                return [*ids, self.eos_token_id]
            ids.append(self._ids[text[:fitting]])
            text = text[fitting:]
        return ids


def _require_joined_bytes(tokenizer: Tokenizer) -> None:
    special = set(tokenizer.special_tokens.values())
    step = max(1, tokenizer.vocab_size // _PAIRS_TRIED)
    ids = [i for i in range(0, tokenizer.vocab_size, step) if i not in special]
    first = next((i for i in ids if _is_text(tokenizer.token_bytes(i))), None)
    if first is None:
        return
    begun = tokenizer.decode([first])
    for token_id in ids:
        data = tokenizer.token_bytes(token_id)
        if _is_text(data) and tokenizer.decode([first, token_id]) != begun + data.decode():
            raise RequestError(
                "a schema or regular expression needs tokens whose texts follow one another as "
                f"they are; this tokenizer ({tokenizer.kind}) sets spaces between them or joins "
                "them otherwise"
            )


def _is_text(data: bytes) -> bool:
    try:
        return bool(data.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _schema_text(schema: str | Mapping[str, Any]) -> str:
    try:
        value = json.loads(schema) if isinstance(schema, str) else schema
        if isinstance(value, bool):
            value = {"allOf": [value]}
        if not isinstance(value, Mapping):
            raise RequestError(
                f"a JSON schema is an object, true or false, got {_shortened(json.dumps(value))}"
            )
        if unknown := list(unknown_keywords(value)):
            raise RequestError(join_problems(unknown))
        return json.dumps(dict(value))
    except (ValueError, TypeError, RecursionError) as exc:
        if isinstance(exc, RequestError):
            raise
        raise RequestError(f"the JSON schema cannot be read as JSON: {exc}") from exc


def _plain(complaint: str) -> str:
    """What llguidance says, on one line and no longer than a reader takes in."""
    return _shortened("; ".join(line.strip() for line in complaint.splitlines() if line.strip()))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_COMPLAINT else text[: _LONGEST_COMPLAINT - 3] + "..."
