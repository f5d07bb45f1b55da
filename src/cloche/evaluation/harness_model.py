"""A language model as lm-evaluation-harness wants one: likelihoods of texts, and answers.

What goes in and comes out is what the harness's own `hf` model makes of the same model folder: the
same tokens before a text, context and continuation encoded together, cut at the left, one document
over disjoint windows. So both give the same numbers. This file alone needs the harness at import:
only `harness` loads it, when tasks are run.

Source: https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/model_guide.md
"""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from tqdm import tqdm
from typing_extensions import override

from cloche.errors import RequestError, TextError, TokenizerError
from cloche.evaluation.continuations import score_continuations
from cloche.generation.request import GenerationRequest
from cloche.run import LM
from cloche.text.messages import to_messages
from cloche.text.specials import split_special

MADE_HERE = {"prompt", "max_tokens", "temperature", "stop", "stop_ids", "n", "logprobs", "overflow"}
"""Fields of a request that a task does not set by their names."""
QUEUED_PER_ROW = 2  # enough that a row that ends is filled at the next step
SHOWN = 60


class HarnessModel(TemplateLM):
    """A language model as the harness wants one."""

    def __init__(self, lm: LM, *, rows: int) -> None:
        super().__init__()
        self._lm, self._rows = lm, rows
        self._names = {number: name for name, number in lm.tokenizer.special_tokens.items()}
        self.unknown_tokens = 0
        """Tokens scored so far that stand for what the vocabulary lacks."""
        self.cut_requests = 0
        """Requests so far whose context was cut at the left, to fit the model's."""

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token. TokenizerError where there is none."""
        eos = self._lm.tokenizer.special_ids.eos
        if eos is None:
            raise TokenizerError("this model's tokenizer has no end-of-text token")
        return eos

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that nothing comes before: beginning or end of text.

        Where a tokenizer has neither, which the harness's own model refuses, a newline.
        """
        special = self._lm.tokenizer.special_ids
        for token in (special.bos, special.eos):
            if token is not None:
                return token
        return self._lm.prompt_ids("")[-1]

    @property
    def max_length(self) -> int:
        """Most tokens the model reads at once."""
        return self._lm.config.context

    @property
    def max_gen_toks(self) -> int:
        """Most tokens of an answer where a task names no number: the harness's own 256."""
        return 256

    @property
    @override
    def tokenizer_name(self) -> str:
        """A name of the tokenizer, which the harness asks of models with a chat template."""
        return self._lm.tokenizer.fingerprint

    @override
    def apply_chat_template(
        self,
        chat_history: list[dict[str, str]],
        add_generation_prompt: bool = True,
    ) -> str:
        """The text of a conversation up to where the model is to answer.

        Without `add_generation_prompt`, the last message is the beginning of the answer.
        """
        template = self._lm.asked_by
        assert template is not None, "only a model that is asked by a template has conversations"
        messages = to_messages(chat_history)
        begun = "" if add_generation_prompt else messages[-1].content
        asked = messages if add_generation_prompt else messages[:-1]
        text = template.render(asked, add_generation_prompt=True, tokenizer=self._lm.tokenizer)
        return text + begun

    @override
    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Ids of a text, with a beginning-of-text token where the model's prompts have one.

        Special tokens written in a task are meant as such. What is unknown is the unk token.
        """
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(self._names.get(self.prefix_token_id, "\0"))
        ids = self._encode(string)
        if add_special_tokens and self._lm.begins_with_bos and self._lm.bos is not None:
            return [self._lm.bos, *ids]
        if add_special_tokens is False and not ids:  # a continuation behind no context
            raise TextError(
                f"a task asks how likely the text {string!r} is, of which this model's tokenizer "
                "makes no token"
            )
        return ids

    @override
    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Log probability of each continuation, and whether greedy decoding would write it."""
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm or not sys.stderr.isatty())

    @override
    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log probability of each text, its first token after the beginning-of-text token.

        Windows do not overlap, as the harness has them: after a window's end, the next token is
        predicted from one token alone. `cloche eval RUN TEXT` overlaps them.
        """
        owners, windows = [], []
        for number, request in enumerate(requests):
            rolled = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for window in map(utils.make_disjoint_window, rolled):
                owners.append(number)
                windows.append((None, *window))
        totals = [0.0] * len(requests)
        for owner, (total, _) in zip(
            owners, self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm), strict=True
        ):
            totals[owner] += total
        return totals

    @override
    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        **kwargs: Any,
    ) -> list[tuple[float, bool]]:
        for texts, context, continuation in requests:
            self._check(texts, context, continuation)
        with _progress(len(requests), "likelihoods", hidden=disable_tqdm) as told:
            return score_continuations(
                self._lm,
                [(context, continuation) for _, context, continuation in requests],
                rows=self._rows,
                progress=told.update,
            )

    def _check(self, texts: Any, context: list[int], continuation: list[int]) -> None:
        """Count what is told at the end, and refuse what has no likelihood."""
        if not continuation:
            before, text = texts
            raise TextError(
                f"a task asks how likely {text!r} is after {before[-SHOWN:]!r}, but this model's "
                "tokenizer makes no token of its own of it: let the continuation begin with its "
                "space, or check the task's choices"
            )
        if len(continuation) > self.max_length:
            raise RequestError(
                f"a task asks how likely a text of {len(continuation)} tokens is, and the model "
                f"reads {self.max_length}: it begins with {texts[1][:SHOWN]!r}"
            )
        self.cut_requests += len(context) + len(continuation) > self.max_length + 1
        unknown = self._lm.tokenizer.special_ids.unk
        if unknown is not None:
            self.unknown_tokens += continuation.count(unknown)

    @override
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to the first of the task's stop texts."""
        given: list[tuple[str, dict[str, Any]]] = [request.arguments for request in requests]
        until = [self._until(options) for _, options in given]
        asked = [
            self._request(context, options, until=until[number], seed=number)
            for number, (context, options) in enumerate(given)
        ]
        answers = [""] * len(requests)
        with _progress(len(requests), "answers", hidden=disable_tqdm) as told:
            for number, ids in _answers_of(self._lm, asked, rows=self._rows):
                # as the harness cuts: at the first of each stop text, one after the other
                answers[number] = postprocess_generated_text(
                    self._text_of(ids), stop=until[number], think_end_token=None
                )
                told.update(1)
        return answers

    def _until(self, options: dict[str, Any]) -> list[str]:
        """The texts at which an answer ends, the name of the end-of-text token among them."""
        eos = self._lm.tokenizer.special_ids.eos
        until = options.get("until") or []
        return handle_stop_sequences(
            [until] if isinstance(until, str) else list(until),
            eos=None if eos is None else self._names[eos],
        )

    def _request(
        self, context: str, options: dict[str, Any], *, until: list[str], seed: int
    ) -> GenerationRequest:
        """What the engine is asked for; `seed` where the task draws by chance and names none."""
        values: dict[str, Any] = dict(normalize_gen_kwargs(options, self.max_gen_toks))
        del values["until"]
        most = values.pop("max_gen_toks")
        room = self.max_length - most
        if room < 1:
            raise RequestError(
                f"a task asks for {most} tokens, and the model holds {self.max_length}, its prompt "
                "included: give the task fewer in generation_kwargs, as max_gen_toks"
            )
        prompt = self.tok_encode(context) or [self.prefix_token_id]
        self.cut_requests += len(prompt) > room
        greedy = not values.pop("do_sample", False)
        temperature = values.pop("temperature", 1.0)
        eos = self._lm.tokenizer.special_ids.eos
        ends = self._lm.stop_ids if eos is None else (*self._lm.stop_ids, eos)
        return GenerationRequest(
            prompt=tuple(prompt[-room:]),
            max_tokens=most,
            temperature=0.0 if greedy else float(temperature),
            stop=tuple(text for text in until if text),
            stop_ids=tuple(dict.fromkeys(ends)),
            **{"seed": seed, **_known_options(values)},
        )

    def _text_of(self, ids: Sequence[int]) -> str:
        return self._lm.tokenizer.decode([token for token in ids if token not in self._names])

    def _encode(self, text: str) -> list[int]:
        tokenizer = self._lm.tokenizer
        special = tokenizer.special_tokens
        allowed = [name for name in special if name in text]
        try:
            return list(tokenizer.encode(text, allowed_special=allowed))
        except TokenizerError:  # characters, which refuse to write behind what they do not know
            ids: list[int] = []
            for part in split_special(text, ids=special, allowed=allowed):
                ids += [part] if isinstance(part, int) else tokenizer.encode_training(part)
            return ids


