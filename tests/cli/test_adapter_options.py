"""Adapters by name and alone, through the verbs that open models."""

import builtins
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from small_tunings import QUICK, TEMPLATE, make_place, quick_tunings
from transformers import AutoModelForCausalLM

import cloche
from cloche.cli.main import main
from cloche.weights.adapters import load_adapter

BOTH = ("--adapters", "a=a", "b=b")
ASKED = ("fox 3?", "--greedy", "--max-new-tokens", "8", "--json")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base without a chat template, and the runs `a` and `b` of adapters over it."""
    folder = make_place(tmp_path_factory.mktemp("adapters"))
    asked = ["records.json", "--tune.template", "template.jinja", *QUICK, "--lora"]
    with quick_tunings(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, rate in (("a", "0.03"), ("b", "0.1")):
            rates = ["--train.learning-rate", rate, "--train.seed", str(ord(name))]
            assert main(["tune", "base", *asked, "--lora.rank", "4", *rates, "--out", name]) == 0
    return folder


@pytest.fixture(autouse=True)
def _here(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.fixture
def told(capsys):
    """Runs a verb with --json; returns its object."""

    def run(*arguments):
        capsys.readouterr()
        assert main(list(arguments)) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        return json.loads(out)

    return run


@pytest.fixture
def refused(capsys):
    """Runs a verb that refuses; returns its message."""

    def run(*arguments):
        assert main(list(arguments)) == 2
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return printed.err

    return run


def answer(values):
    return values["answers"][0]["text"]


def test_two_adapters_of_one_base_write_two_texts(told):
    plain = answer(told("generate", "base", *ASKED))
    first, second = (
        answer(told("generate", "base", *ASKED, *BOTH, "--adapter", name)) for name in "ab"
    )
    assert len({plain, first, second}) == 3
    assert answer(told("generate", "base", *ASKED, *BOTH)) == plain
    assert answer(told("generate", "base", *ASKED, "--adapter", "b")) == second
    assert answer(told("generate", "b", *ASKED)) == second


def test_the_only_adapter_writes_where_none_is_named_and_none_means_the_model(told, capsys):
    plain, first = (
        answer(told("generate", "base", *ASKED, "--adapter", name)) for name in ("none", "a")
    )
    assert plain == answer(told("generate", "base", *ASKED)) != first
    assert answer(told("generate", "base", *ASKED, "--adapters", "a=a")) == first
    alone = ("--adapters", "a=a", "--adapter", "none")
    assert answer(told("generate", "base", *ASKED, *alone)) == plain
    assert main(["generate", "base", *ASKED, *BOTH]) == 0
    assert "none of the adapters a, b writes" in capsys.readouterr().err


def test_an_adapter_brings_the_template_that_it_was_tuned_by(told, refused):
    named = answer(told("generate", "base", *ASKED, *BOTH, "--adapter", "b", "--chat"))
    assert named == answer(told("generate", "b", *ASKED, "--chat"))
    assert "no chat template" in refused("generate", "base", *ASKED, *BOTH, "--chat")
    lm = cloche.load("base", adapters={"b": "b"})
    assert lm.template is None
    active = lm.with_adapter("b")
    assert active.template is not None
    assert active.template.source == TEMPLATE
    assert active.stop_ids == cloche.load("b").stop_ids
    assert active.with_adapter(None).template is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((*BOTH, "--adapter", "c"), "there is no adapter c"),
        (("--adapters", "a"), "'a' is not NAME=FOLDER"),
        (("--adapters", "=a"), "'=a' is not NAME=FOLDER"),
        (("--adapters", "a=a", "a=b"), "two adapters a"),
        (("--adapters", "a=nowhere"), "nowhere does not exist"),
        (("--adapter", "base"), "holds no adapter"),
        (("--adapter", "a", "--precision", "int8"), "kept in int8"),
    ],
)
def test_names_and_folders_that_cannot_be_used_are_told(refused, options, said):
    assert said in refused("generate", "base", *ASKED, *options)


def test_an_adapter_over_another_model_is_refused(refused, place):
    other = make_place(place / "elsewhere", seed=1) / "base"
    message = refused("generate", str(other), *ASKED, "--adapter", "a")
    assert "learned over another model" in message


@pytest.fixture
def chat(capsys, monkeypatch):
    def type_lines(*lines, run="base", options=()):
        coming = iter(lines)

        def typed(prompt):
            print(prompt, end="")
            try:
                return next(coming)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr(builtins, "input", typed)
        status = main(["chat", run, "--greedy", "--max-new-tokens", "8", *options])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return [line.removeprefix("> ") for line in printed.out.splitlines()]

    return type_lines


def test_chat_takes_another_adapter_by_name_and_the_conversation_goes_on(chat):
    options = (*BOTH, "--adapter", "a")
    lines = chat("fox 3?", "/adapter b", "/new", "fox 3?", "/adapter", options=options)
    assert lines[2].startswith("Adapters: a, b; a writes.")
    assert "b writes from now on." in lines
    assert lines[-2].startswith("Adapters: a, b; b writes.")
    alone = chat("fox 3?", run="b")
    assert lines[-3] == alone[2]
    assert lines[3] == chat("fox 3?", run="a")[2]


def test_the_model_alone_answers_by_the_template_that_is_there(chat):
    options = (*BOTH, "--adapter", "a")
    lines = chat("/adapter none", "/adapter c", "fox 3?", options=options)
    assert "The model alone writes from now on." in lines
    assert any(line.startswith("there is no adapter c") for line in lines)
    plain = cloche.load("base").generate("u: fox 3?a: ", greedy=True, max_new_tokens=8)
    assert lines[-2] == plain.splitlines()[-1]


def test_a_text_goes_on_with_another_adapter_too(chat):
    lines = chat("/adapter", "/adapter b", "the fox", options=BOTH)
    assert any(line.startswith("Adapters: a, b; none of them writes.") for line in lines)
    assert any("begin with --adapter b" in line for line in lines)
    assert any("opened without adapters" in line for line in chat("/adapter a"))


def test_a_run_of_adapters_is_measured_and_opened_as_any_other(told):
    own = told("eval", "b", "book.txt", "--json")
    assert own["nats_per_token"] != told("eval", "base", "book.txt", "--json")["nats_per_token"]
    merged = cloche.load(Path("b/latest").resolve())
    named = cloche.load("base", adapters={"b": "b"}).with_adapter("b")
    ids = list(range(20))
    torch.testing.assert_close(merged.logits(ids), named.logits(ids))


def test_a_run_of_adapters_is_exported_whole(told, place):
    written = told("export", "b", "--to", "hf", "--out", "b-hf", "--json")
    assert "transformers" in written["compared_with"]
    ids = list(range(20))
    whole = cloche.load("b-hf")
    torch.testing.assert_close(whole.logits(ids), cloche.load("b").logits(ids))
    assert whole.template is not None
    assert whole.template.source == TEMPLATE
    assert told("export", "b", "--to", "gguf", "--out", "b.gguf", "--type", "F32", "--json")
    assert (place / "b.gguf").stat().st_size > 10_000


# PEFT asks transformers in words that are on their way out; all other warnings are errors
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_an_adapter_is_exported_alone_and_peft_opens_it(told, refused):
    written = told("export", "b", "--to", "peft", "--out", "b-peft", "--json")
    assert written["tensors"] == len(load_adapter(Path("b/latest")).tensors)
    assert not Path("b-peft/trainer").exists()
    named = cloche.load("base", adapters={"p": "b-peft"}).with_adapter("p")
    ids = torch.arange(20)[None]
    torch.testing.assert_close(named.logits(ids[0].tolist()), cloche.load("b").logits(range(20)))
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("base"), "b-peft")
    with torch.no_grad():
        torch.testing.assert_close(
            theirs(ids).logits[0], named.logits(ids[0].tolist()), rtol=1e-4, atol=1e-4
        )
    assert "no adapter" in refused("export", "base", "--to", "peft", "--out", "no")
