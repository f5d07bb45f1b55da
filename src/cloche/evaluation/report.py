"""All that is told of a model on a text: what it costs, how sure that is, how often it is right.

One pass over the text, in bounded memory: of every token only sums are kept.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloche.errors import CheckpointError, DataError
from cloche.evaluation.blocks import FEWEST_BLOCKS, BlockSums, Estimate, ratio
from cloche.evaluation.calibration import Calibration, ReliabilityCounts
from cloche.evaluation.likelihood import Likelihood, ScoredTokens, perplexity_of, scored_tokens
from cloche.evaluation.measure import (
    NOTHING,
    Passage,
    beginning,
    cost_of,
    default_stride,
    encode_passage,
    read_documents,
    require_text_measured,
    require_tokens,
    together,
    validation_passage,
)
from cloche.evaluation.offsets import TokenBytes, byte_ends, sizes_between
from cloche.run import LM
from cloche.text.ingest import Document
from cloche.text.sources import SourceFile

Tell = Callable[[str], None]
TELLING_SECONDS = 5.0
SHORTLIST = 5
"""A token among so many likeliest ones is in the shortlist."""
NATS, TOKENS, BYTES, CHARACTERS, LIKELIEST, SHORTLISTED = range(6)
"""Columns of the sums of a block."""


@dataclass(frozen=True, eq=False)
class Report:
    """A model on a text."""

    likelihood: Likelihood
    calibration: Calibration
    sums: np.ndarray
    """(blocks, 6): what the tokens of each block of the text add up to, by the columns above."""
    block_bytes: int

    @property
    def nats_per_token(self) -> Estimate:
        """Mean cross-entropy of a token."""
        return self._estimate(NATS, TOKENS, value=self.likelihood.nats_per_token)

    @property
    def nats_per_character(self) -> Estimate:
        """Nats for each Unicode character of the text."""
        return self._estimate(NATS, CHARACTERS, value=self.likelihood.nats_per_character)

    @property
    def bits_per_byte(self) -> Estimate:
        """Bits for each byte of the text in UTF-8."""
        return self._estimate(NATS, BYTES, value=self.likelihood.bits_per_byte)

    @property
    def accuracy(self) -> Estimate:
        """Share of the tokens that were the likeliest in their place."""
        return self._estimate(LIKELIEST, TOKENS)

    @property
    def shortlist_accuracy(self) -> Estimate:
        """Share of the tokens that were among the SHORTLIST likeliest."""
        return self._estimate(SHORTLISTED, TOKENS)

    @property
    def perplexity_interval(self) -> tuple[float, float] | None:
        """95% interval of the perplexity: that of the nats a token, as numbers of choices."""
        found = self.nats_per_token.interval
        return None if found is None else (perplexity_of(found[0]), perplexity_of(found[1]))

    def to_values(self) -> dict[str, Any]:
        """For JSON."""
        costs, choices = self.likelihood, self.perplexity_interval
        return {
            **_told("nats_per_token", self.nats_per_token),
            "perplexity": costs.perplexity,
            "perplexity_interval": None if choices is None else list(choices),
            **_told("bits_per_byte", self.bits_per_byte),
            **_told("nats_per_character", self.nats_per_character),
            **_told("accuracy", self.accuracy),
            **_told(f"top{SHORTLIST}_accuracy", self.shortlist_accuracy),
            "expected_calibration_error": self.calibration.expected_error,
            "reliability": [vars(part) for part in self.calibration.bins],
            "blocks": len(self.sums),
            "block_bytes": self.block_bytes,
            "tokens": costs.tokens,
            "unknown_tokens": costs.unknown_tokens,
            "characters": costs.characters,
            "utf8_bytes": costs.utf8_bytes,
        }

    def _estimate(
        self, numerator: int, denominator: int, *, value: float | None = None
    ) -> Estimate:
        """A ratio of two columns, in the unit in which it is `value` where that is given.

        Bytes and characters of some tokenizers' tokens are near the text's and not equal to them.
        """
        if len(self.sums) < FEWEST_BLOCKS and value is not None:
            return Estimate(value, None, len(self.sums))
        found = ratio(self.sums[:, numerator], self.sums[:, denominator])
        return found if value is None or not found.value else found.scaled(value / found.value)


def report_validation(
    lm: LM, run: Path, *, stride: int | None = None, tell: Tell | None = None
) -> Report:
    """The model on the run's whole validation part. Raises as `measure_validation` does.

    `tell` hears every TELLING_SECONDS how far it is.
    """
    collector = _Collector(lm, stride=stride, tell=tell)
    collector.add(validation_passage(lm, run))
    require_tokens(collector.costs, run)
    return collector.report()


def report_sources(
    lm: LM,
    sources: Sequence[SourceFile],
    *,
    encoding: str | None,
    stride: int | None = None,
    tell: Tell | None = None,
) -> Report:
    """The model on texts, each document by itself. Raises as `measure_sources` does."""
    documents = read_documents(sources, encoding=encoding)
    return report_documents(lm, documents, stride=stride, tell=tell)


def report_documents(
    lm: LM, documents: Iterable[Document], *, stride: int | None = None, tell: Tell | None = None
) -> Report:
    """The same on documents.

    Two reports on the same documents have the same blocks, whatever the models' tokenizers.
    """
    collector = _Collector(lm, stride=stride, tell=tell)
    for document in documents:
        collector.add(encode_passage(lm.tokenizer, document))
    require_text_measured(collector.costs)
    return collector.report()


class _Collector:
    """Adds up passages."""

    def __init__(self, lm: LM, *, stride: int | None, tell: Tell | None) -> None:
        self.lm = lm
        self.tell, self.told = tell, time.monotonic()
        self.stride = stride or default_stride(lm.config.context)
        self.bos = beginning(lm)
        self.costs = NOTHING
        self.known = TokenBytes(lm.tokenizer)
        self.blocks = BlockSums(columns=6)
        self.reliability = ReliabilityCounts()

    def add(self, passage: Passage) -> None:
        """Score every token of a passage."""
        if not len(passage.tokens.tokens):  # the text goes on all the same, in other models' tokens
            self.blocks.add(np.array([passage.utf8_bytes]), np.zeros((1, 6)))
            return
        sizes = self._sizes(passage)
        nats, place = 0.0, 0
        if self.bos is None:
            first = self._sizes_at(passage, sizes, 0, 1)
            self.blocks.add(first[:, 0], np.zeros((1, 6)))
            place = 1
        for scored in scored_tokens(
            self.lm.model,
            passage.tokens,
            bos=self.bos,
            context=self.lm.config.context,
            stride=self.stride,
        ):
            require_numbers(self.lm, scored)
            here = self._sizes_at(passage, sizes, place, place + len(scored))
            self.blocks.add(here[:, 0], _columns(scored, here))
            self.reliability.add(scored.confidences, scored.ranks == 1)
            nats, place = nats + float(scored.nats.sum()), place + len(scored)
            self._say(place, len(passage.tokens.tokens))
        self.costs = together(self.costs, cost_of(self.lm, passage, nats, bos=self.bos))

    def _say(self, place: int, total: int) -> None:
        if self.tell is not None and time.monotonic() - self.told > TELLING_SECONDS:
            self.told = time.monotonic()
            self.tell(f"{place:,} of {total:,} tokens read")

    def report(self) -> Report:
        """What came together."""
        return Report(
            self.costs,
            self.reliability.calibration(),
            self.blocks.sums(),
            self.blocks.block_bytes,
        )

    def _sizes(self, passage: Passage) -> np.ndarray | None:
        """Bytes and characters of all tokens, where the text is at hand."""
        if not passage.pieces:
            return None
        ids, begin = passage.tokens.tokens, 0
        found = [np.zeros((0, 2))]
        tokenless = np.zeros(2)  # of text that makes no token, which counts to the next one
        for text, count in passage.pieces:
            if not count:
                tokenless += len(text.encode("utf-8")), len(text)
                continue
            piece = ids[begin : begin + count]
            found.append(sizes_between(byte_ends(self.known, piece, text), text))
            found[-1][0] += tokenless
            tokenless, begin = np.zeros(2), begin + count
        found[-1][-1] += tokenless
        return np.concatenate(found)

    def _sizes_at(
        self, passage: Passage, sizes: np.ndarray | None, begin: int, end: int
    ) -> np.ndarray:
        if sizes is not None:
            return sizes[begin:end]
        return self.known.sizes(passage.tokens.tokens[begin:end])


def require_numbers(lm: LM, scored: ScoredTokens) -> None:
    """Raise where the model gives no probabilities, or none at all to what stands in the text."""
    if np.isnan(scored.nats).any():
        raise CheckpointError(
            f"the model in {lm.folder} gives probabilities that are no numbers: its weights are "
            "damaged, or too large for the precision; try --precision float32"
        )
    if np.isinf(scored.nats).any():
        token_id = int(scored.ids[np.isinf(scored.nats)][0])
        shown = lm.tokenizer.token_text(token_id)
        raise DataError(
            f"the model in {lm.folder} takes a token of the text for impossible ({token_id}, "
            f"{shown!r}): its cross-entropy is infinite"
        )


def _columns(scored: ScoredTokens, sizes: np.ndarray) -> np.ndarray:
    """(tokens, 6): what each token adds to its block."""
    likeliest, shortlisted = scored.ranks == 1, scored.ranks <= SHORTLIST
    ones = np.ones(len(scored))
    return np.stack([scored.nats, ones, sizes[:, 0], sizes[:, 1], likeliest, shortlisted], axis=1)


def _told(name: str, found: Estimate) -> dict[str, Any]:
    interval = found.interval
    return {
        name: found.value,
        f"{name}_stderr": found.stderr,
        f"{name}_interval": None if interval is None else list(interval),
    }
