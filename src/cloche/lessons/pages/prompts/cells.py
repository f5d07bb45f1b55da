# /// lesson
# part = "tuning"
# order = 140
# minutes = 7
# needs = ["model"]
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% question
import cloche

lm = cloche.load(stage.model, precision="float32")
pairs = [
    ("Japan", "Tokyo"),
    ("Greece", "Athens"),
    ("Portugal", "Lisbon"),
    ("Peru", "Lima"),
    ("Norway", "Oslo"),
    ("Iraq", "Baghdad"),
    ("Poland", "Warsaw"),
    ("Italy", "Rome"),
    ("Egypt", "Cairo"),
    ("Spain", "Madrid"),
    ("Russia", "Moscow"),
    ("Germany", "Berlin"),
]
examples, asked = pairs[:7], pairs[7:]


def prompt(word, shown):
    lines = [f"Input: {one}\nOutput: {other}\n" for one, other in shown]
    return "\n".join([*lines, f"Input: {word}\nOutput:"])


print(prompt("Italy", examples[:2]))

# %% bare
from cloche.lens import see_next_token

stage.show(
    see_next_token(lm, prompt("Italy", []), top=8),
    {"en": "After the bare question", "zh": "只有问题时"},
)

# %% shown
stage.show(
    see_next_token(lm, prompt("Italy", examples[:4]), top=8),
    {"en": "After four examples", "zh": "给出四个例子之后"},
)


# %% score
def log_probability(text, answer):
    begun = list(lm.prompt_ids(text))
    ids = list(lm.tokenizer.encode(answer))
    logs = lm.logits(begun + ids).log_softmax(dim=-1)
    places = range(len(begun) - 1, len(begun) + len(ids) - 1)
    scored = zip(places, ids, strict=True)
    return sum(logs[place, token].item() for place, token in scored)


question = prompt("Italy", examples[:2])
by_hand = log_probability(question, " Rome")
print(by_hand)

# %% same
from cloche.evaluation.continuations import score_continuations

pair = lm.prompt_ids(question), lm.tokenizer.encode(" Rome")
found = score_continuations(lm, [pair], rows=1, progress=lambda _: None)
print(found)
assert abs(found[0][0] - by_hand) < 1e-3

# %% count
import torch

COUNTS = [0, 1, 2, 4, 7]


def mean_probability(shown, answers):
    asks = [prompt(word, shown) for word, _ in asked]
    wanted = [
        (lm.prompt_ids(text), lm.tokenizer.encode(" " + answer))
        for text, answer in zip(asks, answers, strict=True)
    ]
    scored = score_continuations(lm, wanted, rows=5, progress=lambda _: None)
    return torch.tensor([score for score, _ in scored]).exp().mean().item()


right = [other for _, other in asked]
by_count = [mean_probability(examples[:count], right) for count in COUNTS]
print(torch.tensor(by_count))
stage.keep(asked=len(asked), examples=COUNTS[-1])
stage.keep(none=by_count[0], one=by_count[1], most=by_count[-1])

# %% rule
copied = [(one, one) for one, _ in examples]
same = [one for one, _ in asked]
copies = [mean_probability(copied[:count], same) for count in COUNTS]
capitals = [mean_probability(copied[:count], right) for count in COUNTS]
print(torch.tensor(copies), torch.tensor(capitals), sep="\n")
stage.keep(copied=copies[-1], kept=capitals[-1])

# %% mixed
others = [other for _, other in examples]
turned = list(zip([one for one, _ in examples], others[3:] + others[:3], strict=True))
mixed = [mean_probability(turned[:count], right) for count in COUNTS]
print(turned[:2])
print(torch.tensor(mixed))
stage.keep(mixed=mixed[-1])

# %% curves folded
from cloche.lessons.charts import Curves, Series

stage.show(
    Curves(
        COUNTS,
        [
            Series({"en": "capitals: the capital", "zh": "例子是首都：答首都"}, by_count),
            Series({"en": "copies: the copy", "zh": "例子是照抄：照抄"}, copies),
            Series({"en": "copies: the capital", "zh": "例子是照抄：答首都"}, capitals),
            Series({"en": "mixed up: the capital", "zh": "例子张冠李戴：答首都"}, mixed),
        ],
        x={"en": "examples in the prompt", "zh": "提示里的例子数"},
        y={"en": "mean probability of the answer", "zh": "答案的平均概率"},
    ),
    {"en": "What the examples change", "zh": "例子改变了什么"},
)

# %% order
import itertools

orders = list(itertools.permutations(examples[:3]))
by_order = [mean_probability(list(order), right) for order in orders]
print(torch.tensor(by_order))
stage.keep(orders=len(orders), worst=min(by_order), best=max(by_order))
