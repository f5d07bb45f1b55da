"""A tokenizer of plain bytes, and tiny models with random weights."""

import codecs
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from cloche.model.bigram import Bigram
from cloche.model.build import LanguageModel, build_model
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.text.tokenizer import SpecialIds

END = 256
CONTEXT = 16


class ByteStream:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        return self._decoder.decode(b"" if token_id == END else bytes([token_id]))

    def close(self) -> str:
        return self._decoder.decode(b"", final=True)


class ByteTokenizer:
    """One id a byte of UTF-8, then the end-of-text token."""

    vocab_size = 257
    special_ids = SpecialIds(bos=END, eos=END)
    kind = "bpe"
    special_tokens: ClassVar = {"<|endoftext|>": END}
    joinable = True
    fingerprint = "bytes"

    def encode(self, text: str, *, allowed_special: Collection[str] = ()) -> list[int]:
        return list(text.encode())

    def encode_training(self, text: str) -> list[int]:
        return self.encode(text)

    def encode_array(self, text: str) -> np.ndarray:
        return np.array(self.encode(text))

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id == END else bytes([token_id])

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i for i in ids if i != END).decode("utf-8", errors="replace")

    def stream(self) -> ByteStream:
        return ByteStream()

    def token_text(self, token_id: int) -> str:
        return f"{token_id:02x}"

    def save(self, folder: Path) -> None:
        raise AssertionError("generation saves no tokenizer")


@pytest.fixture(scope="session")
def tokenizer() -> ByteTokenizer:
    return ByteTokenizer()


@pytest.fixture(scope="session", params=["qwen3", "gpt"])
def model(request) -> LanguageModel:
    heads = {"qwen3": (4, 2), "gpt": (4, None)}[request.param]
    options = ModelOptions(family=request.param, heads=heads[0], kv_heads=heads[1])
    torch.manual_seed(5)
    model = build_model(complete(options, vocab_size=257, layers=2, width=32, context=CONTEXT))
    assert isinstance(model, Decoder)
    with torch.no_grad():
        model.lm_head.weight *= 6  # opinions strong enough that texts repeat and differ
    return model.eval()


@pytest.fixture(scope="session")
def writer_of() -> Callable[[bytes], Bigram]:
    """Makes a model that writes the given bytes one after the other, then ends."""

    def make(text: bytes) -> Bigram:
        assert len(set(text)) == len(text), "a bigram table knows only the present byte"
        options = ModelOptions(family="bigram")
        table = build_model(complete(options, vocab_size=257, layers=1, width=1, context=64))
        assert isinstance(table, Bigram)
        with torch.no_grad():
            table.embed_tokens.weight.zero_()
            for now, following in zip(text, [*text[1:], END], strict=True):
                table.embed_tokens.weight[now, following] = 50.0
        return table.eval()

    return make
