# /// lesson
# part = "tuning"
# order = 120
# minutes = 6
# needs = ["model", "package:transformers"]
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% files
import cloche

lm = cloche.load(stage.model, precision="float32")
for path in sorted(lm.folder.iterdir()):
    if path.is_file():
        print(f"{path.name:24}{path.stat().st_size:>13,} bytes")

# %% shape
print(lm)
for name in ("vocab_size", "context", "width", "layers", "heads", "kv_heads"):
    print(f"{name:12}{getattr(lm.config, name):>8,}")
stage.keep(layers=lm.config.layers, vocabulary=f"{lm.config.vocab_size:,}")

# %% tensors
from safetensors import safe_open

first = sorted(lm.folder.glob("*.safetensors"))[0]
with safe_open(first, framework="pt") as file:
    names = sorted(file.keys())
    for name in names[:8]:
        print(f"{name:50}{file.get_slice(name).get_shape()}")
stage.keep(tensors=len(names))

# %% tokens
from transformers import AutoTokenizer

text = "The capital of France is"
ids = list(lm.tokenizer.encode(text))
reference_tokenizer = AutoTokenizer.from_pretrained(lm.folder)
print(ids)
assert ids == reference_tokenizer.encode(text, add_special_tokens=False)

# %% same
import torch
from transformers import AutoModelForCausalLM

reference = AutoModelForCausalLM.from_pretrained(lm.folder, dtype=torch.float32)
ours = lm.logits(ids)
with torch.no_grad():
    theirs = reference(torch.tensor([ids])).logits[0]
print(ours[-1, :5], theirs[-1, :5], sep="\n")
assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)
assert torch.equal(ours.argmax(dim=-1), theirs.argmax(dim=-1))
stage.keep(numbers=f"{ours.numel():,}", largest=f"{(ours - theirs).abs().max():.0e}")

# %% next
from cloche.lens import see_next_token

stage.show(
    see_next_token(lm, text),
    {"en": "What the model expects next", "zh": "模型预期的下一个词元"},
)

# %% parameters
from cloche.lens import see_parameters

view = see_parameters(lm)
by_hand = sum(parameter.numel() for parameter in lm.model.parameters())
print(f"{by_hand:,}")
assert by_hand == view.parameters
stage.keep(parameters=f"{by_hand:,}", megabytes=4 * by_hand / 1e6)

# %% tree folded
stage.show(view, {"en": "Where its parameters are", "zh": "参数都在哪里"})
stage.keep(
    embedding=view.by_part["embedding"] / view.parameters,
    mlp=view.by_part["MLP"] / view.parameters,
)

# %% knows
import math

from cloche.lens import see_tokens

sentence = (
    "My neighbour lost her keys in the snow last night, so she knocked on our door "
    "and asked whether she could wait inside until the locksmith came."
)
seen = see_tokens(lm, sentence)
stage.keep(loss=seen.mean_surprisal, clueless=math.log(lm.config.vocab_size))
print(seen.mean_surprisal, math.log(lm.config.vocab_size))

# %% coloured folded
stage.show(seen, {"en": "What each token cost", "zh": "每个词元的代价"})

# %% write
print(text + lm.generate(text, greedy=True, max_new_tokens=16))
