# /// lesson
# part = "text"
# order = 10
# minutes = 7
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% characters
from cloche.text.characters import CharacterTokenizer

text = "the cat sat"
alphabet = sorted(set(text))
number_of = {character: number for number, character in enumerate(alphabet)}
ids = [number_of[character] for character in text]
print(alphabet, ids, sep="\n")
assert "".join(alphabet[number] for number in ids) == text
assert CharacterTokenizer(alphabet).encode(text) == ids
stage.keep(tokens=len(ids), distinct=len(alphabet))

# %% words
import re

from cloche.text.words import WordTokenizer

stories = stage.text("stories")[:300_000]
pieces = re.split(r"([,.:;?_!\"()']|--|\s)", stories)
words = {piece for piece in pieces if piece.strip()}
by_word = WordTokenizer(words)
sentence = "Sophie sat on a trampoline."
ids = by_word.encode(sentence)
print(len(words), ids, by_word.decode_with_special(ids), sep="\n")
stage.keep(words=len(words))

# %% bytes
for said in ("cat", "naïve", "猫"):
    print(said, list(said.encode("utf-8")))

# %% merges
from collections import Counter

counts = Counter(re.findall(r" ?\w+| ?[^\w\s]+|\s+", stories))
split = {word: [bytes([byte]) for byte in word.encode("utf-8")] for word in counts}
learned = []
for _ in range(12):
    pairs = Counter()
    for word, count in counts.items():
        for pair in zip(split[word], split[word][1:], strict=False):
            pairs[pair] += count
    (left, right), _ = pairs.most_common(1)[0]
    learned.append(left + right)
    for parts in split.values():
        for place in range(len(parts) - 2, -1, -1):
            if parts[place : place + 2] == [left, right]:
                parts[place : place + 2] = [left + right]
print(learned)
stage.keep(first=learned[0].decode(), second=learned[1].decode())

# %% cloche
from cloche.text.bpe import train_bpe

tokenizer = train_bpe([stories], vocab_size=1000, rule="gpt-2")
first = [tokenizer.token_bytes(256 + number) for number in range(12)]
assert first == learned

# %% word
from cloche.text.merges import merge_history

for word in merge_history(tokenizer, " happily"):
    for step in word.steps:
        print(step.rank, [piece.decode() for piece in step.pieces])

# %% sizes folded
from cloche.lessons.charts import Curves, Series
from cloche.text.kinds import Rule

chinese = stage.text("stories-zh")[:150_000]
sizes = [300, 400, 600, 800, 1200, 1600, 2400]


def train_sizes(text: str, rule: Rule):
    return [train_bpe([text], vocab_size=size, rule=rule) for size in sizes]


def rates(tokenizers, text):
    return [len(text) / len(each.encode(text)) for each in tokenizers]


of_english = train_sizes(stories[:-20_000], "gpt-2")
of_chinese = train_sizes(chinese[:-20_000], "deepseek-v3")
english_rates = rates(of_english, stories[-20_000:])
chinese_rates = rates(of_chinese, chinese[-20_000:])
stage.show(
    Curves(
        sizes,
        [
            Series({"en": "English", "zh": "英文"}, english_rates),
            Series({"en": "Chinese", "zh": "中文"}, chinese_rates),
        ],
        x={"en": "size of the vocabulary", "zh": "词表大小"},
        y={"en": "characters a token", "zh": "每个词元的字符数"},
        log_x=True,
    ),
    {
        "en": "A larger vocabulary makes texts shorter",
        "zh": "词表越大，文本变成的词元越少",
    },
)
stage.keep(english=english_rates[-1], chinese=chinese_rates[-1], largest=sizes[-1])

# %% chinese
asked = "小猫坐在门口。"
best = of_chinese[-1]
by_english, by_chinese = tokenizer.encode(asked), best.encode(asked)
print(len(asked), len(asked.encode("utf-8")), len(by_english), len(by_chinese))
print([best.token_text(number) for number in by_chinese])
assert tokenizer.decode(by_english) == asked  # no text is ever unknown to bytes
stage.keep(
    asked=len(asked),
    asked_english=len(by_english),
    asked_chinese=len(by_chinese),
)

# %% renamed
import torch

torch.manual_seed(1)
ids = torch.tensor(tokenizer.encode("Sophie felt happy."))
table = torch.randn(tokenizer.vocab_size, 8)  # a vector for each id
new_name = torch.randperm(tokenizer.vocab_size)
moved = torch.empty_like(table)
moved[new_name] = table
print(ids, new_name[ids], sep="\n")
assert torch.equal(moved[new_name[ids]], table[ids])

# %% lens folded
import cloche
from cloche.lens import see_tokens

part = stage.folder / "part.txt"
part.write_text(stories, encoding="utf-8")
options = {
    "model.family": "ngram",
    "model.order": 3,
    "text.tokenizer": "bpe",
    "text.vocab_size": 600,
    "train.seed": 1,
}
run = stage.train(str(part), out="counted", options=options)
stage.show(
    see_tokens(cloche.load(run.folder), "Sophie unhappily sat on a trampoline."),
    {"en": "Tokens and their ids", "zh": "词元与编号"},
)
