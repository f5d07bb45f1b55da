# /// lesson
# part = "training"
# order = 90
# minutes = 6
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% train
text = stage.text("stories")
options = {
    "text.tokenizer": "characters",
    "model.layers": 2,
    "model.heads": 2,
    "model.width": 64,
    "model.context": 32,
    "model.dropout": 0.0,
    "train.steps": 250,
    "train.batch": 16,
    "train.learning_rate": 0.01,
    "train.optimizer": "adamw",
    "train.schedule": "constant",
    "train.eval_every": 25,
    "train.eval_batches": 4,
    "train.sample_tokens": 0,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "train.precision": "float32",
}
runs = {}
for name, size in (("little", 6_000), ("much", 300_000)):
    part = stage.folder / f"{name}.txt"
    part.write_text(text[:size], encoding="utf-8")
    runs[name] = stage.train(str(part), out=name, options=options)

# %% little
from cloche.lens import see_training

losses = ["train/loss", "eval/train_loss", "eval/loss"]
view = see_training(runs["little"].folder, metrics=losses[1:])
curves = view.runs[0].curves
known, held_out = (curves[name] for name in losses[1:])
for row in zip(known.steps, known.values, held_out.values, strict=True):
    print("{} {:.3f} {:.3f}".format(*row))

# %% parting folded
from cloche.lessons.charts import Curves, Series

stage.show(
    Curves(
        known.steps,
        [
            Series({"en": "text it learns from", "zh": "学习的文字"}, known.values),
            Series({"en": "held out", "zh": "留出的文字"}, held_out.values),
        ],
        x={"en": "steps", "zh": "步数"},
        y={"en": "loss (nats)", "zh": "损失（奈特）"},
    ),
    {"en": "The curves part", "zh": "两条曲线分道扬镳"},
)
lowest = min(range(len(held_out.values)), key=held_out.values.__getitem__)
assert held_out.values[-1] > held_out.values[lowest]
stage.keep(
    turn=held_out.steps[lowest],
    lowest=held_out.values[lowest],
    last=held_out.values[-1],
    known=known.values[-1],
)

# %% best
import cloche

best = cloche.load(runs["little"].folder)
latest = cloche.load(runs["little"].folder, checkpoint="latest")
print(best.folder.name, latest.folder.name)
assert best.folder.name == f"step-{held_out.steps[lowest]:06d}"

# %% heart
from cloche.lens import see_memory

memory = see_memory(latest, training=text[1_000:1_400], held_out=text[5_550:5_950])
for side in (memory.training, memory.held_out):
    print(f"{side.mean_surprisal:.3f} {side.likeliest:.3f} {side.recited_share:.3f}")
stage.keep(
    recited=100 * memory.training.recited_share,
    recited_new=100 * memory.held_out.recited_share,
)

# %% coloured folded
stage.show(
    memory,
    {"en": "Learned text and held-out text", "zh": "学过的文字与留出的文字"},
)

# %% much
view = see_training([run.folder for run in runs.values()], metrics=["eval/loss"])
curves = see_training(runs["much"].folder).runs[0].curves
own, other = (curves[name].values[-1] for name in losses[1:])
print(f"{own:.3f} {other:.3f}")
stage.keep(much=other, gap=other - own)

# %% lens folded
stage.show(
    view,
    {
        "en": "Held-out loss: little text, much text",
        "zh": "留出文字的损失：文本少与文本多",
    },
)

# %% usual
stage.show(
    see_training(runs["much"].folder),
    {"en": "All that a training tells of itself", "zh": "一次训练说出的全部数值"},
)
