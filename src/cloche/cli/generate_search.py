"""`cloche generate --beams` and `--penalty-alpha`: texts that are searched for, not drawn."""

import json
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from cloche.cli.sampling import SamplingOptions, dimmed, tell
from cloche.errors import SettingError, join_problems
from cloche.generation.request import FinishReason, GenerationRequest

if TYPE_CHECKING:
    from cloche.cli.generate_options import Generate
    from cloche.generation.searching import Search
    from cloche.run import LM

EARLY_STOPPING: dict[str, bool | Literal["never"]] = {"no": False, "yes": True, "never": "never"}
OF_BEAMS = ("beam_groups", "diversity_penalty", "length_penalty", "early_stopping")
HEEDED = ("max_new_tokens", "min_new_tokens", "repetition_penalty", "no_repeat_ngram", "stop")
"""Options of sampling that every search heeds, too."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What is searched for where nothing is drawn by chance."""

    beams: int | None = None
    """Search for the likeliest text with this many beginnings at once; 1 is greedy. --n then gives
    the best that were found."""
    length_penalty: float | None = None
    """With --beams: above 0, longer texts count for more; 1 when not given, for a seq2seq model
    0.6."""
    early_stopping: Literal["no", "yes", "never"] | None = None
    """With --beams: stop when as many texts have ended as there are beams (yes), when no beam that
    goes on is better by now (no, when not given), or when none can become better (never)."""
    beam_groups: int | None = None
    """With --beams: divide them into groups that are kept apart by --diversity-penalty."""
    diversity_penalty: float | None = None
    """With --beam-groups: what a token costs for each earlier group's beam that took it, in nats; 1
    when not given."""
    penalty_alpha: float | None = None
    """Contrastive search: weigh likelihood against likeness to the text so far, 0 to 1. Chooses
    among --top-k tokens; 4 when not given."""

    @property
    def searches(self) -> bool:
        """Whether any of these options was given."""
        return any(getattr(self, field.name) is not None for field in fields(SearchOptions))

    def names_only_for_continuing(self) -> list[str]:
        """The options given that a model which translates does not take."""
        heeded = ("beams", "length_penalty")
        names = [field.name for field in fields(SearchOptions) if field.name not in heeded]
        return [option(name) for name in names if getattr(self, name) is not None]


def settings_of(command: "Generate") -> "Search":
    """The search that the options describe. Raises SettingError with all that is wrong."""
    from cloche.generation.beams import BeamSettings
    from cloche.generation.contrastive import ContrastiveSettings

    if problems := contradictions(command):
        raise SettingError(join_problems(problems))
    shared: dict[str, Any] = {
        "max_tokens": command.max_new_tokens,
        "min_tokens": command.min_new_tokens,
        "repetition_penalty": command.repetition_penalty,
        "no_repeat_ngram": command.no_repeat_ngram,
    }
    if command.penalty_alpha is not None:
        top_k = {} if command.top_k is None else {"top_k": command.top_k}
        return ContrastiveSettings(penalty_alpha=command.penalty_alpha, **top_k, **shared)
    usual = 1.0 if command.beam_groups is not None else 0.0
    penalty = command.diversity_penalty
    return BeamSettings(
        beams=1 if command.beams is None else command.beams,
        groups=1 if command.beam_groups is None else command.beam_groups,
        diversity_penalty=usual if penalty is None else penalty,
        length_penalty=1.0 if command.length_penalty is None else command.length_penalty,
        early_stopping=EARLY_STOPPING[command.early_stopping or "no"],
        n=command.n,
        **shared,
    )


def contradictions(command: "Generate") -> list[str]:
    """What cannot be meant together with a search, one sentence each."""
    found = []
    contrastive = command.penalty_alpha is not None
    if contrastive and command.beams is not None:
        found.append("--beams and --penalty-alpha are two kinds of search: give one of them")
    for name in OF_BEAMS:
        if command.beams is None and getattr(command, name) is not None:
            found.append(f"{option(name)} belongs to --beams: add that, or leave it out")
    if command.diversity_penalty is not None and command.beam_groups is None:
        found.append("--diversity-penalty belongs to --beam-groups: add that, or leave it out")
    if contrastive and command.n > 1:
        found.append(f"contrastive search finds one text, not --n {command.n}: leave out --n")
    heeded = (*HEEDED, "top_k") if contrastive else HEEDED
    found += [
        f"{option(name)} is for texts drawn by chance, and a search does not heed it: leave it out"
        for name in sampling_given(command)
        if name not in heeded
    ]
    if command.rows is not None:
        found.append("a search has as many rows as beams or candidates: leave out --rows")
    return found


