"""Opens whatever can write: a run, one of its checkpoints, or a Hugging Face model folder."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import CheckpointError, RequestError, RunError, SettingError, TokenizerError
from cloche.generation.asking import Asked, make_request
from cloche.generation.engine import Engine
from cloche.generation.forward import Forward, ModelForward
from cloche.generation.kernels.building import default_folder
from cloche.generation.kernels.choosing import Forwards, say_nothing
from cloche.generation.speculation import Guesser
from cloche.model.build import LanguageModel, parameter_count
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder
from cloche.model.lora import AdapterSet
from cloche.model.quantized import Bits, quantize
from cloche.text.chat import ChatTemplate
from cloche.text.messages import SYSTEM, USER, Message, to_messages
from cloche.text.names import open_tokenizer
from cloche.text.tokenizer import Tokenizer
from cloche.weights.folder import CONFIG, read_json
from cloche.weights.hf import from_hf_config
from cloche.weights.loading import load_any_model, open_adapters, tokenizer_folder
from cloche.weights.opening import folders_to_try, open_first_whole
from cloche.weights.prompting import (
    load_begins_with_bos,
    load_chat_template,
    load_special_ids,
    load_stop_ids,
)

METRICS = "metrics.jsonl"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BITS: dict[str, Bits] = {"int8": "int8", "int4": "int4"}
PRECISIONS = ("auto", *DTYPES, *BITS)


def warn_in_python(message: str) -> None:
    """Say it as a Python warning, at the line that called `load`."""
    warnings.warn(message, stacklevel=3)


@dataclass(frozen=True, eq=False)
class LM:
    """A language model ready to write: the model, its tokenizer, and where they came from."""

    model: LanguageModel
    tokenizer: Tokenizer
    config: ModelConfig
    folder: Path
    """The folder that was opened: of a run, the checkpoint."""
    bos: int | None = None
    """The beginning-of-text token, where the model has learned to begin with one."""
    begins_with_bos: bool = False
    """Whether every prompt starts with it, as Llama's do; else only an empty one."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end an answer."""
    forwards: Forwards | None = None
    """What writes with the model; its own modules do where there is none."""
    adapters: AdapterSet | None = None
    """Adapters that were opened with the model, of which one may be active."""
    adapter_folders: Mapping[str, Path] = field(default_factory=dict)
    """Where each of them lies."""
    adapter_folder: Path | None = None
    """Of the active one: its own chat template and stop tokens go before the model's."""
    asked_by: ChatTemplate | None = None
    """Lays out every prompt as a question, for `asking`."""
    system: str = ""
    """What stands before every question then."""

    def __repr__(self) -> str:
        return (
            f"LM({self.config.family}, {parameter_count(self.model):,} parameters, {self.folder})"
        )

    @torch.no_grad()
    def logits(self, ids: Sequence[int]) -> Float[Tensor, "time vocab"]:
        """Logits of the token after each of `ids`, in float32."""
        if not 1 <= len(ids) <= self.config.context:
            raise RequestError(
                f"the model reads 1 to {self.config.context} tokens at once, got {len(ids)}"
            )
        foreign = [token_id for token_id in ids if not 0 <= token_id < self.config.vocab_size]
        if foreign:
            raise RequestError(
                f"the model knows the ids 0 to {self.config.vocab_size - 1}, got {foreign[0]}"
            )
        device = next(self.model.parameters()).device
        return self.model(torch.tensor([list(ids)], device=device))[0].float()

    def generate(self, prompt: str = "", **asked: Unpack[Asked]) -> str:
        """What the model writes after `prompt` (which is not repeated).

        Of 200 tokens at most, at temperature 0.8, where `asked` says nothing else: see `Asked`.
        The same `seed` gives the same text; without one it differs each time. `greedy` takes the
        likeliest token at every step. The answer ends at an end-of-text token or a `stop` text.
        """
        return "".join(self.stream(prompt, **asked))

    def stream(self, prompt: str = "", **asked: Unpack[Asked]) -> Iterator[str]:
        """The same text as `generate`, in pieces as they are written; never half a character."""
        request = make_request(self.prompt_ids(prompt), asked, tokenizer=self.tokenizer)
        engine = self.engine(tokens=len(request.prompt) + request.max_tokens)
        return (event.text for event in engine.stream(request) if event.text)

    @property
    def template(self) -> ChatTemplate | None:
        """How conversations are laid out for this model; None for one that was not tuned so."""
        for folder in filter(None, (self.adapter_folder, tokenizer_folder(self.folder))):
            if (source := load_chat_template(folder)) is not None:
                return ChatTemplate(source, name=f"the chat template of {folder}")
        return None

    def chat(
        self, messages: str | Sequence[Message | Mapping[str, str]], **asked: Unpack[Asked]
    ) -> str:
        """The model's answer to a question, or to a conversation that ends with one.

        A message is a `Message` or a dictionary with `role` and `content`. Laid out by the
        model's chat template, as in its tuning; RequestError where it has none. See `Asked` for
        the rest.
        """
        template = self._required_template()
        prompt = template.prompt_ids(to_messages(messages), self.tokenizer)
        request = make_request(prompt, asked, tokenizer=self.tokenizer)
        stopping = replace(self, stop_ids=template.stop_ids(self.tokenizer))
        engine = stopping.engine(tokens=len(request.prompt) + request.max_tokens)
        return "".join(event.text for event in engine.stream(request) if event.text)

    def asking(self, *, system: str = "") -> "LM":
        """The same model, to which every prompt is a question, laid out by its chat template.

        `system` is what it is told before. RequestError where it has no template.
        """
        template = self._required_template()
        stop_ids = template.stop_ids(self.tokenizer)
        return replace(self, asked_by=template, system=system, stop_ids=stop_ids)

    def _required_template(self) -> ChatTemplate:
        if (template := self.template) is not None:
            return template
        raise RequestError(
            f"{self.folder} has no chat template: it continues text and answers no question. "
            "cloche tune makes one that does"
        )

    def with_adapter(self, name: str | None) -> "LM":
        """The same model with one of its adapters, or with none; asked by the adapter's template.

        The weights are changed where they are: what was opened before must not be used on.
        SettingError for an unknown name.
        """
        if self.adapters is None:
            raise SettingError(f"{self.folder} was opened without adapters: there is no {name}")
        self.adapters.activate(name)
        old = self.forwards
        fresh = None if old is None else Forwards(self.model, old.folder, old.tell, old.warn)
        folder = None if name is None else self.adapter_folders[name]
        stop_ids = _stop_ids(self.folder, self.tokenizer)
        if folder is not None:
            stop_ids = load_stop_ids(folder) or stop_ids
        return replace(self, forwards=fresh, adapter_folder=folder, stop_ids=stop_ids)

    def engine(
        self, *, rows: int = 1, tokens: int | None = None, guesser: Guesser | None = None
    ) -> Engine:
        """An engine for this model, with `rows` answers at a time.

        `tokens` is the most that prompt and answer will have together, where that is known: a
        model of a long context then takes no memory for all of it. `guesser` makes it faster where
        it guesses well, see `cloche.generation.speculation`.
        """
        context = self.config.context
        capacity = context if tokens is None else max(1, min(context, tokens))
        return Engine(
            self.model,
            self.tokenizer,
            context=capacity,
            rows=rows,
            stop_ids=self.stop_ids,
            forward=self.forward(rows=rows, capacity=capacity),
            guesser=guesser,
        )

    def forward(self, *, rows: int, capacity: int) -> Forward:
        """What reads tokens with this model into so many rows, the fastest there is here."""
        if self.forwards is None:
            return ModelForward(self.model, rows=rows, capacity=capacity)
        return self.forwards.make(rows=rows, capacity=capacity)

    def prompt_ids(self, text: str) -> tuple[int, ...]:
        """Ids of a prompt; an empty one is the beginning-of-text token, else a newline.

        A model that was trained on one text knows no beginning: there, it is the newline.
        Raises TokenizerError naming a character that the model has never seen.
        """
        if self.asked_by is not None:
            told = (Message(SYSTEM, self.system),) if self.system else ()
            return self.asked_by.prompt_ids((*told, Message(USER, text)), self.tokenizer)
        if text and (ids := tuple(self.tokenizer.encode(text))):  # of blanks, words make none
            return (self.bos, *ids) if self.begins_with_bos and self.bos is not None else ids
        if self.bos is not None:
            return (self.bos,)
        with suppress(TokenizerError):
            if newline := tuple(self.tokenizer.encode("\n")):
                return newline
        raise RequestError(
            "this model knows no beginning-of-text token and no newline: give it a prompt"
        )


