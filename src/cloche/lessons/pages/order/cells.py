# /// lesson
# part = "attention"
# order = 30
# minutes = 8
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% sentence
import torch

torch.manual_seed(1)
words = ["dog", "bites", "man"]
vectors = torch.randn(3, 8)  # one for each word
ask, offer, give = torch.randn(3, 8, 8) / 8**0.5


def attend(seen):
    queries, keys, values = seen @ ask, seen @ offer, seen @ give
    return (queries @ keys.T / 8**0.5).softmax(dim=1) @ values


# %% permuted
turned = [2, 1, 0]  # man bites dog
before, after = attend(vectors), attend(vectors[turned])
print(before[:, :4], after[:, :4], sep="\n")
assert torch.allclose(after, before[turned], atol=1e-6)

# %% decoder
from dataclasses import replace

from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder

plain = ModelConfig(
    family="llama",
    vocab_size=50,
    context=32,
    width=32,
    layers=1,
    heads=2,
    kv_heads=2,
    head_dim=16,
    mlp_width=64,
    positions="none",
    qk_norm=False,
)

# %% differences
first, second = torch.tensor([[5, 6, 7, 8, 9]]), torch.tensor([[8, 6, 5, 7, 9]])
changes = {}
for layers in (1, 2):
    for positions in ("none", "learned", "sinusoidal", "rotary"):
        torch.manual_seed(1)
        model = Decoder(replace(plain, layers=layers, positions=positions)).eval()
        with torch.no_grad():
            last = model(first)[0, -1] - model(second)[0, -1]
        changes[layers, positions] = last.abs().max().item()
assert changes[1, "none"] < 1e-5 < 1e-2 < changes[2, "none"]

# %% told folded
names = {
    "none": {"en": "no positions", "zh": "无位置"},
    "learned": {"en": "learned", "zh": "学习得到"},
    "sinusoidal": {"en": "sinusoidal", "zh": "正弦"},
    "rotary": {"en": "rotary", "zh": "旋转"},
}
stage.table(
    [
        {"en": "positions", "zh": "位置"},
        {"en": "1 layer", "zh": "1 层"},
        {"en": "2 layers", "zh": "2 层"},
    ],
    [
        [said, *(f"{changes[layers, kind]:.4f}" for layers in (1, 2))]
        for kind, said in names.items()
    ],
)

# %% added
from cloche.model.positions import sinusoidal_positions

places = torch.arange(64)
turns = 1 / 10_000 ** (torch.arange(0, 32, 2) / 32)  # radians a position, ever slower
angles = places[:, None] * turns
waves = torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)
assert torch.allclose(waves, sinusoidal_positions(places[None], 32)[0], atol=1e-5)

# %% waves folded
from cloche.lessons.charts import HeatMap

shown = range(0, 16, 2)  # the sines of the first columns
stage.show(
    HeatMap(
        waves[:10, :16:2].T,
        rows=[str(column) for column in shown],
        columns=[str(place) for place in range(10)],
        signed=True,
        y={"en": "column", "zh": "列"},
        x={"en": "position", "zh": "位置"},
    ),
    {"en": "What is added: waves of different lengths", "zh": "加上的数：长短不一的波"},
)

# %% rotated
import math


def turn(pair, place, speed=0.3):
    cosine, sine = math.cos(place * speed), math.sin(place * speed)
    x, y = pair
    return torch.stack((x * cosine - y * sine, y * cosine + x * sine))


query, key = torch.tensor([1.0, 0.5]), torch.tensor([0.8, -0.2])
for asking, offering in ((3, 1), (13, 11), (103, 101)):
    print(asking, offering, turn(query, asking) @ turn(key, offering))

# %% cloche
from cloche.model.positions import rotary_tables, rotate

queries = torch.randn(1, 1, 1, 16).expand(1, 1, 64, 16)  # one vector at every place
keys = torch.randn(1, 1, 1, 16).expand(1, 1, 64, 16)
tables = rotary_tables(places[None], 16, theta=10_000.0)
scores = (rotate(queries, *tables) @ rotate(keys, *tables).transpose(2, 3))[0, 0]
for distance in (0, 1, 30):
    same = scores.diagonal(-distance)
    assert torch.allclose(same, same[:1].expand_as(same), atol=1e-4)
    print(distance, same[:3])

# %% train folded
import cloche

part = stage.folder / "part.txt"
part.write_text(stage.text("stories")[:100_000], encoding="utf-8")
losses = {}
for kind in names:
    options = {
        "model.positions": kind,
        "text.tokenizer": "characters",
        "train.steps": 150,
        "train.batch": 16,
        "train.eval_every": 150,
        "train.seed": 1,
        "train.compile": "off",
        "train.device": "cpu",
        "train.precision": "float32",
        "model.layers": 1,
        "model.heads": 2,
        "model.width": 64,
        "model.context": 32,
        "model.dropout": 0.0,
    }
    run = stage.train(str(part), out=kind, options=options)
    losses[kind] = run.best_loss
assert losses["none"] == max(losses.values())

# %% compared
from cloche.lessons.charts import Bars

stage.show(
    Bars(
        list(names.values()),
        {"loss": list(losses.values())},
        y={"en": "validation loss (nats)", "zh": "验证损失（奈特）"},
    ),
    {"en": "One model, told order in four ways", "zh": "同一个模型，四种位置"},
)
stage.keep(steps=150, without=losses["none"], rotary=losses["rotary"])

# %% lens
from cloche.lens import see_positions

stage.show(
    see_positions(cloche.load(stage.folder / "rotary")),
    {"en": "How the trained model turns", "zh": "训练好的模型如何旋转"},
)
