"""The bare libraries that cloche's speed is held against, each in a process of its own.

    python -m cloche.bench.peers tiktoken FILE THREADS ENCODING
    python -m cloche.bench.peers tokenizers FILE VOCAB_SIZE

prints the seconds of the library's own call; reading the text and starting Python do not count, in
the peer's favour.
"""

import sys
import time
from pathlib import Path

import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

_PIECE_CHARACTERS = 1_000_000


def tiktoken_seconds(path: Path, *, threads: int, encoding: str) -> float:
    """Seconds of `encode_ordinary_batch` over the text in pieces of a million characters."""
    text = path.read_text(encoding="utf-8")
    pieces = [text[i : i + _PIECE_CHARACTERS] for i in range(0, len(text), _PIECE_CHARACTERS)]
    engine = tiktoken.get_encoding(encoding)
    engine.encode_ordinary("the first call compiles")
    began = time.perf_counter()
    engine.encode_ordinary_batch(pieces, num_threads=threads)
    return time.perf_counter() - began


def tokenizers_seconds(path: Path, *, vocab_size: int) -> float:
    """Seconds in which a byte-level BPE is trained on the file."""
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    began = time.perf_counter()
    engine.train([str(path)], trainer)
    return time.perf_counter() - began


def cloche_training_seconds(path: Path, *, vocab_size: int) -> float:
    """Seconds in which cloche trains one on the same file, reading included."""
    from cloche.text.choice import TokenizerChoice, make_tokenizer
    from cloche.text.ingest import documents
    from cloche.text.sources import find_sources

    (source,) = find_sources([str(path)])
    began = time.perf_counter()
    (document,) = documents(source, "utf-8")
    choice = TokenizerChoice("bpe", "to be timed", vocab_size=vocab_size, rule="gpt-2")
    make_tokenizer(choice, document.pieces())
    return time.perf_counter() - began


def main(peer: str, file: str, *numbers: str) -> float:
    """The seconds of the call that the arguments name."""
    path = Path(file)
    if peer == "tiktoken":
        return tiktoken_seconds(path, threads=int(numbers[0]), encoding=numbers[1])
    if peer == "tokenizers":
        return tokenizers_seconds(path, vocab_size=int(numbers[0]))
    return cloche_training_seconds(path, vocab_size=int(numbers[0]))


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
