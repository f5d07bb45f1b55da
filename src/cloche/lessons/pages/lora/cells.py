# /// lesson
# part = "tuning"
# order = 130
# minutes = 7
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% layer
import torch

from cloche.model.lora_config import LoraConfig
from cloche.model.lora_layer import DenseLoraLinear

torch.manual_seed(1)
config = LoraConfig(rank=4, alpha=8.0)
layer = torch.nn.Linear(48, 48, bias=False)
adapted = DenseLoraLinear(layer, config)
adapted.draw(seed=1, name="layer")
vectors = torch.randn(5, 48)
for name, weights in adapted.named_parameters():
    print(f"{name:8}{tuple(weights.shape)!s:10}{weights.abs().max().item():.4f}")
assert torch.equal(adapted(vectors), layer(vectors))

# %% formula
a, b, scale = adapted.lora_A, adapted.lora_B, config.alpha / config.rank
with torch.no_grad():
    b.normal_()  # as if it had learned something
    by_hand = vectors @ (layer.weight + scale * b @ a).T
    beside = adapted(vectors)
    merged = adapted.merged()(vectors)
print(beside[0, :3], merged[0, :3], sep="\n")
assert torch.allclose(by_hand, beside, atol=1e-4)
assert torch.allclose(by_hand, merged, atol=1e-4)
stage.keep(rank=config.rank)

# %% sizes
rank, rows = 16, []
for width in (48, 576, 4096):
    thin, whole = rank * (width + width), width * width
    rows.append([f"{width:,}", f"{whole:,}", f"{thin:,}", f"{thin / whole:.1%}"])
stage.keep(shown=rank)

# %% share folded
stage.table(
    [
        {"en": "width", "zh": "宽度"},
        {"en": "W", "zh": "W"},
        {"en": "A and B", "zh": "A 和 B"},
        {"en": "share", "zh": "占比"},
    ],
    rows,
)

# %% answering
import cloche
from cloche.lessons.village import asked_facts, teach_answers

learned, held_out = asked_facts()
answering = teach_answers(stage)
start = answering.folder
base = cloche.load(start)
print(base.chat(held_out[0].question, greedy=True))

# %% layers
import copy

from cloche.model.lora import add_lora

model = copy.deepcopy(base.model)
wrapped = add_lora(model, config, seed=1)
print("\n".join(wrapped[:7]), f"... {len(wrapped)} layers", sep="\n")
ids = list(base.tokenizer.encode("Ada lives in"))
with torch.no_grad():
    assert torch.equal(model(torch.tensor([ids]))[0], base.logits(ids))
trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
total = sum(each.numel() for each in base.model.parameters())
print(f"{trained:,} of {total:,}")
stage.keep(trained=f"{trained:,}", total=f"{total:,}", share=trained / total)

# %% task
from cloche.lessons.village import TUNING, write_json_lines


def write_task(name, reword):
    records = ({"prompt": f.question, "completion": reword(f.answer)} for f in learned)
    return write_json_lines(stage.folder / f"{name}.jsonl", records)


def bare(answer):
    return answer.removesuffix(".")


task = write_task("bare", bare)
print(task.read_text(encoding="utf-8").splitlines()[0])

# %% tune
pace = {"train.steps": 100, "train.eval_every": 100, "train.save_every": 100}
adapters = {"method.method": "lora", "train.learning_rate": 0.01}
ways = {
    "full": {"train.learning_rate": 0.002},
    "rank 4": {**adapters, "lora.rank": 4},
    "rank 1": {**adapters, "lora.rank": 1},
}
runs = {}
for name, way in ways.items():
    out, options = stage.folder / name, {**TUNING, **pace, **way}
    runs[name] = cloche.tune(start, task, out=out, options=options, listeners=[])


# %% compare
def count_right(lm, reword):
    told = [lm.chat(f.question, greedy=True, max_new_tokens=16) for f in held_out]
    wanted = [reword(f.answer) for f in held_out]
    return sum(map(str.__eq__, told, wanted))


tuned = {name: cloche.load(run.folder) for name, run in runs.items()}
right = {name: count_right(lm, bare) for name, lm in tuned.items()}
with_stop, without = count_right(base, str), count_right(base, bare)
print(with_stop, without, right)
assert without == 0
assert min(right.values()) > with_stop / 3
stage.keep(asked=len(held_out), with_stop=with_stop, without=without)
stage.keep(full=right["full"], four=right["rank 4"], one=right["rank 1"])

