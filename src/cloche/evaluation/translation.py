"""How well an encoder-decoder translates pairs it never saw: their loss, and how many it gets
exactly right.

A translation is exactly right where greedy search gives the target's text, character by character:
the strictest measure there is, and a fair one only where the source settles the target.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from cloche.data.batches import IGNORED, TokensInMemory, on_device
from cloche.data.pair_batches import PairTokens, evenly_spread, require_pairs
from cloche.data.pair_tokens import are_prepared, beginning_and_end, open_pairs
from cloche.data.pairs import inspect_pairs, read_pairs
from cloche.errors import CheckpointError, DataError
from cloche.evaluation.likelihood import evaluation_mode
from cloche.generation.beam import Search
from cloche.generation.translating import Translator, find_all_targets
from cloche.model.seq2seq import EncoderDecoder
from cloche.run import choose_device, choose_dtype, translates, warn_in_python
from cloche.text.saved import load_tokenizer
from cloche.text.sources import SourceFile
from cloche.text.tokenizer import Tokenizer
from cloche.weights.checkpoint import load_network
from cloche.weights.opening import folders_to_try, open_first_whole

TOKENS = "tokens"
ROWS = 64


@dataclass(frozen=True)
class TranslationQuality:
    """What pairs cost a model, and how many of them it translates exactly."""

    nats: float
    """Summed negative log probability of all target tokens, given the sources."""
    tokens: int
    """Of the targets, the end-of-text tokens among them."""
    pairs: int
    exact_pairs: int
    """Those whose target greedy search gives, character by character."""
    too_long: int = 0
    """Pairs that do not fit the model's context and were left out."""

    @property
    def nats_per_token(self) -> float:
        """Mean cross-entropy of a target token, in nats."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp of the nats per token."""
        return math.exp(self.nats_per_token)

    @property
    def exact(self) -> float:
        """Share of the pairs translated exactly."""
        return self.exact_pairs / self.pairs


def is_translator(source: str | Path, *, checkpoint: str = "best") -> bool:
    """Whether a run, checkpoint or folder holds a model that translates; False where it is none
    or its description cannot be read, which opening it will tell."""
    try:
        return translates(folders_to_try(Path(source), checkpoint, warn=lambda _: None)[0])
    except CheckpointError:
        return False


def load_translator(
    source: str | Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    checkpoint: str = "best",
    warn: Callable[[str], None] = warn_in_python,
) -> Translator:
    """The model in a run or checkpoint that translates; the options are those of `cloche.load`.

    Where a run's checkpoint is damaged, `warn` is told and the next older whole one is opened.
    Raises CheckpointError.
    """
    target = choose_device(device)
    dtype = choose_dtype(precision, target)
    folders = folders_to_try(Path(source), checkpoint, warn=warn)
    return open_first_whole(
        folders, lambda folder: _open(folder, device=target, dtype=dtype), warn=warn
    )


def measure_held_out(translator: Translator, run: Path) -> TranslationQuality:
    """How well the whole validation part of a run is translated.

    `run` is a run folder or a checkpoint in one. DataError where it holds no pairs, or those of
    another tokenizer.
    """
    folder = _pairs_of(run)
    prepared = open_pairs(folder)
    if prepared.tokenizer.fingerprint != translator.tokenizer.fingerprint:
        raise DataError(
            f"the tokenizer of the pairs in {folder} is not that of the model: measure on a file "
            "of pairs instead"
        )
    context = translator.config.context
    pairs = PairTokens(prepared.validation, context=context, bos=translator.bos)
    return _measure(translator, pairs)


