# /// lesson
# part = "training"
# order = 95
# minutes = 6
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% targets
import torch

from cloche.training.label_smoothing import spread_over_all, spread_over_others

smoothing, classes = 0.1, 4
right = torch.tensor([2, 0])
sure = torch.eye(classes)[right]
over_all = sure * (1 - smoothing) + smoothing / classes
over_others = sure * (1 - smoothing) + (1 - sure) * smoothing / (classes - 1)
print(over_all, over_others, sep="\n")
assert torch.allclose(over_all, spread_over_all(right, classes, smoothing=smoothing))
by_cloche = spread_over_others(right, classes, smoothing=smoothing)
assert torch.allclose(over_others, by_cloche)

# %% published folded
names = [
    "label smoothing 0.1, 3 classes",
    "label smoothing 0.1, 3 classes, PyTorch's form",
]
found = [stage.replay(name) for name in names]
stage.table(
    [
        {"en": "form", "zh": "形式"},
        {"en": "published, first row", "zh": "公布的第一行"},
        {"en": "measured here", "zh": "此处测得"},
    ],
    [
        [
            said,
            ", ".join(f"{number:.4f}" for number in row.published.values[0]),
            ", ".join(f"{number:.4f}" for number in row.measured[0]),
        ]
        for said, row in zip(
            [
                {"en": "over the others", "zh": "分给其他类"},
                {"en": "over all", "zh": "分给所有类"},
            ],
            found,
            strict=True,
        )
    ],
)

# %% loss
from torch.nn.functional import cross_entropy

torch.manual_seed(1)
logits = torch.randn(2, classes)
by_hand = -(over_all * logits.log_softmax(dim=1)).sum(dim=1).mean()
by_torch = cross_entropy(logits, right, label_smoothing=smoothing)
print(by_hand, by_torch)
assert torch.allclose(by_hand, by_torch)

# %% gap
gaps = {}
for share in (0.0, 0.1):
    logits = torch.zeros(classes, requires_grad=True)
    gaps[share] = []
    for _ in range(3000):
        loss = cross_entropy(logits[None], torch.tensor([2]), label_smoothing=share)
        (slope,) = torch.autograd.grad(loss, logits)
        logits = (logits - slope).detach().requires_grad_()
        gaps[share].append((logits[2] - logits[0]).item())
    print(share, gaps[share][-1], logits.softmax(dim=0).detach())
best = torch.log(over_all[0, 2] / over_all[0, 0])
assert abs(gaps[0.1][-1] - best) < 1e-3
stage.keep(sure=gaps[0.0][-1], settled=gaps[0.1][-1])

# %% growing folded
from cloche.lessons.charts import Curves

stage.show(
    Curves(
        range(1, 3001),
        {"0": gaps[0.0], "0.1": gaps[0.1]},
        x={"en": "steps", "zh": "步数"},
        y={"en": "right logit minus another", "zh": "正确项与另一项的 logit 之差"},
        log_x=True,
    ),
    {"en": "Without smoothing the gap never stops", "zh": "不平滑，差距永远在长"},
)

# %% train folded
text = stage.text("stories")
held_out = text[-12_000:]
options = {
    "text.tokenizer": "characters",
    "model.layers": 1,
    "model.heads": 2,
    "model.width": 64,
    "model.context": 32,
    "model.dropout": 0.0,
    "train.steps": 250,
    "train.batch": 16,
    "train.learning_rate": 0.03,
    "train.eval_every": 250,
    "train.sample_tokens": 0,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "train.precision": "float32",
}

# %% models
import cloche

lms = {}
for size in (5_000, 300_000):
    part = stage.folder / f"{size}.txt"
    part.write_text(text[:size], encoding="utf-8")
    for share in (0.0, 0.1):
        given = {**options, "train.label_smoothing": share}
        run = stage.train(str(part), out=f"{size}-{share}", options=given)
        lms[size, share] = cloche.load(run.folder, checkpoint="latest")

# %% calibration
from cloche.evaluation.calibration import ReliabilityCounts


def measure(lm: cloche.LM) -> tuple[float, float, float, float]:
    known = set(lm.tokenizer.decode(list(range(lm.config.vocab_size))))
    ids = lm.tokenizer.encode("".join(each for each in held_out if each in known))
    counts, sure, right, nats = ReliabilityCounts(), [], [], []
    for start in range(0, len(ids) - 33, 32):
        rows = lm.logits(ids[start : start + 32]).softmax(dim=1)
        came = torch.tensor(ids[start + 1 : start + 33])
        confidence, guess = rows.max(dim=1)
        counts.add(confidence.numpy(), (guess == came).numpy())
        sure.append(confidence)
        right.append((guess == came).float())
        nats.append(-rows[torch.arange(32), came].log())
    means = [torch.cat(each).mean().item() for each in (sure, right, nats)]
    return means[0], means[1], counts.calibration().expected_error, means[2]


found = {key: measure(lm) for key, lm in lms.items()}
assert found[5_000, 0.1][2] < found[5_000, 0.0][2]  # helped by smoothing ...
assert found[300_000, 0.1][2] > found[300_000, 0.0][2]  # ... and harmed

# %% table folded
stage.table(
    [
        {"en": "characters learned from", "zh": "学习的字符数"},
        {"en": "smoothing", "zh": "平滑"},
        {"en": "confidence", "zh": "把握"},
        {"en": "right", "zh": "猜对"},
        {"en": "calibration error", "zh": "校准误差"},
        {"en": "loss", "zh": "损失"},
    ],
    [
        [f"{size:,}", str(share), *(f"{number:.3f}" for number in found[size, share])]
        for size, share in found
    ],
)
stage.keep(
    little=found[5_000, 0.0][2],
    little_smooth=found[5_000, 0.1][2],
    much=found[300_000, 0.0][2],
    much_smooth=found[300_000, 0.1][2],
    little_sure=100 * found[5_000, 0.0][0],
    little_right=100 * found[5_000, 0.0][1],
)
