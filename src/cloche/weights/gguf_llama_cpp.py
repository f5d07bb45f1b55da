"""What llama.cpp makes of a GGUF file, where `xllamacpp` (llama.cpp for Python) is installed.

llama.cpp ends the process on some files, and prints as it likes: so it works in one of its own,
which gets its questions as JSON and answers in JSON (`python -m cloche.weights.gguf_llama_cpp`).

Source: https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

import importlib
import importlib.util
import json
import math
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cloche.errors import CheckpointError

ENGINE = "xllamacpp"
_SECONDS = 600
_MOST_SHOWN = 600


@dataclass(frozen=True)
class Questions:
    """What is asked; answers come in the same order."""

    texts: Sequence[str] = ()
    """To be tokenized."""
    sequences: Sequence[Sequence[int]] = ()
    """Of which the logarithms of the next token's probabilities are wanted."""
    likeliest: int = 50
    """For so many of the likeliest tokens."""
    whole: int = 0
    """Any token that is whole characters. It is made to follow each sequence, for llama.cpp tells
    no probabilities where the end of a text or half a character follows."""
    prompts: Sequence[Sequence[int]] = ()
    """To be continued by the likeliest token at each step."""
    new_tokens: int = 0
    context: int = 256


@dataclass(frozen=True)
class Answers:
    """What llama.cpp says."""

    ids: list[list[int]] = field(default_factory=list)
    """Of each text."""
    pieces: list[str] = field(default_factory=list)
    """Those ids as text again."""
    likeliest: list[list[tuple[int, float]]] = field(default_factory=list)
    """Ids and logarithms of probabilities after each sequence, the likeliest first."""
    continued: list[list[int]] = field(default_factory=list)
    """Ids that follow each prompt."""


def has_llama_cpp() -> bool:
    """Whether llama.cpp can be asked here."""
    return importlib.util.find_spec(ENGINE) is not None


def ask_llama_cpp(path: Path, questions: Questions) -> Answers:
    """The answers of llama.cpp, with the model in the file loaded.

    Raises CheckpointError where it cannot load the file, or fails.
    """
    request = {"path": str(path.resolve()), **asdict(questions)}
    command = [sys.executable, "-m", "cloche.weights.gguf_llama_cpp"]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as exc:
        raise CheckpointError(f"llama.cpp did not finish with {path} in {_SECONDS} s") from exc
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[-_MOST_SHOWN:]
        raise CheckpointError(f"llama.cpp cannot use {path}: {said}")
    answers = json.loads(done.stdout)
    answers["likeliest"] = [
        # JSON has no NaN: llama.cpp writes null
        [(number, math.nan if logarithm is None else logarithm) for number, logarithm in best]
        for best in answers["likeliest"]
    ]
    return Answers(**answers)


class _Server:
    """llama.cpp's server, within this process."""

    def __init__(self, request: dict[str, Any]) -> None:
        xllamacpp: Any = importlib.import_module(ENGINE)  # compiled, without types
        parameters = xllamacpp.CommonParams()
        parameters.model.path = request["path"]
        parameters.n_ctx = request["context"]
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = 1  # several wait for one another without resting
        parameters.cpuparams_batch.n_threads = 1
        parameters.n_gpu_layers = 0
        parameters.fit_params = False  # sizes are as asked, not as memory suggests
        parameters.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.warmup = False
        parameters.use_jinja = False
        parameters.verbosity = 2  # errors and warnings
        try:
            self._server = xllamacpp.Server(parameters)
        except RuntimeError as exc:  # what was wrong, it has said already
            raise SystemExit(str(exc)) from exc
        # No proxy stands between a process and itself.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def post(self, place: str, values: dict[str, Any]) -> dict[str, Any]:
        """The server's answer to a request."""
        request = urllib.request.Request(
            f"{self._server.listening_address}/{place}",
            data=json.dumps(values).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as exc:
            raise SystemExit(f"{place}: {exc.read().decode('utf-8', 'replace')}") from exc

    def likeliest(self, ids: list[int], count: int, *, whole: int) -> list[tuple[int, float]]:
        """The likeliest next tokens and the logarithms of their probabilities."""
        # A bias acts on what is chosen; the probabilities told are those before it.
        reply = self._complete(ids, n_predict=1, n_probs=count, logit_bias=[[whole, 1000.0]])
        best = reply["completion_probabilities"][0]["top_logprobs"]
        return [(each["id"], each["logprob"]) for each in best]

    def continued(self, ids: list[int], tokens: int) -> list[int]:
        """The ids that follow, the likeliest at each step, until one ends the answer."""
        return self._complete(ids, n_predict=tokens)["tokens"]

    def _complete(self, ids: list[int], **more: Any) -> dict[str, Any]:
        plain = {"prompt": ids, "temperature": 0.0, "return_tokens": True, "cache_prompt": False}
        return self.post("completion", plain | more)


def _answer(request: dict[str, Any]) -> Answers:
    server = _Server(request)
    answers = Answers()
    for text in request["texts"]:
        plain = {"content": text, "add_special": False, "parse_special": False}
        ids = server.post("tokenize", plain)["tokens"]
        answers.ids.append(ids)
        answers.pieces.append(server.post("detokenize", {"tokens": ids})["content"])
    for sequence in request["sequences"]:
        best = server.likeliest(sequence, request["likeliest"], whole=request["whole"])
        answers.likeliest.append(best)
    for prompt in request["prompts"]:
        answers.continued.append(server.continued(prompt, request["new_tokens"]))
    return answers


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_answer(json.load(sys.stdin)))))
    sys.stdout.flush()
