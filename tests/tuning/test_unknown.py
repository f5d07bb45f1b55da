"""What the tokenizer does not know of the data: told, or refused where there is nothing else."""

import json

import numpy as np
import pytest

import cloche
from cloche.alignment.policy_training import SAMPLE_CHARACTERS, last_lines
from cloche.errors import ClocheError, DataError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.characters import CharacterTokenizer
from cloche.text.chat import preset
from cloche.text.extending import with_special_tokens
from cloche.text.words import WordTokenizer
from cloche.tuning.session import Telling
from cloche.tuning.unknown import tell_unknown, tell_unknown_words, unknown_words
from cloche.weights.checkpoint import save_checkpoint

TEMPLATE = preset("chatml")


@pytest.fixture(scope="module")
def tokenizer():
    words = WordTokenizer(["the", "fox", "saw", "a", "red", "stone", "near", "river", ".", "user"])
    return with_special_tokens(words, TEMPLATE.special_tokens())


@pytest.fixture
def told():
    return {"said": [], "warned": []}


@pytest.fixture
def telling(told):
    return Telling(told["said"].append, told["warned"].append)


def ids_of(tokenizer, text):
    stop = TEMPLATE.stop_ids(tokenizer)[0]
    return np.array([*tokenizer.encode(text), stop], np.int64)


def test_words_that_are_unknown_are_counted_and_stop_tokens_are_not(tokenizer, told, telling):
    pieces = [ids_of(tokenizer, text) for text in ("the fox saw", "a blue stone")]
    tell_unknown(pieces, tokenizer, what="the answers", telling=telling)
    assert told["said"] == []
    assert "16.67% of the answers (1 of 6 tokens)" in told["warned"][0]
    assert "<|unk|>" in told["warned"][0]


def test_a_few_unknown_words_are_said_and_none_are_not(tokenizer, told, telling):
    many = [ids_of(tokenizer, "the fox saw " * 40)]
    tell_unknown(many, tokenizer, what="the answers", telling=telling)
    assert told == {"said": [], "warned": []}
    tell_unknown([*many, ids_of(tokenizer, "blue")], tokenizer, what="the answers", telling=telling)
    assert len(told["said"]) == 1
    assert told["warned"] == []


def test_text_that_is_nothing_but_unknown_is_refused(tokenizer, telling):
    pieces = [ids_of(tokenizer, text) for text in ("红色的石头", "狐狸看见河边", "绿色")]
    with pytest.raises(DataError, match=r"100% of the answers .* take a model whose tokenizer"):
        tell_unknown(pieces, tokenizer, what="the answers", telling=telling)


def test_the_names_of_roles_are_told_where_the_tokenizer_does_not_know_them(
    tokenizer, told, telling
):
    assert unknown_words(TEMPLATE, tokenizer) == ("assistant",)
    other = with_special_tokens(WordTokenizer(["the", "fox"]), TEMPLATE.special_tokens())
    tell_unknown_words(TEMPLATE, other, telling=telling)
    assert "user, assistant, which the template writes" in told["said"][0]
    assert "by their order alone" in told["said"][0]


def test_a_tokenizer_without_a_token_for_the_unknown_has_nothing_to_tell(told, telling):
    letters = with_special_tokens(
        CharacterTokenizer(set("abc userition\n")), TEMPLATE.special_tokens()
    )
    tell_unknown([np.arange(4)], letters, what="the answers", telling=telling)
    assert unknown_words(TEMPLATE, letters) == ()
    assert told == {"said": [], "warned": []}


def test_a_sample_shows_the_last_lines_of_a_long_prompt():
    assert last_lines("one\ntwo\nthree") == "one\ntwo\nthree"
    assert last_lines("story\none\ntwo\nthree") == "... one\ntwo\nthree"
    assert len(last_lines("x" * 5000)) == SAMPLE_CHARACTERS + len("... ")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tokenizer):
    """An English model of words, and Chinese data of every kind."""
    folder = tmp_path_factory.mktemp("chinese")
    words = WordTokenizer(["the", "fox", "saw"])
    config = complete(ModelOptions(), vocab_size=words.vocab_size, layers=1, width=16, context=64)
    model = build_model(config)
    save_checkpoint(folder / "base", model=model, config=config, tokenizer=words, card="")
    colours = ("红色", "绿色", "蓝色", "白色") * 5
    asked = [f"第{number}块石头是什么颜色" for number in range(20)]
    told = [{"prompt": p, "completion": c} for p, c in zip(asked, colours, strict=True)]
    pairs = [
        {"prompt": prompt, "chosen": f"{colour} 石头", "rejected": colour}
        for prompt, colour in zip(asked, colours, strict=True)
    ]
    (folder / "records.json").write_text(json.dumps(told))
    (folder / "pairs.json").write_text(json.dumps(pairs))
    (folder / "book.txt").write_text("狐狸 看见 红色 石头 " * 200)
    return folder


@pytest.mark.parametrize(
    ("verb", "data"),
    [
        (cloche.tune, "records.json"),
        (cloche.tune_on_text, "book.txt"),
        (cloche.align_dpo, "pairs.json"),
        (cloche.align_reward, "pairs.json"),
    ],
)
def test_no_verb_learns_from_what_the_tokenizer_cannot_write(place, tmp_path, verb, data):
    options = {"train.steps": 1, "train.trackers": ("none",), "data.split": (0.8, 0.2)}
    if verb is cloche.tune_on_text:
        options["data.split"] = 0.8
    with pytest.raises(DataError, match="is unknown to the model's tokenizer"):
        verb(place / "base", place / data, out=tmp_path / "run", options=options, listeners=[])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("reward", "told"),
    [("exact", "reads the field 'answer' .*records.json, record 1 and 19 more"), ("own", "takes")],
)
def test_what_is_wrong_with_a_reward_is_told_before_a_model_is_opened(
    place, tmp_path, reward, told
):
    own = tmp_path / "mine.py"
    own.write_text("def mine(answer): return 1.0\n")
    options = {"reward": [reward if reward == "exact" else f"{own}:mine"]}
    with pytest.raises(ClocheError, match=told):
        cloche.align_grpo(
            "no model", place / "records.json", out=tmp_path / "run", options=options, listeners=[]
        )
