"""A model measured on a text: its own validation part, or any other.

The first token of a text is predicted from the beginning-of-text token, or from a newline where
the model has learned no such token. Where its tokenizer has no newline either (words, WordPiece,
most of SentencePiece), nothing the model knows could stand there: the first token is then not
scored, and its characters and bytes are not counted.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from cloche.data.batches import Tokens, TokensInMemory
from cloche.data.place import TOKENIZER
from cloche.data.prepare import open_prepared
from cloche.errors import DataError, RequestError, TextError
from cloche.evaluation.likelihood import Likelihood, summed_nats
from cloche.run import LM
from cloche.text.cutting import joinable_pieces
from cloche.text.ingest import documents, inspect_source, require_text
from cloche.text.sources import SourceFile
from cloche.text.tokenizer import Tokenizer

TOKENS = "tokens"
_BLOCK = 1 << 20  # tokens that are looked through at once


def measure_validation(lm: LM, run: Path, *, stride: int | None = None) -> Likelihood:
    """What the run's whole validation part costs the model.

    `run` is a run folder or a checkpoint in one. Its first token is not scored where the model
    knows no beginning and no newline. DataError where it holds no
    tokens, or those of another tokenizer.
    """
    folder = _tokens_of(run)
    shard = open_prepared(folder).validation
    if shard.metadata.tokenizer != lm.tokenizer.fingerprint:
        raise DataError(
            f"{folder / TOKENIZER} ({shard.metadata.tokenizer[:12]}) is not the tokenizer of the "
            f"model ({lm.tokenizer.fingerprint[:12]}): measure on a text instead"
        )
    if len(shard) == 0:
        raise DataError(f"the validation part of {run} is empty")
    metadata = shard.metadata
    found = _measure(
        lm,
        shard,
        bos=_beginning(lm),
        characters=metadata.characters,
        utf8_bytes=metadata.utf8_bytes,
        stride=stride,
    )
    if not found.tokens:
        raise DataError(f"the validation part of {run} is a single token: nothing comes before it")
    return found


def measure_sources(
    lm: LM, sources: Sequence[SourceFile], *, encoding: str | None, stride: int | None = None
) -> Likelihood:
    """What texts cost the model, each document by itself.

    A document's first token is not scored where the model knows no beginning and no newline. What
    is unknown is scored as the unk token, and counted; TokenizerError where there is none.
    """
    reports = [inspect_source(source, encoding=encoding) for source in sources]
    require_text(reports)
    bos = _beginning(lm)
    whole = Likelihood(0.0, 0, 0, 0)
    for source, report in zip(sources, reports, strict=True):
        for document in documents(source, report.encoding):
            arrays: list[np.ndarray] = [np.empty(0, np.int64)]
            characters, utf8_bytes = 0, 0
            for piece in joinable_pieces(lm.tokenizer, document.pieces()):
                arrays.append(lm.tokenizer.encode_array(piece))
                characters += len(piece)
                utf8_bytes += len(piece.encode("utf-8"))
            ids = np.concatenate(arrays)
            if len(ids) == 0:
                continue
            row = TokensInMemory(ids, np.asarray([len(ids)]), separated=False)
            found = _measure(
                lm,
                row,
                bos=bos,
                characters=characters,
                utf8_bytes=utf8_bytes,
                stride=stride,
            )
            whole = _together(whole, found)
    if not whole.tokens:
        raise TextError(
            "there is nothing to measure: the texts are empty, or too short for a token that "
            "another one comes before"
        )
    return whole


def default_stride(context: int) -> int:
    """Half a context: every token but a document's first ones has as much before it."""
    return max(1, context // 2)


def _beginning(lm: LM) -> int | None:
    """The token that stands before a text; None where the model knows none that could."""
    with suppress(RequestError):
        token = lm.prompt_ids("")[-1]
        if token != lm.tokenizer.special_ids.unk:  # a newline may be among what is unknown
            return token
    return None


def _measure(
    lm: LM,
    tokens: Tokens,
    *,
    bos: int | None,
    characters: int,
    utf8_bytes: int,
    stride: int | None,
) -> Likelihood:
    """What tokens, of a text of that many characters and bytes, cost the model."""
    context = lm.config.context
    nats = summed_nats(
        lm.model,
        tokens,
        bos=bos,
        context=context,
        stride=stride or default_stride(context),
    )
    unscored = 0
    if bos is None:
        unscored = 1
        data = _first_bytes(lm.tokenizer, int(tokens.tokens[:1][0]))
        # at least 1: a normalizer may have made the token longer than what stood in the text
        utf8_bytes = max(1, utf8_bytes - len(data))
        characters = max(1, characters - sum(byte & 0b1100_0000 != 0b1000_0000 for byte in data))
    unknown = _count(tokens, lm.tokenizer.special_ids.unk, start=unscored)
    scored = len(tokens.tokens) - unscored
    return Likelihood(nats, scored, characters, utf8_bytes, unknown)


def _first_bytes(tokenizer: Tokenizer, token_id: int) -> bytes:
    """What a token stands for at the beginning of a text; nothing is known of an unknown one."""
    text = tokenizer.decode([token_id])  # not its bytes alone: they may begin with a space
    return tokenizer.token_bytes(token_id) if "\ufffd" in text else text.encode("utf-8")


def _count(tokens: Tokens, token_id: int | None, *, start: int) -> int:
    """How often a token occurs from `start` on."""
    if token_id is None:
        return 0
    return sum(
        int(np.count_nonzero(tokens.tokens[begin : begin + _BLOCK] == token_id))
        for begin in range(start, len(tokens.tokens), _BLOCK)
    )


def _together(one: Likelihood, other: Likelihood) -> Likelihood:
    """What two texts cost together."""
    return Likelihood(
        one.nats + other.nats,
        one.tokens + other.tokens,
        one.characters + other.characters,
        one.utf8_bytes + other.utf8_bytes,
        one.unknown_tokens + other.unknown_tokens,
    )


def _tokens_of(run: Path) -> Path:
    """The tokens of a run, from the run's folder or from one of its checkpoints."""
    for folder in (run, *run.resolve().parents[:2]):
        if (folder / TOKENS).is_dir():
            return folder / TOKENS
    raise DataError(f"{run} holds no text of its own: name one, as in: cloche eval {run} book.txt")
