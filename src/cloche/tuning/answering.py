"""What a model that is being tuned answers: the same template as in tuning, chat and server."""

from torch import nn

from cloche.evaluation.likelihood import evaluation_mode
from cloche.generation.engine import Engine
from cloche.generation.request import GenerationRequest
from cloche.model.decoder import Decoder
from cloche.text.messages import Conversation
from cloche.tuning.base import Base


def answer(
    base: Base,
    model: nn.Module,
    asked: Conversation,
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> str:
    """The model's answer to a conversation that ends with a question; greedy when not told else.

    `model` computes with the base's tokenizer and template. A question that leaves no room in the
    context is cut at its beginning.
    """
    assert isinstance(model, Decoder), "what answers is a decoder"
    context = base.config.context
    prompt = base.template.prompt_ids(asked, base.tokenizer)[-(context - 1) :]
    request = GenerationRequest(
        prompt=tuple(prompt),
        max_tokens=max(1, min(max_tokens, context - len(prompt))),
        temperature=temperature,
        seed=seed,
        overflow="stop",
    )
    with evaluation_mode(model):
        engine = Engine(model, base.tokenizer, context=context, rows=1, stop_ids=base.stop_ids)
        return engine.generate([request])[0][0].text
