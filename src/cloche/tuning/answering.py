"""What a model that is being tuned answers: the same template as in tuning, chat and server."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from cloche.evaluation.likelihood import evaluation_mode
from cloche.generation.engine import Engine
from cloche.generation.request import GenerationRequest
from cloche.model.decoder import Decoder
from cloche.run import LM
from cloche.text.chat import ChatTemplate
from cloche.text.messages import Conversation
from cloche.tuning.base import Base

ROWS = 8
"""Answers that are written at a time."""


def answer_all(
    lm: LM, template: ChatTemplate, asked: Sequence[Conversation], *, max_tokens: int
) -> list[str]:
    """A finished model's greedy answers to conversations that end with a question."""
    requests = [
        request_for(template.prompt_ids(each, lm.tokenizer), lm.config.context, max_tokens)
        for each in asked
    ]
    if not requests:
        return []
    tokens = max(len(request.prompt) + request.max_tokens for request in requests)
    stopping = replace(lm, stop_ids=template.stop_ids(lm.tokenizer))
    engine = stopping.engine(rows=min(ROWS, len(requests)), tokens=tokens)
    return [answers[0].text for answers in engine.generate(requests)]


def request_for(prompt: Sequence[int], context: int, max_tokens: int) -> GenerationRequest:
    """A greedy request; a prompt that leaves no room in the context is cut at its beginning."""
    kept = tuple(prompt)[-(context - 1) :]
    return GenerationRequest(
        prompt=kept,
        max_tokens=max(1, min(max_tokens, context - len(kept))),
        temperature=0.0,
        overflow="stop",
    )


def answer(base: Base, model: nn.Module, asked: Conversation, *, max_tokens: int) -> str:
    """The greedy answer of a model in training to a conversation that ends with a question.

    `model` computes with the base's tokenizer and template.
    """
    assert isinstance(model, Decoder), "what answers is a decoder"
    context = base.config.context
    prompt = base.template.prompt_ids(asked, base.tokenizer)
    request = request_for(prompt, context, max_tokens)
    with evaluation_mode(model):
        engine = Engine(
            model,
            base.tokenizer,
            context=min(context, len(request.prompt) + request.max_tokens),
            rows=1,
            stop_ids=base.stop_ids,
        )
        return engine.generate([request])[0][0].text
