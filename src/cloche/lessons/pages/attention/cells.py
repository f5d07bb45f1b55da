# /// lesson
# part = "attention"
# order = 40
# minutes = 7
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% vectors
import torch

torch.manual_seed(1337)
tokens = ["the", "cat", "saw", "the", "dog"]
count = len(tokens)
seen = torch.randn(count, 2)  # one vector of two numbers a token
print(seen)

# %% loop
averages = torch.zeros_like(seen)
for position in range(count):
    averages[position] = seen[: position + 1].mean(dim=0)
print(averages)

# %% product
shares = torch.tril(torch.ones(count, count))
shares = shares / shares.sum(dim=1, keepdim=True)
assert torch.allclose(shares @ seen, averages)

# %% shares folded
from cloche.lessons.charts import HeatMap

places = [f"{token} {place}" for place, token in enumerate(tokens)]
stage.show(
    HeatMap(
        shares,
        rows=places,
        columns=places,
        y={"en": "a token", "zh": "某个词元"},
        x={"en": "takes this share of", "zh": "从这些词元各取多少"},
    ),
    {"en": "Equal shares of all tokens so far", "zh": "对目前为止的词元取相等的份额"},
)

# %% masked
past = torch.tril(torch.ones(count, count, dtype=torch.bool))
scores = torch.zeros(count, count).masked_fill(~past, float("-inf"))
print(scores)
assert torch.allclose(scores.softmax(dim=1), shares)

# %% same
found = stage.replay("running mean: loop, lower-triangular product, masked softmax")
stage.keep(shape=" x ".join(map(str, found.published.inputs["shape"])))
print(found.measured)

# %% attention
width, head = 32, 16
inputs = torch.randn(count, width)
ask = torch.nn.Linear(width, head, bias=False)
offer = torch.nn.Linear(width, head, bias=False)
give = torch.nn.Linear(width, head, bias=False)

with torch.no_grad():
    queries, keys, values = ask(inputs), offer(inputs), give(inputs)
scores = queries @ keys.T / head**0.5  # 1: each query meets each key
masked = scores.masked_fill(~past, float("-inf"))  # 2: nobody sees the future
weights = masked.softmax(dim=1)  # 3: scores become shares
gathered = weights @ values  # 4: an average, by those shares
print(gathered.shape)
stage.keep(head=head, rows=gathered.shape[0])

# %% weights folded
stage.show(
    HeatMap(weights, rows=places, columns=places),
    {"en": "Shares that depend on the tokens", "zh": "由词元自己决定的份额"},
)
stage.keep(own=weights[-1, -1], least=weights[-1].min(), most=weights[-1].max())

# %% cloche
from torch.nn.functional import scaled_dot_product_attention

fused = scaled_dot_product_attention(queries, keys, values, is_causal=True)
print(gathered[-1, :4], fused[-1, :4], sep="\n")
assert torch.allclose(fused, gathered, atol=1e-5)

# %% published
found = stage.replay("masked self-attention, seed 1337")
print(torch.tensor(found.measured)[:4])

# %% model folded
import cloche
from cloche.data.stories.corpus import stories_text

options = {
    "train.steps": 150,
    "train.eval_every": 150,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "text.tokenizer": "characters",
    "model.layers": 2,
    "model.heads": 2,
    "model.width": 32,
    "model.context": 64,
}
small = stage.folder / "small.txt"
small.write_text(stories_text("en", size_bytes=100_000, seed=0), encoding="utf-8")
run = stage.train(str(small), out="small", options=options)
lm = cloche.load(run.folder)
stage.keep(steps=options["train.steps"])

# %% lens
from cloche.lens import see_attention

stage.show(
    see_attention(lm, "the cat saw", layer=0, head=0),
    {"en": "Layer 0, head 0 of a small model", "zh": "一个小模型的第 0 层、第 0 个头"},
)