# %% table folded
from cloche.weights.adapters import load_adapter

learn = {"full": total}
for name in ("rank 4", "rank 1"):
    tensors = load_adapter(runs[name].folder / "best").tensors
    learn[name] = sum(each.numel() for each in tensors.values())
files = {}
for name, run in runs.items():
    found = (run.folder / "best").glob("*.safetensors")
    files[name] = sum(each.stat().st_size for each in found)
said = {
    "full": {"en": "all weights", "zh": "全部权重"},
    "rank 4": {"en": "LoRA, rank 4", "zh": "LoRA，秩 4"},
    "rank 1": {"en": "LoRA, rank 1", "zh": "LoRA，秩 1"},
}
stage.table(
    [
        {"en": "learned", "zh": "学习的是"},
        {"en": "weights", "zh": "权重数"},
        {"en": "loss", "zh": "损失"},
        {"en": "right", "zh": "答对"},
        {"en": "file, kB", "zh": "文件，kB"},
    ],
    [
        [
            said[name],
            f"{learn[name]:,}",
            f"{run.best_loss:.3f}",
            str(right[name]),
            f"{files[name] / 1000:.0f}",
        ]
        for name, run in runs.items()
    ],
)
stage.keep(times=files["full"] / files["rank 4"])

# %% merged
from cloche.model.lora import insert_lora, merge_lora, unmerge_lora

adapter = load_adapter(runs["rank 4"].folder / "best")
model = copy.deepcopy(base.model)
insert_lora(model, adapter.weights)
before = {name: each.clone() for name, each in model.state_dict().items()}
with torch.no_grad():
    beside = model(torch.tensor([ids]))
    taken = merge_lora(model)
    merged = model(torch.tensor([ids]))
    unmerge_lora(model, taken)
print((merged - beside).abs().max())
assert (merged - beside).abs().max() < 1e-4
for name, each in model.state_dict().items():
    assert torch.equal(each, before[name])


# %% difference
def difference(lm, name):
    after, first = lm.model.get_submodule(name), base.model.get_submodule(name)
    return after.weight - first.weight


def shares(matrix):  # of all squares, how much the first singular values hold
    squares = torch.linalg.svdvals(matrix.detach()).square()
    return squares.cumsum(dim=0) / squares.sum()


name = "layers.1.self_attn.o_proj"
by_full = shares(difference(tuned["full"], name))
by_lora = shares(difference(tuned["rank 4"], name))
noise = shares(torch.randn(48, 48))
print(by_full[:4], by_lora[:4], noise[:4], sep="\n")
assert by_lora[3] > 0.9999
assert by_full[3] > noise[3]
stage.keep(held=by_full[3], noise=noise[3], rank_of=adapter.config.rank)

# %% spectrum folded
from cloche.lessons.charts import Curves, Series

stage.show(
    Curves(
        range(1, 49),
        [
            Series({"en": "all weights tuned", "zh": "全部权重微调"}, by_full),
            Series({"en": "LoRA, rank 4", "zh": "LoRA，秩 4"}, by_lora),
            Series({"en": "random numbers", "zh": "随机数"}, noise),
        ],
        x={"en": "singular values, largest first", "zh": "奇异值，从大到小"},
        y={"en": "share of the change", "zh": "占全部改变的比例"},
    ),
    {"en": "How many directions a change has", "zh": "一次改变有多少个方向"},
)


# %% second
def loud(answer):
    return answer.replace(".", "!")


options, out = {**TUNING, **pace, **ways["rank 4"]}, stage.folder / "loud"
task = write_task("loud", loud)
shouting = cloche.tune(start, task, out=out, options=options, listeners=[])

# %% switch
adapters = {"bare": runs["rank 4"].folder, "loud": shouting.folder}
lm = cloche.load(start, adapters=adapters)
question = held_out[0].question
for name in ("bare", "loud", None):
    lm = lm.with_adapter(name)
    print(f"{name}: {lm.chat(question, greedy=True)}")
for name, weights in base.model.state_dict().items():
    assert torch.equal(weights, lm.model.state_dict()[name])
