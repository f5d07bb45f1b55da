"""Every view of `cloche.lens` on four runs, held against the model itself; and how long views take.

    python scripts/lens_bars.py [--smollm FOLDER]

The runs: a GPT of characters, the default family with a BPE of Chinese, SmolLM2-135M-Instruct (from
the wheel that PyPI has where no folder with it is given) and an encoder-decoder that reverses.
"""

import argparse
import json
import random
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gguf_bars import smollm_file
from torch.nn.functional import cosine_similarity

import cloche
from cloche import lens as views
from cloche.lens.attention import AttentionView
from cloche.lens.capture import capture, ending_in
from cloche.lens.embeddings import EmbeddingsView
from cloche.lens.residual import LAST, ResidualView, logits_of
from cloche.lens.view import View
from cloche.model.decoder import Decoder
from cloche.run import LM

TOKENS = 128
MOST_SECONDS = 5.0
LARGEST_DIFFERENCE = 1e-5
"""Of sums in float32 that are added in another order."""
LEARNER = {"train.steps": 40, "train.batch": 8, "train.sample_tokens": 20}
SMALL = {"model.layers": 2, "model.heads": 2, "model.width": 64}
RUNS: dict[str, dict[str, Any]] = {
    "gpt": {"model.family": "gpt", "text.tokenizer": "characters", "model.context": 256},
    "chinese": {"text.tokenizer": "bpe", "text.vocab_size": 1024, "model.context": 256},
    "reverse": {"model.family": "seq2seq", "text.tokenizer": "characters"},
}
ENGLISH = (
    "The capital of France is Paris, and the capital of Italy is Rome. Both are old cities with "
    "rivers, bridges and more visitors than they have beds for. "
)
CHINESE = "从前有一只小猫，它住在河边的一座小屋里。每天早上，它都去看船。"


def lens(folder: Path, *, smollm: Path | None = None) -> bool:
    """Every view on four runs is right, is JSON, and is drawn; on SmolLM2 in seconds."""
    gpt = _trained(folder, "gpt", "stories")
    chinese = _trained(folder, "chinese", "stories-zh")
    reverse = _trained(folder, "reverse", str(_reversals(folder)))
    real = str(smollm) if smollm is not None else _imported(folder)
    met = [  # all of them are looked at, also after a miss
        _met(folder, "gpt", gpt, ENGLISH, second=gpt),
        _met(folder, "chinese", chinese, CHINESE, second=chinese),
        _met(folder, "smollm", real, ENGLISH, second=real),
        _met_translator(folder, reverse),
        _quick(real),
    ]
    return all(met)


def _met(folder: Path, name: str, run: str, text: str, *, second: str) -> bool:
    """The views of one model that continues text."""
    lm = cloche.load(run, precision="float32")
    ids = lm.tokenizer.encode(text)[: min(TOKENS, lm.config.context)]
    seen = _views(lm, lm.tokenizer.decode(ids), other=cloche.load(second, precision="float32"))
    found = {view: see() for view, see in seen.items()}
    if (Path(run) / "metrics.jsonl").exists():
        found["training"] = views.see_training([run])
    _keep(folder / "views" / name, found)
    problems = [
        *_attention_problems(found["attention"]),
        *_residual_problems(lm, found["residual"]),
        *_neighbour_problems(lm, found["embeddings"]),
        *_capture_problems(lm, ids),
    ]
    print(
        f"lens, {name}: {len(found)} views of {len(ids)} tokens are JSON and drawn twice; rows of "
        "attention sum to 1, the last layer says what the model does, neighbours are those of a "
        "whole search, watching changes no bit"
        if not problems
        else f"lens, {name}: {'; '.join(problems)}",
        flush=True,
    )
    return not problems


def _views(lm: LM, text: str, *, other: LM) -> dict[str, Callable[[], View]]:
    """How each view of a model is seen; the logit lens at all positions."""
    half = len(text) // 2
    return {
        "tokens": partial(views.see_tokens, lm, text),
        "embeddings": partial(views.see_embeddings, lm, _some(lm)),
        "positions": partial(views.see_positions, lm),
        "attention": partial(views.see_attention, lm, text),
        "head": partial(views.see_attention, lm, text, layer=1, head=1),
        "residual": partial(views.see_residual, lm, text, positions=None),
        "windows": partial(views.see_windows, lm, text),
        "next-token": partial(
            views.see_next_token, lm, text, temperature=0.8, top_k=40, top_p=0.9, min_p=0.01, seed=1
        ),
        "parameters": partial(views.see_parameters, lm),
        "memory": partial(views.see_memory, lm, training=text[:half], held_out=text[half:]),
        "two": partial(views.see_two, lm, other, text),
    }


