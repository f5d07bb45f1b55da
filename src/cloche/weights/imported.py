"""A foreign model, opened: what every reader of foreign files gives back."""

from dataclasses import dataclass

from cloche.model.build import LanguageModel
from cloche.model.config import ModelConfig
from cloche.text.tokenizer import SpecialIds, Tokenizer


@dataclass(frozen=True, eq=False)
class Imported:
    """A foreign model, in our own terms, ready to be saved."""

    model: LanguageModel
    """In float32, on the CPU."""
    config: ModelConfig
    tokenizer: Tokenizer
    special_ids: SpecialIds
    """Those the model has learned to use, by role."""
    stop_ids: tuple[int, ...]
    """Every token that ends an answer; an instructed Llama 3 has three."""
    begins_with_bos: bool
    """Whether prompts start with the beginning-of-text token."""
    chat_template: str | None
    """Jinja, as Hugging Face has it."""
    origin: str
    """Where it came from, for its card: `Hugging Face folder NAME (llama, bfloat16)`."""
