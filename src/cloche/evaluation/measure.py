"""A model measured on a text: its own validation part, or any other.

The first token of a text is predicted from the beginning-of-text token, or from a newline where
the model has learned no such token. Where its tokenizer has no newline either (words, WordPiece,
most of SentencePiece), nothing the model knows could stand there: the first token is then not
scored, and its characters and bytes are not counted.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cloche.data.batches import Tokens, TokensInMemory
from cloche.data.place import TOKENIZER
from cloche.data.prepare import open_prepared
from cloche.errors import DataError, RequestError, TextError
from cloche.evaluation.likelihood import Likelihood, summed_nats
from cloche.run import LM
from cloche.text.cutting import joinable_pieces
from cloche.text.ingest import Document, documents, inspect_source, require_text
from cloche.text.sources import SourceFile
from cloche.text.tokenizer import Tokenizer
from cloche.text.visible import TokenReader

TOKENS = "tokens"
NOTHING = Likelihood(0.0, 0, 0, 0)
_BLOCK = 1 << 20  # tokens that are looked through at once


@dataclass(frozen=True, eq=False)
class Passage:
    """Tokens that are read from their beginning, and the text they were made of."""

    name: str
    tokens: Tokens
    characters: int
    utf8_bytes: int
    pieces: tuple[tuple[str, int], ...] = ()
    """The text in pieces, each with the number of its tokens; none where only tokens were kept."""


def measure_validation(lm: LM, run: Path, *, stride: int | None = None) -> Likelihood:
    """What the run's whole validation part costs the model.

    `run` is a run folder or a checkpoint in one. Its first token is not scored where the model
    knows no beginning and no newline. DataError where it holds no
    tokens, or those of another tokenizer.
    """
    passage = validation_passage(lm, run)
    found = _measure(lm, passage, bos=beginning(lm), stride=stride)
    require_tokens(found, run)
    return found


def measure_sources(
    lm: LM, sources: Sequence[SourceFile], *, encoding: str | None, stride: int | None = None
) -> Likelihood:
    """What texts cost the model, each document by itself.

    A document's first token is not scored where the model knows no beginning and no newline. What
    is unknown is scored as the unk token, and counted; TokenizerError where there is none.
    """
    bos = beginning(lm)
    whole = NOTHING
    for document in read_documents(sources, encoding=encoding):
        passage = encode_passage(lm.tokenizer, document)
        if len(passage.tokens.tokens):
            whole = together(whole, _measure(lm, passage, bos=bos, stride=stride))
    require_text_measured(whole)
    return whole


def validation_passage(lm: LM, run: Path) -> Passage:
    """The run's validation part as it was made into tokens, documents and their ends included.

    DataError where there is none, it is empty, or of another tokenizer than the model's.
    """
    folder = tokens_of(run)
    shard = open_prepared(folder).validation
    if shard.metadata.tokenizer != lm.tokenizer.fingerprint:
        raise DataError(
            f"{folder / TOKENIZER} ({shard.metadata.tokenizer[:12]}) is not the tokenizer of the "
            f"model ({lm.tokenizer.fingerprint[:12]}): measure on a text instead"
        )
    if len(shard) == 0:
        raise DataError(f"the validation part of {run} is empty")
    metadata = shard.metadata
    return Passage("validation part", shard, metadata.characters, metadata.utf8_bytes)


def read_documents(sources: Sequence[SourceFile], *, encoding: str | None) -> Iterator[Document]:
    """The documents of all sources, once all were looked through. TextError where none has text."""
    reports = [inspect_source(source, encoding=encoding) for source in sources]
    require_text(reports)
    for source, report in zip(sources, reports, strict=True):
        yield from documents(source, report.encoding)


def validation_passages(lm: LM, run: Path) -> Iterator[Passage]:
    """The same document by document, without their ends, and as text again.

    What the vocabulary lacks is in the text by the name of the unknown token.
    """
    shard, reader, begin = validation_passage(lm, run).tokens, TokenReader(lm.tokenizer), 0
    for number, end in enumerate(shard.ends.tolist(), start=1):
        ids = shard.tokens[begin : end - shard.separated]
        text = reader.together(ids.tolist())
        yield Passage(
            f"validation part, document {number}",
            TokensInMemory(ids, np.asarray([len(ids)]), separated=False),
            characters=len(text),
            utf8_bytes=len(text.encode("utf-8")),
            pieces=((text, len(ids)),),
        )
        begin = end


def validation_documents(run: Path) -> Iterator[Document]:
    """The run's validation part as text for other models to read.

    DataError where there is none, or its tokens do not hold all of the text: told at the latest
    when the last document was read.
    """
    prepared = open_prepared(tokens_of(run))
    shard, tokenizer = prepared.validation, prepared.tokenizer
    special = tokenizer.special_ids
    unknown = 0 if special.unk == special.eos else _count(shard, special.unk, start=0)
    if unknown:
        raise DataError(
            f"{unknown:,} tokens of the validation part of {run} stand for what its vocabulary "
            "lacks, and other models would not read what stood there: name a text to measure on"
        )
    characters, begin = 0, 0
    for number, end in enumerate(shard.ends.tolist(), start=1):
        pieces = tuple(_decoded(tokenizer, shard, begin, end - shard.separated))
        characters += sum(map(len, pieces))
        yield Document(f"validation part, document {number}", partial(iter, pieces))
        begin = end
    if characters != shard.metadata.characters:
        raise DataError(
            f"the tokens of the validation part of {run} ({tokenizer.kind}) do not hold its text "
            "to the letter: name a text to measure on"
        )


def same_validation(run: Path, other: Path) -> bool:
    """Whether two runs keep the same text for validation. DataError where one has none."""
    one, another = (open_prepared(tokens_of(path)).validation.metadata for path in (run, other))
    return (one.sources, one.characters, one.utf8_bytes) == (
        another.sources,
        another.characters,
        another.utf8_bytes,
    )


def encode_passage(tokenizer: Tokenizer, document: Document) -> Passage:
    """A document as tokens, which may be none: blanks are nothing to a tokenizer of words."""
    arrays: list[np.ndarray] = [np.empty(0, np.int64)]
    pieces: list[tuple[str, int]] = []
    for piece in joinable_pieces(tokenizer, document.pieces()):
        arrays.append(tokenizer.encode_array(piece))
        pieces.append((piece, len(arrays[-1])))
    ids = np.concatenate(arrays)
    return Passage(
        document.name,
        TokensInMemory(ids, np.asarray([len(ids)]), separated=False),
        characters=sum(len(piece) for piece, _ in pieces),
        utf8_bytes=sum(len(piece.encode("utf-8")) for piece, _ in pieces),
        pieces=tuple(pieces),
    )


def cost_of(lm: LM, passage: Passage, nats: float, *, bos: int | None) -> Likelihood:
    """The likelihood of a passage whose tokens cost so much, all but the first where `bos` is None.

    The first one's characters and bytes are then not counted, either.
    """
    tokens, utf8_bytes, characters = passage.tokens, passage.utf8_bytes, passage.characters
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


def require_tokens(found: Likelihood, run: Path) -> None:
    """DataError where nothing of a run's validation part was scored."""
    if not found.tokens:
        raise DataError(f"the validation part of {run} is a single token: nothing comes before it")


