# /// lesson
# part = "model"
# order = 70
# minutes = 8
# needs = ["shakespeare"]
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% text
text = stage.text("shakespeare")[:400_000]
characters = sorted(set(text))
print(len(text), len(characters))
print(text[:60])

# %% bigram
import torch
from torch.nn.functional import cross_entropy

torch.manual_seed(1)
number_of = {character: number for number, character in enumerate(characters)}
ids = torch.tensor([number_of[character] for character in text])
train, held_out = ids[: int(0.9 * len(ids))], ids[int(0.9 * len(ids)) :]
table = torch.nn.Embedding(len(characters), len(characters))  # a row of logits each
optimizer = torch.optim.AdamW(table.parameters(), lr=0.1)
for step in range(200):
    places = torch.randint(len(train) - 1, (1024,))
    loss = cross_entropy(table(train[places]), train[places + 1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(step, f"{loss.item():.3f}")
with torch.no_grad():
    by_hand = cross_entropy(table(held_out[:-1]), held_out[1:]).item()
stage.keep(by_hand=by_hand)

# %% cloche
import cloche

part = stage.folder / "part.txt"
part.write_text(text, encoding="utf-8")
common = {
    "text.tokenizer": "characters",
    "model.context": 64,
    "train.batch": 16,
    "train.sample_tokens": 0,
    "train.eval_batches": 50,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "train.precision": "float32",
}


def grow(name: str, **given: object) -> float:
    dotted = {each.replace("__", "."): value for each, value in given.items()}
    options = {**common, **dotted, "train.eval_every": dotted["train.steps"]}
    loss = stage.train(str(part), out=name, options=options).best_loss
    assert loss is not None
    print(name, f"{loss:.3f}")
    return loss


losses = {}
losses["bigram"] = grow(
    "bigram", model__family="bigram", train__steps=300, train__learning_rate=0.1
)
assert abs(losses["bigram"] - by_hand) < 0.1
stage.keep(bigram=losses["bigram"])

# %% attention
shape = {"model__width": 64, "train__steps": 250, "train__learning_rate": 0.03}
losses["head"] = grow(
    "head",
    model__layers=1,
    model__heads=1,
    model__mlp_width=8,
    **shape,
)
stage.keep(attention=losses["head"])

# %% blocks
losses["heads"] = grow("heads", model__layers=1, model__heads=4, **shape)
losses["blocks"] = grow("blocks", model__layers=3, model__heads=4, **shape)
stage.keep(heads=losses["heads"], blocks=losses["blocks"])

# %% bars folded
from cloche.lessons.charts import Bars

stage.show(
    Bars(
        [
            {"en": "bigram", "zh": "二元表"},
            {"en": "1 head", "zh": "1 个头"},
            {"en": "4 heads, MLP", "zh": "4 个头加 MLP"},
            {"en": "3 blocks", "zh": "3 个块"},
        ],
        {"loss": list(losses.values())},
        y={
            "en": "held-out loss (nats a character)",
            "zh": "留出文字的损失（每字符奈特）",
        },
    ),
    {"en": "Each step from the table to the GPT", "zh": "从一张表到 GPT，每一步"},
)

# %% write
lms = {name: cloche.load(stage.folder / name) for name in ("bigram", "heads", "blocks")}
for name, lm in lms.items():
    print(f"[{name}]")
    print(lm.generate("ROMEO:", max_new_tokens=120, temperature=0.8, seed=1).strip())

# %% reach
tail = text[-3000:]
for name in ("bigram", "blocks"):
    rows = []
    for start in range(0, 2944, 64):
        window = lms[name].tokenizer.encode(tail[start : start + 65])
        scores = lms[name].logits(window[:-1]).log_softmax(dim=1)
        rows.append(-scores[torch.arange(64), torch.tensor(window[1:])])
    losses_at = torch.stack(rows).mean(dim=0)
    print(name, losses_at[:4].mean().item(), losses_at[32:].mean().item())
    first, late = losses_at[:4].mean(), losses_at[32:].mean()
    stage.keep(**{f"{name}_first": first, f"{name}_late": late})
