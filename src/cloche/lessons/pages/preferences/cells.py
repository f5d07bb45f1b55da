# /// lesson
# part = "tuning"
# order = 135
# minutes = 9
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% strength
import math

import torch
from torch.nn.functional import logsigmoid

AGREE = 0.8
gap = math.log(AGREE / (1 - AGREE))
strengths = torch.tensor([0.0, gap, 2 * gap])
print((strengths[:, None] - strengths[None, :]).sigmoid())
stage.keep(agree=AGREE, gap=gap)

# %% choices
import random

from cloche.lessons.village import asked_facts, write_json_lines

learned, held_out = asked_facts()
draw = random.Random(5)


def choose(fact, better, worse):  # not everybody sees it so
    if draw.random() > AGREE:
        better, worse = worse, better
    return {"prompt": fact.question, "chosen": better, "rejected": worse}


def styles(fact):
    bare = fact.answer.removesuffix(".")
    return [bare, f"{bare}.", f"{bare}!"]


def compare(fact):
    place = draw.randrange(2)  # never the first with the last
    worse, better = styles(fact)[place : place + 2]
    return choose(fact, better, worse)


choices = [compare(fact) for _ in range(12) for fact in learned]
path = write_json_lines(stage.folder / "styles.jsonl", choices)
print("\n".join(path.read_text(encoding="utf-8").splitlines()[:3]))
stage.keep(choices=f"{len(choices):,}")

# %% reward
from cloche.alignment.reward_model import align_reward, held_out_rewards
from cloche.lessons.village import ON_A_CPU, teach_answers

answering = teach_answers(stage)
pace = {"train.steps": 100, "train.batch": 16, "train.eval_every": 50}
options = {**ON_A_CPU, **pace, "train.learning_rate": 0.005, "data.split": (0.6, 0.4)}
judge, start = stage.folder / "judge", answering.folder
align_reward(start, path, out=judge, options=options, listeners=[])
report = held_out_rewards(judge)
by_hand = -logsigmoid(torch.tensor(report.margins)).mean().item()
print(report.accuracy, report.loss, by_hand)
assert abs(by_hand - report.loss) < 1e-5
stage.keep(pairs=report.pairs, accuracy=report.accuracy)

# %% calibrated folded
stage.table(
    [
        {"en": "pairs", "zh": "对数"},
        {"en": "it says", "zh": "模型说"},
        {"en": "people chose so", "zh": "人们这样选"},
    ],
    [
        [str(each.tokens), f"{each.confidence:.2f}", f"{each.accuracy:.2f}"]
        for each in report.calibration.bins
    ],
)
assert report.calibration.expected_error < 0.15
stage.keep(error=report.calibration.expected_error)

# %% recovered
from cloche.alignment.reward_model import score_answers

questions = [fact.question for fact in held_out]
answers = list(zip(*map(styles, held_out), strict=True))
scores = torch.tensor([score_answers(judge, questions, each) for each in answers])
bare, plain, loud = scores
apart = torch.stack([plain - bare, loud - plain, loud - bare])
likely = apart.sigmoid().mean(dim=1)
meant = torch.tensor([gap, gap, 2 * gap]).sigmoid()
print(likely, meant, sep="\n")
assert (likely - meant).abs().max() < 0.15
stage.keep(never=likely[2], never_meant=meant[2])

# %% optimum
from cloche.alignment.preference_losses import dpo_loss

first = torch.tensor([0.5, 0.3, 0.2])
beta = 0.5
policy = first * (strengths / beta).exp()
policy = policy / policy.sum()
hidden = beta * (policy / first).log()
print(policy, hidden - hidden[0], strengths, sep="\n")
assert torch.allclose(hidden - hidden[0], strengths, atol=1e-5)


# %% descent
def descend(beta):
    before = torch.tensor([0.6, 0.4]).log()
    logits, shifts = before.clone().requires_grad_(), []
    for _ in range(150):
        now = logits.log_softmax(dim=0)
        loss = torch.zeros(())
        for share, won, lost in ((AGREE, 1, 0), (1 - AGREE, 0, 1)):
            given = now[[won]], now[[lost]], before[[won]], before[[lost]]
            loss = loss + share * dpo_loss(*given, beta=beta).sum()
        (slope,) = torch.autograd.grad(loss, logits)
        logits = (logits - slope / beta).detach().requires_grad_()
        shifts.append((logits - before).diff().item())
    return shifts


shifts = {beta: descend(beta) for beta in (0.25, 0.5, 1.0)}
for beta, found in shifts.items():
    print(beta, found[-1], gap / beta)
    assert abs(found[-1] - gap / beta) < 0.05

# %% settling folded
from cloche.lessons.charts import Curves, Series

stage.show(
    Curves(
        range(1, 151),
        {f"beta {beta}": found for beta, found in shifts.items()},
        x={"en": "steps", "zh": "步数"},
        y={"en": "shift of the log ratio", "zh": "对数比的移动"},
        log_x=True,
    ),
    {
        "en": "DPO moves the log ratio as far as the people agree, and no further",
        "zh": "人们有多一致，DPO 就把对数比移多远",
    },
)

