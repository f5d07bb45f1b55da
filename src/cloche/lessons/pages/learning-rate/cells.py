# /// lesson
# part = "training"
# order = 85
# minutes = 7
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% slope
import torch

x, y = 2.0, 6.0  # the weight should become 3
weight = torch.tensor(0.0, requires_grad=True)
loss = (weight * x - y) ** 2
loss.backward()
by_hand = 2 * (0.0 * x - y) * x  # the chain rule
print(weight.grad, by_hand)
assert weight.grad == by_hand
stage.keep(slope=by_hand)


# %% descend
def descend(rate: float, steps: int = 12) -> list[float]:
    weight, path = 0.0, [0.0]
    for _ in range(steps):
        weight -= rate * 2 * (weight * x - y) * x
        path.append(weight)
    return path


rates = (0.01, 0.1, 0.24, 0.26)
paths = {rate: descend(rate) for rate in rates}
for rate, path in paths.items():
    print(rate, [round(each, 2) for each in path[:5]], round(path[-1], 2))
stage.keep(slow=paths[0.01][-1], right=paths[0.1][-1], lost=paths[0.26][-1])

# %% paths folded
from cloche.lessons.charts import Curves

stage.show(
    Curves(
        range(13),
        {str(rate): path for rate, path in paths.items()},
        x={"en": "steps", "zh": "步数"},
        y={"en": "weight", "zh": "权重"},
    ),
    {
        "en": "One weight on its way to 3, at four rates",
        "zh": "一个权重走向 3：四种学习率",
    },
)

# %% torch
weight = torch.tensor(0.0, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.1)
for _ in range(12):
    optimizer.zero_grad()
    ((weight * x - y) ** 2).backward()
    optimizer.step()
print(weight.item())
assert abs(weight.item() - paths[0.1][-1]) < 1e-4

# %% limit
curvature = 2 * x * x  # how fast the slope itself changes
print(2 / curvature)
stage.keep(limit=2 / curvature)

# %% model
part = stage.folder / "part.txt"
part.write_text(stage.text("stories")[:100_000], encoding="utf-8")
options = {
    "text.tokenizer": "characters",
    "model.layers": 1,
    "model.heads": 2,
    "model.width": 32,
    "model.context": 32,
    "train.steps": 150,
    "train.batch": 16,
    "train.optimizer": "adamw",
    "train.schedule": "constant",
    "train.warmup": 0.0,
    "train.eval_every": 150,
    "train.sample_tokens": 0,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "train.precision": "float32",
}

# %% three
named = {"rate-0.0003": 0.0003, "rate-0.01": 0.01, "rate-0.3": 0.3}
runs = {}
for name, rate in named.items():
    given = {**options, "train.learning_rate": rate}
    runs[name] = stage.train(str(part), out=name, options=given)
    print(rate, f"{runs[name].best_loss:.3f}")
losses = [run.best_loss for run in runs.values()]
assert losses[1] == min(losses)
stage.keep(low=losses[0], good=losses[1], high=losses[2], steps=options["train.steps"])

# %% lens
from cloche.lens import see_training

stage.show(
    see_training([run.folder for run in runs.values()], metrics=["train/loss"]),
    {"en": "Too small, right, too large", "zh": "太小、合适、太大"},
)

# %% schedules
from cloche.training.options import TrainOptions
from cloche.training.schedule import learning_rate_share

progress = torch.linspace(0, 1, 101)
shares = {
    name: [
        learning_rate_share(place, TrainOptions(schedule=name, warmup=0.1))
        for place in progress.tolist()
    ]
    for name in ("constant", "linear", "cosine")
}

# %% shapes folded
stage.show(
    Curves(
        progress,
        shares,
        x={"en": "share of the training", "zh": "训练进度"},
        y={"en": "share of the highest rate", "zh": "占最高学习率的比例"},
    ),
    {"en": "Rise, stay, fall", "zh": "先升、再稳、后降"},
)

# %% falling
given = {
    **options,
    "train.learning_rate": 0.02,
    "train.warmup": 0.1,
}
for schedule in ("constant", "linear"):
    falling = {**given, "train.schedule": schedule}
    run = stage.train(str(part), out=schedule, options=falling)
    print(schedule, f"{run.best_loss:.3f}")
    stage.keep(**{schedule: run.best_loss})
