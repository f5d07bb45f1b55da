"""What an exported model is held against: texts, ids and logits, and what came of it."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import CheckpointError, TokenizerError
from cloche.model.build import LanguageModel
from cloche.text.tokenizer import Tokenizer

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
DRAWN_TEXTS, DRAWN_TOKENS = 3, 40
LONGEST_TEXT, LONGEST_DRAWN = 64, 512  # tokens of which logits are compared


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


def texts_for(tokenizer: Tokenizer) -> list[str]:
    """Texts that the tokenizer can express: sentences, and what tokens drawn by chance spell."""
    generator = torch.Generator().manual_seed(0)
    size = (DRAWN_TEXTS, DRAWN_TOKENS)
    drawn = torch.randint(tokenizer.vocab_size, size, generator=generator).tolist()
    # Composed, as almost all text is: some tokenizers compose text, and others do not.
    spelled = (unicodedata.normalize("NFC", tokenizer.decode(ids)) for ids in drawn)
    return [text for text in (*TEXTS, *spelled) if text and _can_encode(tokenizer, text)]


def drawn_ids(vocab_size: int, *, context: int) -> list[int]:
    """Ids by chance, as many as the model reads at once (512 at most): far positions count, too."""
    generator = torch.Generator().manual_seed(1)
    size = (min(context, LONGEST_DRAWN),)
    return torch.randint(vocab_size, size, generator=generator).tolist()


@torch.no_grad()
def logits_of(model: LanguageModel, ids: Sequence[int]) -> Float[Tensor, "time vocab"]:
    """The model's logits for one sequence, in float32 on the CPU."""
    device = model.embed_tokens.weight.device
    return model(torch.tensor([list(ids)], device=device))[0].float().cpu()


def rms(numbers: Tensor) -> float:
    """The root mean square."""
    return float(numbers.square().mean().sqrt())


def compare_ids(
    texts: Sequence[str], wanted: Sequence[list[int]], found: Sequence[list[int]], *, by: str
) -> None:
    """CheckpointError at the first text for which a reader gives other ids."""
    for text, ours, theirs in zip(texts, wanted, found, strict=True):
        if ours != theirs:
            pairs = enumerate(zip_longest(ours, theirs))
            place = next(place for place, (first, second) in pairs if first != second)
            raise CheckpointError(
                f"{by} reads other ids from the export for {text[:40]!r}: from token {place + 1} "
                f"on {theirs[place:][:5]} instead of {ours[place:][:5]}. It was deleted"
            )


def compare_texts(wanted: Sequence[str], found: Sequence[str], *, by: str) -> None:
    """CheckpointError at the first ids for which a reader gives another text."""
    for ours, theirs in zip(wanted, found, strict=True):
        # Bytes that are no text are shown in different ways, and so is a space set before a text.
        if REPLACEMENT not in ours and ours.removeprefix(" ") != theirs.removeprefix(" "):
            pairs = enumerate(zip_longest(ours, theirs))
            place = max(0, next(n for n, (one, other) in pairs if one != other) - 10)
            raise CheckpointError(
                f"{by} reads the text {theirs[place : place + 40]!r} from the export instead of "
                f"{ours[place : place + 40]!r}. It was deleted"
            )


def _can_encode(tokenizer: Tokenizer, text: str) -> bool:
    try:
        return bool(tokenizer.encode(text))
    except TokenizerError:
        return False