def _some(lm: LM) -> list[int]:
    """Tokens whose neighbours are asked for, from all over the vocabulary."""
    size = lm.tokenizer.vocab_size
    return [size // 10, size // 2, size - size // 10]


def _keep(folder: Path, found: Mapping[str, View]) -> None:
    """Write each view as strict JSON and as pictures; raises where one cannot be."""
    folder.mkdir(parents=True)
    for name, view in found.items():
        written = json.dumps(view.to_json(), allow_nan=False, ensure_ascii=False)
        (folder / f"{name}.json").write_text(written, encoding="utf-8")
        views.draw(view, folder / f"{name}.png")
        views.draw(view, folder / f"{name}-zh.svg", lang="zh", theme="dark")


def _attention_problems(view: View) -> list[str]:
    assert isinstance(view, AttentionView)
    sums = torch.from_numpy(view.maps.weights.values).double().sum(dim=-1)
    off = float((sums - 1.0).abs().max())
    return [f"rows of attention miss 1 by {off:.1e}"] if not off <= LARGEST_DIFFERENCE else []


def _residual_problems(lm: LM, view: View) -> list[str]:
    """The lens after the last block against the model's logits; and the view, which reads rows."""
    assert isinstance(view, ResidualView)
    assert isinstance(lm.model, Decoder)
    ids = [piece.id for piece in view.pieces]
    stream = f"layers.{lm.config.layers - 1}.residual"
    told = capture(lm, ids, wanted=ending_in(stream))
    own = _logits(lm, ids)
    off = float((logits_of(lm.model, told.numbers[stream]) - own).abs().max())
    likeliest = own.softmax(dim=-1).topk(view.top_ids.values.shape[-1], dim=-1).values
    said = torch.from_numpy(view.top_probabilities.values[-1])
    apart = float((likeliest - said).abs().max())
    return [
        f"{what} by {value:.1e}"
        for what, value in (("the last layer misses the logits", off), ("the view", apart))
        if not value <= 10 * LARGEST_DIFFERENCE
    ]


def _neighbour_problems(lm: LM, view: View) -> list[str]:
    """The view's neighbours against a search through the whole table."""
    assert isinstance(view, EmbeddingsView)
    table = lm.model.get_parameter("embed_tokens.weight").detach().double()
    table = table[: lm.tokenizer.vocab_size]
    problems = []
    for asked in view.asked:
        cosines = cosine_similarity(table, table[asked.piece.id][None], dim=-1)
        cosines[asked.piece.id] = -2.0
        best = cosines.topk(len(asked.neighbours)).values
        said = torch.tensor([each.cosine for each in asked.neighbours]).double()
        own = cosines[[each.piece.id for each in asked.neighbours]]
        off = max(float((best - own).abs().max()), float((said - own).abs().max()))
        if not off <= LARGEST_DIFFERENCE:
            problems.append(f"neighbours of {asked.piece.text} are off by {off:.1e}")
    return problems


def _capture_problems(lm: LM, ids: list[int]) -> list[str]:
    same = torch.equal(capture(lm, ids).logits, _logits(lm, ids))
    return [] if same else ["watching changes the logits"]


@torch.no_grad()
def _logits(lm: LM, ids: list[int]) -> torch.Tensor:
    """As when nobody watches."""
    return lm.model(torch.tensor([ids]))[0].float()


def _met_translator(folder: Path, run: str) -> bool:
    """The views of a model that translates: its three kinds of attention, and its training."""
    translator = cloche.load_translator(run, precision="float32")
    view = views.see_translation_attention(translator, "abcdefgh")
    _keep(
        folder / "views" / "translator", {"attention": view, "training": views.see_training([run])}
    )
    off = max(
        float((torch.from_numpy(maps.weights.values).double().sum(dim=-1) - 1.0).abs().max())
        for maps in view.kinds.values()
    )
    print(f"lens, encoder-decoder: rows of all three kinds miss 1 by {off:.1e} at most", flush=True)
    return len(view.kinds) == 3 and off <= LARGEST_DIFFERENCE


def _quick(run: str) -> bool:
    """All numbers of a forward, and all views of 128 tokens, in seconds: those of the clock, or of
    the processor, which are fewer where other programs run on the machine. The opened model has
    been made ready to write, once, as for any text; those seconds are told beside, and what the
    logit lens takes at its usual positions."""
    lm = cloche.load(run, precision="float32")
    other = cloche.load(run, precision="float32")
    ids = lm.tokenizer.encode(ENGLISH * 4)[:TOKENS]
    assert len(ids) == TOKENS, "the text is long enough"
    text = lm.tokenizer.decode(ids)
    ready = _seconds(lambda: lm.forward(rows=1, capacity=2 * TOKENS))
    with views.read_once():
        spent = {"capture of all numbers": _seconds(partial(capture, lm, ids))}
        for name, see in _views(lm, text, other=other).items():
            spent[name] = _seconds(see)
        usual = _seconds(partial(views.see_residual, lm, text))
    total = sum(spent.values())
    lines = ", ".join(f"{name} {seconds:.2f}" for name, seconds in spent.items())
    print(
        f"lens, {TOKENS} tokens of SmolLM2 on {torch.get_num_threads()} threads: {total:.2f} s "
        f"(at most {MOST_SECONDS:g}): {lines}; made ready to write before, in {ready:.2f} s; "
        f"residual at its last {LAST} positions alone: {usual:.2f} s",
        flush=True,
    )
    return total <= MOST_SECONDS


def _seconds(do: Callable[[], Any]) -> float:
    clock, processor = time.monotonic(), time.process_time()
    do()
    return min(time.monotonic() - clock, time.process_time() - processor)


def _trained(folder: Path, name: str, source: str) -> str:
    out = folder / f"run-{name}"
    options = {**SMALL, **LEARNER, **RUNS[name]}
    given = [word for key, value in options.items() for word in (_option(key), str(value))]
    command = [sys.executable, "-m", "cloche", "train", source, *given, "--out", str(out), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return str(out)


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _reversals(folder: Path) -> Path:
    chance = random.Random(0)
    words = sorted(
        {
            "".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 12)))
            for _ in range(900)
        }
    )
    path = folder / "reversals.tsv"
    path.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words), encoding="utf-8")
    return path


def _imported(folder: Path) -> str:
    out = str(folder / "smollm")
    file = str(smollm_file(folder, None))
    subprocess.run([sys.executable, "-m", "cloche", "import", file, "--out", out], check=True)
    return out


def main() -> int:
    """Run it alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smollm", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloche-bars-") as folder:
        return 0 if lens(Path(folder), smollm=given.smollm) else 1


if __name__ == "__main__":
    sys.exit(main())
