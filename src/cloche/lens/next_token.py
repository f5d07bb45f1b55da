"""What comes next: the model's probabilities, what each step of sampling does to them, the pick.

The steps are the engine's own functions in its own order (`generation/sampling.py`), and the pick
is what the engine writes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import RequestError, SettingError
from cloche.generation.request import GenerationRequest
from cloche.generation.sampling import (
    answer_generator,
    divide_by_temperature,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    pick_likeliest,
)
from cloche.lens.capture import check_length, logits_of_text
from cloche.lens.view import Piece, Table, View, pieces_of, provenance_of
from cloche.run import LM

_Row = Float[Tensor, "1 vocab"]


@dataclass(frozen=True)
class Stage:
    """The probabilities after one step of sampling."""

    name: str
    """model, greedy, temperature, top_k, top_p or min_p."""
    setting: float | None
    """Of the step; None for the model itself and for greedy."""
    kept: int
    """Tokens that can still be drawn."""
    removed: int
    """Tokens that this step dropped."""
    removed_mass: float
    """The probability that they had before it."""
    rest: float
    """The probability of all tokens that are not told one by one."""
    entropy: float
    """Of the whole distribution, in nats."""


@dataclass(frozen=True)
class Pick:
    """The token that is written next."""

    token: Piece
    number: float | None
    """What the seed drew from [0, 1): it falls into the token's share of the last stage, where the
    shares lie in the order of ids. None for greedy."""
    probability: float
    """In the last stage."""
    model_probability: float
    """Before any step."""
    rank: int
    """Before any step: 1 where it was the likeliest."""


@dataclass(frozen=True, eq=False)
class NextTokenView(View):
    """The next token's probabilities, step by step."""

    name: ClassVar[str] = "next-token"
    prompt: tuple[Piece, ...]
    tokens: tuple[Piece, ...]
    """The likeliest by the model, the likeliest first; then the pick, if it is none of them."""
    stages: tuple[Stage, ...]
    """The model, then each step that was asked for, in the engine's order."""
    probabilities: Table
    """(stage, token): of `tokens`."""
    vocab_size: int
    """Tokens that can be written."""
    pick: Pick | None
    """None where no seed was given, or where the model gives no numbers."""