def _known_options(values: dict[str, Any]) -> dict[str, Any]:
    """The options that a request takes by the names they have. RequestError for any other."""
    known = {field.name for field in fields(GenerationRequest)} - MADE_HERE
    neutral = {"num_beams": 1, "top_k": 0}  # transformers' words for neither
    values = {key: value for key, value in values.items() if neutral.get(key) != value}
    unknown = sorted(set(values) - known)
    if unknown:
        raise RequestError(
            f"a task's generation_kwargs have {', '.join(unknown)}, which cloche does not know; it "
            f"takes until, max_gen_toks, do_sample, temperature, {', '.join(sorted(known))}"
        )
    return values


def _answers_of(
    lm: LM, requests: Sequence[GenerationRequest], *, rows: int
) -> Iterator[tuple[int, list[int]]]:
    """Number and drawn ids of each answer, as they end; the longest prompts come first."""
    if not requests:
        return
    longest = max(len(request.prompt) + request.max_tokens for request in requests)
    engine = lm.engine(rows=min(rows, len(requests)), tokens=longest)
    waiting = deque(sorted(range(len(requests)), key=lambda n: -len(requests[n].prompt)))
    drawn: dict[int, tuple[int, list[int]]] = {}
    while waiting or drawn:
        while waiting and len(drawn) < QUEUED_PER_ROW * rows:
            number = waiting.popleft()
            drawn[engine.submit(requests[number])] = (number, [])
        for event in engine.step():
            if event.error is not None:
                raise event.error
            if event.token_id is not None:
                drawn[event.request_id][1].append(event.token_id)
            if event.finish_reason is not None:
                yield drawn.pop(event.request_id)


def _progress(total: int, what: str, *, hidden: bool) -> Any:
    """A bar on standard error, where that is a terminal."""
    return tqdm(total=total, desc=what, disable=True if hidden else None)
