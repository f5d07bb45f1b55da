# /// lesson
# part = "attention"
# order = 50
# minutes = 7
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% one
import torch

torch.manual_seed(1)
time, width, heads = 6, 32, 4
head = width // heads
stage.keep(width=width, heads=heads, head=head)
hidden = torch.randn(time, width)
ask, offer, give = torch.randn(3, width, width) / width**0.5
future = torch.ones(time, time).triu(1).bool()


def shares_of(queries, keys):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    return scores.masked_fill(future, float("-inf")).softmax(dim=-1)


# %% loop
queries, keys, values = hidden @ ask, hidden @ offer, hidden @ give
found = []
for number in range(heads):
    mine = slice(number * head, (number + 1) * head)  # the columns of this head
    shares = shares_of(queries[:, mine], keys[:, mine])
    found.append(shares @ values[:, mine])
side_by_side = torch.cat(found, dim=1)
print(side_by_side.shape)


# %% shapes
def split(rows):
    return rows.unflatten(1, (heads, head)).transpose(0, 1)  # heads, time, head


print(queries.shape, split(queries).shape)
tables = shares_of(split(queries), split(keys))
gathered = tables @ split(values)
print(tables.shape, gathered.shape)
joined = gathered.transpose(0, 1).flatten(1)
assert torch.allclose(joined, side_by_side, atol=1e-5)

# %% tables folded
from cloche.lessons.charts import HeatMap

places = [str(place) for place in range(time)]
for number in (0, 1):
    stage.show(
        HeatMap(tables[number], rows=places, columns=places),
        {"en": f"Head {number}", "zh": f"第 {number} 个头"},
    )

# %% module
from dataclasses import replace

from cloche.model.attention import Attention, plain_attention
from cloche.model.attention_inputs import self_attention_inputs
from cloche.model.config import ModelConfig

config = ModelConfig(
    family="llama",
    vocab_size=50,
    context=time,
    width=width,
    layers=1,
    heads=heads,
    kv_heads=heads,
    head_dim=head,
    mlp_width=4 * width,
    positions="none",
    qk_norm=False,
)

# %% same
attention = Attention(config, layer=0)
with torch.no_grad():
    for layer, matrix in (("q_proj", ask), ("k_proj", offer), ("v_proj", give)):
        getattr(attention, layer).weight.copy_(matrix.T)
    batch = hidden[None]
    out = attention(batch, self_attention_inputs(batch))
    assert torch.allclose(out, attention.o_proj(joined[None]), atol=1e-5)
print(out.shape)

# %% count
from cloche.model.build import parameter_count

for many in (1, 4, 16):
    sized = replace(config, heads=many, kv_heads=many, head_dim=width // many)
    print(many, parameter_count(Attention(sized, layer=0)))

# %% grouped
asked = torch.randn(1, 4, time, head)  # four heads ask
offered, given = torch.randn(2, 1, 2, time, head)  # two are asked
shared = plain_attention(asked, offered, given, bias=None)
copied = [rows.repeat_interleave(2, dim=1) for rows in (offered, given)]
assert torch.allclose(shared, plain_attention(asked, *copied, bias=None), atol=1e-5)
print(shared.shape)

# %% cache folded
layers, head_dim, tokens = 80, 128, 4096  # Llama 2 70B: 64 heads, 8 of keys and values
rows, sizes = [], {}
for name, many in (
    ({"en": "every head its own", "zh": "每个头各有一份"}, 64),
    ({"en": "grouped", "zh": "分组共享"}, 8),
    ({"en": "all share one", "zh": "全体共用一份"}, 1),
):
    numbers = 2 * layers * many * head_dim * tokens  # keys and values
    sizes[many] = numbers * 2 / 1e9  # two bytes each
    rows.append([name, many, f"{numbers:,}", f"{sizes[many]:.2f}"])
stage.table(
    [
        {"en": "keys and values", "zh": "键和值"},
        {"en": "heads", "zh": "头数"},
        {"en": "numbers", "zh": "数的个数"},
        "GB",
    ],
    rows,
)
stage.keep(full=sizes[64], grouped=sizes[8], context=f"{tokens:,}")

# %% train folded
import cloche

options = {
    "text.tokenizer": "characters",
    "train.steps": 200,
    "train.batch": 16,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "train.precision": "float32",
    "model.layers": 2,
    "model.heads": 4,
    "model.width": 64,
    "model.context": 64,
}
part = stage.folder / "part.txt"
part.write_text(stage.text("stories")[:150_000], encoding="utf-8")
run = stage.train(str(part), out="heads", options=options)
stage.keep(steps=options["train.steps"])

# %% lens
from cloche.lens import see_attention

stage.show(
    see_attention(cloche.load(run.folder), "Sophie sat down. Sophie"),
    {"en": "Two layers, four heads each", "zh": "两层，每层四个头"},
)
