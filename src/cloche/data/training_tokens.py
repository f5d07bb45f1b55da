"""The tokens that a run learned from, counted and looked into without a model."""

from pathlib import Path

import numpy as np

from cloche.data.place import TOKENIZER
from cloche.data.prepare import open_prepared
from cloche.errors import DataError
from cloche.text.tokenized import NOTHING, Kept, TokenizedText
from cloche.text.tokenizer import Tokenizer

TOKENS = "tokens"  # folder of a run

_COUNTED_TOKENS = 1 << 20  # at a time


def find_training_tokens(source: Path) -> Path | None:
    """The folder of prepared tokens that `source` is, or that it as a run or checkpoint learned
    from. None where there is none: the tokens were deleted, or it is something else."""
    run_of_checkpoint = source.resolve().parent.parent  # of runs/x/checkpoints/step-000500
    for folder in (source, source / TOKENS, run_of_checkpoint / TOKENS):
        if (folder / TOKENIZER).is_dir():
            return folder
    return None


def read_training_tokens(
    folder: Path, tokenizer: Tokenizer, *, keep: Kept = NOTHING
) -> TokenizedText:
    """How often each id occurs in the training part of the tokens in `folder`; those to `keep`.

    Raises DataError where they are damaged, or were made with another tokenizer.
    """
    train = open_prepared(folder).train
    if train.metadata.tokenizer != tokenizer.fingerprint:
        raise DataError(
            f"the tokens in {folder} were made with tokenizer {train.metadata.tokenizer[:12]}, and "
            f"the one to look at is {tokenizer.fingerprint[:12]}: name a text with --file instead"
        )
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    for start in range(0, len(train), _COUNTED_TOKENS):
        ids = np.asarray(train.tokens[start : start + _COUNTED_TOKENS])
        counts += np.bincount(ids, minlength=len(counts))
    kept = np.asarray(train.tokens[keep.within(0, len(train))], dtype=np.int64)
    return TokenizedText(counts, kept, train.metadata.characters, train.metadata.utf8_bytes)
