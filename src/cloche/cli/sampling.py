"""The options of every verb that lets a model write, and what those verbs share."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cloche.errors import RequestError, SettingError, TextError, join_problems
from cloche.generation.request import GenerationRequest

if TYPE_CHECKING:
    from cloche.text.tokenizer import Tokenizer

USUAL_TEMPERATURE = 0.8
ANY_PROMPT = (0,)  # stands for the prompt until the tokenizer is at hand
DIM, PLAIN = "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How the next token is chosen, and when to stop."""

    max_new_tokens: int = 200
    """Most tokens to write."""
    temperature: float | None = None
    """Below 1 the likely tokens become likelier, above 1 the unlikely ones; 0.8 when not given."""
    top_k: int | None = None
    """Choose among this many likeliest tokens only."""
    top_p: float = 1.0
    """Choose among the fewest likeliest tokens whose probability reaches this."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the likeliest one's probability."""
    greedy: bool = False
    """Take the likeliest token each time: no chance at all."""
    seed: int | None = None
    """The same seed gives the same text; drawn anew each time when not given."""
    stop: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """End before this text; can be given several times."""

    typical_p: float = 1.0
    """Choose among the fewest tokens, of those about as surprising as the text is on average, whose
    probability reaches this."""
    repetition_penalty: float = 1.0
    """Above 1, tokens of the prompt and the answer become less likely to come again."""
    presence_penalty: float = 0.0
    """Above 0 (to 2), tokens of the answer become less likely to come again."""
    frequency_penalty: float = 0.0
    """The same for each time that a token has come."""
    no_repeat_ngram: int | None = None
    """Never write so many tokens in the same order twice."""
    logit_bias: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="ID=VALUE")
    ] = ()
    """Add VALUE (-100 to 100) to the logit of token ID; can be given several times."""
    ban: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Never write the tokens of this text, alone or behind a space; can be given several times."""
    force: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Write this text, as it stands, somewhere in the answer; can be given several times."""
    min_new_tokens: int = 0
    """Do not end before so many tokens."""
    json_schema: str | None = None
    """File with a JSON schema: the answer is JSON of this form."""
    regex: str | None = None
    """The answer matches this regular expression, from its first character to its last."""
    logprobs: int | None = None
    """Tell the log probability of each token, and of this many likeliest ones beside it."""

    def request(self, *, n: int = 1) -> GenerationRequest:
        """The request for these options, its prompt still to be put in.

        Made before any model is loaded, so that settings out of range are told at once. What needs
        the model's tokenizer is added by `with_tokenizer`.
        """
        problems = self._contradictions(n=n)
        bias, bias_problems = _parsed_bias(self.logit_bias)
        if problems := [*problems, *bias_problems]:
            raise SettingError(join_problems(problems))
        if self.json_schema is not None:
            _read_schema(self.json_schema)
        chosen = USUAL_TEMPERATURE if self.temperature is None else self.temperature
        return GenerationRequest(
            ANY_PROMPT,
            max_tokens=self.max_new_tokens,
            temperature=0.0 if self.greedy else chosen,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            seed=self.seed,
            n=n,
            stop=self.stop,
            logprobs=self.logprobs,
            typical_p=self.typical_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            no_repeat_ngram=self.no_repeat_ngram,
            logit_bias=bias,
            min_tokens=self.min_new_tokens,
        )

    def with_tokenizer(
        self, request: GenerationRequest, tokenizer: "Tokenizer"
    ) -> GenerationRequest:
        """The request with what these options say in texts: bans, forced words, a constraint.

        Raises ClocheError where the tokenizer cannot write them.
        """
        from cloche.generation.constraints import ConstraintCompiler
        from cloche.generation.phrases import banned_sequences, forced_words
        from cloche.generation.rules import require_tokenizer

        constraint = None
        if self.json_schema is not None:
            schema = _read_schema(self.json_schema)
            try:
                constraint = ConstraintCompiler(tokenizer).json_schema(schema)
            except RequestError as exc:
                raise RequestError(f"--json-schema {self.json_schema}: {exc}") from exc
        elif self.regex is not None:
            constraint = ConstraintCompiler(tokenizer).regex(self.regex)
        made = replace(
            request,
            banned=banned_sequences(self.ban, tokenizer),
            forced_words=forced_words(self.force, tokenizer),
            constraint=constraint,
        )
        require_tokenizer(made, tokenizer)
        return made

    def _contradictions(self, *, n: int) -> list[str]:
        found = []
        if self.greedy and self.temperature:
            found.append(
                f"--greedy takes no chances, --temperature {self.temperature} does: "
                "leave one of them out"
            )
        chance = (("--top-k", self.top_k), ("--top-p", self.top_p), ("--min-p", self.min_p))
        if self.greedy or self.temperature == 0:
            found += [
                f"{option} {given} has no meaning without chance: leave it out, or --greedy and "
                "--temperature 0"
                for (option, given), usual in zip(chance, (None, 1.0, 0.0), strict=True)
                if given != usual
            ]
        if n > 1 and (self.greedy or self.temperature == 0):
            found.append(
                f"greedy answers are all the same, so --n {n} would repeat one: leave out --n, or "
                "give a temperature above 0"
            )
        form = "--json-schema" if self.json_schema is not None else "--regex"
        if self.json_schema is not None and self.regex is not None:
            found.append("--json-schema and --regex both say what an answer is: give one of them")
        if self.json_schema is not None or self.regex is not None:
            others = (("--force", self.force), ("--min-new-tokens", self.min_new_tokens))
            found += [
                f"{form} says what an answer holds and when it ends: leave out {option}"
                for option, given in others
                if given
            ]
        for option, texts in (("--ban", self.ban), ("--force", self.force)):
            if "" in texts:
                found.append(f"{option} was given an empty text")
        return found


def require_unicode(text: str, *, what: str) -> None:
    """Raise TextError where `text` holds bytes that were no text in this terminal's encoding."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise TextError(
            f"{what} is not valid Unicode at character {exc.start + 1}: {text[exc.start]!r}; "
            "type it again, or give it as UTF-8"
        ) from exc


def dimmed(text: str) -> str:
    """`text` in a fainter colour where standard output is a terminal that shows colours."""
    if text and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        return f"{DIM}{text}{PLAIN}"
    return text


def tell(message: str) -> None:
    """Say something beside the output, on standard error."""
    print(f"cloche: {message}", file=sys.stderr)


def _parsed_bias(given: tuple[str, ...]) -> tuple[tuple[tuple[int, float], ...], list[str]]:
    """The pairs of ids and numbers, and what is wrong with those that are none."""
    pairs, problems = [], []
    for text in given:
        token_id, _, value = text.partition("=")
        try:
            pairs.append((int(token_id), float(value)))
        except ValueError:
            problems.append(f"--logit-bias needs ID=VALUE such as 50=-3.5, got {text!r}")
    return tuple(pairs), problems


def _read_schema(path: str) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise SettingError(f"--json-schema {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SettingError(f"--json-schema {path} is not UTF-8, as JSON is") from exc
