"""The model that a tuning begins with, and how it is spoken to."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import torch

from cloche.errors import CheckpointError, SettingError
from cloche.generation.kernels.choosing import Forwards
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder
from cloche.run import LM, load
from cloche.text.chat import ChatTemplate, preset
from cloche.text.chat_presets import PRESETS
from cloche.text.extending import with_special_tokens
from cloche.text.tokenizer import SpecialIds, Tokenizer
from cloche.weights.identity import model_hash
from cloche.weights.prompting import load_chat_template, load_special_ids


@dataclass(frozen=True)
class Base:
    """A decoder in float32 on the CPU, with its tokenizer and chat template."""

    lm: LM
    model: Decoder
    config: ModelConfig
    tokenizer: Tokenizer
    template: ChatTemplate
    special_ids: SpecialIds
    hash: str
    """SHA-256 of the weights and the tokenizer in `lm.folder`."""
    added: tuple[str, ...] = ()
    """Special tokens that the base does not have, and the tuned model will."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer of the tuned model."""
        return self.template.stop_ids(self.tokenizer)

    def writer(self) -> LM:
        """What writes with the base before it is trained, its new tokens included."""
        if self.model is self.lm.model:
            return self.lm
        return replace(
            self.lm,
            model=self.model,
            config=self.config,
            tokenizer=self.tokenizer,
            forwards=Forwards(self.model),
        )


def open_base(
    source: str,
    *,
    template: str = "",
    may_grow: bool,
    needs_template: bool = True,
    precision: str = "float32",
    day: datetime | None = None,
    warn: Callable[[str], None],
) -> Base:
    """The model in a run, a checkpoint or a Hugging Face folder, ready to be tuned.

    `template` is a preset, a file, or empty for the model's own, and chatml where it has none.
    Special tokens of the template that the tokenizer lacks are added at the end of its
    vocabulary, with the mean of all embeddings, if the model `may_grow`; else SettingError.
    A model that goes on with plain text needs none. `day` is what templates call today.
    """
    if not source:
        raise SettingError("name the model to tune: a run, a checkpoint or a Hugging Face folder")
    lm = load(source, precision=precision, device="cpu", warn=warn)
    if not isinstance(lm.model, Decoder):
        raise CheckpointError(
            f"{source} holds a {lm.config.family} model, which cannot be tuned to answer: a "
            "tuning needs a model with attention, such as any that cloche train grows by default"
        )
    found = choose_template(template, lm.folder, day=day)
    base = Base(
        lm,
        lm.model,
        lm.config,
        lm.tokenizer,
        found,
        load_special_ids(lm.folder),
        model_hash(lm.folder),
    )
    missing = [n for n in found.special_tokens() if n not in lm.tokenizer.special_tokens]
    if not needs_template:
        return base
    if not missing:
        found.stop_ids(lm.tokenizer)  # raises where nothing could end an answer
        return base
    if not may_grow:
        raise SettingError(
            f"the tokenizer of {source} has no {' and no '.join(missing)}, which "
            f"{found.name} needs, and adapters add no tokens: tune all weights (leave --lora out), "
            "or use --tune.template alpaca, which needs only an end-of-text token"
        )
    return grown(base, missing)


def choose_template(asked: str, folder: Path, *, day: datetime | None = None) -> ChatTemplate:
    """The template of that name or in that file; when not asked for, the folder's, else chatml."""
    now = datetime.now if day is None else lambda: day
    if asked in PRESETS:
        return preset(asked)
    if asked:
        path = Path(asked)
        if not path.is_file():
            raise SettingError(
                f"there is no chat template {asked!r}: give {', '.join(PRESETS)}, or a file of "
                "Jinja"
            )
        return ChatTemplate(path.read_text(encoding="utf-8"), name=asked, now=now)
    own = load_chat_template(folder)
    if own is None:
        return preset("chatml")
    return ChatTemplate(own, name=f"the chat template of {folder}", now=now)


def context_for(base: Base, asked: int | None, *, warn: Callable[[str], None]) -> int:
    """The tokens that are asked for, the model's context when not given; never more than that."""
    most = base.config.context
    if asked is not None and asked > most:
        warn(f"tune.context is {asked}, and the model looks at {most} tokens at most: {most} it is")
    return min(asked or most, most)


def grown(base: Base, names: list[str]) -> Base:
    """The base with new special tokens, each an embedding that is the mean of all others."""
    tokenizer = with_special_tokens(base.tokenizer, names)
    config = base.config
    if tokenizer.vocab_size > config.vocab_size:
        config = replace(config, vocab_size=tokenizer.vocab_size)
    model = Decoder(config)
    state = base.model.state_dict()
    with torch.no_grad():
        for name, own in model.state_dict().items():
            given = state[name]
            own[: len(given)].copy_(given) if own.ndim else own.copy_(given)
            if own.shape != given.shape:
                own[len(given) :] = given.mean(dim=0)
    model.tie_weights()
    return replace(base, model=model.eval(), config=config, tokenizer=tokenizer, added=tuple(names))
