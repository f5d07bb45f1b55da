"""Answers of a policy, written by the engine, and what models think of their tokens.

The weights are packed for the kernels once a round. What the sampler thought of the tokens is not
used: the numbers that learning compares with are computed by the very passes that learn.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cloche.alignment.preference_logprobs import ScoredTokens, learned_tokens
from cloche.data.batches import IGNORED, on_device
from cloche.data.examples import ROW_TOKENS, Example, ExampleBatch, lay_out
from cloche.data.order import mix
from cloche.evaluation.likelihood import evaluation_mode
from cloche.generation.engine import Engine
from cloche.generation.kernels.choosing import Forwards
from cloche.generation.request import GenerationRequest
from cloche.model.decoder import Decoder
from cloche.model.lora import Unmerged, lora_layers, merge_lora, remove_lora, unmerge_lora
from cloche.model.scorer import Scorer
from cloche.text.tokenizer import Tokenizer

ROWS = 16
"""Answers that are written at a time."""
PASS_TOKENS = 4096
"""Tokens that a model reads in one pass, unless a single answer is longer."""


@dataclass(frozen=True, eq=False)
class WrittenAnswer:
    """One answer to a prompt."""

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    """With the token that ended it."""
    text: str
    stopped: bool
    """Whether it ended by itself, within its tokens."""

    def example(self) -> Example:
        """The conversation with the answer as what is learned."""
        ids = np.array([*self.prompt, *self.ids], np.int64)
        return Example(ids, np.arange(len(ids)) >= len(self.prompt))


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn."""

    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    """0 takes the likeliest token each time."""
    tell: Callable[[str], None]
    """Hears what takes time, and why writing is slow."""

    def requests(
        self, prompts: Sequence[tuple[int, ...]], *, count: int, seed: int
    ) -> list[GenerationRequest]:
        """One for each prompt, of `count` answers."""
        return [
            GenerationRequest(
                prompt=prompt,
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                seed=mix(seed, number) >> 1,
                n=count,
                stop_ids=self.stop_ids,
                overflow="stop",
            )
            for number, prompt in enumerate(prompts)
        ]


def write_answers(
    policy: Decoder,
    prompts: Sequence[tuple[int, ...]],
    sampling: Sampling,
    *,
    seed: int,
    count: int = 1,
) -> list[WrittenAnswer]:
    """`count` answers to each prompt, those of one prompt behind one another.

    They are a function of the weights, the prompts and the seed. Prompts and answers have to fit
    into the policy's context.
    """
    capacity = max(map(len, prompts)) + sampling.max_tokens
    rows = min(ROWS, count * len(prompts))
    with evaluation_mode(policy), adapters_merged(policy):
        forwards = Forwards(policy, tell=sampling.tell, warn=sampling.tell)
        engine = Engine(
            policy,
            sampling.tokenizer,
            context=capacity,
            rows=rows,
            forward=forwards.make(rows=rows, capacity=capacity),
        )
        completions = engine.generate(sampling.requests(prompts, count=count, seed=seed))
    return [
        WrittenAnswer(prompt, answer.token_ids, answer.text, stopped=answer.finish_reason == "stop")
        for prompt, answers in zip(prompts, completions, strict=True)
        for answer in answers
    ]


def token_scores(
    policy: Decoder, examples: Sequence[Example], *, temperature: float
) -> ScoredTokens:
    """What the policy thinks of the learned tokens, example after example, on the CPU."""
    found: list[ScoredTokens] = []
    for batch in _passes(examples, device=_device_of(policy)):
        with evaluation_mode(policy):
            hidden = policy.hidden(
                batch.inputs, positions=batch.positions, documents=batch.documents
            )
            scored = learned_tokens(policy, hidden, batch.targets, temperature=temperature)
        order = example_order(batch)
        found.append(ScoredTokens(*(values[order].cpu() for values in scored)))
    return ScoredTokens(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def token_values(value: Scorer, examples: Sequence[Example]) -> Float[Tensor, " learned"]:
    """What the value model expects before each learned token, example after example, on the CPU."""
    found = []
    for batch in _passes(examples, device=_device_of(value)):
        with evaluation_mode(value):
            found.append(batch_values(value, batch)[example_order(batch)].cpu())
    return torch.cat(found)


def batch_values(value: Scorer, batch: ExampleBatch) -> Float[Tensor, " learned"]:
    """What is expected before each learned token of a batch, in the batch's order."""
    hidden = value.hidden(batch.inputs, positions=batch.positions, documents=batch.documents)
    return value.score_of(hidden[batch.targets != IGNORED])[:, 0]


def example_order(batch: ExampleBatch) -> Tensor:
    """(learned,) places in the batch's order of the learned tokens, example after example."""
    assert batch.documents is not None, "examples are numbered"
    return batch.documents[batch.targets != IGNORED].argsort(stable=True)


@contextmanager
def adapters_merged(model: Decoder) -> Iterator[None]:
    """Inside, the model's adapters are part of its matrices; afterwards all is as it was."""
    merged = merge_lora(model)
    try:
        yield
    finally:
        unmerge_lora(model, merged)


@contextmanager
def adapters_off(model: Decoder) -> Iterator[None]:
    """Inside, the model computes as it did before it had adapters."""
    layers = Unmerged(lora_layers(model))
    remove_lora(model)
    try:
        yield
    finally:
        unmerge_lora(model, layers)


def _passes(examples: Sequence[Example], *, device: torch.device) -> Iterator[ExampleBatch]:
    """The examples in order, in batches of at most PASS_TOKENS tokens."""
    begin, held = 0, 0
    for place, example in enumerate(examples):
        if held + len(example.ids) > PASS_TOKENS and place > begin:
            yield on_device(lay_out(examples[begin:place], row_tokens=ROW_TOKENS), device)
            begin, held = place, 0
        held += len(example.ids)
    yield on_device(lay_out(examples[begin:], row_tokens=ROW_TOKENS), device)


def _device_of(model: Decoder | Scorer) -> torch.device:
    return next(model.parameters()).device
