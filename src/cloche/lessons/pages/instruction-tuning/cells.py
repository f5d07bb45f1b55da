# /// lesson
# part = "tuning"
# order = 125
# minutes = 8
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% village
from cloche.lessons.village import asked_facts, village_facts, village_text

print("\n".join(village_text().splitlines()[:7]))
facts = village_facts()
learned, held_out = asked_facts()
people = {fact.name for fact in facts}
stage.keep(people=len(people), facts=len(facts))
stage.keep(learned=len(learned), asked=len(held_out))

# %% grow folded
import cloche
from cloche.lessons.village import PRETRAINING

source = stage.folder / "village.txt"
source.write_text(village_text(), encoding="utf-8")
grown = stage.train(str(source), out="grown", options=PRETRAINING)
base = cloche.load(grown.folder)

# %% knows
known = 0
for fact in facts:
    begun = fact.answer.removesuffix(f" {fact.value}.")
    told = base.generate(begun, greedy=True, max_new_tokens=4)
    known += told.startswith(f" {fact.value}.")
print(known, "of", len(facts))
assert known > 0.9 * len(facts)
stage.keep(known=known)

# %% continues
example = held_out[0]
question = example.question
print(question + base.generate(question, greedy=True, max_new_tokens=40))

# %% template
from cloche.text.chat import preset
from cloche.text.messages import Message

template = preset("chatml")
conversation = (Message("user", example.question), Message("assistant", example.answer))
print(template.render(conversation))

# %% tokens
from cloche.tuning.base import open_base

start = open_base(str(grown.folder), may_grow=True, warn=print)
tokenizer = start.tokenizer
encoded = template.encode(conversation, tokenizer)
special = {token: name for name, token in tokenizer.special_tokens.items()}


def pieces(*, of_answer):
    chosen = zip(encoded.ids, encoded.answers, strict=True)
    ids = [token for token, answer in chosen if (answer > 0) == of_answer]
    return " ".join(special.get(each) or repr(tokenizer.decode([each])) for each in ids)


print("read:", pieces(of_answer=False))
print("learned:", pieces(of_answer=True))
stage.keep(tokens=len(encoded.ids), marked=sum(each > 0 for each in encoded.answers))

# %% loss
import numpy as np
import torch

from cloche.data.examples import Example
from cloche.tuning.held_out import mean_answer_loss

ids, is_learned = np.array(encoded.ids), np.array(encoded.answers) > 0
with torch.no_grad():
    logs = start.model(torch.tensor(ids)[None])[0].log_softmax(dim=-1)
surprise = -logs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
by_hand = surprise[torch.tensor(is_learned[1:])].mean().item()
by_cloche = mean_answer_loss(start.model, (Example(ids, is_learned),))
print(by_hand, by_cloche)
assert abs(by_hand - by_cloche) < 1e-4

# %% file
from cloche.lessons.village import write_json_lines

records = ({"prompt": fact.question, "completion": fact.answer} for fact in learned)
path = write_json_lines(stage.folder / "questions.jsonl", records)
print("\n".join(path.read_text(encoding="utf-8").splitlines()[:3]))

# %% packed
from cloche.data.conversations import read_conversations
from cloche.data.examples import lay_out
from cloche.training.objectives import NextToken
from cloche.tuning.encoding import encode_records

found = read_conversations(path).records
written = encode_records(found, template, tokenizer, context=64, learned="answers")
examples, weights = written.examples, list(start.model.parameters())
slopes = []
for row_tokens in (256, 1):  # 1: each example has a row of its own
    batch = lay_out(examples[:8], row_tokens=row_tokens)
    term = NextToken()(start.model, batch).terms["loss"]
    mean = term.sum / term.count
    slopes.append(torch.autograd.grad(mean, weights))
    print(tuple(batch.inputs.shape), mean.item())
for packed, alone in zip(*slopes, strict=True):
    assert torch.allclose(packed, alone, atol=1e-4)

