# /// lesson
# part = "text"
# order = 20
# minutes = 6
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% table
import torch
from torch import nn

torch.manual_seed(123)
table = nn.Embedding(4, 5)  # four tokens, five numbers for each
ids = torch.tensor([2, 3, 1])
looked_up = table(ids)
print(looked_up.detach())
assert torch.equal(looked_up, table.weight[ids])

# %% one-hot
switches = nn.functional.one_hot(ids, num_classes=4).float()
print(switches)
assert torch.equal(switches @ table.weight, looked_up)

# %% linear
linear = nn.Linear(4, 5, bias=False)
linear.weight = nn.Parameter(table.weight.detach().T.clone())  # a layer keeps it turned
assert torch.equal(linear(switches), looked_up)

# %% published
name = "Embedding(4, 5), seed 123, rows 2, 3, 1 as a linear layer on one-hot rows"
print(torch.tensor(stage.replay(name).measured))

# %% gradients
wanted = torch.zeros(3, 5)
of_table = ((table(ids) - wanted) ** 2).sum()
of_linear = ((linear(switches) - wanted) ** 2).sum()
(first,) = torch.autograd.grad(of_table, table.weight)
(second,) = torch.autograd.grad(of_linear, linear.weight)
assert torch.equal(first, second.T)
print(first)

# %% cost
vocabulary, width, tokens = 50_257, 768, 1024  # GPT-2 small, one full context
multiplied = tokens * vocabulary * width
copied = tokens * width
print(multiplied, copied, multiplied // copied)
stage.keep(
    multiplied=f"{multiplied / 1e9:.1f}",
    copied=f"{copied:,}",
    rows=f"{vocabulary:,}",
)

# %% train folded
import cloche

options = {
    "text.tokenizer": "words",
    "train.steps": 300,
    "train.batch": 16,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "train.precision": "float32",
    "model.layers": 2,
    "model.heads": 2,
    "model.width": 48,
    "model.context": 32,
    "model.tied": True,
}
part = stage.folder / "part.txt"
part.write_text(stage.text("stories")[:300_000], encoding="utf-8")
run = stage.train(str(part), out="words", options=options)
lm = cloche.load(run.folder)
stage.keep(steps=options["train.steps"], width=options["model.width"])

# %% near
from torch.nn.functional import cosine_similarity

vectors = lm.model.state_dict()["embed_tokens.weight"]
for word in ("red", "Aunt", "went"):
    number = lm.tokenizer.encode(word)[0]
    near = cosine_similarity(vectors[number], vectors, dim=1).topk(5)
    print(*(lm.tokenizer.token_text(each).strip() for each in near.indices.tolist()))

# %% lens
from cloche.lens import see_embeddings

stage.show(
    see_embeddings(lm, ["red", "dog", "Sophie"], neighbours=5),
    {"en": "The table of a small model", "zh": "一个小模型的嵌入表"},
)

# %% head
head = lm.model.state_dict()["lm_head.weight"]
assert head.data_ptr() == vectors.data_ptr()  # one table in one place
hidden = torch.randn(1, lm.config.width)
assert torch.allclose(lm.model.head(hidden), hidden @ vectors.T, atol=1e-5)
print(head.shape)
