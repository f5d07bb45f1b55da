# /// lesson
# part = "model"
# order = 60
# minutes = 8
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% deep
import torch

torch.manual_seed(1)
depth, width = 40, 64
layers = [torch.nn.Linear(width, width) for _ in range(depth)]
vectors = torch.randn(8, width)


def gradients(way):
    """How strongly the loss pulls at each layer."""
    hidden = vectors
    for layer in layers:
        hidden = way(hidden, layer)
    loss = hidden.square().mean().sqrt()
    found = torch.autograd.grad(loss, [layer.weight for layer in layers])
    return [each.norm().item() for each in found]


# %% residual
without = gradients(lambda hidden, layer: layer(hidden).tanh())
added = gradients(lambda hidden, layer: hidden + layer(hidden).tanh())
print(f"{without[0]:.2e} {without[-1]:.2e}")
print(f"{added[0]:.2e} {added[-1]:.2e}")
assert without[0] < 1e-6 * without[-1]
assert added[0] > 0.01 * added[-1]
stage.keep(depth=depth, times=f"{without[-1] / without[0]:.0e}")

# %% pulls folded
from cloche.lessons.charts import Curves, Series

stage.show(
    Curves(
        range(depth),
        [
            Series({"en": "replaced", "zh": "直接替换"}, without),
            Series({"en": "added (residual)", "zh": "相加（残差）"}, added),
        ],
        x={"en": "layer", "zh": "层"},
        y={"en": "gradient norm", "zh": "梯度范数"},
        log_y=True,
    ),
    {"en": "What reaches each layer", "zh": "各层得到的梯度"},
)

# %% layernorm
row = torch.tensor([2.0, 4.0, 4.0, 10.0])
mean = row.mean()
biased = ((row - mean) ** 2).sum() / len(row)
unbiased = ((row - mean) ** 2).sum() / (len(row) - 1)
print(mean, biased, unbiased, row.var())
assert unbiased == row.var()
stage.keep(biased=biased, unbiased=unbiased)

# %% which
from torch.nn.functional import layer_norm

by_torch = layer_norm(row, (4,))
by_biased, by_unbiased = ((row - mean) / (v + 1e-5).sqrt() for v in (biased, unbiased))
print(by_torch, by_biased, by_unbiased, sep="\n")
assert torch.allclose(by_torch, by_biased, atol=1e-6)
assert not torch.allclose(by_torch, by_unbiased, atol=0.01)

# %% ratio
for count in (4, 64, 768):
    print(count, f"{(count / (count - 1)) ** 0.5:.5f}")
stage.keep(wide=100 * ((768 / 767) ** 0.5 - 1))

# %% batch
from cloche.model.norms import BatchNorm

torch.manual_seed(1)
tokens = torch.randn(6, 4) * 3 + 2  # six tokens, four numbers each
by_layer = layer_norm(tokens, (4,))
batch_norm = BatchNorm(4)
by_batch = batch_norm(tokens).detach()
print(by_layer.mean(dim=1).abs(), by_layer.mean(dim=0), sep="\n")  # rows, columns
print(by_batch.mean(dim=1), by_batch.mean(dim=0).abs(), sep="\n")
same = torch.nn.BatchNorm1d(4)
assert torch.allclose(by_batch, same(tokens).detach(), atol=1e-5)
running = same.state_dict()["running_var"]
assert torch.allclose(batch_norm.running_var, running, atol=1e-6)

# %% kept
kept = (running - 0.9) / 0.1  # it moved from 1 by a tenth
print(kept, tokens.var(dim=0), tokens.var(dim=0, unbiased=False), sep="\n")
assert torch.allclose(kept, tokens.var(dim=0), atol=1e-3)

# %% leak
later = tokens.clone()
later[-1] += 5.0  # only the last token is another
of_layer = (layer_norm(later, (4,)) - by_layer)[0].abs().max()
of_batch = (BatchNorm(4)(later).detach() - by_batch)[0].abs().max()
print(of_layer, of_batch)
assert of_layer == 0
assert of_batch > 0.1
stage.keep(leak=of_batch)

# %% rms
from cloche.model.norms import RMSNorm

root_mean_square = (tokens**2).mean(dim=1, keepdim=True).sqrt()
by_hand = tokens / root_mean_square
assert torch.allclose(RMSNorm(4, eps=1e-6)(tokens), by_hand, atol=1e-5)
print(by_hand.square().mean(dim=1))

# %% without-mean
centred = tokens - tokens.mean(dim=1, keepdim=True)
assert torch.allclose(RMSNorm(4, eps=1e-5)(centred), by_layer, atol=1e-5)

# %% train folded
import cloche

options = {
    "text.tokenizer": "characters",
    "train.steps": 150,
    "train.batch": 16,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "train.precision": "float32",
    "model.layers": 4,
    "model.heads": 2,
    "model.width": 64,
    "model.context": 64,
}
part = stage.folder / "part.txt"
part.write_text(stage.text("stories")[:100_000], encoding="utf-8")
run = stage.train(str(part), out="small", options=options)
stage.keep(steps=options["train.steps"])

# %% lens
from cloche.lens import see_residual

stage.show(
    see_residual(cloche.load(run.folder), "Sophie sat", top=3),
    {"en": "The stream grows from block to block", "zh": "残差流逐块增长"},
)
