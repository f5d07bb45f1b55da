"""What several replays need, each made once: texts, tokenizers, and the untrained 124M model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cloche.data.corpora import resolve
from cloche.errors import ClocheError
from cloche.evaluation.likelihood import evaluation_mode
from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.text.ingest import documents, find_sources, inspect_source
from cloche.text.names import open_tokenizer
from cloche.text.tokenizer import Tokenizer
from cloche.text.words import WordTokenizer, distinct_words

Thing = TypeVar("Thing")


class Materials:
    """Texts, tokenizers and models that replays share; what cannot be had fails once."""

    def __init__(self, *, data_folder: Path | None, cache_folder: Path) -> None:
        """Texts are taken from `data_folder`, else from `cache_folder`, else downloaded there."""
        self._data_folder = data_folder
        self._cache_folder = cache_folder
        self._made: dict[str, Any] = {}
        self._failed: dict[str, str] = {}

    def text(self, name: str) -> str:
        """The whole text of a corpus: `verdict` or `shakespeare`. Raises ClocheError."""
        return self._once(f"text {name}", lambda: self._read(name))

    def tokenizer(self, name: str) -> Tokenizer:
        """The published encoding of that name. Raises TokenizerError."""
        return self._once(f"tokenizer {name}", lambda: open_tokenizer(name))

    def ids(self, text: str, tokenizer: str) -> list[int]:
        """Ids of a whole corpus in a published encoding."""
        return self._once(
            f"ids {text} {tokenizer}",
            lambda: self.tokenizer(tokenizer).encode_training(self.text(text)),
        )

    def words(self, text: str, pattern: str) -> WordTokenizer:
        """The word tokenizer made from a corpus, with both special tokens."""
        return self._once(
            f"words {text} {pattern}",
            lambda: WordTokenizer(
                distinct_words([self.text(text)], pattern=pattern), pattern=pattern
            ),
        )

    def untrained(self, inputs: Mapping[str, Any]) -> Decoder:
        """The model of `options`, `vocab_size` and `seed` in PyTorch's default weights."""
        made = {name: inputs[name] for name in ("options", "vocab_size", "seed")}
        return self._once(f"untrained {made}", lambda: _untrained(**made))

    def logits(self, inputs: Mapping[str, Any]) -> Float[Tensor, "batch time vocab"]:
        """What that model, in evaluation mode, makes of the `ids` among the inputs."""
        ids: Int64[Tensor, "batch time"] = torch.tensor(inputs["ids"])
        model = self.untrained(inputs)
        with evaluation_mode(model):
            return self._once(f"logits {inputs['seed']} {inputs['ids']}", lambda: model(ids))

    def _once(self, key: str, make: Callable[[], Thing]) -> Thing:
        """What `make` gives, made at the first call; its error again where it failed."""
        if key in self._failed:
            raise ClocheError(self._failed[key])
        if key not in self._made:
            try:
                self._made[key] = make()
            except ClocheError as exc:
                self._failed[key] = str(exc)
                raise
        return self._made[key]

    def _read(self, name: str) -> str:
        paths = resolve([name], data_folder=self._data_folder, cache_folder=self._cache_folder)
        pieces = []
        for source in find_sources(paths):
            encoding = inspect_source(source).encoding
            for document in documents(source, encoding):
                pieces += document.pieces()
        return "".join(pieces)


def describe(options: Mapping[str, Any], *, vocab_size: int) -> ModelConfig:
    """The configuration of a published model, its shape given outright."""
    given = ModelOptions(**options)
    return complete(
        given,
        vocab_size=vocab_size,
        layers=given.layers or 1,
        width=given.width or 1,
        context=given.context or 1,
    )


def _untrained(*, options: Mapping[str, Any], vocab_size: int, seed: int) -> Decoder:
    with torch.random.fork_rng(devices=[]):  # the caller's own random numbers go on as they were
        torch.manual_seed(seed)
        model = build_model(describe(options, vocab_size=vocab_size))
    if not isinstance(model, Decoder):
        raise TypeError(f"an untrained model is a decoder, not {type(model).__name__}")
    return model.eval()