def require_text_measured(found: Likelihood) -> None:
    """TextError where nothing of any text was scored."""
    if not found.tokens:
        raise TextError(
            "there is nothing to measure: the texts are empty, or too short for a token that "
            "another one comes before"
        )


def default_stride(context: int) -> int:
    """Half a context: every token but a document's first ones has as much before it."""
    return max(1, context // 2)


def beginning(lm: LM) -> int | None:
    """The token that stands before a text; None where the model knows none that could."""
    with suppress(RequestError):
        token = lm.prompt_ids("")[-1]
        if token != lm.tokenizer.special_ids.unk:  # a newline may be among what is unknown
            return token
    return None


def together(one: Likelihood, other: Likelihood) -> Likelihood:
    """What two texts cost together."""
    return Likelihood(
        one.nats + other.nats,
        one.tokens + other.tokens,
        one.characters + other.characters,
        one.utf8_bytes + other.utf8_bytes,
        one.unknown_tokens + other.unknown_tokens,
    )


def tokens_of(run: Path) -> Path:
    """The tokens of a run, from the run's folder or from one of its checkpoints."""
    for folder in (run, *run.resolve().parents[:2]):
        if (folder / TOKENS).is_dir():
            return folder / TOKENS
    raise DataError(f"{run} holds no text of its own: name one, as in: cloche eval {run} book.txt")


def _measure(lm: LM, passage: Passage, *, bos: int | None, stride: int | None) -> Likelihood:
    """What a passage costs the model."""
    context = lm.config.context
    nats = summed_nats(
        lm.model,
        passage.tokens,
        bos=bos,
        context=context,
        stride=stride or default_stride(context),
    )
    return cost_of(lm, passage, nats, bos=bos)


def _decoded(tokenizer: Tokenizer, shard: Tokens, begin: int, end: int) -> Iterator[str]:
    """The text of some tokens, none of the pieces empty."""
    stream = tokenizer.stream()
    for start in range(begin, end, _BLOCK):
        block = shard.tokens[start : min(end, start + _BLOCK)]
        if text := "".join(map(stream.push, block.tolist())):
            yield text
    if text := stream.close():
        yield text


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
