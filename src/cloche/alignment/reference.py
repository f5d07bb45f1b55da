"""What the model thought of each answer before the training: computed once, and kept in the run.

A training compares with these numbers at every step, and after its first step they could not be
computed any more without a second model. The file says what it belongs to, and is never taken for
another base, other data or another template.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cloche.alignment.preference_objectives import answer_logprobs
from cloche.data.batches import on_device
from cloche.data.examples import ROW_TOKENS, Example, lay_out
from cloche.errors import CheckpointError, RunError
from cloche.evaluation.likelihood import evaluation_mode
from cloche.model.decoder import Decoder
from cloche.tuning.session import Telling
from cloche.weights.durable import sweep_beside, sync, temporary_beside

REFERENCE = "reference.safetensors"
PASS_TOKENS = 4096
"""Tokens that the model reads in one pass, unless a single answer is longer."""
SAVE_SECONDS = 30.0
"""From one save to the next, and from one word on how far it is."""
_KEY = "belongs_to"
_TENSOR = "logprobs"


def reference_logprobs(
    model: Decoder,
    answers: Sequence[tuple[Example, Example]],
    *,
    run: Path,
    belongs_to: Mapping[str, str],
    telling: Telling,
) -> Float[Tensor, "records 2"]:
    """The log probability of both answers of each record, in nats, by the model as it is.

    From the run's file where that belongs to the same (`belongs_to`: hashes by name), and gone on
    with where it is not complete. Raises RunError where a run that goes on has a file of another
    base, data or template, and CheckpointError where the file cannot be written.
    """
    examples = [example for pair in answers for example in pair]
    # the longest first: what does not fit into memory is known at once
    order = sorted(range(len(examples)), key=lambda n: (-len(examples[n].ids), n))
    path = run / REFERENCE
    found = _read(path, belongs_to, count=len(examples), telling=telling)
    begun = found.shape[0]
    if begun < len(examples):
        left = [examples[number] for number in order[begun:]]
        found = _compute(model, left, found, path, belongs_to, telling)
    logprobs = torch.empty(len(examples))
    logprobs[torch.tensor(order)] = found
    return logprobs.view(-1, 2)


def passes(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    """The examples in order, in parts of at most PASS_TOKENS tokens."""
    begin, held = 0, 0
    for place, example in enumerate(examples):
        if held + len(example.ids) > PASS_TOKENS and place > begin:
            yield examples[begin:place]
            begin, held = place, 0
        held += len(example.ids)
    yield examples[begin:]


def _compute(
    model: Decoder,
    examples: Sequence[Example],
    found: Float[Tensor, " done"],
    path: Path,
    belongs_to: Mapping[str, str],
    telling: Telling,
) -> Float[Tensor, " all"]:
    """`found` and the log probabilities of the examples after it, saved as they come."""
    total = len(found) + len(examples)
    saved = time.monotonic()
    telling.say(f"Computing what the base thinks of {len(examples):,} answers, once.")
    for batch in passes(examples):
        laid = on_device(lay_out(batch, row_tokens=ROW_TOKENS), next(model.parameters()).device)
        with evaluation_mode(model):
            found = torch.cat([found, answer_logprobs(model, laid).cpu()])
        if not bool(found[-len(batch) :].isfinite().all()):
            raise CheckpointError(
                "the base gives an answer a log probability that is no number: it is damaged, or "
                "--train.precision float32 has the range"
            )
        if time.monotonic() - saved > SAVE_SECONDS and len(found) < total:
            _write(path, found, belongs_to)
            telling.say(f"The base has read {len(found):,} of {total:,} answers.")
            saved = time.monotonic()
    _write(path, found, belongs_to)
    return found


def _read(
    path: Path, belongs_to: Mapping[str, str], *, count: int, telling: Telling
) -> Float[Tensor, " done"]:
    """What the file holds; nothing where there is none, or where it is damaged, which is told."""
    nothing = torch.empty(0)
    sweep_beside(path)
    if not path.exists():
        return nothing
    try:
        with safe_open(path, framework="pt") as file:
            found = json.loads((file.metadata() or {})[_KEY])
            logprobs = file.get_tensor(_TENSOR)
        whole = logprobs.dtype == torch.float32 and logprobs.ndim == 1
        whole = whole and len(logprobs) <= count and bool(logprobs.isfinite().all())
        other = sorted(n for n in {*found, *belongs_to} if found.get(n) != belongs_to.get(n))
    except (OSError, SafetensorError, KeyError, ValueError, AttributeError, TypeError) as exc:
        telling.warn(f"{path} is damaged ({exc}): its numbers are computed again.")
        return nothing
    if other and telling.resumed:
        raise RunError(
            f"{path} was computed with another {' and another '.join(other)}: put that back, or "
            "begin another run with --out"
        )
    if other:
        return nothing
    if not whole:
        telling.warn(f"{path} does not fit its own data: its numbers are computed again.")
        return nothing
    return logprobs


def _write(path: Path, logprobs: Float[Tensor, " done"], belongs_to: Mapping[str, str]) -> None:
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({_TENSOR: logprobs}, temporary, metadata={_KEY: json.dumps(dict(belongs_to))})
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except (OSError, SafetensorError) as exc:
        raise CheckpointError(f"{path} cannot be written: {exc}") from exc