def load(
    source: str | Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    checkpoint: str = "best",
    warn: Callable[[str], None] = warn_in_python,
    tell: Callable[[str], None] = say_nothing,
    kernels: Path | None = None,
    adapters: Mapping[str, str | Path] | None = None,
    broken: bool = False,
) -> LM:
    """The language model in a run, a checkpoint or a Hugging Face folder, ready to write.

    precision: float32 is exact; bfloat16 takes half the memory and time; int8 and int4 round the
    matrices further; auto is float32 on a CPU or a Mac, bfloat16 on CUDA. device: auto, cpu, cuda
    or mps. checkpoint, of a run: best (else the latest), latest, or a step such as 500 or
    step-000500.

    On a CPU it writes by code compiled for this processor, which is kept in the folder `kernels`
    (of the user's cache when not given); `tell` hears when it is being compiled, and `warn` where
    that cannot be done and writing is slow. Its weights are copied when the first text is written:
    who changes the model afterwards opens it anew.

    `adapters` are folders or runs of LoRA adapters over this model, by names of your choice: see
    `LM.with_adapter`. None is active at first. A run of adapters alone needs no such naming: it is
    opened as any other, merged into its base.

    Where a run's checkpoint is damaged, `warn` is told and the next older whole one is opened.
    Weights that are NaN or infinite are refused as damage, too; `broken` opens them as they are, to
    look at, and `warn` is told. Nothing that could run code is ever opened. Raises CheckpointError.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    target = choose_device(device)
    bits = BITS.get(precision)
    dtype = choose_dtype("auto" if bits else precision, target)
    folders = folders_to_try(Path(source), checkpoint, warn=warn)
    if translates(folders[0]):
        raise CheckpointError(
            f"{source} holds a seq2seq model, which continues no text but writes a target for a "
            "source. cloche generate and cloche eval know it, in Python open it with "
            "cloche.load_translator; no other tool's format has such a model, so it is not exported"
        )
    if bits:
        tell(f"rounding the weights to {bits}")
    lm = open_first_whole(
        folders,
        lambda folder: _open(
            folder, device=target, dtype=dtype, bits=bits, broken=broken, warn=warn
        ),
        warn=warn,
    )
    forwards = Forwards(lm.model, kernels or default_folder(), tell, warn)
    if adapters:
        lm = _with_adapters(lm, adapters, bits=bits, warn=warn)
    return replace(lm, forwards=forwards)


def _with_adapters(
    lm: LM,
    adapters: Mapping[str, str | Path],
    *,
    bits: Bits | None,
    warn: Callable[[str], None],
) -> LM:
    if bits:
        raise SettingError(
            f"adapters are merged into weights, and those are kept in {bits}: leave precision out, "
            "or merge one by cloche export first"
        )
    opened, places = open_adapters(lm.model, lm.folder, adapters, warn=warn)
    return replace(lm, adapters=opened, adapter_folders=places)


def translates(folder: Path) -> bool:
    """Whether the model in a folder writes targets for sources.

    False, too, where its description cannot be read, which opening it will tell.
    """
    try:
        return from_hf_config(read_json(folder / CONFIG)).family == "seq2seq"
    except CheckpointError:
        return False


def read_metrics(run: str | Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl, oldest first.

    A last line without its end is still being written, or was when the run died: it is no row.
    """
    path = Path(run) / METRICS
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise RunError(f"{path} does not exist: {run} is no run, or has not begun") from exc
    rows = []
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as exc:
            raise RunError(f"{path}, line {number}: not a row of JSON: {exc}") from exc
    return rows


