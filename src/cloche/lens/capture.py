"""Every number of one forward pass, kept by its name.

The ordinary model tells them as they arise (`record` of its forward), so there is no second model;
and it takes the same path as when nobody watches, so the logits are the same bit by bit.

Several views of one text can share one forward: see `read_once`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import RequestError
from cloche.model.decoder import Decoder
from cloche.model.record import QuietRecord
from cloche.model.seq2seq import EncoderDecoder
from cloche.run import LM

Wanted = Callable[[str], bool]
MOST_SHARED = 2**26
"""Numbers of attention that are kept, of one text, for views that share its forward."""


@dataclass(frozen=True, eq=False)
class Capture:
    """What a model said inside while it read `ids`."""

    ids: tuple[int, ...]
    numbers: dict[str, Tensor]
    """By name, such as "embedding", "layers.0.attention.weights", "layers.0.residual", "norm":
    without the batch axis, in float32, on the CPU. See `cloche.model`: attention tells `queries`,
    `keys`, `values`, `scores`, `masked_scores`, `weights`, `gathered` and its `output`; the MLP
    its `neurons` and `output`."""
    logits: Float[Tensor, "time vocab"]
    """Of the token after each, in float32, on the CPU."""


def everything(_name: str) -> bool:
    """For `capture`: keep all that is told."""
    return True


def ending_in(*names: str) -> Wanted:
    """For `capture`: keep what has one of these last parts, such as `attention.weights`."""
    return lambda name: any(name == end or name.endswith("." + end) for end in names)


@contextmanager
def read_once() -> Iterator[None]:
    """Inside, views of the same model and text share one forward, with all the numbers of it.

    Texts whose numbers are too many are read for each view, as outside. A model must not change
    meanwhile.
    """
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def capture(lm: LM, ids: Sequence[int], *, wanted: Wanted = everything) -> Capture:
    """The numbers of one forward over `ids` whose names are `wanted`; inside `read_once`, of all.

    Where no table of attention is, none is written out, and a long text takes little memory.
    RequestError for a text without a token, or longer than the context.
    """
    check_length(lm, ids)
    shared, key = _shared.get(), (id(lm), tuple(ids))
    if shared is None or 3 * lm.config.layers * lm.config.heads * len(ids) ** 2 > MOST_SHARED:
        return _read(lm, ids, wanted)
    if key not in shared:
        shared[key] = lm, _read(lm, ids, everything)
    return shared[key][1]


def logits_of_text(lm: LM, ids: Sequence[int]) -> Float[Tensor, "time vocab"]:
    """`lm.logits` of them, on the CPU; inside `read_once`, of a forward that was shared already."""
    found = (_shared.get() or {}).get((id(lm), tuple(ids)))
    return lm.logits(ids).cpu() if found is None else found[1].logits


_shared: ContextVar[dict[tuple[int, tuple[int, ...]], tuple[LM, Capture]] | None] = ContextVar(
    "shared forwards, by model and text", default=None
)
"""The model is kept with its numbers: the next one would be given its id."""


@torch.no_grad()
def _read(lm: LM, ids: Sequence[int], wanted: Wanted) -> Capture:
    watches = _watches(wanted, layers=lm.config.layers)
    told = _Told(wanted) if watches else _ToldQuietly(wanted)
    device = next(lm.model.parameters()).device
    logits = lm.model(torch.tensor([list(ids)], device=device), record=told)
    return Capture(tuple(ids), told.numbers, logits[0].float().cpu())


@torch.no_grad()
def capture_translation(
    model: EncoderDecoder, source: Sequence[int], target: Sequence[int]
) -> Capture:
    """The same for an encoder-decoder that reads a source and a target; `ids` are the target's.

    Names begin with `encoder.` and `decoder.`; cross-attention's are `cross_attention.weights` and
    so on.
    """
    told = _Told(everything)
    device = next(model.parameters()).device
    rows = [torch.tensor([list(ids)], device=device) for ids in (source, target)]
    logits = model(rows[1], sources=rows[0], record=told)
    return Capture(tuple(target), told.numbers, logits[0].float().cpu())


def check_length(lm: LM, ids: Sequence[int]) -> None:
    """RequestError for a text without a token, or longer than the context."""
    if not ids:
        raise RequestError("there is no token to look at: give a text")
    if len(ids) > lm.config.context:
        raise RequestError(
            f"the text has {len(ids):,} tokens, and the model reads {lm.config.context:,} at once: "
            "give a shorter one"
        )


def require_decoder(lm: LM, view: str) -> Decoder:
    """The model, which has layers and attention; RequestError naming the view for another."""
    if not isinstance(lm.model, Decoder):
        counted = lm.config.family == "ngram"
        raise RequestError(
            f"{'an n-gram' if counted else f'a {lm.config.family}'} model has no {view} to look "
            f"at: it has no layers. Its views are tokens, {'' if counted else 'embeddings, '}"
            "windows, next-token, parameters, memory, two and training"
        )
    return lm.model


class _Told:
    """Keeps what is told, if it is wanted."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted, self.numbers = wanted, {}

    def __call__(self, name: str, numbers: Tensor) -> None:
        if self.wanted(name):
            kept = numbers[0] if numbers.shape[0] == 1 else numbers
            # a view of a table that goes on being written to would change
            self.numbers[name] = kept.detach().to("cpu", torch.float32, copy=True)


class _ToldQuietly(_Told, QuietRecord):
    """The same where nothing inside of attention is wanted."""


_TABLES = ("queries", "keys", "values", "scores", "masked_scores", "weights", "gathered")


def _watches(wanted: Wanted, *, layers: int) -> bool:
    """Whether anything is wanted, of any layer, that attention writes out for a record alone."""
    return any(
        wanted(f"layers.{layer}.attention.{name}") for layer in range(layers) for name in _TABLES
    )
