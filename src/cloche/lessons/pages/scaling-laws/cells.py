# /// lesson
# part = "world"
# order = 160
# minutes = 8
# needs = ["verdict"]
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% six
import torch
from torch.utils.flop_counter import FlopCounterMode

layer = torch.nn.Linear(64, 32, bias=False)
vectors = torch.randn(10, 64, requires_grad=True)  # ten tokens
counter = FlopCounterMode(display=False)
with counter:
    layer(vectors).sum().backward()
per_weight = counter.get_total_flops() / (layer.weight.numel() * len(vectors))
print(per_weight)
assert per_weight == 6

# %% llama
from cloche.planning.scaling import training_flops

parameters, tokens = 6_738_415_616, 2e12  # of Llama 2 7B
by_hand = 6 * parameters * tokens
print(f"{by_hand:.3e}")
assert by_hand == training_flops(parameters, tokens)
stage.keep(billions=parameters / 1e9, trillions=tokens / 1e12)
stage.keep(operations=f"{by_hand:.2e}")

# %% hours
from cloche.planning.machines import find_machine

peak = find_machine("A100").peak("bfloat16")  # operations a second, at best
found = stage.replay("Llama 2 7B")
hours = found.published.inputs["A100 hours"]
share = by_hand / (hours * 3600 * peak)
print(f"{by_hand / peak / 3600:,.0f} {hours:,} {share:.3f}")
stage.keep(
    peak=peak / 1e12,
    ideal=f"{by_hand / peak / 3600:,.0f}",
    hours=f"{hours:,}",
    share=100 * share,
)

# %% price
from cloche.planning.scaling import training_cost

price, devices = 30.0, 8  # dollars an hour for a machine of eight
dollars = hours / devices * price
print(f"{dollars:,.0f}")
assert dollars == training_cost(hours, devices=devices, dollars_per_hour=price)
stage.keep(price=price, devices=devices, dollars=f"{dollars:,.0f}")

# %% sizes
from cloche.planning.scaling import chinchilla_tokens

rows, times = [], []
for size in (124e6, 1e9, 7e9, 70e9):
    shown = chinchilla_tokens(size)  # 20 a parameter, see below
    times.append(training_flops(size, shown) / (peak * share) / 3600)
    cost = training_cost(times[-1], devices=devices, dollars_per_hour=price)
    numbers = (size / 1e9, shown / 1e9, round(times[-1]), round(cost))
    rows.append([f"{number:,.12g}" for number in numbers])
assert round(times[3] / times[2]) == 100  # ten times the size

# %% costs folded
stage.table(
    [
        {"en": "billion parameters", "zh": "参数（十亿）"},
        {"en": "billion tokens", "zh": "词元（十亿）"},
        {"en": "A100 hours", "zh": "A100 小时"},
        {"en": "dollars", "zh": "美元"},
    ],
    rows,
)

# %% share-out
from cloche.planning.laws import CHINCHILLA

budget = 5.76e23  # operations: what Chinchilla itself was given
sizes = torch.logspace(9.5, 12, 251, dtype=torch.float64)
losses = []
for size in sizes.tolist():
    losses.append(CHINCHILLA.loss(size, budget / (6 * size)))
lowest = sizes[torch.tensor(losses).argmin()].item()
best = CHINCHILLA.best_use(budget)
print(f"{lowest:.2e} {best.parameters:.2e} {best.tokens:.2e}")
assert abs(lowest / best.parameters - 1) < 0.03

# %% valleys folded
from cloche.lessons.charts import Curves, Series

widest = torch.logspace(8, 12, 200, dtype=torch.float64)
stage.show(
    Curves(
        widest,
        [
            Series(
                {"en": f"{flops:.0e} operations", "zh": f"{flops:.0e} 次运算"},
                [CHINCHILLA.loss(size, flops / (6 * size)) for size in widest.tolist()],
            )
            for flops in (1e21, 1e22, 1e23, 1e24)
        ],
        x={"en": "parameters", "zh": "参数"},
        y={"en": "loss by the law (nats)", "zh": "定律给出的损失（奈特）"},
        log_x=True,
    ),
    {"en": "Each budget has one best size", "zh": "每份预算只有一个最佳规模"},
)

# %% ratio
rule = stage.replay("Chinchilla").measured["tokens a parameter"]
for flops in (1e20, 1e22, 1e24):
    print(f"{flops:.0e} {CHINCHILLA.best_use(flops).tokens_per_parameter:.1f}")
print(best.tokens_per_parameter, tokens / parameters)
stage.keep(
    rule=rule,
    fitted=best.tokens_per_parameter,
    llama_ratio=tokens / parameters,
)

# %% claim
import re

from cloche.planning.scaling import copies_of_text

story = stage.text("verdict")
pieces = re.findall(r"\w+|[^\w\s]", story)  # words and signs
per_piece = len(story) / len(pieces)  # characters, blanks included
novel = 400_000  # characters
novel_pieces = novel / per_piece
copies = tokens / novel_pieces
print(f"{per_piece:.2f} {novel_pieces:,.0f} {copies:,.0f}")
assert copies == copies_of_text(tokens, text_tokens=novel_pieces)
stage.keep(
    novel=f"{novel:,}",
    per_piece=per_piece,
    novel_pieces=f"{novel_pieces:,.0f}",
    millions=copies / 1e6,
)

# %% absurd
claimed = 300e9  # novels
print(f"{claimed * novel:.1e}")  # characters in all of them
print(f"{claimed * novel / tokens:,.0f}")  # and in each token
stage.keep(
    claimed=claimed / 1e9,
    too_many=f"{round(claimed / copies, -3):,.0f}",
    impossible=f"{claimed * novel / tokens:,.0f}",
)