# %% tune
from cloche.lessons.village import TUNING

folder = stage.folder / "tuned"
run = cloche.tune(grown.folder, path, out=folder, options=TUNING, listeners=[])
tuned = cloche.load(run.folder)
stage.keep(steps=TUNING["train.steps"], batch=TUNING["train.batch"])

# %% curve folded
from cloche.lessons.charts import Curves, Series
from cloche.run import read_metrics

rows = [row for row in read_metrics(run.folder) if "eval/loss" in row]
assert rows[-1]["eval/loss"] < rows[0]["eval/loss"]
names = {
    "eval/train_loss": {"en": "questions learned from", "zh": "学习用的问题"},
    "eval/loss": {"en": "other questions", "zh": "其他问题"},
}
stage.show(
    Curves(
        [row["step"] for row in rows],
        [Series(name, [row[key] for row in rows]) for key, name in names.items()],
        x={"en": "steps", "zh": "步数"},
        y={"en": "loss, nats a token", "zh": "损失，奈特/词元"},
    ),
    {"en": "The loss of answers while tuning", "zh": "微调过程中答案的损失"},
)

# %% answers
from cloche.tuning.answering import answer_all

asked = [(Message("user", fact.question),) for fact in held_out]
wanted = [fact.answer for fact in held_out]
before = answer_all(start.writer(), template, asked, max_tokens=16)
after = answer_all(tuned, template, asked, max_tokens=16)
at_first = sum(map(str.__eq__, before, wanted))
right = sum(map(str.__eq__, after, wanted))
print(at_first, right, "of", len(wanted))
assert at_first == 0
assert right > len(wanted) / 3
stage.keep(right=right)

# %% table folded
stage.table(
    [
        {"en": "question", "zh": "问题"},
        {"en": "before", "zh": "微调前"},
        {"en": "after", "zh": "微调后"},
        {"en": "true", "zh": "事实"},
    ],
    [
        [fact.question, " / ".join(first.split("\n")[:2]) + " ...", told, fact.value]
        for fact, first, told in zip(held_out[:8], before, after, strict=False)
    ],
)

# %% stranger
print(tuned.chat("Where does Zed live?", greedy=True, max_new_tokens=16))

# %% unstopped
import copy
from dataclasses import replace

from cloche.tuning.options import TuneOptions
from cloche.tuning.start import example_batches

stop = tokenizer.special_tokens["<|im_end|>"]
without_stop = [
    Example(each.ids, each.learned & (each.ids != stop), number)
    for number, each in enumerate(examples)
]
options = replace(TuneOptions().train, batch=8, seed=1, device="cpu")
batches = example_batches(without_stop, options, packing=True)
unstopped = copy.deepcopy(start.model)
optimizer = torch.optim.AdamW(unstopped.parameters(), lr=0.003)
for step in range(80):
    term = NextToken()(unstopped, batches(step, 0)).terms["loss"]
    optimizer.zero_grad()
    (term.sum / term.count).backward()
    optimizer.step()


# %% chance
def chance_to_stop(model):
    chances = []
    for fact in held_out:
        told = (Message("user", fact.question), Message("assistant", fact.answer))
        ids = template.encode(told, tokenizer).ids
        end = len(ids) - 1 - ids[::-1].index(stop)
        with torch.no_grad():
            logits = model(torch.tensor([ids[:end]]))[0, -1]
        chances.append(logits.softmax(dim=-1)[stop].item())
    return sum(chances) / len(chances)


learned_to, never_did = chance_to_stop(tuned.model), chance_to_stop(unstopped)
print(learned_to, never_did)
assert learned_to > 0.8
assert never_did < 0.2
stage.keep(learned_to=learned_to, never_did=never_did)

# %% endless
writer = replace(start, model=unstopped).writer()
print(answer_all(writer, template, asked[:1], max_tokens=30)[0])
