# /// lesson
# part = "model"
# order = 65
# minutes = 8
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% source
import inspect

from cloche.model.decoder import Block

lines = inspect.getsource(Block.forward).splitlines()
first = next(i for i, line in enumerate(lines) if "attended =" in line)
last = next(i for i, line in enumerate(lines) if "after =" in line)
print("\n".join(line[8:] for line in lines[first : last + 1]))

# %% config
from cloche.model.config import ModelOptions
from cloche.model.presets import complete

config = complete(
    ModelOptions(family="gpt2", heads=4),
    vocab_size=1000,
    layers=2,
    width=64,
    context=32,
)
print(config.norm, config.activation, config.positions)
print(config.head_dim, config.mlp_width)

# %% build
import torch

torch.manual_seed(1)
block = Block(config, layer=0).eval()
for name, weights in block.named_parameters():
    print(f"{name:36} {tuple(weights.shape)!s:12} {weights.numel():6}")

# %% tools
from torch.nn.functional import gelu, layer_norm

numbers = {name: weights.detach() for name, weights in block.named_parameters()}


def project(rows, name):
    return rows @ numbers[f"{name}.weight"].T + numbers[f"{name}.bias"]


def normalise(rows, name):
    scale, shift = numbers[f"{name}.weight"], numbers[f"{name}.bias"]
    return layer_norm(rows, rows.shape[1:], scale, shift)


# %% attend
def attend(residual):
    read = normalise(residual, "input_layernorm")
    three = [project(read, f"self_attn.{name}_proj") for name in "qkv"]
    split = [rows.unflatten(1, (4, 16)).transpose(0, 1) for rows in three]
    queries, keys, values = split  # heads, time, head
    scores = queries @ keys.transpose(1, 2) / 16**0.5
    scores += torch.full(scores.shape[1:], float("-inf")).triu(1)  # no future
    gathered = (scores.softmax(dim=2) @ values).transpose(0, 1).flatten(1)
    return residual + project(gathered, "self_attn.o_proj")


# %% think
def think(residual):
    read = normalise(residual, "post_attention_layernorm")
    neurons = gelu(project(read, "mlp.up_proj"), approximate="tanh")
    return residual + project(neurons, "mlp.down_proj")


# %% equal
from cloche.model.attention_inputs import self_attention_inputs

residual = torch.randn(10, 64)
by_hand = think(attend(residual))
with torch.no_grad():
    batch = residual[None]
    by_cloche = block(batch, self_attention_inputs(batch))[0]
print(by_hand[-1, :5], by_cloche[-1, :5], sep="\n")
assert torch.allclose(by_hand, by_cloche, atol=1e-5)

# %% shares
width = 64
of_attention = 4 * width**2 + 4 * width  # four matrices, four biases
of_mlp = 2 * 4 * width**2 + 5 * width  # two matrices, biases of 4 x width and of width
of_norms = 2 * 2 * width
total = sum(weights.numel() for weights in block.parameters())
assert of_attention + of_mlp + of_norms == total
print(of_attention, of_mlp, of_norms, total)
stage.keep(total=f"{total:,}", twelve=f"{12 * width**2:,}", share=of_mlp / total)

# %% gpt2
from cloche.planning.parameters import parameters_by_part

small = complete(
    ModelOptions(family="gpt2", size="small"),
    vocab_size=50_257,
    layers=12,
    width=768,
    context=1024,
)
parts = parameters_by_part(small)
published = stage.replay("parameters: GPT-2 small")
assert sum(parts.values()) == published.published.values == published.measured
stage.keep(gpt2=f"{published.measured:,}")

# %% parts folded
names = {
    "embedding": {"en": "embedding, also the head", "zh": "词元嵌入（兼作输出层）"},
    "positions": {"en": "positions", "zh": "位置"},
    "attention": {"en": "attention, 12 blocks", "zh": "注意力，12 块"},
    "MLP": {"en": "MLP, 12 blocks", "zh": "MLP，12 块"},
    "norms": {"en": "norms", "zh": "归一化"},
}
whole = sum(parts.values())
stage.table(
    [
        {"en": "part", "zh": "部分"},
        {"en": "numbers", "zh": "参数个数"},
        {"en": "share", "zh": "占比"},
    ],
    [[names[part], f"{n:,}", f"{n / whole:.1%}"] for part, n in parts.items()],
)

# %% today
modern = complete(
    ModelOptions(family="qwen3", heads=4),
    vocab_size=1000,
    layers=2,
    width=64,
    context=32,
)
for name, weights in Block(modern, layer=0).named_parameters():
    print(f"{name:36} {tuple(weights.shape)!s:12} {weights.numel():6}")

# %% train folded
import cloche

options = {
    "text.tokenizer": "characters",
    "train.steps": 20,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "train.precision": "float32",
    "model.layers": 2,
    "model.heads": 2,
    "model.width": 64,
    "model.context": 64,
}
part = stage.folder / "part.txt"
part.write_text(stage.text("stories")[:100_000], encoding="utf-8")
run = stage.train(str(part), out="small", options=options)

# %% lens
from cloche.lens import see_parameters

stage.show(
    see_parameters(cloche.load(run.folder)),
    {"en": "Every number of a small model", "zh": "一个小模型的全部参数"},
)