def measure_files(
    translator: Translator,
    sources: Sequence[SourceFile],
    *,
    encoding: str | None = None,
    columns: Sequence[str] = (),
) -> TranslationQuality:
    """How well files of pairs are translated; what the vocabulary lacks is the unknown token.

    Pairs that do not fit the model's context are counted and left out.
    """
    reports = inspect_pairs(sources, encoding=encoding, columns=columns)
    arrays: list[np.ndarray] = []
    for pair in read_pairs(sources, reports, columns=columns):
        for text in (pair.source, pair.target):
            arrays.append(np.append(translator.tokenizer.encode_array(text), translator.eos))
    ends = np.cumsum([len(array) for array in arrays])
    tokens = TokensInMemory(np.concatenate(arrays), ends, separated=True)
    return _measure(
        translator, PairTokens(tokens, context=translator.config.context, bos=translator.bos)
    )


def summed_nats(
    model: EncoderDecoder, pairs: PairTokens, numbers: np.ndarray, *, rows: int = ROWS
) -> tuple[float, int]:
    """Negative log probability of all target tokens of some pairs, in nats, and their number."""
    nats, tokens = 0.0, 0
    device = model.embed_tokens.weight.device
    with evaluation_mode(model):
        for begin in range(0, len(numbers), rows):
            batch = on_device(pairs.batch(numbers[begin : begin + rows]), device)
            logits = model(batch.inputs, sources=batch.sources, source_lengths=batch.source_lengths)
            losses = F.cross_entropy(
                logits.flatten(0, 1).float(),
                batch.targets.flatten(),
                ignore_index=IGNORED,
                reduction="none",
            )
            nats += float(losses.sum(dtype=torch.float64))
            tokens += int((batch.targets != IGNORED).sum())
    return nats, tokens


def count_exact(
    model: EncoderDecoder,
    tokenizer: Tokenizer,
    pairs: PairTokens,
    numbers: np.ndarray,
    *,
    search: Search,
) -> int:
    """How many of some pairs the search translates exactly."""
    texts = [pairs.texts(int(number)) for number in numbers]
    with evaluation_mode(model):
        found = find_all_targets(model, [source for source, _ in texts], search)
    return sum(
        hypothesis.finished and _same(tokenizer, list(hypothesis.ids), target)
        for hypothesis, (_, target) in zip(found, texts, strict=True)
    )


def _same(tokenizer: Tokenizer, found: list[int], wanted: list[int]) -> bool:
    """Whether ids are the same text; what is unknown is never the same as anything else."""
    unknown = tokenizer.special_ids.unk
    if found == wanted:
        return unknown is None or unknown not in wanted
    if unknown is not None and unknown in [*found, *wanted]:
        return False
    return tokenizer.decode(found) == tokenizer.decode(wanted)


def _measure(translator: Translator, pairs: PairTokens) -> TranslationQuality:
    context = translator.config.context
    require_pairs(pairs, context=context, part="measured", skip_long=True)
    numbers = evenly_spread(pairs, most=len(pairs))
    nats, tokens = summed_nats(translator.model, pairs, numbers)
    exact = count_exact(
        translator.model, translator.tokenizer, pairs, numbers, search=translator.search()
    )
    return TranslationQuality(nats, tokens, len(numbers), exact, too_long=pairs.too_long)


def _open(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Translator:
    model, config = load_network(folder, dtype=dtype)
    if not isinstance(model, EncoderDecoder):
        raise CheckpointError(
            f"{folder} holds a {config.family} model, which continues text and does not "
            "translate: open it with cloche.load"
        )
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"{folder} does not fit together: its tokenizer has {tokenizer.vocab_size} tokens, "
            f"its model {config.vocab_size}"
        )
    bos, eos = beginning_and_end(tokenizer)
    return Translator(model.to(device).eval(), tokenizer, config, folder, bos, eos)


def _pairs_of(run: Path) -> Path:
    """The pairs of a run, from the run's folder or from one of its checkpoints."""
    for folder in (run, *run.resolve().parents[:2]):
        if are_prepared(folder / TOKENS):
            return folder / TOKENS
    raise DataError(f"{run} holds no pairs of its own: name some, as in: cloche eval {run} x.tsv")
