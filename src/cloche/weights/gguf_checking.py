"""An exported GGUF file held against the model it was made from.

It is read back by our own reader, and by llama.cpp where that is installed: the same ids for texts
of several languages, and logits no further apart than the stored type allows.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import CheckpointError, TokenizerError
from cloche.model.build import LanguageModel
from cloche.text.tokenizer import Tokenizer
from cloche.weights.gguf_llama_cpp import Questions, ask_llama_cpp, has_llama_cpp
from cloche.weights.gguf_reading import import_gguf

TEXTS = (
    "The little boat lay in the harbour all winter, and nobody asked whose it was.",
    "In 1987 she sold 12,450 apples (3.5% more than the year before); didn't he know?",
    "天刚亮，老人就挑着两桶水上了山。路很长，他一边走一边唱。",
    "我们有三只猫、2 条狗和 15 本旧书，都放在窗台上。",
    "  if x == 0:\n\treturn None  # 空的\n\n\n",
    "Café, naïve, Größe; привет, мир! ¿Qué? 你好😀👍🏽 — “ok”…",
)
"""Sentences in English and Chinese, and what tokenizers like to disagree about."""
REPLACEMENT = "\ufffd"
"""How bytes that are no text are shown."""
_DRAWN_TEXTS, _DRAWN_TOKENS = 3, 40
_LONGEST = 64  # tokens of which logits are compared


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


@dataclass(frozen=True)
class ExportCheck:
    """What came out when an export was held against the model."""

    largest_difference: float
    """Of all logits."""
    rms: float
    """The root mean square of the logits themselves."""
    texts: int
    """That gave the same ids."""
    tokens: int
    """Whose logits were compared."""
    compared_with: tuple[str, ...]
    """The readers that were asked."""


@torch.no_grad()
def check_gguf(path: Path, *, model: LanguageModel, tokenizer: Tokenizer, kind: str) -> ExportCheck:
    """The check of a file against the model and tokenizer it was written from, both as they were.

    Raises CheckpointError where ids differ, or logits by more than the type's tolerance.
    """
    read = import_gguf(path)
    texts = _texts(tokenizer)
    if not texts:
        raise CheckpointError("the tokenizer reads no text at all, so the export cannot be checked")
    ids = [tokenizer.encode(text) for text in texts]
    found = [read.tokenizer.encode(text) for text in texts]
    _compare_ids(texts, ids, found, by="cloche")
    shown = [read.tokenizer.decode(each) for each in found]
    _compare_texts([tokenizer.decode(each) for each in ids], shown, by="cloche")
    longest = max(1, min(_LONGEST, read.config.context - 1))  # llama.cpp wants room for one more
    sequences = [each[:longest] for each in ids]
    wanted = torch.cat([_logits(model, sequence) for sequence in sequences])
    stored = [_logits(read.model, sequence) for sequence in sequences]
    difference, rms = torch.cat(stored) - wanted, _rms(wanted)
    tolerance = TOLERANCES.get(kind, QUANTIZED)
    if not _rms(difference) <= tolerance.stored * rms:
        raise CheckpointError(
            f"the export does not compute what the model does: logits differ by "
            f"{_rms(difference):.3g} (root mean square; their own is {rms:.3g}), more than storing "
            f"as {kind} explains. It was deleted"
        )
    readers = ["cloche"]
    if has_llama_cpp():
        readers.append("llama.cpp")
        ends = [(each, logits[-1]) for each, logits in zip(sequences, stored, strict=True)]
        most = tolerance.computed * max(1.0, rms)
        _compare_with_llama_cpp(path, texts, tokenizer, ends, most=most)
    return ExportCheck(
        largest_difference=float(difference.abs().max()),
        rms=rms,
        texts=len(texts),
        tokens=len(wanted),
        compared_with=tuple(readers),
    )


def _texts(tokenizer: Tokenizer) -> list[str]:
    """Texts that the tokenizer can express: sentences, and what tokens drawn by chance spell."""
    generator = torch.Generator().manual_seed(0)
    size = (_DRAWN_TEXTS, _DRAWN_TOKENS)
    drawn = torch.randint(tokenizer.vocab_size, size, generator=generator).tolist()
    # Composed, as almost all text is: some tokenizers compose text, and llama.cpp does not.
    spelled = (unicodedata.normalize("NFC", tokenizer.decode(ids)) for ids in drawn)
    return [text for text in (*TEXTS, *spelled) if text and _can_encode(tokenizer, text)]


def _can_encode(tokenizer: Tokenizer, text: str) -> bool:
    try:
        return bool(tokenizer.encode(text))
    except TokenizerError:
        return False


def _whole_token(tokenizer: Tokenizer) -> int:
    """The first token that is whole characters."""
    for number in range(tokenizer.vocab_size):
        try:
            if tokenizer.token_bytes(number).decode("utf-8").strip():
                return number
        except UnicodeDecodeError:
            continue
    return 0


def _logits(model: LanguageModel, ids: Sequence[int]) -> Float[Tensor, "time vocab"]:
    device = model.embed_tokens.weight.device
    return model(torch.tensor([list(ids)], device=device))[0].float().cpu()


def _rms(numbers: Tensor) -> float:
    return float(numbers.square().mean().sqrt())


def _compare_ids(
    texts: Sequence[str], wanted: Sequence[list[int]], found: Sequence[list[int]], *, by: str
) -> None:
    for text, ours, theirs in zip(texts, wanted, found, strict=True):
        if ours != theirs:
            pairs = enumerate(zip_longest(ours, theirs))
            place = next(place for place, (first, second) in pairs if first != second)
            raise CheckpointError(
                f"{by} reads other ids from the export for {text[:40]!r}: from token {place + 1} "
                f"on {theirs[place:][:5]} instead of {ours[place:][:5]}. It was deleted"
            )


def _compare_texts(wanted: Sequence[str], found: Sequence[str], *, by: str) -> None:
    for ours, theirs in zip(wanted, found, strict=True):
        # Bytes that are no text are shown in different ways, and so is a space set before a text.
        if REPLACEMENT not in ours and ours.removeprefix(" ") != theirs.removeprefix(" "):
            raise CheckpointError(
                f"{by} reads the text {theirs[:40]!r} from the export instead of {ours[:40]!r}. It "
                f"was deleted"
            )


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
    questions = Questions(texts=texts, sequences=sequences, whole=_whole_token(tokenizer))
    answers = ask_llama_cpp(path, questions)
    ids = [tokenizer.encode(text) for text in texts]
    _compare_ids(texts, ids, answers.ids, by="llama.cpp")
    _compare_texts([tokenizer.decode(each) for each in ids], answers.pieces, by="llama.cpp")
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