# %% trusting
torch.manual_seed(4)
count = 200
truth = torch.randn(count)
seen_as = truth + 0.3 * torch.randn(count)
seen_as[truth.argsort()[100:104]] += 3.5  # middling answers, badly overrated
divergence, believed, really = [], [], []
for beta in torch.logspace(1.5, -1, 40):
    policy = (seen_as / beta).softmax(dim=0)  # the reference likes all alike
    ratios = (policy * count).clamp(min=1e-30).log()
    divergence.append((policy @ ratios).item())
    believed.append((policy @ seen_as).item())
    really.append((policy @ truth).item())
peak = max(range(len(really)), key=really.__getitem__)
print(really[0], really[peak], really[-1])
assert believed == sorted(believed)
assert really[-1] < really[peak] - 0.2
assert really[peak:] == sorted(really[peak:], reverse=True)
stage.keep(peak_at=divergence[peak])

# %% goodhart folded
stage.show(
    Curves(
        divergence,
        [
            Series({"en": "by the reward model", "zh": "按奖励模型"}, believed),
            Series({"en": "in truth", "zh": "按真实的好坏"}, really),
        ],
        x={"en": "KL from the reference, nats", "zh": "与参照的 KL，奈特"},
        y={"en": "mean reward", "zh": "平均奖励"},
    ),
    {"en": "The reward that is measured, and the one meant", "zh": "测到的与想要的"},
)

# %% facts
said = []
for fact in learned:
    others = [fact.wrong(number).answer for number in range(4)]
    said += [choose(fact, fact.answer, other) for other in others]
path = write_json_lines(stage.folder / "truth.jsonl", said)
print("\n".join(path.read_text(encoding="utf-8").splitlines()[:2]))

# %% dpo
from cloche.alignment.dpo import align_dpo

common = {
    **ON_A_CPU,
    "data.split": (0.8, 0.2),
    "train.steps": 60,
    "train.batch": 16,
    "train.eval_every": 10,
    "train.save_every": 10,
    "train.keep": 10,
    "align.answers": 16,
    "align.answer_tokens": 12,
}
ways = {
    "careful": {"align.beta": 0.5, "train.learning_rate": 0.0003},
    "greedy": {"align.beta": 0.05, "train.learning_rate": 0.003},
}
for name, way in ways.items():
    out, options = stage.folder / name, {**common, **way}
    align_dpo(start, path, out=out, options=options, listeners=[])

# %% moves
from cloche.run import read_metrics

steps, moved, far = [], {}, {}
for name, way in ways.items():
    rows = [row for row in read_metrics(stage.folder / name) if "eval/loss" in row]
    steps, beta = [row["step"] for row in rows], way["align.beta"]
    chosen = [row["eval/reward_chosen"] / beta for row in rows]
    rejected = [row["eval/reward_rejected"] / beta for row in rows]
    moved[name], far[name] = (chosen, rejected), rows[-1]["eval/kl"]
    print(name, chosen[-1], rejected[-1], far[name])
    assert rejected[-1] < chosen[-1] < 0
careful, greedy = (moved[name][0][-1] - moved[name][1][-1] for name in ways)
assert greedy > careful
assert far["careful"] < far["greedy"]
stage.keep(chosen=moved["greedy"][0][-1], rejected=moved["greedy"][1][-1])

# %% falling folded
named = [
    ("careful", 0, {"en": "careful: chosen", "zh": "谨慎：选中的"}),
    ("careful", 1, {"en": "careful: rejected", "zh": "谨慎：落选的"}),
    ("greedy", 0, {"en": "greedy: chosen", "zh": "贪心：选中的"}),
    ("greedy", 1, {"en": "greedy: rejected", "zh": "贪心：落选的"}),
]
stage.show(
    Curves(
        steps,
        [Series(said, moved[name][which]) for name, which, said in named],
        x={"en": "steps", "zh": "步数"},
        y={"en": "log ratio, nats an answer", "zh": "对数比，奈特/答案"},
    ),
    {"en": "Both answers become less likely", "zh": "两种答案都变得更不可能"},
)

# %% truths
import cloche


def ask(lm):
    return [lm.chat(f.question, greedy=True, max_new_tokens=16) for f in held_out]


wanted = [fact.answer for fact in held_out]
at_first = sum(map(str.__eq__, ask(cloche.load(start)), wanted))
true, told = {name: [at_first] for name in ways}, []
for name, found in true.items():
    for at in steps[1:]:
        told = ask(cloche.load(stage.folder / name, checkpoint=str(at)))
        found.append(sum(map(str.__eq__, told, wanted)))
    print(name, found, told[:4])
assert true["greedy"][-1] < true["careful"][-1]
assert true["greedy"][-1] < at_first
stage.keep(asked=len(wanted), at_first=at_first)
stage.keep(careful=true["careful"][-1], greedy=true["greedy"][-1])

# %% table folded
stage.table(
    [
        "",
        {"en": "chosen minus rejected", "zh": "选中减落选"},
        {"en": "KL", "zh": "KL"},
        {"en": "true answers", "zh": "真话"},
    ],
    [
        [
            said,
            f"{moved[name][0][-1] - moved[name][1][-1]:.2f}",
            f"{far[name]:.2f}",
            str(true[name][-1]),
        ]
        for name, said in (
            ("careful", {"en": "careful", "zh": "谨慎"}),
            ("greedy", {"en": "greedy", "zh": "贪心"}),
        )
    ],
)