def choose_device(name: str) -> torch.device:
    """The device of that name; auto is the fastest there is. Raises SettingError."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as exc:  # an AssertionError: torch without CUDA
        raise SettingError(f"the device {name!r} cannot be used here; use auto or cpu") from exc
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of that name; auto is bfloat16 on CUDA, else float32. Raises SettingError."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if precision not in DTYPES:
        raise SettingError(f"precision must be auto, float32 or bfloat16, got {precision!r}")
    return DTYPES[precision]


def _open(
    folder: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    bits: Bits | None,
    broken: bool,
    warn: Callable[[str], None],
) -> LM:
    model, config = load_any_model(folder, dtype=dtype, broken=broken, warn=warn)
    if bits is not None:
        if not isinstance(model, Decoder):
            raise SettingError(
                f"a {config.family} model has no matrices to keep in {bits}: leave precision out"
            )
        quantize(model, bits)
    speaking = tokenizer_folder(folder)
    tokenizer = open_tokenizer(str(speaking.absolute()))
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"{folder} does not fit together: its tokenizer has {tokenizer.vocab_size} tokens, "
            f"its model {config.vocab_size}"
        )
    special = load_special_ids(speaking)
    return LM(
        model.to(device).eval(),
        tokenizer,
        config,
        folder,
        bos=special.bos,
        begins_with_bos=load_begins_with_bos(speaking),
        stop_ids=_stop_ids(folder, tokenizer),
    )


def _stop_ids(folder: Path, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokens that end an answer of the model in a folder."""
    eos = tokenizer.special_ids.eos
    return load_stop_ids(tokenizer_folder(folder)) or (() if eos is None else (eos,))