def see_next_token(
    lm: LM,
    text: str,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    seed: int | None = None,
    top: int = 10,
) -> NextTokenView:
    """What the model would write after `text`, after each step of sampling that is given.

    Temperature 0 is greedy. With a `seed`, the pick is the first token that `lm.generate` writes
    with it. An empty text is the beginning of one. `top` likeliest tokens are told one by one.

    Raises RequestError for settings that the engine refuses and for a text longer than the context,
    SettingError for a `top` below 1.
    """
    if top < 1:
        raise SettingError(f"top must be at least 1, got {top}")
    request = GenerationRequest(
        lm.prompt_ids(text),
        max_tokens=1,
        temperature=temperature,
        top_k=top_k,
        top_p=1.0 if top_p is None else top_p,
        min_p=0.0 if min_p is None else min_p,
        seed=seed,
        logprobs=lm.tokenizer.vocab_size,
    )
    check_length(lm, request.prompt)
    steps = _steps(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    logits = logits_of_text(lm, request.prompt)[-1:, : lm.tokenizer.vocab_size]
    usable, picked = bool(logits.amax().isfinite()), None
    if usable and (seed is not None or temperature == 0.0):
        picked, logits = _write(lm, request)
    rows = [logits]
    for step in steps:
        rows.append(step.apply(rows[-1]) if usable else rows[-1])
    shown = _likeliest(logits, top, picked)
    probabilities = torch.cat(rows).softmax(dim=-1)
    return NextTokenView(
        provenance_of(lm, text=text, seed=seed),
        prompt=tuple(pieces_of(request.prompt, lm.tokenizer)),
        tokens=tuple(pieces_of(shown, lm.tokenizer)),
        stages=tuple(_stages(steps, torch.cat(rows), shown)),
        probabilities=Table(probabilities[:, shown].numpy(), ("stage", "token")),
        vocab_size=lm.tokenizer.vocab_size,
        pick=None if picked is None else _pick(lm, request, picked, probabilities),
    )


@dataclass(frozen=True)
class _Step:
    """One of the engine's steps, with its setting."""

    name: str
    setting: float | None
    apply: Callable[[_Row], _Row]


def _steps(
    *, temperature: float, top_k: int | None, top_p: float | None, min_p: float | None
) -> list[_Step]:
    """What was asked for, in the order of `filter_logits`."""
    found = []
    if temperature not in (0.0, 1.0):  # 1 is the model itself
        apply = partial(divide_by_temperature, temperature=temperature)
        found.append(_Step("temperature", temperature, apply))
    if top_k is not None:
        found.append(_Step("top_k", top_k, partial(keep_top_k, top_k=top_k)))
    if top_p is not None:
        found.append(_Step("top_p", top_p, partial(keep_top_p, top_p=top_p)))
    if min_p is not None:
        found.append(_Step("min_p", min_p, partial(keep_min_p, min_p=min_p)))
    if temperature != 0.0:
        return found
    if found:
        raise RequestError(
            f"at temperature 0 the likeliest token is taken, and {found[0].name} has nothing to "
            "choose from: leave it out, or give a temperature"
        )
    return [_Step("greedy", None, _keep_likeliest)]


def _keep_likeliest(logits: _Row) -> _Row:
    kept = torch.full_like(logits, -math.inf)
    return kept.scatter_(-1, pick_likeliest(logits)[:, None], 0.0)


def _write(lm: LM, request: GenerationRequest) -> tuple[int, _Row]:
    """The token that the engine writes, and the log probabilities that it drew from.

    Its numbers may differ from the modules' in the last place, or by more with rounded weights.
    """
    engine = lm.engine(tokens=len(request.prompt) + request.max_tokens)
    completion = engine.generate([request])[0][0]
    ids, values = zip(*completion.top_logprobs[0], strict=True)
    row = torch.full((1, lm.tokenizer.vocab_size), -math.inf)
    row[0, list(ids)] = torch.tensor(values)
    return completion.token_ids[0], row


def _likeliest(logits: _Row, top: int, picked: int | None) -> list[int]:
    """The likeliest tokens, of equally likely ones the lower id first, and the pick."""
    order = logits[0].sort(descending=True, stable=True).indices
    found = order[:top].tolist()
    return found if picked is None or picked in found else [*found, picked]


def _stages(
    steps: list[_Step], rows: Float[Tensor, "stages vocab"], shown: list[int]
) -> Iterator[Stage]:
    before = torch.ones_like(rows[0], dtype=torch.bool)
    mass = rows[0].double().softmax(dim=-1)  # before the step
    for step, row in zip([_Step("model", None, torch.clone), *steps], rows, strict=True):
        kept = row != -math.inf
        dropped = before & ~kept
        now = row.double().softmax(dim=-1)
        others = torch.ones_like(kept).index_fill_(0, torch.tensor(shown), False)
        yield Stage(
            step.name,
            step.setting,
            kept=int(kept.sum()),
            removed=0 if step.name == "model" else int(dropped.sum()),
            removed_mass=float((mass * dropped).sum()),  # stays not-a-number where all is
            rest=float(now[others].sum()),
            entropy=float(torch.special.entr(now).sum()),
        )
        before, mass = kept, now


def _pick(
    lm: LM, request: GenerationRequest, picked: int, probabilities: Float[Tensor, "stages vocab"]
) -> Pick:
    number = None
    if request.temperature != 0.0 and request.seed is not None:
        generator = answer_generator(request.seed, 0)
        number = torch.rand(1, generator=generator, dtype=torch.float64).item()
    first, last = probabilities[0], probabilities[-1]
    return Pick(
        pieces_of([picked], lm.tokenizer)[0],
        number,
        probability=float(last[picked]),
        model_probability=float(first[picked]),
        rank=1 + int((first > first[picked]).sum()),
    )
