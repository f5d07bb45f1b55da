# /// lesson
# part = "training"
# order = 80
# minutes = 7
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% guess
import torch

words = ["cat", "dog", "door", "sun"]
logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
probabilities = logits.softmax(dim=0)
for word, probability in zip(words, probabilities.tolist(), strict=True):
    print(f"{word:5} {probability:.4f}")

# %% surprise
nats = -probabilities.log()
print(nats)
stage.keep(cat=nats[0], sun=nats[3], bits=nats[0] / torch.tensor(2.0).log())

# %% curve folded
from cloche.lessons.charts import Curves

chances = torch.linspace(0.01, 1.0, 100)
stage.show(
    Curves(
        chances,
        {"-log p": -chances.log()},
        x={"en": "probability of what came", "zh": "实际出现者的概率"},
        y={"en": "loss (nats)", "zh": "损失（奈特）"},
    ),
    {"en": "Sure and wrong costs most", "zh": "又肯定又错，代价最高"},
)

# %% mean
from torch.nn.functional import cross_entropy

rows = torch.stack([logits, logits, logits])
came = torch.tensor([0, 1, 3])  # cat, dog, sun
by_hand = -rows.log_softmax(dim=1)[torch.arange(3), came].mean()
by_torch = cross_entropy(rows, came)
print(by_hand, by_torch)
assert torch.allclose(by_hand, by_torch)
stage.keep(loss=by_torch, perplexity=by_torch.exp())

# %% perplexity
clueless = torch.zeros(1, 50257)  # every word of GPT-2's vocabulary alike
loss = cross_entropy(clueless, torch.tensor([7]))
print(loss, loss.exp())
stage.keep(clueless_loss=loss, clueless=f"{loss.exp().item():,.0f}")

# %% published folded
names = ["124M untrained, log probabilities", "cross-entropy", "perplexity"]
found = [stage.replay(name) for name in names]
stage.table(
    [
        {"en": "number", "zh": "数值"},
        {"en": "published", "zh": "公布的"},
        {"en": "measured here", "zh": "此处测得"},
    ],
    [
        [
            {"en": "log probabilities", "zh": "对数概率"},
            ", ".join(f"{number:.4f}" for number in found[0].published.values),
            ", ".join(f"{number:.4f}" for number in found[0].measured),
        ],
        [
            {"en": "loss", "zh": "损失"},
            found[1].published.values,
            f"{found[1].measured:.4f}",
        ],
        [
            {"en": "perplexity", "zh": "困惑度"},
            found[2].published.values,
            f"{found[2].measured:.4f}",
        ],
    ],
)
stage.keep(untrained=found[1].measured, untrained_perplexity=found[2].measured)

# %% train folded
text = stage.text("stories")
part = stage.folder / "part.txt"
part.write_text(text[:400_000], encoding="utf-8")
held_out = text[-4_000:]
options = {"model.family": "ngram", "model.order": 4, "train.seed": 1}

# %% units
import math

import cloche
from cloche.lens import see_tokens

found, seen = [], []
for tokenizer in ("characters", "bpe"):
    named = {**options, "text.tokenizer": tokenizer}
    run = stage.train(str(part), out=tokenizer, options=named)
    seen.append(see_tokens(cloche.load(run.folder), held_out))
for view in seen:
    counted = [token.surprisal for token in view.tokens if token.surprisal is not None]
    total = sum(counted)  # nats that the whole text costs
    found.append(
        (
            total / len(counted),
            math.exp(total / len(counted)),
            total / view.characters,
            total / math.log(2) / view.utf8_bytes,
        )
    )
assert found[0][1] < found[1][1]  # by perplexity the first is better ...
assert found[0][3] > 1.5 * found[1][3]  # ... and by bits a byte far worse

# %% compare folded
stage.table(
    [
        "",
        {"en": "characters", "zh": "按字符"},
        {"en": "BPE", "zh": "BPE"},
    ],
    [
        [name, *(f"{column[number]:.3f}" for column in found)]
        for number, name in enumerate(
            [
                {"en": "nats a token", "zh": "每词元奈特"},
                {"en": "perplexity", "zh": "困惑度"},
                {"en": "nats a character", "zh": "每字符奈特"},
                {"en": "bits a byte", "zh": "每字节比特"},
            ]
        )
    ],
)
stage.keep(
    characters=len(seen[0].tokens),
    pieces=len(seen[1].tokens),
    character_perplexity=found[0][1],
    piece_perplexity=found[1][1],
)

# %% coloured
lm = cloche.load(stage.folder / "bpe")
stage.show(
    see_tokens(lm, held_out[held_out.index(". ") + 2 :][:160]),
    {"en": "What each token cost", "zh": "每个词元的代价"},
)
