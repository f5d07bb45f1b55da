"""An exported GGUF file held against the model it was made from.

It is read back by our own reader, and by llama.cpp where that is installed: the same ids for texts
of several languages, and logits no further apart than the stored type allows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cloche.errors import CheckpointError
from cloche.model.build import LanguageModel
from cloche.text.tokenizer import Tokenizer
from cloche.weights.checking import (
    LONGEST_TEXT,
    ExportCheck,
    compare_ids,
    compare_texts,
    drawn_ids,
    logits_of,
    rms,
    texts_for,
)
from cloche.weights.gguf_llama_cpp import Questions, ask_llama_cpp, has_llama_cpp
from cloche.weights.gguf_reading import import_gguf


@dataclass(frozen=True)
class Tolerance:
    """How far logits may be apart, as shares of their own root mean square."""

    stored: float
    """The root mean square of what storing in this type changes."""
    computed: float
    """The largest difference of what llama.cpp computes from the same file."""


TOLERANCES: Mapping[str, Tolerance] = {
    "F32": Tolerance(stored=1e-6, computed=0.005),  # llama.cpp takes GELU from a table of halves
    "F16": Tolerance(stored=0.005, computed=0.02),
    "BF16": Tolerance(stored=0.03, computed=0.1),
    "Q8_0": Tolerance(stored=0.1, computed=0.3),
}
QUANTIZED = Tolerance(stored=0.7, computed=1.0)
"""Of all smaller types: they change a model by design; this only tells it from a wrong one."""
ROUTED = Tolerance(stored=0.3, computed=1.0)
"""At least this where experts are chosen by rounded numbers: a token that stands between two may go
to the other."""


@torch.no_grad()
def check_gguf(path: Path, *, model: LanguageModel, tokenizer: Tokenizer, kind: str) -> ExportCheck:
    """The check of a file against the model and tokenizer it was written from, both as they were.

    Raises CheckpointError where ids differ, or logits by more than the type's tolerance.
    """
    read = import_gguf(path)
    texts = texts_for(tokenizer)
    ids = [tokenizer.encode(text) for text in texts]
    found = [read.tokenizer.encode(text) for text in texts]
    compare_ids(texts, ids, found, by="cloche")
    shown = [read.tokenizer.decode(each) for each in found]
    compare_texts([tokenizer.decode(each) for each in ids], shown, by="cloche")
    context = max(1, read.config.context - 1)  # llama.cpp wants room for one more
    sequences = [each[: min(LONGEST_TEXT, context)] for each in ids]
    sequences.append(drawn_ids(read.config.vocab_size, context=context))
    wanted = torch.cat([logits_of(model, sequence) for sequence in sequences])
    stored = [logits_of(read.model, sequence) for sequence in sequences]
    difference, scale = torch.cat(stored) - wanted, rms(wanted)
    tolerance = tolerance_of(kind, routed=read.config.experts > 0)
    if not rms(difference) <= tolerance.stored * scale:
        raise CheckpointError(
            f"the export does not compute what the model does: logits differ by "
            f"{rms(difference):.3g} (root mean square; their own is {scale:.3g}), more than "
            f"storing as {kind} explains. It was deleted"
        )
    readers = ["cloche"]
    if has_llama_cpp():
        readers.append("llama.cpp")
        ends = [(each, logits[-1]) for each, logits in zip(sequences, stored, strict=True)]
        most = tolerance.computed * max(1.0, scale)
        _compare_with_llama_cpp(path, texts, tokenizer, ends, most=most)
    return ExportCheck(
        largest_difference=float(difference.abs().max()),
        rms=scale,
        texts=len(texts),
        tokens=len(wanted),
        compared_with=tuple(readers),
    )


def tolerance_of(kind: str, *, routed: bool) -> Tolerance:
    """How far logits may be apart in a file of that type; `routed` where a model has experts."""
    found = TOLERANCES.get(kind, QUANTIZED)
    if not routed or kind == "F32":
        return found
    return Tolerance(max(found.stored, ROUTED.stored), max(found.computed, ROUTED.computed))


def _whole_token(tokenizer: Tokenizer) -> int:
    """The first token that is whole characters."""
    for number in range(tokenizer.vocab_size):
        try:
            if tokenizer.token_bytes(number).decode("utf-8").strip():
                return number
        except UnicodeDecodeError:
            continue
    return 0


def _compare_with_llama_cpp(
    path: Path,
    texts: Sequence[str],
    tokenizer: Tokenizer,
    ends: Sequence[tuple[list[int], Tensor]],
    *,
    most: float,
) -> None:
    """CheckpointError where llama.cpp gives other ids, texts or probabilities.

    `ends` are sequences of ids, and the logits of what follows each.
    """
    sequences = [ids for ids, _ in ends]
    longest = max(map(len, sequences)) + 1
    whole = _whole_token(tokenizer)
    questions = Questions(texts=texts, sequences=sequences, whole=whole, context=longest)
    answers = ask_llama_cpp(path, questions)
    ids = [tokenizer.encode(text) for text in texts]
    compare_ids(texts, ids, answers.ids, by="llama.cpp")
    compare_texts([tokenizer.decode(each) for each in ids], answers.pieces, by="llama.cpp")
    for (sequence, logits), likeliest in zip(ends, answers.likeliest, strict=True):
        ours = logits.log_softmax(-1)
        numbers, theirs = zip(*likeliest, strict=True)
        # of tensors, so that a NaN is not lost
        apart = float((ours[list(numbers)] - torch.tensor(theirs)).abs().max())
        if not apart <= most:
            raise CheckpointError(
                f"llama.cpp computes something else from the export: logarithms of probabilities "
                f"after {len(sequence)} tokens differ by {apart:.3g}, more than {most:.3g}. It was "
                f"deleted"
            )
