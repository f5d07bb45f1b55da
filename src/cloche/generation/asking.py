"""What a caller in Python may ask of a text, and the request that it becomes."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from cloche.errors import RequestError
from cloche.generation.constraints import ConstraintCompiler
from cloche.generation.phrases import banned_sequences, forced_words
from cloche.generation.request import Constraint, GenerationRequest
from cloche.text.tokenizer import Tokenizer

USUAL_TOKENS = 200
USUAL_TEMPERATURE = 0.8


class Asked(TypedDict, total=False):
    """How a text is written; each can be left out. The fields of `GenerationRequest` say more."""

    max_new_tokens: int
    """200 when not given."""
    temperature: float
    """0.8 when not given."""
    greedy: bool
    """Take the likeliest token each time."""
    top_k: int | None
    top_p: float
    min_p: float
    typical_p: float
    seed: int | None
    stop: str | Sequence[str]
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    no_repeat_ngram: int | None
    logit_bias: Mapping[int, float]
    ban: Sequence[str]
    """Texts that do not come."""
    force: Sequence[str]
    """Texts that do."""
    min_new_tokens: int
    json_schema: str | Mapping[str, Any]
    """The answer is one JSON value that this describes."""
    regex: str
    """The answer matches this."""


_PLAIN = {
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "seed": "seed",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "no_repeat_ngram": "no_repeat_ngram",
    "min_new_tokens": "min_tokens",
}
"""What goes into a request as it stands, and under which name."""


def make_request(
    prompt: tuple[int, ...], asked: Mapping[str, Any], *, tokenizer: Tokenizer
) -> GenerationRequest:
    """The request for a prompt and what `Asked` says. Raises RequestError and, as any function,
    TypeError for a name that is not in it.
    """
    unknown = asked.keys() - Asked.__annotations__.keys()
    if unknown:
        known = ", ".join(Asked.__annotations__)
        raise TypeError(f"{sorted(unknown)[0]!r} is nothing that can be asked; there are: {known}")
    greedy = asked.get("greedy", False)
    if greedy and asked.get("temperature"):
        raise RequestError(
            f"greedy takes no chances, temperature {asked['temperature']} does: leave one out"
        )
    stop = asked.get("stop", ())
    return GenerationRequest(
        prompt,
        max_tokens=asked.get("max_new_tokens", USUAL_TOKENS),
        temperature=0.0 if greedy else asked.get("temperature", USUAL_TEMPERATURE),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        logit_bias=tuple(dict(asked.get("logit_bias", {})).items()),
        banned=banned_sequences(_texts(asked, "ban"), tokenizer),
        forced_words=forced_words(_texts(asked, "force"), tokenizer),
        constraint=_constraint(asked, tokenizer),
        **{field: asked[name] for name, field in _PLAIN.items() if name in asked},
    )


def _texts(asked: Mapping[str, Any], name: str) -> Sequence[str]:
    given = asked.get(name, ())
    if isinstance(given, str):
        raise RequestError(f"{name} takes a list of texts, got one: {name}=[{given!r}]")
    return given


def _constraint(asked: Mapping[str, Any], tokenizer: Tokenizer) -> Constraint | None:
    if "json_schema" in asked and "regex" in asked:
        raise RequestError("json_schema and regex both say what an answer is: give one of them")
    if "json_schema" in asked:
        return ConstraintCompiler(tokenizer).json_schema(asked["json_schema"])
    if "regex" in asked:
        return ConstraintCompiler(tokenizer).regex(asked["regex"])
    return None