def sampling_given(command: SamplingOptions) -> list[str]:
    """Names of the options of sampling that differ from their defaults."""
    return [
        field.name
        for field in fields(SamplingOptions)
        if getattr(command, field.name) != field.default
    ]


def option(name: str) -> str:
    """The option of a field."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class FoundAnswer:
    """A continuation, as text."""

    text: str
    """Without what ended it."""
    tokens: int
    finish_reason: FinishReason
    log_probability: float
    """Of all tokens under the model itself, in nats."""
    score: float
    """What the search compared it by."""


def search(lm: "LM", request: GenerationRequest, settings: "Search") -> list[FoundAnswer]:
    """What the search finds to follow the request's prompt, the best first.

    Of the request, the prompt, `stop` and `stop_ids` are heeded. Raises SettingError where the
    memory does not suffice.
    """
    from cloche.generation.searching import find_continuations
    from cloche.generation.stop_texts import StopTexts

    capacity = min(lm.config.context, len(request.prompt) + settings.max_tokens)
    require_memory(lm, settings, capacity=capacity)
    stop_ids = lm.stop_ids if request.stop_ids is None else request.stop_ids
    stops = StopTexts(
        lm.tokenizer, request.prompt, stops=request.stop, min_tokens=settings.min_tokens
    )
    found = find_continuations(
        lm.forward(rows=settings.rows, capacity=capacity),
        request.prompt,
        settings,
        stop_ids=stop_ids,
        vocab_size=lm.tokenizer.vocab_size,
        is_complete=stops.is_complete if request.stop else None,
    )
    return [
        FoundAnswer(
            text=stops.text_of(one.ids[:-1] if one.ids[-1] in stop_ids else one.ids),
            tokens=len(one.ids),
            finish_reason=one.finish_reason,
            log_probability=one.log_probability,
            score=one.score,
        )
        for one in found
    ]


def require_memory(lm: "LM", settings: "Search", *, capacity: int) -> None:
    """Raise SettingError where the keys and values of all rows would not fit into memory."""
    from cloche.planning.available import available_memory
    from cloche.planning.memory import cache_bytes

    weight = next(lm.model.parameters())
    if weight.device.type != "cpu":
        return
    precision = "float32" if weight.element_size() == 4 else "bfloat16"
    each = cache_bytes(lm.config, rows=1, capacity=capacity, precision=precision)
    each += 3 * 4 * lm.config.vocab_size  # logits, log probabilities and totals
    free = available_memory()
    if each * settings.rows > free:
        raise SettingError(
            f"{settings.rows} texts of {capacity} tokens at once take "
            f"{each * settings.rows / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: at most "
            f"{free // each} would fit; fewer --max-new-tokens make room, too"
        )


def write_found(command: "Generate", asked: GenerationRequest, *, prompt: str) -> int:
    """Print what a search finds to follow the prompt; 0."""
    from dataclasses import asdict, replace

    from cloche.cli.opening import open_writer
    from cloche.cli.prompts import fitting_prompt, speak_by_template

    settings = settings_of(command)
    lm = open_writer(command)
    lm = speak_by_template(lm, command)
    ids, cut = fitting_prompt(lm, prompt, max_tokens=settings.max_tokens, window=command.window)
    if cut:
        tell(f"the prompt is too long for the context: only its last {len(ids)} tokens are read")
    began = time.perf_counter()
    answers = search(lm, replace(asked, prompt=ids), settings)
    seconds = time.perf_counter() - began
    room = lm.config.context - len(ids)
    if room < settings.max_tokens and any(answer.finish_reason == "length" for answer in answers):
        tell(
            f"a search ends where the context is full: it holds {lm.config.context} tokens, the "
            f"prompt takes {len(ids)} of them, and {settings.max_tokens} more were asked for"
        )
    if command.json:
        values = {
            "run": command.run,
            "checkpoint": str(lm.folder),
            "prompt": prompt,
            **({"cut_tokens": cut} if cut else {}),
            "search": asdict(settings),
            "answers": [asdict(answer) for answer in answers],
            "seconds": seconds,
        }
        print(json.dumps(values, ensure_ascii=False))
        return 0
    for number, answer in enumerate(answers, start=1):
        heading = f"--- {number} of {len(answers)} ---\n" if command.n > 1 else ""
        end = "" if answer.text.endswith("\n") else "\n"
        print(f"{dimmed(heading + prompt)}{answer.text}", end=end)
    best = answers[0]
    tell(
        f"{best.tokens} tokens, log probability {best.log_probability:.2f}, {seconds:.1f} s, "
        f"{lm.folder.name}"
    )
    return 0
