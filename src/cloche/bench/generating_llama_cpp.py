"""llama.cpp as a side of `cloche bench generate`: its server within this process, on a GGUF file.

Its caches, its flash attention and its batches are as they come; only sizes and threads are set.
"""

import importlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from cloche.bench.generators import Generator, GeneratorSetup, Times, Writing, generate_on_request
from cloche.errors import ClocheError
from cloche.weights.gguf_header import GGUFFile, open_gguf

ENGINE = "xllamacpp"
_CELLS = 256  # llama.cpp's caches are multiples of it

Start = Callable[[int, int], Any]
"""A server for so many answers at once, of so many tokens with their prompts."""


def build_generator(setup: GeneratorSetup) -> Generator:
    """llama.cpp with the file. Raises CheckpointError where it is no whole GGUF file."""
    path = Path(setup.source)
    file = open_gguf(path)
    architecture = file.values["general.architecture"]
    return Generator(
        write=partial(_write, partial(_start, path, setup.threads), {}),
        weight_bytes=weight_bytes(file),
        parameters=sum(math.prod(place.shape) for place in file.tensors.values()),
        vocab_size=len(file.values["tokenizer.ggml.tokens"]),
        context=int(file.values[f"{architecture}.context_length"]),
    )


def weight_bytes(file: GGUFFile) -> int:
    """Bytes of the weights that one token's forward reads, as the file stores them.

    The table of tokens counts whole where it is the head as well, else one row of it; of experts
    those in use.
    """
    architecture = file.values["general.architecture"]
    experts = file.values.get(f"{architecture}.expert_count", 0)
    share = file.values[f"{architecture}.expert_used_count"] / experts if experts else 1.0
    total = 0.0
    for name, place in file.tensors.items():
        one_row = name == "position_embd.weight" or (
            name == "token_embd.weight" and "output.weight" in file.tensors
        )
        size = place.size // place.shape[0] if one_row else place.size
        total += size * (share if "_exps." in name else 1.0)
    return round(total)


def _start(path: Path, threads: int, rows: int, tokens: int) -> Any:
    xllamacpp: Any = importlib.import_module(ENGINE)  # compiled, without types
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_parallel = rows
    parameters.n_ctx = rows * math.ceil(tokens / _CELLS) * _CELLS
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.n_gpu_layers = 0
    parameters.fit_params = False  # sizes are as asked, not as memory suggests
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    parameters.warmup = False  # done by a first writing, as on every side
    parameters.use_jinja = False
    parameters.verbosity = 2  # errors and warnings
    try:
        return xllamacpp.Server(parameters)
    except RuntimeError as exc:
        raise ClocheError(f"llama.cpp cannot load {path}: {exc}") from exc


class _Answer:
    """What is heard of one answer, and when."""

    def __init__(self) -> None:
        self.began = 0.0
        self._moments: list[float] = []
        self._last: dict[str, Any] = {}

    def hear(self, chunk: dict[str, Any]) -> bool:
        """Note a piece of the answer; it is to go on."""
        self._moments.append(time.perf_counter() - self.began)
        self._last = chunk
        return False

    def times(self) -> list[float]:
        """Seconds until each token was there, by llama.cpp's own count of them.

        Its last piece tells the end and the counts. Raises ClocheError where that never came.
        """
        if "timings" not in self._last:
            raise ClocheError(f"llama.cpp gave no answer: {self._last}")
        *moments, ended = self._moments
        timings = self._last["timings"]
        # its own clock for writing runs from the first token on
        first = ended - timings["predicted_ms"] / 1000.0
        return fill_in([first, *moments[1:-1], ended], timings["predicted_n"])


def fill_in(moments: Sequence[float], count: int) -> list[float]:
    """`count` moments from the first to the last, of which some were heard.

    llama.cpp says nothing of a token that ends within a character. The longest waits are then those
    for several tokens: they are halved until there are enough.
    """
    found = sorted(moments)
    if count == 1:
        return found[-1:]
    while len(found) < count:
        waits = [after - before for before, after in pairwise(found)]
        place = waits.index(max(waits))
        found.insert(place + 1, found[place] + waits[place] / 2)
    return found


def _write(start: Start, servers: dict[tuple[int, int], Any], writing: Writing) -> Times:
    """All prompts at once, each from a thread of its own, by a server that is kept."""
    shape = (len(writing.prompts), writing.room)
    server = servers.get(shape) or start(*shape)
    servers[shape] = server
    answers = [_Answer() for _ in writing.prompts]

    def begin() -> None:
        began = time.perf_counter()
        for answer in answers:
            answer.began = began

    together = threading.Barrier(len(answers), action=begin)
    threads = [
        threading.Thread(target=_ask, args=(server, prompt, writing.new_tokens, answer, together))
        for prompt, answer in zip(writing.prompts, answers, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answer.times() for answer in answers]


def _ask(
    server: Any, prompt: list[int], new_tokens: int, answer: _Answer, together: threading.Barrier
) -> None:
    request = {
        "prompt": prompt,
        "n_predict": new_tokens,
        "temperature": 0.0,
        "ignore_eos": True,
        "cache_prompt": False,
        "stream": True,
    }
    together.wait()
    server.handle_completions(request, answer.hear)


if __name__ == "__main__":
    generate_on_request(build_generator)
