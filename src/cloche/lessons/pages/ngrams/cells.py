# /// lesson
# part = "text"
# order = 15
# minutes = 7
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% count
from collections import Counter
from itertools import pairwise

text = stage.text("stories")[:200_000]
train, held_out = text[:180_000], text[180_000:]
pairs = Counter(pairwise(train))
after_q = {second: n for (first, second), n in pairs.items() if first == "q"}
after_t = {second: n for (first, second), n in pairs.most_common(300) if first == "t"}
print(after_q)
print(dict(list(after_t.items())[:5]))

# %% share
starts = Counter(train[:-1])
print(f"{pairs['t', 'h'] / starts['t']:.4f}")
stage.keep(share=pairs["t", "h"] / starts["t"])

# %% unseen
gaps = []
for n in range(1, 9):
    known = {train[i : i + n] for i in range(len(train) - n + 1)}
    asked = [held_out[i : i + n] for i in range(len(held_out) - n + 1)]
    gaps.append(sum(each not in known for each in asked) / len(asked))
    print(n, f"{gaps[-1]:.4f}")
stage.keep(gap3=100 * gaps[2], gap8=100 * gaps[7])

# %% add-one
import math

vocabulary = len(set(train)) + 1  # and the end of the text


def add_one(first: str, second: str) -> float:
    return (pairs[first, second] + 1) / (starts[first] + vocabulary)


costs = [-math.log(add_one(a, b)) for a, b in pairwise(held_out)]
by_hand = sum(costs) / len(costs)
print(by_hand, math.exp(by_hand))
print(f"{add_one('q', 'x'):.4f}")
stage.keep(pair_perplexity=math.exp(by_hand))

# %% cloche
import cloche

part = stage.folder / "part.txt"
part.write_text(text, encoding="utf-8")


def count(order: int, smoothing: str) -> tuple[cloche.LM, float]:
    options = {
        "model.family": "ngram",
        "model.order": order,
        "model.smoothing": smoothing,
        "text.tokenizer": "characters",
    }
    run = stage.train(str(part), out=f"{smoothing}-{order}", options=options)
    assert run.best_loss is not None
    return cloche.load(run.folder), run.best_loss


lm, loss = count(2, "additive")
models, losses = {("additive", 2): lm}, {("additive", 2): loss}
ids = lm.tokenizer.encode("th")
probability = lm.logits(ids)[0].softmax(dim=0)[ids[1]].item()
print(probability, add_one("t", "h"), loss)
assert abs(probability - add_one("t", "h")) < 1e-5
assert abs(loss - by_hand) < 1e-6

# %% orders
orders = [1, 2, 3, 4, 5, 6, 8]
for smoothing in ("additive", "kneser-ney"):
    for order in orders:
        if (smoothing, order) not in models:
            models[smoothing, order], losses[smoothing, order] = count(order, smoothing)
perplexities = {key: math.exp(loss) for key, loss in losses.items()}

# %% curve folded
from cloche.lessons.charts import Curves, Series

shown = {
    smoothing: [perplexities[smoothing, order] for order in orders]
    for smoothing in ("additive", "kneser-ney")
}
stage.show(
    Curves(
        orders,
        [
            Series({"en": "one added", "zh": "加一"}, shown["additive"]),
            Series("Kneser-Ney", shown["kneser-ney"]),
        ],
        x="n",
        y={"en": "perplexity, held out", "zh": "留出文字的困惑度"},
    ),
    {"en": "Longer only helps with good smoothing", "zh": "平滑得好，加长才有用"},
)
best = {name: orders[values.index(min(values))] for name, values in shown.items()}
stage.keep(
    best_added=best["additive"],
    lowest_added=min(shown["additive"]),
    last_added=shown["additive"][-1],
    best_kneser=best["kneser-ney"],
    lowest_kneser=min(shown["kneser-ney"]),
)

# %% write
for order in (1, 2, 4, 8):
    written = models["kneser-ney", order].generate(
        "The ", max_new_tokens=60, temperature=1.0, seed=1
    )
    print(order, repr("The " + written))

# %% neural
import torch
from torch.nn.functional import cross_entropy

torch.manual_seed(1)
seen = torch.tensor(lm.tokenizer.encode(train))
unseen = torch.tensor(lm.tokenizer.encode(held_out))
model = torch.nn.Sequential(
    torch.nn.Embedding(lm.config.vocab_size, 16),  # 16 numbers for each
    torch.nn.Flatten(),
    torch.nn.Linear(3 * 16, 96),
    torch.nn.Tanh(),
    torch.nn.Linear(96, lm.config.vocab_size),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
for step in range(1000):
    optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 1000)
    places = torch.randint(len(seen) - 3, (256,))
    windows = seen[places[:, None] + torch.arange(4)]
    loss = cross_entropy(model(windows[:, :3]), windows[:, 3])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %% compare
with torch.no_grad():
    windows = unseen.unfold(0, 4, 1)
    neural = cross_entropy(model(windows[:, :3]), windows[:, 3]).exp().item()
numbers = sum(parameter.numel() for parameter in model.parameters())
stored, most = (sum(models["kneser-ney", order].config.ngrams) for order in (4, 8))
print(neural, numbers)
print(perplexities["kneser-ney", 4], stored, most)
stage.keep(
    neural=neural,
    numbers=f"{numbers:,}",
    counted=perplexities["kneser-ney", 4],
    stored=f"{stored:,}",
    most=f"{most:,}",
)
