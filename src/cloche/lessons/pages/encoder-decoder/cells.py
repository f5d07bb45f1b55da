# /// lesson
# part = "writing"
# order = 110
# minutes = 7
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% cross
import torch
from torch.nn.functional import scaled_dot_product_attention

torch.manual_seed(1)
source, target, width = torch.randn(6, 16), torch.randn(4, 16), 16
ask, offer, give = (torch.nn.Linear(width, width, bias=False) for _ in range(3))
with torch.no_grad():
    queries = ask(target)  # what each token being written looks for ...
    keys, values = offer(source), give(source)  # ... in what has been read
weights = (queries @ keys.T / width**0.5).softmax(dim=1)  # no mask: all was read
print(weights.shape, weights.sum(dim=1))
assert torch.allclose(
    weights @ values, scaled_dot_product_attention(queries, keys, values), atol=1e-5
)

# %% pairs
import random

chance = random.Random(1)
alphabet = "abcdefghijklmnopqrstuvwxyz"
words = ["".join(chance.choices(alphabet, k=chance.randint(3, 6))) for _ in range(6000)]
pairs = [(word, word[::-1]) for word in words]
file = stage.folder / "pairs.tsv"
file.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
print(pairs[:3])
stage.keep(pairs=f"{len(pairs):,}")

# %% train
import cloche

options = {
    "text.tokenizer": "characters",
    "model.family": "seq2seq",
    "model.layers": 1,
    "model.encoder_layers": 1,
    "model.heads": 2,
    "model.width": 48,
    "model.dropout": 0.0,
    "train.steps": 500,
    "train.batch": 32,
    "train.learning_rate": 0.02,
    "train.eval_every": 500,
    "train.sample_tokens": 0,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "train.precision": "float32",
}
run = stage.train(str(file), out="reverse", options=options)
translator = cloche.load_translator(run.folder)
print(translator.config.layers, translator.config.encoder_layers)
stage.keep(steps=options["train.steps"])

# %% new
unseen = ["tulip", "garden", "spade", "rain", "moss"]
assert not set(unseen) & set(words)
for word in unseen:
    print(word, translator.translate(word))
right = sum(translator.translate(word) == word[::-1] for word in unseen)
stage.keep(right=right, asked=len(unseen))

# %% step
read = (*translator.tokenizer.encode("garden"), translator.eos)
wrote = [translator.bos]
while len(wrote) == 1 or wrote[-1] != translator.eos:
    with torch.no_grad():
        sources = torch.tensor([read])
        logits = translator.model(torch.tensor([wrote]), sources=sources)
    wrote.append(int(logits[0, -1].argmax()))
print(translator.tokenizer.decode(wrote[1:-1]))
assert translator.tokenizer.decode(wrote[1:-1]) == translator.translate("garden")

# %% lens
from cloche.lens import see_translation_attention

view = see_translation_attention(translator, "garden", layer=0, head=0, kind="cross")
stage.show(
    view,
    {"en": "Where head 0 looks as it writes", "zh": "第 0 个头写的时候看哪里"},
)
