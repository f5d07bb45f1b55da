"""What several replays need, each made once: texts, tokenizers, and the untrained 124M model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cloche.data.corpora import fetch
from cloche.errors import ClocheError, DataError, TokenizerError
from cloche.evaluation.likelihood import evaluation_mode
from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.text.ingest import documents, find_sources, inspect_source
from cloche.text.names import open_tokenizer
from cloche.text.tokenizer import Tokenizer
from cloche.text.words import WordTokenizer, distinct_words

Kind = Literal["text", "tokenizer"]
Thing = TypeVar("Thing")


class MaterialError(ClocheError):
    """A text or a published encoding cannot be had here; whatever else fails is no such error."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind: Kind = kind


class Materials:
    """Texts, tokenizers and models that replays share; what cannot be had fails once."""

    def __init__(self, *, data_folder: Path | None, cache_folder: Path) -> None:
        """Texts are taken from `data_folder`, else from `cache_folder`, else downloaded there."""
        self._data_folder = data_folder
        self._cache_folder = cache_folder
        self._made: dict[str, Any] = {}
        self._failed: dict[str, MaterialError] = {}

    def text(self, name: str) -> str:
        """The whole text of a corpus: `verdict` or `shakespeare`.

        Raises MaterialError where it is not here and cannot be downloaded, or is another text.
        """
        return self._once(f"text {name}", lambda: self._read(name))

    def tokenizer(self, name: str) -> Tokenizer:
        """The published encoding of that name. Raises MaterialError where it cannot be had."""
        return self._once(f"tokenizer {name}", lambda: _open(name))

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
        made = _made_from(inputs)
        return self._once(f"untrained {made}", lambda: _untrained(**made))

    def logits(self, inputs: Mapping[str, Any]) -> Float[Tensor, "batch time vocab"]:
        """What that model, in evaluation mode, makes of the `ids` among the inputs."""
        ids: Int64[Tensor, "batch time"] = torch.tensor(inputs["ids"])
        model = self.untrained(inputs)
        with evaluation_mode(model):
            key = f"logits {_made_from(inputs)} {inputs['ids']}"
            return self._once(key, lambda: model(ids))

    def _once(self, key: str, make: Callable[[], Thing]) -> Thing:
        """What `make` gives, made at the first call; its MaterialError again where it had one."""
        if key in self._failed:
            raise self._failed[key]
        if key not in self._made:
            try:
                self._made[key] = make()
            except MaterialError as exc:
                self._failed[key] = exc
                raise
        return self._made[key]

    def _read(self, name: str) -> str:
        try:
            path = fetch(name, data_folder=self._data_folder, cache_folder=self._cache_folder)
        except (DataError, OSError) as exc:
            raise MaterialError("text", str(exc)) from exc
        pieces = []
        for source in find_sources([str(path)]):
            encoding = inspect_source(source).encoding
            for document in documents(source, encoding):
                pieces += document.pieces()
        return "".join(pieces)


def _open(name: str) -> Tokenizer:
    try:
        return open_tokenizer(name)
    except TokenizerError as exc:
        raise MaterialError("tokenizer", str(exc)) from exc


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


def _made_from(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What an untrained model depends on."""
    return {name: inputs[name] for name in ("options", "vocab_size", "seed")}


def _untrained(*, options: Mapping[str, Any], vocab_size: int, seed: int) -> Decoder:
    with torch.random.fork_rng(devices=[]):  # the caller's own random numbers go on as they were
        torch.manual_seed(seed)
        model = build_model(describe(options, vocab_size=vocab_size))
    if not isinstance(model, Decoder):
        raise TypeError(f"an untrained model is a decoder, not {type(model).__name__}")
    return model.eval()
