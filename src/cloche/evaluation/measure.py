"""A model measured on a text: its own validation part, or any other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cloche.data.batches import TokensInMemory
from cloche.data.joined import JoinedShards
from cloche.data.place import TOKENIZER
from cloche.data.prepare import open_prepared
from cloche.errors import DataError, TextError
from cloche.evaluation.likelihood import Likelihood, summed_nats
from cloche.run import LM
from cloche.text.cutting import joinable_pieces
from cloche.text.ingest import documents, inspect_source, require_text
from cloche.text.sources import SourceFile

TOKENS = "tokens"


def measure_validation(lm: LM, run: Path, *, stride: int | None = None) -> Likelihood:
    """What the run's whole validation part costs the model.

    `run` is a run folder or a checkpoint in one. DataError where it holds no tokens, or those of
    another tokenizer.
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
    nats = _nats(lm, shard, stride=stride)
    metadata = shard.metadata
    return Likelihood(nats, metadata.count, metadata.characters, metadata.utf8_bytes)


def measure_sources(
    lm: LM, sources: Sequence[SourceFile], *, encoding: str | None, stride: int | None = None
) -> Likelihood:
    """What texts cost the model, each document by itself."""
    reports = [inspect_source(source, encoding=encoding) for source in sources]
    require_text(reports)
    nats, tokens, characters, utf8_bytes = 0.0, 0, 0, 0
    for source, report in zip(sources, reports, strict=True):
        for document in documents(source, report.encoding):
            ids: list[int] = []
            for piece in joinable_pieces(lm.tokenizer, document.pieces()):
                ids.extend(lm.tokenizer.encode(piece))
                characters += len(piece)
                utf8_bytes += len(piece.encode("utf-8"))
            row = TokensInMemory(np.asarray(ids), np.asarray([len(ids)]), separated=False)
            nats += _nats(lm, row, stride=stride)
            tokens += len(ids)
    if not tokens:
        raise TextError("there is nothing to measure: the texts are empty")
    return Likelihood(nats, tokens, characters, utf8_bytes)


def default_stride(context: int) -> int:
    """Half a context: every token but a document's first ones has as much before it."""
    return max(1, context // 2)


def _nats(lm: LM, tokens: JoinedShards | TokensInMemory, *, stride: int | None) -> float:
    context = lm.config.context
    first = lm.prompt_ids("")[-1]
    return summed_nats(
        lm.model, tokens, bos=first, context=context, stride=stride or default_stride(context)
    )


def _tokens_of(run: Path) -> Path:
    """The tokens of a run, from the run's folder or from one of its checkpoints."""
    for folder in (run, *run.resolve().parents[:2]):
        if (folder / TOKENS).is_dir():
            return folder / TOKENS
    raise DataError(f"{run} holds no text of its own: name one, as in: cloche eval {run} book.txt")
