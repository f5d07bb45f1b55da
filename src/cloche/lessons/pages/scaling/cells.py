# /// lesson
# part = "attention"
# order = 45
# minutes = 7
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% products
import torch

torch.manual_seed(1)
widths = [1, 4, 16, 64, 256, 1024]
measured = []
for width in widths:
    queries, keys = torch.randn(2, 20_000, width)
    measured.append((queries * keys).sum(dim=1).var().item())
    print(width, f"{measured[-1]:.2f}")
assert all(abs(m / w - 1) < 0.1 for m, w in zip(measured, widths, strict=True))

# %% softmax
scores = torch.tensor([0.1, -0.2, 0.3, -0.2, 0.5])
for factor in (1, 8, 64):
    print(factor, (factor * scores).softmax(dim=0))

# %% published
found = [stage.replay(name) for name in ("softmax", "softmax of 8 times it")]
for each in found:
    print(torch.tensor(each.measured))

# %% saturating
raw, scaled, raw_moves, scaled_moves = [], [], [], []
for width in widths:
    queries, keys = torch.randn(500, 1, width), torch.randn(500, 32, width)
    scores = (queries * keys).sum(dim=2)  # 500 queries, 32 keys each
    root = width**-0.5
    for factor, largest, moves in (
        (1, raw, raw_moves),
        (root, scaled, scaled_moves),
    ):
        weights = (scores * factor).softmax(dim=1)
        largest.append(weights.max(dim=1).values.mean().item())
        # how far a weight moves when its own score does
        moves.append((weights * (1 - weights)).sum(dim=1).mean().item())
stage.keep(raw=raw[-1], scaled=scaled[-1])

# %% largest folded
from cloche.lessons.charts import Curves, Series

kinds = (
    {"en": "as they are", "zh": "不缩放"},
    {"en": "divided by √width", "zh": "除以 √宽度"},
)
stage.show(
    Curves(
        widths,
        [Series(kinds[0], raw), Series(kinds[1], scaled)],
        x={"en": "width of queries and keys", "zh": "查询和键的宽度"},
        y={"en": "largest of 32 weights", "zh": "32 个份额中最大的"},
        log_x=True,
    ),
    {"en": "Unscaled, one key takes all", "zh": "不缩放，一个键独占全部"},
)

# %% slopes folded
stage.show(
    Curves(
        widths,
        [Series(kinds[0], raw_moves), Series(kinds[1], scaled_moves)],
        x={"en": "width of queries and keys", "zh": "查询和键的宽度"},
        y={"en": "sum of w (1 - w)", "zh": "w (1 - w) 之和"},
        log_x=True,
    ),
    {"en": "What is left to learn by", "zh": "还剩多少可供学习"},
)
stage.keep(raw_move=raw_moves[-1], scaled_move=scaled_moves[-1])

# %% gradient
torch.manual_seed(2)
for factor in (1.0, 1024**-0.5):
    scores = (torch.randn(32, 1024) @ torch.randn(1024) * factor).requires_grad_()
    least = scores.softmax(dim=0)[scores.argmin()]
    (pull,) = torch.autograd.grad(least, scores)  # let the least one grow
    print(f"{factor:.4f} {pull.abs().max():.2e}")

# %% heads
width, heads = 512, 8
head = width // heads
queries, keys = torch.randn(2, heads, 200, head)  # 200 tokens, split into heads
scores = queries @ keys.transpose(1, 2)
choices = {"1": 1.0, "√512": width**0.5, "√64": head**0.5}
rows = []
for said, divisor in choices.items():
    weights = (scores / divisor).softmax(dim=2)
    entropy = -(weights * weights.clamp_min(1e-30).log()).sum(dim=2).mean()
    rows.append([said, (scores / divisor).var().item(), entropy.exp().item()])
assert abs(rows[2][1] - 1) < 0.1
assert abs(rows[1][1] - head / width) < 0.02

# %% divisors folded
stage.table(
    [
        {"en": "divided by", "zh": "除以"},
        {"en": "variance", "zh": "方差"},
        {"en": "keys that count, of 200", "zh": "有效的键数（共 200）"},
    ],
    [[said, f"{variance:.3f}", f"{count:.1f}"] for said, variance, count in rows],
)
stage.keep(
    width=width,
    heads=heads,
    head=head,
    flat=rows[1][1],
    flat_keys=rows[1][2],
    good_keys=rows[2][2],
)

# %% cloche
from torch.nn.functional import scaled_dot_product_attention

from cloche.model.attention import plain_attention

asked, offered, given = torch.randn(3, 1, heads, 10, head)
by_default = plain_attention(asked, offered, given, bias=None)
by_head = plain_attention(asked, offered, given, bias=None, scale=head**-0.5)
by_width = plain_attention(asked, offered, given, bias=None, scale=width**-0.5)
assert torch.equal(by_default, by_head)
assert not torch.allclose(by_default, by_width)
fused = scaled_dot_product_attention(asked, offered, given)
assert torch.allclose(fused, by_default, atol=1e-5)

# %% lecture
name = "masked self-attention, seed 1337, divided by the root of the head width"
found = stage.replay(name)
print(f"{found.measured['last row begins']:.4f}")
