"""`cloche lens`: every view from the command, its JSON and pictures, and mistakes told at once."""

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import cloche
from cloche.cli.lens import VIEWS
from cloche.cli.main import main
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.characters import CharacterTokenizer
from cloche.weights.checkpoint import save_checkpoint
from cloche.weights.history import point

TEXT = "the cat saw the dog. "
SMALL = {
    "model.layers": 2,
    "model.heads": 2,
    "model.width": 16,
    "model.context": 16,
    "text.tokenizer": "characters",
    "train.steps": 2,
    "train.batch": 4,
    "train.save_every": 1,
    "train.keep": 0,
    "train.sample_tokens": 4,
}
TRANSLATES = {
    "model.family": "seq2seq",
    "model.layers": 1,
    "model.width": 16,
    "text.tokenizer": "characters",
    "train.steps": 2,
    "train.batch": 8,
    "train.sample_tokens": 0,
}
ARGUMENTS = {
    "tokens": ["the cat"],
    "embeddings": ["t", "␣", "#3"],
    "positions": [],
    "attention": ["the cat"],
    "residual": ["the cat"],
    "windows": ["the cat saw", "--context", "4"],
    "next-token": ["the", "--top-k", "3", "--seed", "1"],
    "parameters": [],
    "memory": [],
    "two": ["the cat", "--with", "RUN", "--other-checkpoint", "1"],
    "training": [],
}


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> str:
    """A run of letters with two checkpoints."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "book.txt").write_text(TEXT * 60, encoding="utf-8")
    cloche.train(folder / "book.txt", out=folder / "book", options=SMALL, listeners=[])
    return str(folder / "book")


@pytest.fixture(scope="module")
def bigram(tmp_path_factory) -> str:
    return str(_saved(tmp_path_factory.mktemp("bigram"), family="bigram"))


@pytest.fixture(scope="module")
def translator(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("translator")
    lines = [f"{a}{b}\t{b}{a}\n" for a in "abcdef" for b in "abcdef"]
    (folder / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    cloche.train(folder / "pairs.tsv", out=folder / "run", options=TRANSLATES, listeners=[])
    return str(folder / "run")


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


@pytest.fixture
def lens(capsys):
    """What `cloche lens` with these arguments ends with, and prints."""

    def run(*arguments: str) -> Outcome:
        status = main(["lens", *arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


def _saved(run: Path, **options) -> Path:
    letters = CharacterTokenizer(set(TEXT))
    config = complete(
        ModelOptions(**options), vocab_size=letters.vocab_size, layers=2, width=16, context=16
    )
    torch.manual_seed(0)
    model = build_model(config)
    checkpoint = run / "checkpoints" / "step-000001"
    checkpoint.parent.mkdir(parents=True)
    save_checkpoint(checkpoint, model=model, config=config, tokenizer=letters, card="")
    point(run, "best", checkpoint)
    return run


def _strictly(text: str) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def _arguments(view: str, run: str) -> list[str]:
    return [run, view, *(run if each == "RUN" else each for each in ARGUMENTS[view])]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_printed_given_as_json_and_drawn(view, book, lens, tmp_path):
    printed = lens(*_arguments(view, book))
    assert (printed.status, printed.err) == (0, "")
    assert printed.out.startswith(f"{view} · book")
    out = tmp_path / f"{view}.svg"
    as_json = lens(*_arguments(view, book), "--json", "--out", str(out))
    assert as_json.status == 0
    found = _strictly(as_json.out)
    assert (found["view"], found["provenance"]["run"]) == (view, "book")
    assert "<svg" in out.read_text(encoding="utf-8")
    assert as_json.err == f"cloche: drew {out}\n"


def test_help_lists_every_view_and_asks_for_no_torch():
    code = "import sys; from cloche.cli.main import main; main(sys.argv[1:])"
    told = "; print(sorted({'torch', 'numpy', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + told, "lens", "--help"], capture_output=True, text=True
    )
    assert all(f"\n  {view} " in done.stdout for view in VIEWS)
    assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize("view", ["attention", "two"])
def test_the_options_of_a_view_ask_for_no_torch(view):
    code = (
        "import atexit, sys; from cloche.cli.main import main; "
        "atexit.register(lambda: print({'torch', 'numpy', 'matplotlib'} & set(sys.modules))); "
        "main(sys.argv[1:])"
    )
    asked = [sys.executable, "-c", code, "lens", "RUN", view, "--help"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0
    assert "--lang" in done.stdout
    assert done.stdout.endswith("set()\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a view. Views are: tokens, embeddings,"),
        (["Attentoin", "the"], "no view 'Attentoin'; did you mean attention? Views are: tokens,"),
        (["tokens"], "needs a text"),
        (["attention", ""], "no token to look at"),
        (["attention", "the", "--layer", "2"], "layers 0 to 1, got layer 2"),
        (["attention", "the", "--layer", "0", "--head", "5"], "heads 0 to 1, got head 5"),
        (["attention", "the", "--head", "1"], "head 1 of which layer?"),
        (["attention", "the", "--kind", "cross"], "for models that translate"),
        (["attention", "the " * 5], "has 20 tokens, and the model reads 16 at once"),
        (["residual", "the", "--positions", "0"], "positions must be at least 1, got 0"),
        (["tokens", "xyz"], "'x' (U+0078)"),
        (["tokens", "the", "--encoding", "gbk"], "the text was typed"),
        (["embeddings", "the"], "'the' is 3 tokens: t ("),
        (["embeddings", "#99"], "the tokens are 0 to"),
        (["embeddings", "#t"], "written #42, got '#t'"),
        (["memory", "--encoding", "gbk"], "name one"),
        (["memory", "--training", "nowhere.txt"], "nowhere.txt does not exist"),
        (["training", "--metrics", "eval/lost"], "eval/lost"),
        (["two", "the"], "by --with RUN"),
        (["tokens", "the", "--checkpoint", "7"], "there are best, latest, step-000001"),
        (["tokens", "the", "--out", "x.pdf"], "ends in .png, .svg or .html, got x.pdf"),
        (["tokens", "the", "--out", "x.GIF"], "add --over-time"),
        (["tokens", "the", "--over-time"], "add --out FILE or --json"),
        (["tokens", "the", "--over-time", "--json", "--checkpoint", "1"], "leave --checkpoint out"),
    ],
)
def test_a_mistake_is_one_message_that_says_what_there_is(arguments, said, book, lens):
    found = lens(book, *arguments)
    assert (found.status, found.out) == (2, "")
    assert said in found.err
    assert found.err.startswith("cloche: ")
    assert found.err.count("\n") == 1


def test_a_text_without_quotes_is_told_what_it_lacks(book, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["lens", book, "tokens", "Once", "upon", "a"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("cloche: not expected here: upon a. A text or path of several words")
    with pytest.raises(SystemExit) as caught:
        main(["lens", book, "residual", "Once", "--positons", "3"])
    assert caught.value.code == 2
    assert "--positions" in capsys.readouterr().err  # what was meant, probably


def test_the_view_in_the_place_of_the_run_is_told(lens):
    assert "the run comes first, as in cloche lens RUN tokens." in lens("tokens", "the").err


def test_a_run_that_has_no_checkpoint_yet_is_told(lens, tmp_path):
    run = tmp_path / "begun"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.toml").write_text("")
    for arguments in (["the"], ["the", "--over-time", "--json"]):
        found = lens(str(run), "tokens", *arguments)
        assert found.status == 2
        assert "checkpoint" in found.err


def test_a_bigram_names_the_views_it_has(bigram, lens):
    for view in ("attention", "residual"):
        found = lens(bigram, view, "the")
        assert found.status == 2
        assert "a bigram model has no" in found.err
        assert "Its views are tokens, embeddings, windows" in found.err
    assert lens(bigram, "tokens", "the").status == 0


def test_an_encoder_decoder_has_attention_and_names_it(translator, book, lens, tmp_path):
    found = lens(translator, "attention", "ab", "--target", "ba", "--kind", "cross", "--json")
    values = _strictly(found.out)
    assert (values["source"], values["target"], values["written"]) == ("ab", "ba", False)
    assert values["encoder"] is None
    out = tmp_path / "cross.png"
    assert lens(translator, "attention", "ab", "--out", str(out)).status == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    for given in (["residual", "ab"], ["parameters"], ["two", "ab", "--with", book]):
        found = lens(translator, *given)
        assert found.status == 2
        assert "its views are attention and training" in found.err
    assert "its views are" in lens(book, "two", "the", "--with", translator).err
    assert "leave it out here" in lens(translator, "attention", "ab", "--over-time", "--json").err


def test_standard_input_is_read_once_for_all_checkpoints(book, lens, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat")))
    found = _strictly(lens(book, "tokens", "-", "--over-time", "--json").out)
    texts = [frame["provenance"]["text"] for frame in found["frames"]]
    assert [frame["step"] for frame in found["frames"]] == [1, 2]
    assert texts == ["the cat", "the cat"]


def test_standard_input_has_an_encoding(book, lens, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("the".encode("utf-16-le"))))
    found = lens(book, "tokens", "-", "--encoding", "utf-16-le", "--json")
    assert _strictly(found.out)["provenance"]["text"] == "the"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the \xff\xfe\xe9")))
    assert "with --encoding" in lens(book, "tokens", "-").err


def test_all_checkpoints_become_an_animation_whatever_the_case_of_its_ending(book, lens, tmp_path):
    out = tmp_path / "grown.GIF"
    assert lens(book, "next-token", "the", "--over-time", "--out", str(out)).status == 0
    assert out.read_bytes().startswith(b"GIF89a")
    assert list(tmp_path.iterdir()) == [out]


def test_a_picture_that_cannot_be_written_is_told_and_leaves_nothing(book, lens, tmp_path):
    folder = tmp_path / "folder.png"
    folder.mkdir()
    assert "is a folder" in lens(book, "parameters", "--out", str(folder)).err
    (tmp_path / "file").write_text("")
    found = lens(book, "parameters", "--out", str(tmp_path / "file" / "x.png"))
    assert found.status == 2
    assert "cannot be written" in found.err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder.png"]


def test_a_long_text_is_cut_below_the_picture_and_whole_in_the_json(tmp_path, book, lens):
    out = tmp_path / "tokens.html"
    found = lens(book, "tokens", TEXT * 20, "--json", "--out", str(out))
    assert _strictly(found.out)["provenance"]["text"] == TEXT * 20
    page = out.read_text(encoding="utf-8")
    assert f"“{(TEXT * 20)[:199]}…”" in page


def test_without_a_chinese_font_its_labels_are_refused_before_a_model_is_opened(
    book, lens, monkeypatch
):
    monkeypatch.setattr("cloche.plots.canvas.cjk_font", lambda: None)
    found = lens("nowhere", "tokens", "the", "--lang", "zh")
    assert found.status == 2
    assert "Noto Sans CJK SC" in found.err
    assert lens(book, "tokens", "the").status == 0


def test_no_display_is_needed(book, tmp_path):
    shown = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    out = tmp_path / "tokens.png"
    asked = [sys.executable, "-m", "cloche", "lens", book, "tokens", "the", "--out", str(out)]
    done = subprocess.run(asked, env=shown | {"MPLBACKEND": "TkAgg"}, capture_output=True)
    assert done.returncode == 0
    assert out.stat().st_size > 1000
