# /// lesson
# part = "writing"
# order = 100
# minutes = 8
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% model folded
import cloche

part = stage.folder / "part.txt"
part.write_text(stage.text("stories")[:600_000], encoding="utf-8")
options = {
    "text.tokenizer": "bpe",
    "text.vocab_size": 512,
    "model.layers": 1,
    "model.heads": 4,
    "model.width": 96,
    "model.context": 64,
    "train.steps": 300,
    "train.batch": 16,
    "train.learning_rate": 0.03,
    "train.eval_every": 300,
    "train.sample_tokens": 0,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "train.precision": "float32",
}
run = stage.train(str(part), out="small", options=options)
lm = cloche.load(run.folder)

# %% next
import torch

prompt = "The dog was"
ids = lm.tokenizer.encode(prompt)
logits = lm.logits(ids)[-1]
probabilities = logits.softmax(dim=0)
for number in probabilities.topk(5).indices.tolist():
    print(repr(lm.tokenizer.decode([number])), f"{probabilities[number]:.4f}")

# %% temperature
for temperature in (0.3, 1.0, 2.0):
    shares = (logits / temperature).softmax(dim=0)
    print(temperature, shares.topk(3).values)

# %% cuts
from cloche.generation.sampling import keep_min_p, keep_top_k, keep_top_p

ranked = probabilities.sort(descending=True).values
before = ranked.cumsum(dim=0) - ranked  # what all likelier ones have together
kept = {
    "top-k 10": 10,
    "top-p 0.9": int((before < 0.9).sum()),
    "min-p 0.1": int((ranked >= 0.1 * ranked[0]).sum()),
}
print(kept)
row = logits[None]
for count, cut in zip(
    kept.values(),
    (keep_top_k(row, 10), keep_top_p(row, 0.9), keep_min_p(row, 0.1)),
    strict=True,
):
    assert int(cut.isfinite().sum()) == count

# %% sure
counts = []
for text in ("The dog was", "At the end of the"):
    row = lm.logits(lm.tokenizer.encode(text))[-1:]
    counts.append(
        [
            int(cut.isfinite().sum())
            for cut in (keep_top_k(row, 10), keep_top_p(row, 0.9), keep_min_p(row, 0.1))
        ]
    )
    print(text, counts[-1])

# %% view
from cloche.lens import see_next_token

stage.show(
    see_next_token(lm, prompt, temperature=1.5, top_k=20, top_p=0.8, seed=1),
    {"en": "Step by step to one token", "zh": "一步步选出一个词元"},
)

# %% sampled
asked = {
    "greedy": {"greedy": True},
    "temperature 0.5": {"temperature": 0.5},
    "temperature 1": {"temperature": 1.0},
    "temperature 2": {"temperature": 2.0},
    "top-k 10": {"temperature": 1.0, "top_k": 10},
    "top-p 0.9": {"temperature": 1.0, "top_p": 0.9},
    "min-p 0.1": {"temperature": 1.0, "min_p": 0.1},
}
texts = {}
for name, given in asked.items():
    texts[name] = lm.generate(prompt, max_new_tokens=40, seed=1, **given)

# %% searched
from cloche.generation.beams import BeamSettings, find_beams
from cloche.generation.contrastive import ContrastiveSettings, find_contrastive

size = {"vocab_size": lm.tokenizer.vocab_size, "stop_ids": lm.stop_ids}
beams = BeamSettings(beams=4, max_tokens=40)
forward = lm.forward(rows=beams.rows, capacity=64)
found = find_beams(forward, ids, beams, **size)[0]
texts["4 beams"] = lm.tokenizer.decode(found.ids)
contrast = ContrastiveSettings(penalty_alpha=0.6, top_k=4, max_tokens=40)
forward = lm.forward(rows=contrast.rows, capacity=64)
found = find_contrastive(forward, ids, contrast, **size)
texts["contrastive"] = lm.tokenizer.decode(found.ids)

# %% all
for name, text in texts.items():
    print(f"{name}: {text!r}")

# %% measured
from itertools import pairwise

rows = []
for name, text in texts.items():
    whole = lm.tokenizer.encode(prompt + text)[:64]
    scores = lm.logits(whole)[:-1].log_softmax(dim=1)
    came = torch.tensor(whole[1:])
    nats = -scores[torch.arange(len(came)), came][len(ids) - 1 :].mean().item()
    pairs = list(pairwise(whole))
    again = 1 - len(set(pairs)) / len(pairs)
    rows.append([name, f"{nats:.2f}", f"{100 * again:.0f}"])

# %% table folded
stage.table(
    [
        {"en": "method", "zh": "方法"},
        {"en": "nats a token", "zh": "每词元奈特"},
        {"en": "% of pairs said before", "zh": "重复的相邻对（%）"},
    ],
    rows,
)
